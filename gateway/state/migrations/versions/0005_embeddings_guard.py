"""What a blocked word in an embeddings or rerank input leads to, by key."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column; the keys that are there go on being refused."""
    with op.batch_alter_table("client_keys") as table:
        table.add_column(sa.Column("embeddings_guard", sa.String(16), nullable=False, server_default="block"))


def downgrade() -> None:
    """Drop the column."""
    with op.batch_alter_table("client_keys") as table:
        table.drop_column("embeddings_guard")
