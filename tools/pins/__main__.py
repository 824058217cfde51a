"""The command line, and the way from a freeze to the files."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from exactrun.errors import UserError
from exactrun.pins.freeze import parse_freeze, read_freeze, runtime_python
from exactrun.pins.runtimes import LATEST, Runtime
from exactrun.pins.solution import check_closure, closure, conditions_for, parse_pins, solve

from .colab import runtimes_to_compile
from .files import changed_files, day_of, known_requirements, render, write_all
from .needs import check_needs, check_tensorflow, read_needs
from .questions import HOOK, QUESTIONS, choices_in, offer_runtime

ROOT = Path(__file__).resolve().parents[2]


def compile_pins(runtime: Runtime, *, root: Path, python: str | None, upgrade: bool) -> list[str]:
    """Compile the pins of one runtime and write them into the template.

    Args:
        runtime: Its name, and where its freeze is.
        root: The template's folder.
        python: The runtime's Python, such as 3.13, if the freeze shall not be asked.
        upgrade: Take anew the hashes, and the versions that the freeze leaves open.

    Returns:
        The names of the files that changed: none if nothing but the day of the freeze did.

    Raises:
        UserError: The pins can't be compiled; no file of this runtime has been changed.
    """
    freeze = parse_freeze(read_freeze(runtime.source))
    python = runtime_python(freeze, python)
    print(f"{runtime.name}: Python {python}, {len(freeze.versions)} versions.", flush=True)
    needs = read_needs(root)
    check_needs(needs, freeze)
    print(f"Solving for the tasks {', '.join(needs)} ...", flush=True)
    target = root / "templates/pins" / runtime.name
    conditions = conditions_for(python)

    # One solution for all tasks gives each package one version. The tasks' own solutions, bound
    # to it, then tell which package belongs to which task and to which file.
    solution = solve(
        [need for each in needs.values() for need in each.notebook + each.dev],
        constraints="".join(f"{n}=={version}\n" for n, version in freeze.versions.items()),
        conditions=conditions,
        options=["--generate-hashes", "--no-annotate"],
        known="" if upgrade else known_requirements(target),
    )
    pins = parse_pins(solution, conditions)
    sources: dict[str, tuple[str, ...]] = {}
    base: dict[str, list[str]] = {}
    dev: dict[str, list[str]] = {}
    for task, each in needs.items():
        notebook = closure(each.notebook, solution=solution, conditions=conditions)
        sources |= notebook
        everything = each.notebook + each.dev
        for name in closure(everything, solution=solution, conditions=conditions):
            (base if name in notebook else dev).setdefault(name, []).append(task)

    check_tensorflow(pins, "needed by a package that the template's pyproject.toml names")
    check_closure(pins, sources, freeze, python)
    tasks = list(needs)
    print(f"{len(base)} packages for the notebook, {len(dev)} more to develop it.", flush=True)

    def files(date: str) -> dict[str, str]:
        comment = replace(runtime, date=date).comment(python)
        return {
            "requirements.txt": comment + render(pins, base, tasks),
            "requirements-dev.txt": f"{comment}-r requirements.txt\n" + render(pins, dev, tasks),
            "python.txt": f"{python}\n",
        }

    if runtime.date and not changed_files(target, files(day_of(target))):
        return []  # a later day on which the versions were the same is no news
    return write_all(target, files(runtime.date))


def like(example: str, pattern: str) -> Callable[[str], str]:
    """Return a type for argparse: text of this pattern, which the example shows."""

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(f"{text!r} doesn't look like {example}")
        return text

    return parse


def main(arguments: Sequence[str] | None = None, *, root: Path = ROOT) -> int:
    """Run the command line; return 0, or 1 if the pins can't be compiled."""
    parser = argparse.ArgumentParser(
        prog="pins",
        description="Compile a Colab runtime's pins; without options those that are new in Colab.",
    )
    parser.add_argument(
        "--runtime",
        type=like("2026.07 or latest", r"20\d\d\.(0[1-9]|1[0-2])|latest"),
        help="Colab's name of a past runtime, such as 2026.07; or latest, which Colab moves",
    )
    parser.add_argument("--freeze", help="path or address of its pip freeze")
    parser.add_argument(
        "--date",
        type=like("2026-08-19", r"20\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"),
        help="the day of the freeze, for latest",
    )
    parser.add_argument(
        "--python",
        type=like("3.13", r"3\.\d{1,2}"),
        help="its Python, such as 3.13, if the freeze doesn't tell",
    )
    parser.add_argument(
        "--upgrade",
        action="store_true",
        help="take anew the hashes, and the versions that the freeze leaves open",
    )
    options = parser.parse_args(arguments)
    if (options.runtime is None) != (options.freeze is None):
        parser.error("--runtime and --freeze go together")
    if (options.runtime == LATEST) != (options.date is not None):
        parser.error("--date goes with --runtime latest: a past runtime stays as it is")
    try:
        wanted, gone = [], []
        if options.runtime:
            date = options.date or ""
            wanted.append(Runtime(name=options.runtime, source=options.freeze, date=date))
        else:
            wanted, gone = runtimes_to_compile(choices_in(root))
    except UserError as error:
        print(f"pins: {error}", file=sys.stderr)
        return 1
    done = [
        update(runtime, root=root, python=options.python, upgrade=options.upgrade)
        for runtime in wanted
    ]
    for name in gone:
        print(
            f"Colab does not offer the runtime {name} any more. Take it out of colab_runtime in"
            f" {QUESTIONS} and {HOOK}, and delete templates/pins/{name}."
        )
    return 0 if all(done) else 1


def update(runtime: Runtime, *, root: Path, python: str | None, upgrade: bool) -> bool:
    """Compile a runtime's pins and let users choose it; say how that went, and return whether."""
    try:
        changed = compile_pins(runtime, root=root, python=python, upgrade=upgrade)
    except UserError as error:
        print(f"pins: {error}\nNo file was changed.", file=sys.stderr)
        return False
    folder = root / "templates/pins" / runtime.name
    print(f"templates/pins/{runtime.name}: {', '.join(changed) or 'nothing'} changed.")
    try:
        own = (folder / "python.txt").read_text(encoding="utf-8").strip()
        offered = offer_runtime(root, runtime.name, own)
    except UserError as error:
        print(f"pins: {error}\nThe pins are complete, and can't be chosen yet.", file=sys.stderr)
        return False
    if offered:
        print(f"It can be chosen now: {', '.join(offered)} changed. Bake, and run the tests.")
    return True


if __name__ == "__main__":
    sys.exit(main())
