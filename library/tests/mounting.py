"""Drive as a real FUSE mount of the type `fuse.drive`: rclone shows a local directory.

It uploads there with a delay, as Drive does.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

MISSING = [name for name in ("rclone", "fusermount3", "umount") if shutil.which(name) is None]
if not os.path.exists("/dev/fuse"):
    MISSING.append("/dev/fuse")
if hasattr(os, "geteuid") and os.geteuid() != 0:
    MISSING.append("root's right to unmount")
WHY_NOT = f"no Drive on FUSE here, without {', '.join(MISSING)}: apt-get install fuse3 rclone"

HELPER = """#!/bin/sh
# Mounts under the type that Google's own program has.
for each; do shift; set -- "$@" "$(echo "$each" | sed s/subtype=rclone/subtype=drive/)"; done
exec {helper} "$@"
"""


def command(store: Path, *, cache: Path, upload_after: str = "1s", more: str = "") -> str:
    """Return the command that mounts a directory; the mountpoint has to follow.

    Args:
        store: The directory.
        cache: Where rclone keeps what is not uploaded yet.
        upload_after: Time between the closing of a file and its upload.
        more: More of rclone's options.
    """
    options = f"--vfs-cache-mode writes --vfs-write-back {upload_after} --dir-cache-time 1s {more}"
    places = f"--config {os.devnull} --cache-dir {shlex.quote(str(cache))}"
    rclone = f"rclone mount {places} {options} {shlex.quote(str(store))}"
    return f"{sys.executable} {shlex.quote(__file__)} {cache}-helper {rclone}"


def main(helper: Path, rclone: list[str]) -> None:
    """Mount, in a process that goes on, and return when that is done."""
    helper.mkdir(exist_ok=True)
    for name in ("fusermount", "fusermount3"):
        (helper / name).write_text(HELPER.format(helper=shutil.which("fusermount3")))
        (helper / name).chmod(0o755)
    point = Path(rclone[-1])
    process = subprocess.Popen(
        rclone,
        env=os.environ | {"PATH": f"{helper}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    ends = time.monotonic() + 20
    while f" {point} fuse.drive " not in Path("/proc/mounts").read_text():
        if process.poll() is not None or time.monotonic() > ends:
            sys.exit(f"{rclone} did not mount")
        time.sleep(0.02)
    os.listdir(point)


def process_of(mountpoint: Path) -> int:
    """Return the id of the process that serves a mountpoint."""
    found = subprocess.run(
        ["pgrep", "-f", f"^rclone mount .*{mountpoint}$"],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(found.stdout.split()[0])


def kill(mountpoint: Path) -> None:
    """Let the mount die: what was not uploaded is lost, and each access is Errno 107."""
    process = process_of(mountpoint)
    os.kill(process, signal.SIGKILL)
    while True:
        try:
            if ") Z " in Path(f"/proc/{process}/stat").read_text():
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.01)


def unmount(mountpoint: Path) -> None:
    """Unmount, dead or alive, however often it is mounted, and wait for the process to end."""
    processes = subprocess.run(
        ["pgrep", "-f", f"^rclone mount .*{mountpoint}$"], capture_output=True, text=True
    ).stdout.split()
    while f" {mountpoint} " in Path("/proc/mounts").read_text():
        subprocess.run(["umount", "-l", str(mountpoint)], check=True)
    for process in processes:
        os.kill(int(process), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
