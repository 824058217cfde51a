"""Messages between the kernel and Colab's page."""


class MessageError(Exception):
    """The page answered with an error."""
