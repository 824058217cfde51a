"""Drive as a real FUSE mount: rclone shows a local folder, and uploads to it with a delay."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

MISSING = [name for name in ("rclone", "fusermount3") if shutil.which(name) is None]
if not os.path.exists("/dev/fuse"):
    MISSING.append("/dev/fuse")
WHY_NOT = f"no Drive on FUSE here, without {', '.join(MISSING)}: apt-get install fuse3 rclone"


def command(store: Path, *, cache: Path, upload_after: str = "1s", more: str = "") -> str:
    """Return the command that mounts a folder; the mountpoint has to follow.

    Args:
        store: The folder.
        cache: Where rclone keeps what is not uploaded yet.
        upload_after: Time between the closing of a file and its upload.
        more: More of rclone's options.
    """
    options = f"--vfs-cache-mode writes --vfs-write-back {upload_after} --dir-cache-time 1s {more}"
    places = f"--config {os.devnull} --cache-dir {shlex.quote(str(cache))}"
    return f"rclone mount --daemon {places} {options} {shlex.quote(str(store))}"


def process_of(mountpoint: Path) -> int:
    """Return the id of the process that serves a mountpoint."""
    found = subprocess.run(
        ["pgrep", "-f", f"rclone mount .*{mountpoint}$"], capture_output=True, text=True, check=True
    )
    return int(found.stdout.split()[0])


def kill(mountpoint: Path) -> None:
    """Let the mount die: what was not uploaded is lost, and each access is Errno 107."""
    process = process_of(mountpoint)
    os.kill(process, signal.SIGKILL)
    while os.path.exists(f"/proc/{process}"):
        time.sleep(0.01)


def unmount(mountpoint: Path) -> None:
    """Unmount, dead or alive."""
    subprocess.run(["fusermount3", "-u", "-z", str(mountpoint)], check=False, capture_output=True)
