"""The one exception that is meant for the person at the keyboard."""


class UserError(Exception):
    """A condition that its reader can mend.

    The message says what happened, why, and the very thing to do. The command line prints it
    without a traceback and exits with 1.
    """
