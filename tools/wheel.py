"""Build exactrun's wheel, the same bytes on every Python and system, and put it into the template.

A wheel's bytes usually depend on the files' times and modes, and on the library that deflates them.
Here times and modes are fixed, and files are stored, not deflated: a small change then costs git
little, too. The backend, whose version is written into the wheel, is pinned in `pyproject.toml`.
"""

import hashlib
import os
import sys
import tempfile
import zipfile
from pathlib import Path

from hatchling.build import build_wheel

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "library"
PIN = ROOT / "templates" / "exactrun.txt"
RELEASES = LIBRARY / "RELEASES"
"""The SHA-256 of each released wheel, by its version: other bytes need another version."""
WHEELS = ROOT / "{{cookiecutter.project_slug}}" / "wheels"

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can hold."""


def build(directory: Path) -> Path:
    """Build the wheel into a directory and return its path."""
    with tempfile.TemporaryDirectory() as scratch:
        before = Path.cwd()
        os.chdir(LIBRARY)  # where a build backend expects to be
        try:
            built = Path(scratch) / build_wheel(scratch)
        finally:
            os.chdir(before)
        directory.mkdir(parents=True, exist_ok=True)
        wheel = directory / built.name
        with zipfile.ZipFile(built) as source, zipfile.ZipFile(wheel, "w") as target:
            for name in source.namelist():
                entry = zipfile.ZipInfo(name, EPOCH)
                entry.external_attr = 0o644 << 16
                entry.create_system = 3  # Unix, on Windows, too
                target.writestr(entry, source.read(name))
    return wheel


def pin(wheel: Path) -> str:
    """Return the line of a requirements file that stands for a wheel, and for no other bytes.

    Raises:
        SystemExit: If the version has been released with other bytes.
    """
    name, version, *_ = wheel.name.split("-")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    released = dict(line.split() for line in RELEASES.read_text(encoding="utf-8").splitlines())
    if released.get(version, digest) != digest:
        raise SystemExit(
            f"{name} {version} has been released with other bytes. Raise __version__ in"
            " library/src/exactrun/version.py, and run nox -s wheel again."
        )
    return f"{name}=={version} --hash=sha256:{digest}\n"


def main() -> int:
    """Replace the template's wheel and pin."""
    for old in WHEELS.glob("*.whl"):
        old.unlink()
    wheel = build(WHEELS)
    PIN.write_text(pin(wheel), encoding="utf-8", newline="\n")
    print(f"{wheel.relative_to(ROOT)}: {wheel.stat().st_size:,} bytes\n{pin(wheel)}", end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
