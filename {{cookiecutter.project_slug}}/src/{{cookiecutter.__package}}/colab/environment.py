"""Where the code runs, and whether what is installed is what was pinned."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from .driver import Driver, inventory

MACHINE = Path(os.environ.get("SIMULATED_MACHINE", "/"))
"""Where /content, /var/colab and /kaggle are: a test that simulates them has its own folder."""

HOSTNAME_FILE = MACHINE / "var/colab/hostname"
"""Exists on the machines that Colab's page is connected to."""

KAGGLE_INPUT = MACHINE / "kaggle/input"
"""Where Kaggle puts the data sets that are attached to a notebook; it can't be written."""

NO_TENSORFLOW = (
    "This runtime has no TensorFlow: Colab's TPU runtimes hold none. Choose another one:"
    " Runtime → Change runtime type → T4 GPU (or CPU) → Save, then Runtime → Run all."
)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The machine and the platform.

    Attributes:
        where: colab, kaggle, ci or local.
        release: The platform's own name for its image; empty where there is none.
        python: Python's version.
        cpus: Processors that this process may use.
        ram_gib: Memory in GiB; None where the system doesn't tell.
        disk_free_gib: Free space of the working folder's disk, in GiB.
        driver: What NVIDIA's driver says of the GPUs; None where there is no such driver.
    """

    where: str
    release: str
    python: str
    cpus: int
    ram_gib: float | None
    disk_free_gib: float
    driver: Driver | None = None

    def __str__(self) -> str:
        return ", ".join(f"{name}: {said}" for name, said in self.facts().items())

    def facts(self) -> dict[str, str]:
        """Return what there is to know, by name and in words."""
        return {
            "place": f"{self.where} {self.release}".strip(),
            "Python": self.python,
            "processors": str(self.cpus),
            "memory": "unknown" if self.ram_gib is None else f"{self.ram_gib} GiB",
            "disk": f"{self.disk_free_gib} GiB free",
            "NVIDIA": str(self.driver or "no driver answers"),
        }


@dataclass(frozen=True, kw_only=True)
class PinDifference:
    """A package that is not at its pin; `installed` is None if it is missing."""

    name: str
    pinned: str
    installed: str | None

    def __str__(self) -> str:
        return f"{self.name} {self.installed or 'missing'} (pinned {self.pinned})"


def where() -> str:
    """Tell colab, kaggle, ci and local apart.

    Kaggle is asked for first: its images derive from Colab's and set Colab's variables, too.
    """
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE"):
        return "kaggle"
    if os.environ.get("COLAB_RELEASE_TAG"):
        return "colab"
    return "ci" if os.environ.get("CI", "").lower() not in ("", "0", "false") else "local"


def detect() -> Environment:
    """Read the environment of this process."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    ram = None
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        ram = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return Environment(
        where=where(),
        release=os.environ.get("COLAB_RELEASE_TAG", ""),
        python=platform.python_version(),
        cpus=cpus or 1,
        ram_gib=None if ram is None else round(ram, 1),
        disk_free_gib=round(shutil.disk_usage(Path.cwd()).free / 2**30, 1),
        driver=inventory(),
    )


def locate(path: str) -> Path:
    """Return a file or folder that the user names; `~` is the home folder.

    On Kaggle, what is not there is searched by its name in the attached data sets, whose folders
    are known only when the notebook runs.

    Raises:
        UserError: If several data sets hold something of this name.
    """
    named = Path(path).expanduser()
    if named.exists() or where() != "kaggle":
        return named
    found = sorted(KAGGLE_INPUT.rglob(named.name))
    if len(found) > 1:
        listed = "\n".join(f"  {each}" for each in found)
        raise UserError(
            f"Several attached data sets hold {named.name}:\n{listed}\nName one of these paths."
        )
    return found[0] if found else named


def pinned_runtime(requirements: Path) -> str:
    """Return the Colab runtime that a requirements file names in its header, such as 2026.08."""
    if not requirements.exists():
        raise UserError(
            f"{requirements} is not there. The package works from its project's folder; install it"
            " there with: python -m pip install --editable ."
        )
    found = re.search(r"Colab runtime (\d{4}\.\d{2})", requirements.read_text(encoding="utf-8"))
    if found is None:
        raise UserError(f"{requirements} does not say which Colab runtime it is for.")
    return found[1]


def pin_differences(requirements: Path) -> list[PinDifference]:
    """Compare what is installed with a pinned requirements file.

    Pins that are for another system or Python than this one are left out.
    """
    try:
        from packaging.requirements import Requirement
    except ImportError as error:
        raise UserError(
            "The pinned packages are not installed here:"
            f" {Path(sys.executable).name} -m pip install -r {requirements.name}"
        ) from error

    differences = []
    for block in _blocks(requirements):
        requirement = Requirement(re.split(r"\s*\\?\s*--hash", block, maxsplit=1)[0])
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            installed = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            installed = None
        # The specifier compares as pip does: 2026.7.22 is 2026.07.22, and 2.20.0+cu12 is 2.20.0.
        if installed is None or not requirement.specifier.contains(installed, prereleases=True):
            pinned = str(requirement.specifier).removeprefix("==")
            differences.append(
                PinDifference(name=requirement.name, pinned=pinned, installed=installed)
            )
    return differences


def install_missing(requirements: Path) -> list[str]:
    """Install the pinned packages that a hosted runtime lacks, and touch no other.

    Replacing a package that Colab has already loaded needs a restart and can cost the GPU build
    of TensorFlow; so what is there at another version stays and is reported by
    `pin_differences`. On a machine of one's own nothing is installed unasked.

    Returns:
        The names of the packages that were installed.

    Raises:
        UserError: If TensorFlow itself is missing, if packages are missing on a machine that
            isn't Colab's or Kaggle's, or if the installation fails.
    """
    missing = [d.name for d in pin_differences(requirements) if d.installed is None]
    if not missing:
        return []
    if where() not in ("colab", "kaggle"):
        raise UserError(
            f"{len(missing)} pinned packages are missing here, {missing[0]} among them."
            f" Install them into an environment of this project's own:\n"
            f"  {Path(sys.executable).name} -m pip install -r {requirements.name}"
        )
    if "tensorflow" in missing:
        raise UserError(NO_TENSORFLOW)
    lines = [b for b in _blocks(requirements) if re.split(r"[=\s]", b, maxsplit=1)[0] in missing]
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "missing.txt"
        wanted.write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        command += ["--require-hashes", "-r", str(wanted)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(
            f"The pinned packages {', '.join(missing)} could not be installed:\n"
            f"{done.stderr.strip()}\nOn Kaggle: Settings → Internet → On. Then run this cell again."
        )
    return missing


def _blocks(requirements: Path) -> list[str]:
    """Return one entry per pinned package, with its hashes, joined to one line."""
    joined = requirements.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in joined.splitlines() if re.match(r"[A-Za-z0-9]", line)]
