"""Mounting Drive as Colab does: the same arguments, order of events, failures and words."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from pathlib import Path

import pexpect
from google.colab import _message

FAILURES: dict[str, Exception] = {
    "failed": ValueError("mount failed"),
    "root folder": ValueError(
        "mount failed: timeout during initial read of root folder; for more info:"
        " https://research.google.com/colaboratory/faq.html#drive-timeout"
    ),
    "domain policy": ValueError(
        "The domain policy has disabled Drive File Stream:"
        " https://support.google.com/a/answer/7496409"
    ),
    "timeout": pexpect.TIMEOUT("Timeout exceeded.\n<pexpect.popen_spawn.PopenSpawn object>"),
    "braces": _message.MessageError('{"code": 403, "details": {0}, "{reason}": "{!r}"}'),
}
"""What Google's program may end with, by the value of `EXACTRUN_SIMULATED_FAILURE`."""

_MACHINE = Path(os.environ.get("EXACTRUN_SIMULATED_MACHINE", "/"))


def mount(
    mountpoint: str, force_remount: bool = False, timeout_ms: int = 120000, readonly: bool = False
) -> None:
    """Mount My Drive.

    Raises:
        NotImplementedError: On a machine without a page, or of Colab Enterprise.
        MessageError: If the user refused.
        ValueError: If the mountpoint can't be used, or Google's program failed.
        pexpect.TIMEOUT: If Google's program neither began nor failed.
    """
    if not (_MACHINE / "var/colab/hostname").exists():
        raise NotImplementedError(
            "Mounting drive is unsupported in this environment. Use PyDrive2 instead. See examples"
            " at https://colab.research.google.com/notebooks/io.ipynb#scrollTo=7taylj9wpsA2."
        )
    if " " in mountpoint:
        raise ValueError("Mountpoint must not contain a space.")
    if os.environ.get("VERTEX_PRODUCT") == "COLAB_ENTERPRISE":
        raise NotImplementedError("google.colab.drive.mount is not supported in Colab Enterprise.")
    os.environ["TBE_EPHEM_CREDS_ADDR"]
    answer = _message.blocking_request(
        "request_auth", request={"authType": "dfs_ephemeral"}, timeout_sec=timeout_ms / 1000
    )
    place = Path(mountpoint).expanduser()
    if os.path.isdir(place / "My Drive") and not force_remount:  # on whatever disk it is
        print(
            f"Drive already mounted at {mountpoint}; to attempt to forcibly remount, call"
            f' drive.mount("{mountpoint}", force_remount=True).'
        )
        return
    _unmount(place)
    if os.path.islink(place):
        raise ValueError("Mountpoint must not be a symlink")
    if os.path.isdir(place) and os.listdir(place):
        raise ValueError("Mountpoint must not already contain files")
    if not os.path.isdir(place) and os.path.exists(place):
        raise ValueError("Mountpoint must either be a directory or not exist")
    if not place.parent.exists():
        raise ValueError("Mountpoint must be in a directory that exists")
    if failure := FAILURES.get(os.environ.get("EXACTRUN_SIMULATED_FAILURE", "")):
        raise failure
    if answer is None:  # Google's program starts without credentials, and waits for them
        raise FAILURES["timeout"]
    if command := os.environ.get("EXACTRUN_SIMULATED_MOUNT"):
        with contextlib.suppress(FileExistsError):  # a lost mount exists, and is no directory
            place.mkdir()
        if subprocess.run([*shlex.split(command), mountpoint], cwd="/").returncode:
            raise FAILURES["failed"]
    else:
        place.mkdir(exist_ok=True)
        for name in ("My Drive", "MyDrive"):
            (place / name).symlink_to(os.environ["EXACTRUN_SIMULATED_DRIVE"])
        with (_MACHINE / "proc/mounts").open("a", encoding="utf-8") as table:
            table.write(f"{_line(place)}\n")
    print(f"Mounted at {mountpoint}")


def flush_and_unmount(timeout_ms: int = 24 * 60 * 60 * 1000) -> None:
    """Write what is outstanding, and unmount Drive, wherever it is.

    Raises:
        ValueError: If Drive did not take everything.
    """
    lines = (_MACHINE / "proc/mounts").read_text(encoding="utf-8").splitlines()
    points = [line.split(" ")[1].replace(r"\040", " ") for line in lines if " fuse.drive " in line]
    # A real table, of FUSE, holds those of other simulated machines, too.
    places = [place for place in map(Path, points) if place.is_relative_to(_MACHINE)]
    if not places:
        print("Drive not mounted, so nothing to flush and unmount.")
        return
    place = places[-1]
    if os.environ.get("EXACTRUN_SIMULATED_FAILURE") == "flush" or not _unmount(place, force=""):
        raise ValueError("flush_and_unmount failed")


def _unmount(place: Path, *, force: str = "-f") -> bool:
    """Unmount Drive, but not lazily: what is open in it keeps it."""
    table = _MACHINE / "proc/mounts"
    if "EXACTRUN_SIMULATED_MOUNT" in os.environ:
        point = shlex.quote(str(place))
        command = f"umount {force} {point} || umount {point}"
        return subprocess.run(command, shell=True, capture_output=True).returncode == 0
    lines = table.read_text(encoding="utf-8").splitlines()
    if _line(place) not in lines:
        return False
    table.write_text("".join(f"{x}\n" for x in lines if x != _line(place)), encoding="utf-8")
    for name in ("My Drive", "MyDrive"):
        (place / name).unlink(missing_ok=True)
    return True


def _line(place: Path) -> str:
    escaped = str(place).replace(" ", r"\040")
    return f"drive {escaped} fuse.drive rw,nosuid,nodev,relatime,user_id=0,group_id=0 0 0"
