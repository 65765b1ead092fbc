"""What can go wrong with the database."""


class DatabaseUnavailable(Exception):
    """The database cannot be opened; the message names the setting."""
