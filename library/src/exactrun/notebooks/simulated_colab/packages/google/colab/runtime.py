"""The machine itself."""

from __future__ import annotations

import os
from pathlib import Path

from google.colab import _ipython, errors


def unassign() -> None:
    """Give the machine back; a simulated one notes that it was.

    Raises:
        RuntimeManagementError: If the service that manages it refuses.
        AttributeError: After the machine was given back, in a process that is no kernel.
    """
    if os.environ.get("EXACTRUN_SIMULATED_FAILURE") == "unassign":
        raise errors.RuntimeManagementError("Unable to request VM unassignment.")
    Path(os.environ["EXACTRUN_SIMULATED_MACHINE"], "unassigned").touch()
    _ipython.get_kernel()  # to tell the page
