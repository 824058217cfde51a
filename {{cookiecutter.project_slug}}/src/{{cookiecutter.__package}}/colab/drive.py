"""Google Drive in Colab, and what takes its place elsewhere."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from .environment import HOSTNAME_FILE, Environment

MOUNTPOINT = Path("/content/drive")
KAGGLE_WORKING = Path("/kaggle/working")


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where files go.

    Attributes:
        scratch: A fast folder that dies with the machine.
        persistent: A folder that outlives it.
        drive: Whether the persistent folder is on Google Drive.
        why: Why the persistent folder is this one, in words.
    """

    scratch: Path
    persistent: Path
    drive: bool
    why: str


def places(environment: Environment, *, root: Path, persistent: str = "") -> Places:
    """Choose where a run's files go; mounts Drive in Colab.

    Args:
        environment: Where the code runs.
        root: The project's folder; its name becomes a folder on Drive.
        persistent: A folder chosen by the user, which wins over everything.

    Raises:
        UserError: If Drive can't be mounted.
    """
    scratch = root / ".scratch"
    if persistent:
        chosen = Path(persistent).expanduser().resolve()
        why = "not needed: the setting persistent names another folder"
        return Places(scratch=scratch, persistent=chosen, drive=False, why=why)
    if environment.where == "kaggle":
        why = "Kaggle keeps it with the notebook's version"
        return Places(scratch=scratch, persistent=KAGGLE_WORKING, drive=False, why=why)
    if environment.where == "colab":
        folder = mount() / root.name
        why = "it outlives Colab's machine"
        return Places(scratch=scratch, persistent=folder, drive=True, why=why)
    why = "there is no Google Drive outside Colab; the project's folder takes its place"
    return Places(scratch=scratch, persistent=root, drive=False, why=why)


def mount(mountpoint: Path = MOUNTPOINT) -> Path:
    """Mount Google Drive and return its folder My Drive.

    Looks first whether Drive is there: Colab's own `mount` asks the browser before it looks,
    and blocks for two minutes when no page is open.

    Raises:
        UserError: If Drive can't be mounted, with Colab's reason and what to do.
    """
    my_drive = mountpoint / "My Drive"
    if my_drive.is_dir():
        return my_drive
    instead = (
        "Run this cell again and choose 'Connect to Google Drive' with the account that this"
        " page uses. To go on without Drive, set persistent to a folder such as"
        " /content/results and download it before the session ends."
    )
    if not HOSTNAME_FILE.exists():
        raise UserError("Drive can't be mounted: no page of Colab is connected here. " + instead)
    from google.colab import drive

    try:
        drive.mount(str(mountpoint))
    except Exception as error:  # MessageError, ValueError, pexpect.TIMEOUT: no common base
        raise UserError(
            f"Drive was not mounted: {error or type(error).__name__}. {instead}"
        ) from error
    if not my_drive.is_dir():
        raise UserError(f"Drive was mounted, but {my_drive} is not there. {instead}")
    return my_drive


def round_trip(folder: Path) -> str:
    """Prove that a folder keeps what is written to it: write, read back, compare, delete.

    Returns:
        What was found, in words.

    Raises:
        UserError: If the folder can't be written or gives back something else.
    """
    probe = folder / f".probe-{os.getpid()}-{secrets.token_hex(4)}"
    wanted = secrets.token_bytes(1 << 16)
    started = time.monotonic()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(wanted)
        found = probe.read_bytes()
        probe.write_bytes(b"")  # what is deleted on Drive goes to its trash and counts there
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"{folder} can't be written: {error.strerror or error}. Set persistent to a folder that"
            " can, or free space in it."
        ) from error
    if found != wanted:
        raise UserError(
            f"{folder} gave back other bytes than were written to it. Don't trust it: choose"
            " another folder by the setting persistent."
        )
    return f"64 KiB written and read back in {time.monotonic() - started:.2f} s"
