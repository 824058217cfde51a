"""Where the code runs, and whether what is installed is what was pinned."""

from __future__ import annotations

import contextlib
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

from .errors import UserError

MACHINE = Path(os.environ.get("EXACTRUN_SIMULATED_MACHINE", "/"))
"""Where /content, /var/colab and /kaggle are; the simulated Colab has a directory of its own."""

MADE_FOR = "# Made for the Google Colab runtime "
"""Begins the comment of a requirements file below which Colab's own versions stand."""

ADDED = "# Not in Colab; the notebook installs it there."
"""The line above what `exactrun pins add` found missing in Colab."""

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
        system: Operating system and processor, such as Linux x86_64.
        python: Python's version.
        cpus: Processors that this process may use.
        ram_gib: Memory in GiB; None where the system doesn't tell.
        disk_free_gib: Free space of the working directory's disk, in GiB.
    """

    where: str
    release: str
    system: str
    python: str
    cpus: int
    ram_gib: float | None
    disk_free_gib: float

    def __str__(self) -> str:
        return ", ".join(f"{name}: {said}" for name, said in self.facts().items())

    def facts(self) -> dict[str, str]:
        """Return what there is to know, by name and in words."""
        return {
            "place": f"{self.where} {self.release}".strip(),
            "system": self.system,
            "Python": self.python,
            "processors": str(self.cpus),
            "memory": "unknown" if self.ram_gib is None else f"{self.ram_gib} GiB",
            "disk": f"{self.disk_free_gib} GiB free",
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
    if sys.platform != "win32" and "SC_PHYS_PAGES" in os.sysconf_names:
        ram = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    return Environment(
        where=where(),
        release=os.environ.get("COLAB_RELEASE_TAG", ""),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        cpus=cpus or 1,
        ram_gib=ram,
        disk_free_gib=round(shutil.disk_usage(Path.cwd()).free / 2**30, 1),
    )


def package_versions() -> dict[str, str]:
    """Return the versions of what decides a result's bits, by package."""
    found = {}
    for name in ("tensorflow", "keras", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def find_data(path: str | Path) -> Path:
    """Return a file or directory that the user names; `~` is the home directory.

    On Kaggle, what is not there is searched by its name in the attached data sets, whose
    directories are known only when the notebook runs.

    Raises:
        UserError: If it is not there, or if several data sets hold something of this name.

    Example:
        >>> exactrun.find_data(directory) == directory
        True
    """
    named = Path(path).expanduser()
    if named.exists():
        return named
    attached = ""
    if where() == "kaggle":
        inputs = MACHINE / "kaggle/input"
        found = sorted(inputs.rglob(named.name)) if named.name else []
        if len(found) == 1:
            return found[0]
        if found:
            listed = "\n".join(f"  {each}" for each in found)
            raise UserError(
                f"Several attached data sets hold {named.name}:\n{listed}\nName one of these paths."
            )
        attached = f", nor is {named.name!r} in {inputs}. Attach it by Add Input"
    elif where() == "colab":
        attached = (
            ". On Drive, it begins with /content/drive/My Drive: look in the browser of files"
        )
    raise UserError(f"{named} is not there{attached}. Give the path of a file or directory.")


def find_runtime(requirements: Path) -> str:
    """Return the Colab runtime that the comment of a requirements file names.

    Returns:
        Such as 2026.07; `latest`, which Colab moves; empty if there is no file, or none in it.
    """
    text = requirements.read_text(encoding="utf-8") if requirements.is_file() else ""
    found = re.search(rf"^{MADE_FOR}(\S+)", text, flags=re.MULTILINE)
    return found[1] if found else ""


def pinned_runtime(requirements: Path) -> str:
    """Return the Colab runtime that a project's requirements file is for.

    Raises:
        UserError: If it is not there, or names none.
    """
    if not requirements.exists():
        raise UserError(
            f"{requirements} is not there. Give the requirements file of the project, and its"
            " directory as project_dir."
        )
    if found := find_runtime(requirements):
        return found
    raise UserError(
        f"{requirements} does not say which Colab runtime it is for. It should have a line that"
        f" begins with: {MADE_FOR}"
    )


def install_added(requirements: str | Path) -> None:
    """Install what was added to a project and Colab lacks, at its pins and by its hashes.

    Nothing else changes: dependencies that Colab has stay as they are. Where all is installed, on
    a laptop and in CI, nothing is done.

    Args:
        requirements: The project's `requirements.txt`.

    Raises:
        UserError: If pip can't install it.
    """
    text = Path(requirements).read_text(encoding="utf-8")
    added = text.partition(MADE_FOR)[0].partition(ADDED)[2]
    if not (added.strip() and _differences(added)):
        return
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "added.txt"
        file.write_text(added, encoding="utf-8")
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes")
        done = subprocess.run(
            [*pip, "-r", str(file)], capture_output=True, text=True, errors="replace", check=False
        )
    if done.returncode:
        raise UserError(
            f"What was added to {requirements} can't be installed: {done.stderr.strip()}"
        )
    importlib.invalidate_caches()


def pin_differences(requirements: Path) -> list[PinDifference]:
    """Compare what is installed with a pinned requirements file.

    Pins that are for another system or Python than this one are left out.
    """
    return _differences(requirements.read_text(encoding="utf-8"))


def _differences(pins: str) -> list[PinDifference]:
    try:
        from packaging.requirements import Requirement
    except ImportError as error:  # TensorFlow needs it, too
        raise UserError(
            "The pinned packages are not installed here:"
            f" {Path(sys.executable).name} -m pip install -r requirements.txt"
        ) from error

    differences = []
    joined = pins.replace("\\\n", " ")
    for block in re.findall(r"^[A-Za-z0-9].*", joined, flags=re.MULTILINE):
        requirement = Requirement(re.split(r"\s+(?:--hash|#)", block, maxsplit=1)[0])
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
