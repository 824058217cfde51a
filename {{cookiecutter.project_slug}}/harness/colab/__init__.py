"""A small simulated Colab: its folders, its variables and `google.colab`.

A notebook that runs in it takes the paths that it takes in Colab: it finds itself alone in
`/content`, fetches its project, asks for Drive, and loses the machine in the end. `/` is a folder,
and so is Drive, which alone outlives the machine.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGES = Path(__file__).with_name("packages")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine that Colab might give.

    Attributes:
        root: The folder that is its `/`; given anew, it is empty.
        drive: The folder that is My Drive.
        settings: More variables, such as `SIMULATED_FAILURE`: see `google.colab.drive` there.
    """

    root: Path
    drive: Path
    settings: Mapping[str, str]

    @property
    def variables(self) -> dict[str, str]:
        """What a process has to find in its environment to be on this machine."""
        path = [str(PACKAGES), os.environ.get("PYTHONPATH", "")]
        return {
            "COLAB_RELEASE_TAG": "release-colab-simulated",
            "COLAB_GPU": "",
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "SIMULATED_MACHINE": str(self.root),
            "SIMULATED_DRIVE": str(self.drive),
            **self.settings,
        }

    def open(self, notebook: Path) -> Path:
        """Bring a notebook alone into `/content`, and return it there."""
        return Path(shutil.copy(notebook, self.root / "content"))


def new_machine(place: Path, **settings: str) -> Machine:
    """Give a fresh machine; Drive is as the one before left it.

    Args:
        place: A folder that holds the machine and Drive.
        settings: See `Machine`.
    """
    place = place.resolve()
    machine = Machine(root=place / "machine", drive=place / "drive", settings=settings)
    shutil.rmtree(machine.root, ignore_errors=True)
    for folder in (machine.root / "content", machine.root / "var/colab", machine.drive):
        folder.mkdir(parents=True, exist_ok=True)
    (machine.root / "var/colab/hostname").write_text("simulated\n")
    return machine
