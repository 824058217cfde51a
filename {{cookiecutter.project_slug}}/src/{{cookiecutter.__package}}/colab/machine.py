"""Colab's machine given back when the work is done, so that it costs nothing more."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from . import drive
from .environment import where


def give_back(results: Path) -> None:
    """Wait until Drive has everything, then disconnect this session and delete its machine.

    Outside Colab there is nothing to give back, and it says so.

    Args:
        results: The run's folder, which has to outlive the machine.

    Raises:
        UserError: If the results would be lost with the machine.
    """
    if where() != "colab":
        print("– disconnect: only a machine of Colab's can be given back; this one goes on.")
        return
    if not results.is_relative_to(drive.MOUNTPOINT):
        raise UserError(
            f"The machine is not given back: {results} is on it, and would be deleted with it."
            " Download the folder, then Runtime → Disconnect and delete runtime."
        )
    drive.unmount()
    print("All of it is on Drive. The machine is given back now.")
    from google.colab import runtime

    runtime.unassign()
