"""The classes of Colab's errors."""


class Error(Exception):
    """What Colab's errors derive from, but not all of them."""


class AuthorizationError(Error):
    """The account was not given."""


class RuntimeManagementError(Error):
    """The machine can't be managed."""
