"""Measure what the template promises of its speed.

Machines are noisy and differ: what counts are ratios of runs made in turn on one machine, and their
medians. `python bench/template.py generate` or `… demo` runs only that.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parents[1]
GENERATE_LIMIT = 1.5
"""With bytecode; without, cookiecutter's own import hides the difference."""
DEMO_LIMITS = {"filled": 60, "empty": 120}
"""Seconds on two cores, by the state of the package cache."""


def seconds(command: Sequence[str], *, cwd: Path, env: dict[str, str] | None = None) -> float:
    """Run a command and return how long it took; stop with its output if it fails."""
    started = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - started


def bench_generate(pairs: int) -> None:
    """Compare generating a project with generating one file by the same cookiecutter."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        one_file = place / "one-file"
        (one_file / "{{cookiecutter.name}}").mkdir(parents=True)
        (one_file / "cookiecutter.json").write_text('{"name": "one"}')
        (one_file / "{{cookiecutter.name}}" / "README.md").write_text("# {{cookiecutter.name}}\n")
        # What git tracks and nothing else, as a user's clone has it.
        template = place / "template"
        subprocess.run(["git", "clone", "--quiet", str(TEMPLATE), str(template)], check=True)

        def generate(source: Path, variables: dict[str, str]) -> float:
            output = place / "output"
            command = [sys.executable, "-m", "cookiecutter", "--no-input"]
            command += ["--output-dir", str(output), str(source)]
            took = seconds(command, cwd=place, env=os.environ | variables)
            shutil.rmtree(output)
            return took

        # uv installs without compiling, pip compiles, and Python compiles what it runs: where that
        # is kept, cookiecutter starts in half the time, so that the same template costs more of it.
        bytecode = {
            "as it was installed": {"PYTHONDONTWRITEBYTECODE": "1"},
            "all compiled": {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(place)},
        }
        for state, variables in bytecode.items():
            generate(one_file, variables), generate(template, variables)  # fills the caches
            times = [
                (generate(template, variables), generate(one_file, variables)) for _ in range(pairs)
            ]
            ratio = statistics.median(ours / one for ours, one in times)
            ours, one = (statistics.median(column) for column in zip(*times, strict=True))
            print(f"cookiecutter {state}, medians of {pairs} pairs")
            print(f"  generate a project      {ours:6.3f} s")
            print(f"  generate a single file  {one:6.3f} s")
            print(f"  ratio                   {ratio:6.2f}    limit {GENERATE_LIMIT}")


def bench_demo() -> None:
    """Time the README's demo line in a fresh clone, with a filled and an empty package cache."""
    readme = (TEMPLATE / "README.md").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in readme if line.endswith("nox -s demo"))
    env = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    with tempfile.TemporaryDirectory() as folder:
        caches = {name: str(Path(folder) / name) for name in ("UV_CACHE_DIR", "PIP_CACHE_DIR")}
        # The first run fills the empty caches for the second one.
        for state in ("empty", "filled"):
            clone = Path(folder) / state
            subprocess.run(["git", "clone", "--quiet", str(TEMPLATE), str(clone)], check=True)
            took = seconds(["bash", "-euc", line], cwd=clone, env=env | caches)
            limit = DEMO_LIMITS[state]
            print(f"demo, {state:<6} cache      {took:6.1f} s  {took / limit:.2f} of {limit} s")


def main() -> None:
    """Run the benchmarks that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", metavar="generate|demo", help="default: both")
    parser.add_argument("--pairs", type=int, default=15, help="default: %(default)s")
    options = parser.parse_args()
    unknown = set(options.what) - {"generate", "demo"}
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; choose generate or demo")
    wanted = options.what or ["generate", "demo"]
    print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}")
    if "generate" in wanted:
        bench_generate(options.pairs)
    if "demo" in wanted:
        bench_demo()


if __name__ == "__main__":
    main()
