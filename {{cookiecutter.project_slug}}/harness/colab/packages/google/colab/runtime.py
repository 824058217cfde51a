"""The machine itself."""

import os
from pathlib import Path


def unassign() -> None:
    """Give the machine back; a simulated one notes that it was."""
    Path(os.environ["SIMULATED_MACHINE"], "unassigned").touch()
