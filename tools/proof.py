"""Prove a generated project's environment: Colab's packages, unchanged, and weights to the bit.

    python -m tools.proof PROJECT [--freeze PATH_OR_URL]

Two environments are built on the runtime's own Python: `colab` by pip, of the pins that Colab has
and nothing else; `laptop` by uv, of all pins. The notebook runs in a kernel of the first, on the
simulated Colab, driven from the second; then the command line trains in both.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exactrun.environment import pinned_runtime
from exactrun.errors import UserError
from exactrun.notebooks.compare import compare
from exactrun.notebooks.runs import read_run
from exactrun.pins.files import pins_in
from exactrun.pins.freeze import Freeze, address_of, parse_freeze, read_freeze, runtime_python
from exactrun.pins.solution import Pin, in_colab, parse_pins
from exactrun.record import Record
from packaging.utils import canonicalize_name
from packaging.version import Version

KERNEL = ("ipykernel", "ipython", "jupyter-client")
EPOCHS = "2"
LIST = (
    "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A virtual environment."""

    path: Path

    @property
    def python(self) -> Path:
        return self.path / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

    @property
    def search_path(self) -> str:
        """The PATH by which its commands are found first."""
        return os.pathsep.join([str(self.python.parent), os.environ["PATH"]])

    def run(self, *arguments: str | Path, cwd: Path, **variables: str) -> bool:
        """Run its Python, as if it were activated; return whether that succeeded."""
        env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        env |= {"PATH": self.search_path, **variables}
        return subprocess.run([self.python, *arguments], cwd=cwd, env=env).returncode == 0

    def packages(self) -> dict[str, str]:
        """Return the installed versions by canonical name."""
        done = subprocess.run([self.python, "-c", LIST], capture_output=True, text=True, check=True)
        found = (each.partition("==") for each in done.stdout.split())
        return {canonicalize_name(name): str(Version(version)) for name, _, version in found}


def find_python(version: str, runtime: str) -> str:
    """Return the interpreter of a Python version, such as 3.12.

    Raises:
        UserError: If it is not on this machine.
    """
    command = ["uv", "python", "find", "--system", "--no-project", version]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(
            f"Python {version}, which Colab's runtime {runtime} has, is not at hand:"
            f" {done.stderr.strip()}.\nInstall it, for example: uv python install {version}"
        )
    return done.stdout.strip()


def pins_on(python: str, text: str) -> list[Pin]:
    """Return the pins in a text that are for a Colab runtime with this Python."""
    return [pin for pins in parse_pins(text, ()).values() for pin in pins if in_colab(pin, python)]


def build(project: Path, place: Path, had: Freeze, python: str, interpreter: str) -> None:
    """Build both environments in a directory, and a kernel of the first one.

    Raises:
        UserError: If one can't be built.
    """
    requirements = place / "colab.txt"
    pins = [str(pin) for pin in pins_on(python, pins_in(project)) if pin.name in had]
    requirements.write_text("".join(pins), encoding="utf-8")
    colab, laptop = Environment(path=place / "colab"), Environment(path=place / "laptop")
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes")
    uv = ("uv", "pip", "install", "--quiet", "--require-hashes", "--python", str(laptop.python))
    for command in (
        (interpreter, "-m", "venv", str(colab.path)),
        (str(colab.python), *pip, "--no-deps", "--requirement", str(requirements)),
        ("uv", "venv", "--quiet", "--python", interpreter, str(laptop.path)),
        (*uv, "--requirement", str(project / "requirements-dev.txt")),
    ):
        if subprocess.run(command, check=False).returncode:
            failed = " ".join(command[:4])
            raise UserError(f"The environments can't be built, as it says above, by: {failed} …")
    start = [str(colab.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel = {"argv": start, "display_name": "Python 3", "language": "python"}
    (place / "kernels/python3").mkdir(parents=True)
    (place / "kernels/python3/kernel.json").write_text(json.dumps(kernel), encoding="utf-8")


def differences(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """Return what differs between two lists of packages, such as `numpy 2.0.2 → 2.1.3`."""
    return [
        f"{name} {first.get(name, 'missing')} → {second.get(name, 'missing')}"
        for name in sorted(first.keys() | second.keys())
        if first.get(name) != second.get(name)
    ]


def not_of_colab(installed: Mapping[str, str], had: Freeze) -> list[str]:
    """Return the installed packages that are not the runtime's, with the version that it has."""
    # No freeze lists pip. What Colab installs by address has no version that could be compared.
    known = {**dict.fromkeys(had.by_address), **had.versions}
    return [
        f"{name} {version} (Colab: {known.get(name, 'missing')})"
        for name, version in sorted(installed.items())
        if name != "pip" and known.get(name, "missing") not in (None, version)
    ]


def judge_packages(
    record: Record,
    before: Mapping[str, str],
    after: Mapping[str, str],
    *,
    lacking: Mapping[str, str],
    had: Freeze,
) -> None:
    """Record whether the environment is Colab's, and whether the notebook left it so.

    Args:
        record: What was proved.
        before: The installed packages when the notebook began.
        after: Those when it had ended.
        lacking: What the notebook is to add, since Colab lacks it.
        had: What the runtime has.
    """
    strange = not_of_colab(before, had)
    detail = ", ".join(strange) or f"{len(before) - 1} packages, each as in the freeze"
    record.check("packages", "failed" if strange else "passed", detail)
    missing = [name for name in KERNEL if name not in before]
    stack = ", ".join(f"{name} {before.get(name, 'missing')}" for name in KERNEL)
    record.check("kernel", "failed" if missing else "passed", stack)

    wrong = differences({**before, **lacking}, after)
    added = ", ".join(f"{name} {version}" for name, version in sorted(lacking.items()))
    detail = ", ".join(wrong) or f"the notebook added {added}, and changed nothing"
    record.check("unchanged", "failed" if wrong else "passed", detail)


def judge_runs(record: Record, runs: Mapping[str, Path]) -> None:
    """Record whether runs are the same in everything that decides their weights, and in these.

    Args:
        record: What was proved.
        runs: Directories that hold one run each, by name; the others are compared with the first.
    """
    found = {name: sorted(place.rglob("run.json")) for name, place in runs.items()}
    records = {name: read_run(path).record for name, [path] in found.items()}
    (first, one), *_ = records.items()
    for check in one["checks"]:
        if check["status"] == "skipped":
            record.check(f"{check['name']} in the {first}", "skipped", check["detail"])
    for name, other in records.items():
        wrong = [
            f"its check {check['name']}: {check['detail']}"
            for check in other["checks"]
            if check["status"] == "failed"
        ]
        parts = compare(one, other)
        wrong += [f"{part}: {'; '.join(each)}" for part, each in parts.items() if each]
        same = "" if other is one else f", those of the {first}"
        detail = ", ".join(wrong) or f"SHA-256 {other['weights_sha256'][:16]}…{same}"
        record.check(f"weights of the {name}", "failed" if wrong else "passed", detail)


def prove(project: Path, source: str) -> Record:
    """Build the environments, run all, and return the record of what was proved.

    Args:
        project: A generated project.
        source: Path or address of its runtime's freeze; Google's own if empty.

    Raises:
        UserError: If the runtime's freeze, its Python, or its packages can't be had.
    """
    runtime = pinned_runtime(project / "requirements.txt")
    had = parse_freeze(read_freeze(source or address_of(runtime)))
    python = runtime_python(had, None)
    interpreter = find_python(python, runtime)
    place = project / "build/proof"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    print(f"Building two environments for {runtime} on {interpreter} …", flush=True)
    build(project, place, had, python, interpreter)
    colab, laptop = Environment(path=place / "colab"), Environment(path=place / "laptop")

    record, before = Record(), colab.packages()
    run = ("-m", "exactrun", "notebook", "run", "notebooks/setup.ipynb", "--quiet")
    places = ("--output", place, "--colab", place / "machine")
    kernel = {"JUPYTER_PATH": str(place), "PATH": colab.search_path}  # of `!` in a cell, too
    passed = laptop.run(*run, *places, "-p", f"epochs={EPOCHS}", cwd=project, **kernel)
    said = f"on the simulated Colab, in a kernel of {python}; its report: {place / 'setup.html'}"
    record.check("notebook", "passed" if passed else "failed", said)
    needed = pins_on(python, (project / "requirements.txt").read_text(encoding="utf-8"))
    lacking = {pin.name: pin.version for pin in needed if pin.name not in had}
    judge_packages(record, before, colab.packages(), lacking=lacking, had=had)
    if not passed:
        record.check("weights", "skipped", "the notebook ended with none to compare")
        return record
    (package,) = (each.name for each in (project / "src").iterdir() if each.is_dir())
    runs = {"notebook": place / "machine/drive"}
    for name, environment in (("command line", colab), ("other environment", laptop)):
        kept = place / "runs" / environment.path.name
        train = ("-m", package, "train", "--epochs", EPOCHS, "--persistent-dir", kept)
        if environment.run(*train, cwd=project / "src"):
            runs[name] = kept
        else:
            record.check(
                f"weights of the {name}", "failed", "its training failed, as it says above"
            )
    judge_runs(record, runs)
    return record


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0, or 1 if something is not as it should be."""
    parser = argparse.ArgumentParser(prog="proof", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("--freeze", default="", help="path or address; Google's own if not given")
    options = parser.parse_args(arguments)
    try:
        record = prove(options.project.resolve(), options.freeze)
    except UserError as error:
        print(f"proof: {error}", file=sys.stderr)
        return 1
    print(f"\nProved of {options.project}:")
    for check in record.checks:
        print(check)
    return 1 if record.failed else 0


if __name__ == "__main__":
    sys.exit(main())
