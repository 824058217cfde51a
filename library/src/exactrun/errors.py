"""The exceptions that are meant for the person at the keyboard."""


class UserError(Exception):
    """A condition that its reader can fix.

    The message says what happened, why, and what to do about it.
    """
