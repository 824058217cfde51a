"""A simulated Colab: its directories, its variables, its mount table and `google.colab`.

What runs in it takes the paths that it takes in Colab: it finds itself alone in `/content`, asks
its page for Drive and secrets, and loses the machine in the end. `/` is a directory, and so is
Drive, which alone outlives the machine. `google.colab` asks, fails and words its errors as Google's
own does (colabtools 3c07d77).

Variables say what happens, where it is not to go well:

| variable | values |
| --- | --- |
| `EXACTRUN_SIMULATED_PAGE` | `answers` (default), `silent`, `refuses` |
| `EXACTRUN_SIMULATED_FAILURE` | of `drive.FAILURES`, or `flush`, `unassign`, `account` |
| `EXACTRUN_SIMULATED_MOUNT` | a command that mounts Drive at its last argument, by FUSE |
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from ...errors import UserError

PACKAGES = Path(__file__).with_name("packages")


def environment(directory: str | Path, **settings: str) -> dict[str, str]:
    """Make a new machine, and return the variables of a process that is to be on it.

    Args:
        directory: Holds the machine, as `machine/`, which is made anew, and Drive, as `drive/`,
            which is as the machine before has left it.
        settings: More variables, such as `EXACTRUN_SIMULATED_PAGE="silent"`.

    Raises:
        UserError: On Windows, where its Drive can't be mounted.
        OSError: If something is still mounted on the machine, which would be deleted with it.
    """
    if sys.platform == "win32":
        raise UserError(
            "The simulated Colab can't run on Windows: its Drive is a symbolic link, and it asks by"
            " pexpect, which Windows lacks. Run the notebook without it, or on Linux or macOS."
        )
    place = Path(directory).resolve()
    machine, drive = place / "machine", place / "drive"
    if os.path.ismount(machine / "content/drive"):
        raise OSError(f"{machine / 'content/drive'} is still mounted: umount it first")
    shutil.rmtree(machine, ignore_errors=True)
    for each in (machine / "content", machine / "var/colab", machine / "proc", drive):
        each.mkdir(parents=True, exist_ok=True)
    (machine / "var/colab/hostname").write_text("simulated\n", encoding="utf-8")
    table = machine / "proc/mounts"
    if "EXACTRUN_SIMULATED_MOUNT" in {
        **os.environ,
        **settings,
    }:  # then Drive is in the system's own table
        table.symlink_to("/proc/mounts")
    else:
        table.write_text("overlay / overlay rw 0 0\n", encoding="utf-8")
    path = [str(PACKAGES), os.environ.get("PYTHONPATH", "")]
    return {
        "COLAB_RELEASE_TAG": "release-colab-simulated",
        "COLAB_GPU": "",
        "TBE_EPHEM_CREDS_ADDR": "http://172.28.0.1:8009/",
        "TBE_RUNTIME_ADDR": "172.28.0.1:8011",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "EXACTRUN_SIMULATED_MACHINE": str(machine),
        "EXACTRUN_SIMULATED_DRIVE": str(drive),
        **settings,
    }
