"""Mounting Drive as Colab does: the same arguments, order of events and failures.

The environment says what happens: `SIMULATED_DRIVE` is the folder that becomes My Drive, or, with
`SIMULATED_MOUNT`, a command that mounts such a folder at the mountpoint given as its last argument;
`SIMULATED_FAILURE` is one of `FAILURES`.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pexpect
from google.colab import _message

FAILURES: dict[str, Exception] = {
    "refused": _message.MessageError("Error: credential propagation was unsuccessful"),
    "failed": ValueError("mount failed"),
    "root folder": ValueError(
        "mount failed: timeout during initial read of root folder; for more info:"
        " https://research.google.com/colaboratory/faq.html#drive-timeout"
    ),
    "domain policy": ValueError("mount failed: The domain policy has disabled Drive File Stream"),
    "timeout": pexpect.TIMEOUT("Timeout exceeded."),
    "flush": ValueError("flush_and_unmount failed"),
}
ASKED_FIRST = ("refused",)
"""Failures of the question to the browser, which comes before anything is looked at."""


def mount(
    mountpoint: str, force_remount: bool = False, timeout_ms: int = 120000, readonly: bool = False
) -> None:
    """Mount My Drive."""
    failure = os.environ.get("SIMULATED_FAILURE", "")
    place = Path(mountpoint)
    if not Path(os.environ["SIMULATED_MACHINE"], "var/colab/hostname").exists():
        raise NotImplementedError(
            "Mounting drive is unsupported in this environment. Use PyDrive2 instead."
        )
    if " " in mountpoint:
        raise ValueError("Mountpoint must not contain a space.")
    if os.environ.get("VERTEX_PRODUCT") == "COLAB_ENTERPRISE":
        raise NotImplementedError("Mounting drive is unsupported in Colab Enterprise.")
    if failure in ASKED_FIRST:
        raise FAILURES[failure]
    if os.path.isdir(place / "My Drive") and not force_remount:
        print(f"Drive already mounted at {mountpoint}; force_remount=True mounts it anew.")
        return
    _unmount(place)
    if place.is_symlink():
        raise ValueError("Mountpoint must not be a symlink")
    if place.is_dir() and any(place.iterdir()):
        raise ValueError("Mountpoint must not already contain files")
    if not place.is_dir() and place.exists():
        raise ValueError("Mountpoint must either be a directory or not exist")
    if not place.parent.exists():
        raise ValueError("Mountpoint must be in a directory that exists")
    if failure in FAILURES:
        raise FAILURES[failure]
    place.mkdir(exist_ok=True)
    if command := os.environ.get("SIMULATED_MOUNT"):
        subprocess.run([*shlex.split(command), mountpoint], check=True)
    else:
        (place / "My Drive").symlink_to(os.environ["SIMULATED_DRIVE"])
    print(f"Mounted at {mountpoint}")


def flush_and_unmount(timeout_ms: int = 24 * 60 * 60 * 1000) -> None:
    """Write what is outstanding, and unmount My Drive."""
    if os.environ.get("SIMULATED_FAILURE") == "flush":
        raise FAILURES["flush"]
    place = Path(os.environ["SIMULATED_MACHINE"], "content/drive")
    if not os.path.isdir(place / "My Drive"):
        print("Drive not mounted, so nothing to flush and unmount.")
        return
    _unmount(place)


def _unmount(place: Path) -> None:
    if "SIMULATED_MOUNT" in os.environ:
        # Lazily, as a mount that has died can't be closed otherwise; not mounted is no error.
        subprocess.run(["fusermount3", "-u", "-z", str(place)], check=False, capture_output=True)
    elif (place / "My Drive").is_symlink():
        (place / "My Drive").unlink()
