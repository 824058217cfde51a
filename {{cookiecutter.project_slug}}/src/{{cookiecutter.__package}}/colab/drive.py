"""Google Drive in Colab, and what takes its place elsewhere."""

from __future__ import annotations

import errno
import os
import secrets
import time
from pathlib import Path

from ..errors import UserError
from .environment import HOSTNAME_FILE, MACHINE, where
from .files import discard, explain

MOUNTPOINT = MACHINE / "content/drive"
KAGGLE_WORKING = MACHINE / "kaggle/working"

BACK_OFF = (1.0, 5.0, 20.0)
"""Seconds before each new attempt to mount a Drive whose connection was lost."""

WITHOUT = (
    "To go on without Drive, set persistent to a folder such as /content/results and download it"
    " before the session ends."
)

FAILURES = {
    "credential propagation was unsuccessful": (
        "the question in the browser was refused or closed. Run this cell again and choose"
        " 'Connect to Google Drive' with the account that this page uses"
    ),
    "must not already contain files": (
        "something has written to {0} before Drive was there. Move it away, and run this cell"
        " again: !mv {0} {0}-before"
    ),
    "must not be a symlink": "{0} is a link. Remove it, and run this cell again: !rm {0}",
    "must either be a directory": "{0} is a file. Remove it, and run this cell again: !rm {0}",
    "initial read of root folder": (
        "the top folder of My Drive took too long to list. Move what lies there loosely into"
        " folders, on https://drive.google.com, and run this cell again"
    ),
    "domain policy has disabled": (
        "the administrators of this Google account do not allow it. Use a private account, or"
        " ask them to allow 'Drive for desktop'"
    ),
    "timed out": (
        "neither the browser nor Drive answered in time. Look for a question that hides behind"
        " this page, and run this cell again"
    ),
    "mount failed": (
        "Drive did not start. Run this cell again; if that fails, Runtime → Disconnect and delete"
        " runtime, then Run all"
    ),
}
"""What to make of Colab's own words, by a part of them; `{0}` is the mountpoint."""


def persistent_folder(root: Path, *, chosen: str = "") -> tuple[Path, str]:
    """Return the folder that outlives the machine; mounts Drive in Colab.

    Args:
        root: The project's folder; its name becomes a folder on Drive.
        chosen: The folder that the user has chosen, which wins over everything.

    Returns:
        The folder; and why it is not on Drive, in words, or nothing if it is.

    Raises:
        UserError: If Drive can't be mounted.
    """
    folder, place = Path(chosen).expanduser().absolute(), where()
    if chosen and not (place == "colab" and folder.is_relative_to(MOUNTPOINT)):
        return folder, "not needed: the setting persistent names another folder"
    if place == "colab":
        my_drive = mount()  # else a folder of this name would be made on Colab's own disk
        return folder if chosen else my_drive / root.name, ""
    if place == "kaggle":
        return KAGGLE_WORKING, (
            f"there is no Google Drive on Kaggle; {KAGGLE_WORKING} takes its place, and is kept"
            " with the notebook's version"
        )
    return root, (
        "there is no Google Drive outside Colab; the project's folder takes its place (persistent"
        " may name a folder of a Drive that rclone has mounted)"
    )


def mount() -> Path:
    """Mount Google Drive, prove that it keeps files, and return its folder My Drive.

    Looks first whether Drive is there: Colab's own `mount` asks the browser before it looks, and
    blocks for two minutes when no page is open. A Drive whose connection was lost (Errno 107) is
    mounted again, several times if need be.

    Raises:
        UserError: If Drive can't be mounted or written, with the reason and what to do.
    """
    my_drive = MOUNTPOINT / "My Drive"
    lost = False
    for pause in (*BACK_OFF, None):
        try:
            if lost or not _is_folder(my_drive):
                _ask_colab(again=lost)
            _write_and_read(my_drive)
            return my_drive
        except OSError as error:
            lost = error.errno == errno.ENOTCONN
            if not lost or pause is None:
                raise UserError(
                    f"Drive was mounted, but {my_drive} can't be used: {explain(error)}. Run this"
                    f" cell again, or Runtime → Disconnect and delete runtime. {WITHOUT}"
                ) from error
            print(f"The connection to Drive was lost; it is mounted again in {pause:g} s.")
            time.sleep(pause)
    raise AssertionError("unreachable: the last attempt returns or raises")


def unmount() -> None:
    """Wait until Drive has uploaded everything, and unmount it: for the very end of a session.

    Colab knows no other way to wait for the upload, and often can't mount Drive again afterwards.

    Raises:
        UserError: If Drive did not take everything.
    """
    from google.colab import drive

    try:
        drive.flush_and_unmount()
    except Exception as error:  # ValueError, pexpect.TIMEOUT: no common base
        raise UserError(
            f"Drive has not taken everything: {error or type(error).__name__}. Leave this page"
            " open for some minutes, and compare the folder on https://drive.google.com with"
            f" {MOUNTPOINT} before the session ends."
        ) from error


def round_trip(folder: Path) -> str:
    """Prove that a folder keeps what is written to it: write, read back, compare, delete.

    Returns:
        What was found, in words.

    Raises:
        UserError: If the folder can't be written or gives back something else.
    """
    started = time.monotonic()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_and_read(folder)
    except OSError as error:
        raise UserError(
            f"{folder} can't be written: {explain(error)}. Set persistent to a folder that can,"
            " or free space in it."
        ) from error
    return f"64 KiB written and read back in {time.monotonic() - started:.2f} s"


def _is_folder(path: Path) -> bool:
    """Tell whether a folder is there; unlike `is_dir`, let a lost connection raise its OSError."""
    try:
        return path.stat() is not None
    except (FileNotFoundError, NotADirectoryError):
        return False


def _ask_colab(*, again: bool) -> None:
    """Call Colab's own `mount`, and say what its failures mean."""
    if not HOSTNAME_FILE.exists():
        raise UserError(
            "Drive was not mounted: no page of Colab is connected here. Open the notebook on"
            f" https://colab.research.google.com. {WITHOUT}"
        )
    if os.environ.get("VERTEX_PRODUCT") == "COLAB_ENTERPRISE":
        raise UserError(
            "Drive was not mounted: Colab Enterprise has no Drive. Set persistent to a folder of a"
            " mounted Cloud Storage bucket, or to one that you download before the session ends."
        )
    from google.colab import drive

    try:
        drive.mount(str(MOUNTPOINT), force_remount=again)
    except Exception as error:  # MessageError, ValueError, pexpect.TIMEOUT: no common base
        said = str(error) or type(error).__name__
        if type(error).__name__ == "TIMEOUT":  # pexpect's own text is a page of its buffers
            said = "timed out"
        meaning = next((FAILURES[part] for part in FAILURES if part in said), f"{said}. Try again")
        raise UserError(
            f"Drive was not mounted: {meaning.format(MOUNTPOINT)}. {WITHOUT}"
        ) from error
    if not _is_folder(MOUNTPOINT / "My Drive"):
        raise UserError(
            f"Drive was mounted, but {MOUNTPOINT / 'My Drive'} is not there. Run this cell again."
            f" {WITHOUT}"
        )


def _write_and_read(folder: Path) -> None:
    """Write a file, read it back, compare and delete it.

    Raises:
        OSError: If one of these fails.
        UserError: If other bytes come back.
    """
    probe = folder / f".probe-{os.getpid()}-{secrets.token_hex(4)}"
    wanted = secrets.token_bytes(1 << 16)
    probe.write_bytes(wanted)
    found = probe.read_bytes()
    discard(probe)
    if found != wanted:
        raise UserError(
            f"{folder} gave back other bytes than were written to it. Don't trust it: choose"
            " another folder by the setting persistent."
        )
