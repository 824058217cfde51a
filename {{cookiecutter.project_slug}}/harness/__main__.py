"""The command line of the harness: `python -m harness run notebooks/setup.ipynb -p epochs=3`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import HarnessError
from .notebooks import Limits, parse_parameters, run
from .report import write_index


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0 if all went well, 1 if a notebook did not pass."""
    parser = argparse.ArgumentParser(prog="python -m harness", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    execute = commands.add_parser("run", help="execute a notebook and write its report")
    execute.add_argument("notebook", type=Path)
    execute.add_argument("--output", type=Path, default=Path("build"), help="default: %(default)s")
    execute.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a value for one of the notebook's parameters; may be given again",
    )
    execute.add_argument("--record", type=Path, help="the run.json it writes, for the report")
    execute.add_argument("--limit", type=positive_number, metavar="SECONDS", help="for everything")
    execute.add_argument(
        "--cell-limit", type=positive_number, metavar="SECONDS", help="for one cell"
    )
    execute.add_argument(
        "--start-limit",
        type=positive_number,
        default=Limits.start,
        metavar="SECONDS",
        help="for the kernel to start; default: %(default)g",
    )
    execute.add_argument(
        "--memory-limit", type=positive_number, metavar="GB", help="10⁹ bytes each"
    )
    execute.add_argument("--quiet", action="store_true", help="name the cells, not what they print")
    execute.set_defaults(command=_run)
    index = commands.add_parser("index", help="write a table of the reports in a folder")
    index.add_argument("folder", type=Path)
    index.set_defaults(command=_index)
    options = parser.parse_args(arguments)
    try:
        options.command(options)
    except (HarnessError, KeyboardInterrupt) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _index(options: argparse.Namespace) -> None:
    print(f"Reports: {write_index(options.folder)}")


def _run(options: argparse.Namespace) -> None:
    _show_progress(quiet=options.quiet)
    limits = Limits(
        cell=options.cell_limit,
        notebook=options.limit,
        start=options.start_limit,
        memory=options.memory_limit and options.memory_limit * 1e9,
    )
    executed = run(
        options.notebook,
        output=options.output,
        parameters=parse_parameters(options.notebook, options.parameter),
        limits=limits,
        record=options.record,
    )
    print(f"Executed notebook: {executed.notebook}\nReport: {executed.report}")


def positive_number(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise ValueError(text)
    return value


def _show_progress(*, quiet: bool) -> None:
    """Show how a run goes on, also where the terminal lacks a character or the output is a pipe."""
    for each in (sys.stdout, sys.stderr):
        each.reconfigure(errors="replace", line_buffering=True)  # type: ignore[union-attr]
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.getLogger("harness.cells").setLevel(logging.INFO)
    logging.getLogger("harness.printed").setLevel(logging.ERROR if quiet else logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
