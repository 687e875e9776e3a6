"""Errors that are the user's to mend: the command line prints their message as one line."""


class UserError(Exception):
    """Something the user can mend; the message says what is wrong and what to do."""
