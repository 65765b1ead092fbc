"""What can go wrong with the audit log."""


class AuditMissing(Exception):
    """There is no log to read where one is looked for, or it may not be read."""


class AuditUnavailable(Exception):
    """A record cannot be written: nothing is served unrecorded."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The audit log cannot be written: {why}.")
