"""The command line of the harness: `python -m harness run notebooks/setup.ipynb -p epochs=3`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from .colab import new_machine
from .compare import compare, read_record, verdict
from .errors import HarnessError
from .notebooks import Limits, parse_parameters, run
from .summary import as_markdown


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0 if all went well, 1 if a notebook failed or runs differ."""
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
    execute.add_argument(
        "--colab",
        type=Path,
        metavar="FOLDER",
        help="run it as in Colab: on a new simulated machine in here, beside its drive/",
    )
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
    index = commands.add_parser(
        "index",
        help="write a table of the reports in a folder; in GitHub Actions a job summary, too",
    )
    index.add_argument("folder", type=Path)
    index.set_defaults(command=_index)
    same = commands.add_parser("compare", help="say whether two runs are the same")
    same.add_argument("runs", nargs=2, type=Path, metavar="RUN", help="its folder or run.json")
    same.set_defaults(command=_compare)
    options = parser.parse_args(arguments)
    try:
        passed = options.command(options)
    except (HarnessError, KeyboardInterrupt, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if passed else 1


def _compare(options: argparse.Namespace) -> bool:
    first, second = map(read_record, options.runs)
    differences = compare(first, second)
    print(verdict(differences, first))
    return not any(differences.values())


def _index(options: argparse.Namespace) -> bool:
    from .report import read_reports, write_index

    print(f"Reports: {write_index(options.folder)}")
    if job_summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with open(job_summary, "a", encoding="utf-8") as file:
            file.writelines(map(as_markdown, read_reports(options.folder)))
    return True


def _run(options: argparse.Namespace) -> bool:
    _show_progress(quiet=options.quiet)
    limits = Limits(
        cell=options.cell_limit,
        notebook=options.limit,
        start=options.start_limit,
        memory=options.memory_limit and options.memory_limit * 1e9,
    )
    notebook = options.notebook
    if options.colab is not None:
        machine = new_machine(options.colab)
        os.environ.update(machine.variables)  # which the kernel inherits
        notebook = machine.open(notebook)
    executed = run(
        notebook,
        output=options.output,
        parameters=parse_parameters(notebook, options.parameter),
        limits=limits,
        record=options.record,
    )
    print(f"Executed notebook: {executed.notebook}\nReport: {executed.report}")
    return True


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
