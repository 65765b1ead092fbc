"""What can go wrong with the audit log."""


class AuditUnavailable(Exception):
    """A record cannot be written: nothing is served unrecorded."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The audit log cannot be written: {why}.")
