"""The commands `exactrun notebook …` and `exactrun compare`."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..console import show_what_it_can
from ..errors import INSTALL_NOTEBOOKS, UserError
from ..files import explain
from . import Limits
from .stopping import STOPPED

Command = Callable[[argparse.Namespace], bool]


def add_to(subparsers: Any) -> None:
    """Add the commands to a parser's; each sets `command`, a function of the options.

    It returns 0 if all went well, 1 if a notebook failed, has faults, or runs differ; 2 if the
    settings of the lint, or the runs to compare, can't be read.

    Args:
        subparsers: What `ArgumentParser.add_subparsers` returned.
    """
    same = subparsers.add_parser(
        "compare", help="say whether runs are the same, or what differs first; list a directory's"
    )
    same.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="its directory, run.json, report or executed notebook; a directory alone: all in it",
    )
    same.set_defaults(command=_told(_compare, trouble=2))
    notebook = subparsers.add_parser("notebook", help="execute, check and clean notebooks")
    _add_notebook(notebook.add_subparsers(required=True, metavar="command"))


def _add_notebook(commands: Any) -> None:
    run = commands.add_parser("run", help="execute notebooks and write their reports")
    run.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="a notebook, or a directory of them"
    )
    run.add_argument(
        "--output",
        type=Path,
        default=Path("build"),
        metavar="DIRECTORY",
        help="for executed notebooks and their reports (default: %(default)s)",
    )
    run.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a value for one of the notebook's parameters; may be given again",
    )
    run.add_argument(
        "-f",
        "--parameters-file",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="parameters in YAML, JSON or TOML; -p wins over it, and a later file over this one",
    )
    run.add_argument("--json", type=Path, metavar="FILE", help="write the results there, as JSON")
    run.add_argument(
        "--record", type=Path, metavar="FILE", help="the JSON file of checks that it writes"
    )
    run.add_argument(
        "--colab",
        type=Path,
        metavar="DIRECTORY",
        help="run it as in Colab: on a new simulated machine in here, beside its drive/",
    )
    for name, metavar, text in (
        ("--limit", "SECONDS", "for everything; default: %(default)g, 0 for none"),
        ("--cell-limit", "SECONDS", "for one cell"),
        ("--start-limit", "SECONDS", "for the kernel to start; default: %(default)g"),
        ("--memory-limit", "GB", "10⁹ bytes each"),
    ):
        default = getattr(
            Limits, {"--limit": "notebook", "--start-limit": "start"}.get(name, "cell")
        )
        kind = _positive_number if default is None or name == "--start-limit" else _limit
        run.add_argument(name, type=kind, default=default, metavar=metavar, help=text)
    run.add_argument("--quiet", action="store_true", help="name the cells, not what they print")
    run.set_defaults(command=_told(_run), parser=run)

    lint = commands.add_parser("lint", help="name what is wrong with notebooks as they are stored")
    fixed = "fix what can be fixed, and no other byte; then name the rest"
    lint.add_argument("--fix", "--clean", action="store_true", help=fixed)
    lint.add_argument("--rules", action="store_true", help="list the rules instead")
    clean = commands.add_parser(
        "clean", help="take out what running notebooks put in: outputs, counts, tools' marks"
    )
    for parser, command, count in ((lint, _lint, "*"), (clean, _clean, "+")):
        parser.add_argument(
            "paths", nargs=count, type=Path, help="notebooks, or directories of them"
        )
        parser.set_defaults(command=_told(command, trouble=2), parser=parser)

    index = commands.add_parser(
        "index",
        help="write a table of the reports in a directory; in GitHub Actions a job summary, too",
    )
    index.add_argument("directory", type=Path)
    index.set_defaults(command=_told(_index))

    new = commands.add_parser("new", help="write a notebook that begins as another one does")
    new.add_argument("name", type=Path, help="such as second, for notebooks/second.ipynb")
    new.add_argument("--like", type=Path, metavar="NOTEBOOK", help="default: setup.ipynb beside it")
    new.set_defaults(command=_told(_new))


def _told(command: Command, *, trouble: int = 1) -> Callable[[argparse.Namespace], int]:
    """Return a command that tells what can be foreseen in a sentence, and returns an exit code.

    Args:
        command: Returns whether all is well.
        trouble: The exit code after an error.
    """

    def told(options: argparse.Namespace) -> int:
        show_what_it_can()
        try:
            return 0 if command(options) else 1
        except ModuleNotFoundError as error:
            package = (error.name or "exactrun").partition(".")[0]
            if package == "exactrun":
                raise
            print(f"{package} is missing: {INSTALL_NOTEBOOKS}", file=sys.stderr)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            print(f"{where}{explain(error)}. Put that right, and run this again.", file=sys.stderr)
        except (UserError, KeyboardInterrupt) as error:
            print(str(error) or STOPPED, file=sys.stderr)
        return trouble

    return told


def _run(options: argparse.Namespace) -> bool:
    from .batch import places, run_all

    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.getLogger("exactrun.notebooks.cells").setLevel(logging.INFO)
    printed = logging.getLogger("exactrun.notebooks.printed")
    printed.setLevel(logging.ERROR if options.quiet else logging.INFO)
    notebooks = places(options.paths, output=options.output)
    if not notebooks:
        options.parser.error(f"there is no notebook in {', '.join(map(str, options.paths))}")
    if options.record and len(notebooks) > 1:
        options.parser.error(f"--record is for one notebook, and these are {len(notebooks)}")
    return run_all(
        notebooks,
        texts=options.parameter,
        files=options.parameters_file,
        results=options.json,
        limits=Limits(
            cell=options.cell_limit,
            notebook=options.limit,
            start=options.start_limit,
            memory=options.memory_limit and options.memory_limit * 1e9,
        ),
        record=options.record,
        colab=options.colab or False,
    )


def _lint(options: argparse.Namespace) -> bool:
    from .lint import check, fix
    from .rules import RULES
    from .settings import read_lint_settings

    if options.rules:
        for rule in RULES.values():
            print(f"{rule.name}{'' if rule.default else ' (off by default)'}")
            for label, text in (("finds", rule.finds), ("why", rule.why), ("fix", rule.fix)):
                told = textwrap.fill(f"{label}: {text}", 78, break_long_words=False)
                print(textwrap.indent(told, "  "))
        return True
    count, notebooks = 0, _notebooks(options)
    for path in notebooks:
        read_lint_settings(path)  # a fault of these is none of the notebook
        try:
            if options.fix and fix(path):
                print(f"{path}: fixed")
            findings = [f"{path}: {finding}" for finding in check(path)]
        except UserError as error:
            findings = [str(error)]
        count += len(findings)
        print(*findings, sep="\n", end="\n" if findings else "")
    print(f"Notebooks: {len(notebooks)}, findings: {count}")
    return not count


def _clean(options: argparse.Namespace) -> bool:
    from .lint import clean

    for path in _notebooks(options):
        if clean(path):
            print(f"{path}: fixed")
    return True


def _notebooks(options: argparse.Namespace) -> list[Path]:
    from .files import find_notebooks

    if not options.paths:
        options.parser.error("name the notebooks, or directories of them")
    found = ((find_notebooks(path) if path.is_dir() else [path]) for path in options.paths)
    notebooks = [notebook for each in found for notebook in each]
    if not notebooks:
        options.parser.error(f"there is no notebook in {', '.join(map(str, options.paths))}")
    return notebooks


def _index(options: argparse.Namespace) -> bool:
    from .index import read_reports
    from .report import write_index
    from .summary import as_markdown

    print(f"Reports: {write_index(options.directory)}")
    if job_summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with open(job_summary, "a", encoding="utf-8") as file:
            file.writelines(map(as_markdown, read_reports(options.directory)))
    return True


def _new(options: argparse.Namespace) -> bool:
    from .new import new_notebook

    print(f"Written: {new_notebook(options.name, like=options.like)}")
    return True


def _compare(options: argparse.Namespace) -> bool:
    from .compare import compare, verdict
    from .runs import find_runs, read_run, table

    width = shutil.get_terminal_size().columns
    if len(options.runs) == 1:
        print(table(find_runs(options.runs[0]), width=width))
        return True
    runs = [read_run(path) for path in options.runs]
    first, *others = (run.record for run in runs)
    found = [compare(first, other) for other in others]
    print(verdict(found[0], first, others[0]) if len(runs) == 2 else table(runs, width=width))
    for path, differences in zip(options.runs[1:], found, strict=True) if len(runs) > 2 else ():
        different = ", ".join(part for part, each in differences.items() if each)
        print(f"{path} {f'differs in: {different}' if different else 'is equal to the first'}")
    return not any(any(differences.values()) for differences in found)


def _limit(text: str) -> float | None:
    return _positive_number(text) if float(text) else None


def _positive_number(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise ValueError(text)
    return value
