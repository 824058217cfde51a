"""The one error that every step of the compilation raises."""


class PinsError(Exception):
    """The pins can't be compiled; the message says what happened, why, and what to do."""
