"""How a key's generated text is labelled."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add both columns; the keys that are there say nothing of labels."""
    with op.batch_alter_table("client_keys") as table:
        table.add_column(sa.Column("content_label", sa.String(16), nullable=False, server_default="interface"))
        table.add_column(sa.Column("label_agreement", sa.String(200)))


def downgrade() -> None:
    """Drop both columns."""
    with op.batch_alter_table("client_keys") as table:
        table.drop_column("label_agreement")
        table.drop_column("content_label")
