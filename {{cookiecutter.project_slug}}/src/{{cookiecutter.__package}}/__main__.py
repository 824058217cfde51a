"""The command line: `doctor` looks at the machine, `benchmark` times it, `train` trains."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from .config import Config
from .errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0 if all went well, 1 if there is something to mend."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = vars(_parser().parse_args(arguments)) | {"arguments": arguments}
    command = options.pop("command")
    try:
        return command(options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on where it stopped.", file=sys.stderr)
        return 130


def doctor(options: dict[str, Any]) -> int:
    """Look at the machine, the pins and the accelerator; exits with 1 if something is wrong."""
    from .colab import environment
    from .training.record import MARKS
    from .training.run import Run

    run = Run(Config(accelerator=options["accelerator"]))
    with contextlib.redirect_stdout(io.StringIO()):  # the checks are shown together, below
        for name, look in (("pins", run.check_environment), ("gpu", run.check_accelerator)):
            try:
                look()
            except UserError as error:
                run.record.check(name, "failed", str(error))
    if options["json"]:
        print(run.record.to_json(), end="")
        return 1 if run.record.failed else 0
    rows = [(" ", name, value) for name, value in environment.detect().facts().items()]
    rows += [(MARKS[c.status], c.name, c.detail) for c in run.record.checks]
    for mark, name, text in rows:
        if name != "environment":  # which the facts say in detail
            print(f"{mark} {name:<10} " + text.replace("\n", "\n" + 13 * " "))
    return 1 if run.record.failed else 0


def benchmark(options: dict[str, Any]) -> int:
    """Time the same work on the CPU and on the GPU, training steps of the model among it."""
    from .data import load
    from .training.run import ROOT, Run

    run = Run(Config(accelerator=options["accelerator"]))
    run.check_accelerator()

    from .training.speed import compare_devices

    data = load(run.config, cache=ROOT / ".scratch")
    print(compare_devices(data, run.config, scale=options["scale"]))
    return 0


def train(options: dict[str, Any]) -> int:
    """Train, or go on with an interrupted run; exits with 1 if a check failed."""
    from .training.run import Run
    from .training.workers import run_workers, this_command

    workers, arguments = options.pop("workers"), options.pop("arguments")
    config = Config(**options)  # what is wrong is told once, not by each worker
    if workers != 1 and "TF_CONFIG" not in os.environ:
        return run_workers(this_command(arguments), workers)
    run = Run(config)
    run.check_environment()
    run.check_accelerator()
    run.open_folders()
    run.load_data()
    model = run.build_model()
    run.train(model)
    if not run.devices.chief:
        return 0
    run.deliver(model)
    print(f"\nAll of it is in {run.folders.kept}")
    return 1 if run.record.failed else 0


def pack(options: dict[str, Any]) -> int:
    """Pack pictures, a CSV or arrays, once, to train on more than fits into memory."""
    from .training import packing

    source, target = options["source"], options["target"]
    how = {name: options[name] for names in packing.OPTIONS.values() for name in names}
    if target.resolve().is_relative_to(source.resolve()):
        raise UserError(f"{target} lies in the source, {source}; choose a folder outside of it.")
    made = packing.pack(packing.find_source(source, **how), target, skip_bad=options["skip_bad"])
    print(
        f"{target} holds {len(made.x):,} examples of {len(made.manifest.class_names)} classes, each"
        f" {made.x.dtype} of shape {made.x.shape[1:]}; left out: {len(made.manifest.all_bad)}. To"
        f" train on them: python -m {__package__} train --data {shlex.quote(str(target))}"
    )
    return 0


def stage(options: dict[str, Any]) -> int:
    """Bring data from Drive to a local folder, verified; what was interrupted goes on."""
    from .colab import drive_api, staging

    source, target = options["source"], options["target"]
    if drive_api.leads_to_drive(source):
        fetched = drive_api.fetch(source, target)
        skipped = f", {len(fetched.skipped)} were skipped" if fetched.skipped else ""
        print(f"{fetched.folder}: {len(fetched.files)} files, complete and verified{skipped}.")
    else:
        copy = staging.stage(Path(source), target)
        print(f"{copy} is complete and verified.")
    return 0


def _parser() -> argparse.ArgumentParser:
    name = f"python -m {__package__}"
    parser = argparse.ArgumentParser(prog=name, description="Look at the machine, or train on it.")
    commands = parser.add_subparsers(required=True, metavar="command")
    choices = Config.__dataclass_fields__["accelerator"].metadata

    look = commands.add_parser("doctor", help=doctor.__doc__, description=doctor.__doc__)
    look.set_defaults(command=doctor)
    look.add_argument("--accelerator", default="auto", **_described(choices))
    look.add_argument("--json", action="store_true", help="print the findings as JSON")

    clock = commands.add_parser("benchmark", help=benchmark.__doc__, description=benchmark.__doc__)
    clock.set_defaults(command=benchmark)
    clock.add_argument("--accelerator", default="auto", **_described(choices))
    clock.add_argument(
        "--scale",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="size of the work: 1 is the full one, which needs 4 GB (default: %(default)s)",
    )

    bring = commands.add_parser("stage", help=stage.__doc__, description=stage.__doc__)
    bring.set_defaults(command=stage)
    bring.add_argument("source", help="file or folder, or link or id of one in Drive")
    bring.add_argument("target", type=Path, help="local folder; the copy is put into it")

    gather = commands.add_parser("pack", help=pack.__doc__, description=pack.__doc__)
    gather.set_defaults(command=pack)
    what = "folder with a folder of pictures for each class, .csv, .npz, or folder of x.npy, y.npy"
    gather.add_argument("source", type=Path, help=what)
    gather.add_argument("target", type=Path, help="folder for the pack, new or that of before")
    for option, kind, shown in (
        ("height", int, "of every picture, in pixels (default: 64)"),
        ("width", int, "of every picture, in pixels (default: 64)"),
        ("channels", int, "of every picture: 1 grey, 3 colours (default), 4 with opacity"),
        ("label", str, "column of the CSV that names the class"),
        ("text", str, "column of the CSV to learn from; without it, all others, as numbers"),
        ("sequence-length", int, "words of a text that are kept (default: 300)"),
        ("vocabulary-size", int, "words that are told apart (default: 20000)"),
    ):
        gather.add_argument(f"--{option}", type=kind, help=shown, metavar="VALUE")
    gather.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave unreadable pictures and bad rows out, and list them in the pack",
    )

    learn = commands.add_parser("train", help=train.__doc__, description=train.__doc__)
    learn.set_defaults(command=train)
    learn.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="COUNT",
        help="processes of this machine that train together; elsewhere, TF_CONFIG names them",
    )
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
