"""The command line of the harness: `python -m harness run notebooks/setup.ipynb -p epochs=3`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from .notebooks import HarnessError, parse_parameters, run


class _Lines(logging.Formatter):
    """Ends each message with exactly one newline."""

    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage().rstrip("\n") + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Execute a notebook; return 0 if it passed, 1 if it did not."""
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
    options = parser.parse_args(arguments)
    handler = logging.StreamHandler(sys.stdout)
    handler.terminator = ""  # what a cell prints comes with its own newlines
    handler.setFormatter(_Lines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        parameters = parse_parameters(options.notebook, options.parameter)
        executed = run(options.notebook, output=options.output, parameters=parameters)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Executed notebook: {executed.notebook}\nReport: {executed.report}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
