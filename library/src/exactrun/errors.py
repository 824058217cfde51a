"""The exceptions that are meant for the person at the keyboard."""

INSTALL_NOTEBOOKS = "python -m pip install papermill nbconvert ipykernel"
"""What brings the packages of the extra `notebooks`; exactrun itself is on no package index yet,
and who takes its name there is a stranger."""

INSTALL_TENSORFLOW = "python -m pip install tensorflow pandas pillow tqdm"
"""What brings the packages of the extra `tensorflow`."""


class UserError(Exception):
    """A condition that its reader can fix.

    The message says what happened, why, and what to do about it.
    """
