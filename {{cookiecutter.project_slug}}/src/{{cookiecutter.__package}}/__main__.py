"""The command line: `doctor` looks at the machine, `train` trains on it."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from .config import Config
from .errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0 if all went well, 1 if there is something to mend."""
    options = vars(_parser().parse_args(arguments))
    command = options.pop("command")
    try:
        return command(options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from the newest checkpoint.", file=sys.stderr)
        return 130


def doctor(options: dict[str, Any]) -> int:
    """Look at the machine, the pins and the accelerator; exits with 1 if something is wrong."""
    from .training.run import Run

    run = Run(Config(accelerator=options["accelerator"]))
    # With --json, standard output holds the JSON and nothing else.
    with contextlib.redirect_stdout(sys.stderr if options["json"] else sys.stdout):
        for name, look in (("pins", run.check_environment), ("gpu", run.check_accelerator)):
            try:
                look()
            except UserError as error:
                run.record.check(name, "failed", str(error))
    if options["json"]:
        print(run.record.to_json(), end="")
    return 1 if run.record.failed else 0


def train(options: dict[str, Any]) -> int:
    """Train, or go on with an interrupted run; exits with 1 if a check failed."""
    from .training.run import Run

    run = Run(Config(**options))
    run.check_environment()
    run.check_accelerator()
    run.open_folders()
    data = run.load_data()

    from .model import build_model

    model = build_model(data, run.config)
    run.train(model)
    run.deliver(model)
    print(f"\nAll of it is in {run.folders.kept}")
    return 1 if run.record.failed else 0


def _parser() -> argparse.ArgumentParser:
    name = f"python -m {__package__}"
    parser = argparse.ArgumentParser(prog=name, description="Look at the machine, or train on it.")
    commands = parser.add_subparsers(required=True, metavar="command")
    choices = Config.__dataclass_fields__["accelerator"].metadata

    look = commands.add_parser("doctor", help=doctor.__doc__, description=doctor.__doc__)
    look.set_defaults(command=doctor)
    look.add_argument("--accelerator", default="auto", **_described(choices))
    look.add_argument("--json", action="store_true", help="print the findings as JSON")

    learn = commands.add_parser("train", help=train.__doc__, description=train.__doc__)
    learn.set_defaults(command=train)
    for setting in fields(Config):
        flag, described = "--" + setting.name.replace("_", "-"), _described(setting.metadata)
        if isinstance(setting.default, bool):
            described = {"help": described["help"], "action": argparse.BooleanOptionalAction}
        else:
            described["type"] = type(setting.default)
        if setting.default != "":
            described["help"] += " (default: %(default)s)"
        learn.add_argument(flag, default=setting.default, **described)
    return parser


def _described(metadata: Any) -> dict[str, Any]:
    """Turn a setting's description into argparse's words."""
    described: dict[str, Any] = {"help": metadata["help"]}
    if metadata["choices"]:
        described["choices"] = metadata["choices"]
    else:
        described["metavar"] = "VALUE"
    return described


if __name__ == "__main__":
    sys.exit(main())
