"""The commands `exactrun notebook …` and `exactrun compare`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import UserError
from .limits import Limits

Command = Callable[[argparse.Namespace], bool]


def add_to(subparsers: Any) -> None:
    """Add the commands to a parser's; each sets `command`, a function of the options.

    It returns 0 if all went well, 1 if a notebook failed, has faults, or runs differ.

    Args:
        subparsers: What `ArgumentParser.add_subparsers` returned.
    """
    same = subparsers.add_parser("compare", help="say whether two runs are the same")
    same.add_argument("runs", nargs=2, type=Path, metavar="RUN", help="its directory or run.json")
    same.set_defaults(command=_told(_compare))
    notebook = subparsers.add_parser("notebook", help="execute, check and clean notebooks")
    _add_notebook(notebook.add_subparsers(required=True, metavar="command"))


def _add_notebook(commands: Any) -> None:
    run = commands.add_parser("run", help="execute a notebook and write its report")
    run.add_argument("notebook", type=Path)
    run.add_argument("--output", type=Path, default=Path("build"), help="default: %(default)s")
    run.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a value for one of the notebook's parameters; may be given again",
    )
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
    run.set_defaults(command=_told(_run))

    for name, command, text in (
        ("lint", _lint, "name what is wrong with notebooks as they are stored"),
        ("clean", _clean, "take out what running notebooks put in: outputs, counts, tools' marks"),
    ):
        parser = commands.add_parser(name, help=text)
        parser.add_argument("paths", nargs="+", type=Path, help="notebooks, or directories of them")
        parser.set_defaults(command=_told(command), parser=parser)
        if command is _lint:
            parser.add_argument("--clean", action="store_true", help="first fix what can be")

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


def _told(command: Command) -> Callable[[argparse.Namespace], int]:
    """Return a command that tells what can be foreseen in a sentence, and returns an exit code."""

    def told(options: argparse.Namespace) -> int:
        for each in (sys.stdout, sys.stderr):  # whose terminal may lack a character, or be a pipe
            if hasattr(each, "reconfigure"):
                each.reconfigure(errors="replace", line_buffering=True)
        try:
            return 0 if command(options) else 1
        except ModuleNotFoundError as error:
            package = (error.name or "exactrun").partition(".")[0]
            if package == "exactrun":
                raise
            print(f'{package} is missing: pip install "exactrun[notebooks]"', file=sys.stderr)
        except (UserError, KeyboardInterrupt, OSError) as error:
            print(str(error) or "stopped by Ctrl-C", file=sys.stderr)
        return 1

    return told


def _run(options: argparse.Namespace) -> bool:
    from .stopping import sigterm_as_interrupt

    with sigterm_as_interrupt():
        return _run_one(options)


def _run_one(options: argparse.Namespace) -> bool:
    from .execution import forget, run_notebook
    from .parameters import parse_parameters

    forget(options.notebook, options.output)  # before a parameter can be refused
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.getLogger("exactrun.notebooks.cells").setLevel(logging.INFO)
    printed = logging.getLogger("exactrun.notebooks.printed")
    printed.setLevel(logging.ERROR if options.quiet else logging.INFO)
    executed = run_notebook(
        options.notebook,
        output=options.output,
        parameters=parse_parameters(options.notebook, options.parameter),
        limits=Limits(
            cell=options.cell_limit,
            notebook=options.limit,
            start=options.start_limit,
            memory=options.memory_limit and options.memory_limit * 1e9,
        ),
        record=options.record,
        colab=options.colab or False,
    )
    print(f"Executed notebook: {executed.path}\nReport: {executed.report}")
    return True


def _lint(options: argparse.Namespace) -> bool:
    from .lint import check, clean

    count, notebooks = 0, _notebooks(options)
    for path in notebooks:
        try:
            if options.clean and clean(path):
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
    from .lint import notebooks_at

    notebooks = notebooks_at(options.paths)
    if not notebooks:
        options.parser.error(f"there is no notebook in {', '.join(map(str, options.paths))}")
    return notebooks


def _index(options: argparse.Namespace) -> bool:
    from .report import read_reports, write_index
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
    from .compare import compare, read_run, verdict

    first, second = map(read_run, options.runs)
    differences = compare(first, second)
    print(verdict(differences, first))
    return not any(differences.values())


def _limit(text: str) -> float | None:
    return _positive_number(text) if float(text) else None


def _positive_number(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise ValueError(text)
    return value
