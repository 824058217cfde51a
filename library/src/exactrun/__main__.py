"""The command line: `exactrun`, the same as `python -m exactrun`."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .console import say, show_what_it_can
from .errors import INSTALL_NOTEBOOKS, INSTALL_TENSORFLOW, UserError
from .version import __version__

ELSEWHERE = {
    "notebook": ("notebooks.commands", "execute, check and clean notebooks"),
    "compare": ("notebooks.commands", "say whether two runs are the same"),
    "pins": ("pins.commands", "add libraries under Colab's versions, or take another runtime"),
    "crash-test": ("crash_test", "kill a training again and again, and compare its end"),
}
"""Commands that other modules add, imported if asked for: notebooks need more than Colab has."""

NOTEBOOKS = (
    "papermill",
    "nbclient",
    "nbconvert",
    "nbformat",
    "ipykernel",
    "jupyter_client",
    "psutil",
)
TENSORFLOW = ("keras", "numpy", "pandas", "PIL", "tensorflow", "tqdm")
EXTRAS = dict.fromkeys(NOTEBOOKS, INSTALL_NOTEBOOKS) | dict.fromkeys(TENSORFLOW, INSTALL_TENSORFLOW)
"""Packages of the extras, and what brings them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0 if all went well, 1 if there is something to fix, 130 after Ctrl-C; argparse exits with 2.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    show_what_it_can()
    try:
        options = _parser(given).parse_args(given)
        command: Callable[[argparse.Namespace], int] = options.command
        return command(options)
    except ModuleNotFoundError as error:
        package = str(error.name).split(".")[0]
        if package not in EXTRAS:
            raise
        print(f"This needs {package}, which comes with: {EXTRAS[package]}", file=sys.stderr)
        return 1
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on where it stopped.", file=sys.stderr)
        return 130


def check(options: argparse.Namespace) -> int:
    """Look at the machine, the pins and the GPU; exit with 1 if something is wrong."""
    from . import driver
    from .environment import detect
    from .record import MARKS
    from .run import Run

    os.environ.pop("TF_CONFIG", None)  # this machine is looked at, and no other one waited for
    run = Run(project_dir=Path.cwd())
    record = run.record
    with contextlib.redirect_stdout(io.StringIO()):  # the checks are shown together, below
        requirements = Path(options.requirements or "requirements.txt").absolute()
        try:
            compared = bool(options.requirements) or requirements.exists()
            run.check_environment(requirements if compared else None)
            if not compared:
                record.check("pins", "skipped", "there is no requirements.txt here")
        except UserError as error:  # one that nobody has named may be of another kind
            record.check("pins", "failed" if options.requirements else "skipped", str(error))
        with contextlib.suppress(UserError):  # which is a failed check then
            run.setup_devices(options.accelerator)
        nvidia, broken = driver.describe()
        if broken and not any(each.name == "gpu" for each in record.failed):
            record.check("driver", "failed", nvidia)
    if options.json:
        print(record.to_json(), end="")
        return 1 if record.failed else 0
    rows = [(" ", name, value) for name, value in {**detect().facts(), "NVIDIA": nvidia}.items()]
    rows += [(MARKS[c.status], c.name, c.detail) for c in record.checks if c.name != "environment"]
    for mark, name, text in rows:
        say(f"{mark} {name:<10} " + text.replace("\n", "\n" + 13 * " "))
    return 1 if record.failed else 0


def stage(options: argparse.Namespace) -> int:
    """Bring data to a local directory, verified; what was interrupted goes on."""
    from .staging import stage

    say(f"{stage(options.source, options.directory)} is complete and verified.")
    return 0


def shard(options: argparse.Namespace) -> int:
    """Write pictures or a CSV into shards, once, to train on more than fits into memory."""
    from .images import image_directory
    from .shards import write_shards
    from .tables import csv_rows

    source, directory = options.source, options.directory
    if not source.exists():
        raise UserError(f"{source} is not there. Give a directory of pictures, or a CSV file.")
    if directory.resolve().is_relative_to(source.resolve()):
        raise UserError(f"{directory} lies in the source, {source}; choose a directory outside it.")
    examples: Any
    if source.is_dir():
        if options.target:
            raise UserError(f"--target is for a CSV file, and {source} is a directory.")
        examples = image_directory(
            source,
            size=options.size or (64, 64),
            channels=options.channels,
            ignore_errors=options.ignore_errors,
        )
    else:
        if options.size or not options.target:
            raise UserError(
                f"{source} is a file: give the column to predict by --target, and no --size."
            )
        one = len(options.target) == 1
        examples = csv_rows(
            source,
            target=options.target[0] if one else options.target,
            features=options.features,
            text=options.text,
            classes=options.classes,
            ignore_errors=options.ignore_errors,
        )
    made = write_shards(examples, directory, ignore_errors=options.ignore_errors)
    say(
        f"{directory} holds {len(made):,} examples. To train on them:"
        f" exactrun.fit(model, exactrun.open_shards({str(directory)!r}), …)"
    )
    return 0


def benchmark(options: argparse.Namespace) -> int:
    """Time the same work on the CPU and on the GPU, training steps among it."""
    from . import gpu
    from .benchmark import compare, standard_tasks

    found = gpu.setup("auto")
    if found.status == "failed":
        raise UserError(f"The GPU can't be timed: {found.checked}.")
    gpu.verify(found)
    say(str(compare(standard_tasks(options.scale))))
    return 0


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="exactrun", description="Look at a machine, prepare data, run notebooks."
    )
    parser.add_argument("--version", action="version", version=f"exactrun {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(function: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        said = (function.__doc__ or "").strip()
        added = commands.add_parser(function.__name__, help=said, description=said)
        added.set_defaults(command=function)
        return added

    look = add(check)
    look.add_argument(
        "--accelerator",
        default="auto",
        choices=("auto", "gpu", "cpu"),
        help="gpu: fail if there is none; cpu: hide it (default: %(default)s)",
    )
    look.add_argument(
        "--requirements", metavar="FILE", help="the pins (default: requirements.txt, if it exists)"
    )
    look.add_argument("--json", action="store_true", help="print the findings as JSON")

    bring = add(stage)
    bring.add_argument("source", help="file, directory or archive, or link to one in Drive")
    bring.add_argument("directory", type=Path, help="local directory; the copy is put into it")

    split = add(shard)
    split.add_argument("source", type=Path, help="directory with one of pictures per class, or CSV")
    split.add_argument("directory", type=Path, help="for the shards, new or that of before")
    split.add_argument(
        "--size", type=_size, metavar="HxW", help="of every picture, in pixels (default: 64x64)"
    )
    split.add_argument(
        "--channels",
        type=int,
        default=3,
        choices=(1, 3, 4),
        help="of every picture: 1 grey, 3 colours, 4 with opacity (default: %(default)s)",
    )
    split.add_argument(
        "--target", nargs="+", metavar="COLUMN", help="of the CSV: what is to be predicted"
    )
    split.add_argument(
        "--features", nargs="+", metavar="COLUMN", help="of the CSV (default: all but the target)"
    )
    split.add_argument("--text", metavar="COLUMN", help="of the CSV: learn from these texts")
    split.add_argument(
        "--classes",
        action=argparse.BooleanOptionalAction,
        help="take the target for names of classes, or for numbers (default: what it holds)",
    )
    split.add_argument(
        "--ignore-errors",
        action="store_true",
        help="leave out what can't be read, and list it with the shards",
    )

    clock = add(benchmark)
    clock.add_argument(
        "--scale",
        type=float,
        default=0.1,
        metavar="FRACTION",
        help="size of the work: 1 is the full one, which needs 4 GB (default: %(default)s)",
    )
    _add_others(commands, given)
    return parser


def _add_others(commands: Any, given: Sequence[str]) -> None:
    """Add the commands of other modules, and import only the one that is asked for."""
    asked = next((argument for argument in given if not argument.startswith("-")), "")
    if asked not in ELSEWHERE:
        for name, (_, said) in ELSEWHERE.items():
            commands.add_parser(name, help=said)
        return
    importlib.import_module(f"exactrun.{ELSEWHERE[asked][0]}").add_to(commands)


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d*)[x×]([1-9]\d*)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; it looks like 64x64")
    return int(found[1]), int(found[2])


if __name__ == "__main__":
    sys.exit(main())
