"""The command line, and the way from a freeze to the files."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .errors import PinsError
from .files import header, known_requirements, render, write_all
from .freeze import parse_freeze, read_freeze, runtime_python
from .needs import check_needs, check_tensorflow, read_needs
from .questions import offer_runtime
from .solution import check_closure, closure, conditions_for, parse_pins, solve

ROOT = Path(__file__).resolve().parents[2]


def compile_pins(
    *, root: Path, runtime: str, source: str, python: str | None, upgrade: bool
) -> list[str]:
    """Compile the pins of one runtime and write them into the template.

    Args:
        root: The template's folder.
        runtime: Colab's name of the runtime, such as 2026.08.
        source: Path or address of the runtime's freeze.
        python: The runtime's Python, such as 3.13, if the freeze shall not be asked.
        upgrade: Take anew the hashes, and the versions that the freeze leaves open.

    Returns:
        The names of the files that changed.

    Raises:
        PinsError: The pins can't be compiled; no file has been changed.
    """
    freeze = parse_freeze(read_freeze(source))
    python = runtime_python(freeze, python)
    print(f"Freeze: {len(freeze.versions)} versions, Python {python}.", flush=True)
    needs = read_needs(root)
    check_needs(needs, freeze)
    print(f"Solving for the tasks {', '.join(needs)} ...", flush=True)
    target = root / "templates/pins" / runtime
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
    comment = header(runtime, python, source)
    tasks = list(needs)
    print(f"{len(base)} packages for the notebook, {len(dev)} more to develop it.", flush=True)
    return write_all(
        target,
        {
            "requirements.txt": comment + render(pins, base, tasks),
            "requirements-dev.txt": f"{comment}-r requirements.txt\n" + render(pins, dev, tasks),
            "python.txt": f"{python}\n",
        },
    )


def like(example: str, pattern: str) -> Callable[[str], str]:
    """Return a type for argparse: text of this pattern, which the example shows."""

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(f"{text!r} doesn't look like {example}")
        return text

    return parse


def main(arguments: Sequence[str] | None = None, *, root: Path = ROOT) -> int:
    """Run the command line; return 0, or 1 if the pins can't be compiled."""
    parser = argparse.ArgumentParser(prog="pins", description="Compile a Colab runtime's pins.")
    parser.add_argument(
        "--runtime",
        required=True,
        type=like("2026.08", r"20\d\d\.(0[1-9]|1[0-2])"),
        help="Colab's name of the runtime, such as 2026.08",
    )
    parser.add_argument("--freeze", required=True, help="path or address of its pip freeze")
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
    try:
        changed = compile_pins(
            root=root,
            runtime=options.runtime,
            source=options.freeze,
            python=options.python,
            upgrade=options.upgrade,
        )
    except PinsError as error:
        print(f"pins: {error}\nNo file was changed.", file=sys.stderr)
        return 1
    folder = root / "templates/pins" / options.runtime
    print(f"templates/pins/{options.runtime}: {', '.join(changed) or 'nothing'} changed.")
    try:
        python = (folder / "python.txt").read_text(encoding="utf-8").strip()
        offered = offer_runtime(root, options.runtime, python)
    except PinsError as error:
        print(f"pins: {error}\nThe pins are complete, and can't be chosen yet.", file=sys.stderr)
        return 1
    if offered:
        print(f"It can be chosen now: {', '.join(offered)} changed. Bake, and run the tests.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
