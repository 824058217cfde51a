"""The command line: `train` trains, `predict` uses the trained model."""

from __future__ import annotations

import argparse
import inspect
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from exactrun import UserError, run_workers

from .config import Config


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0 if all went well, 1 if there is something to fix."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow greets with pages
    for stream in (sys.stdout, sys.stderr):  # a console may lack some signs, as Windows' do
        stream.reconfigure(errors="replace")
    options = vars(parser().parse_args(arguments))
    command = options.pop("command")
    try:
        return command(**options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on where it stopped.", file=sys.stderr)
        return 130


def train(workers: int, **settings: Any) -> int:
    """Train, or go on with the run of that name."""
    if workers != 1 and "TF_CONFIG" not in os.environ:
        return run_workers([sys.executable, "-m", str(__package__), *sys.argv[1:]], workers)

    from .train import train

    run = train(Config(**settings))
    print(f"\nAll of it is in {run.persistent_directory}")
    return 1 if run.failed else 0


def predict(files: list[Path], model: Path) -> int:
    """Print what the trained model says to pictures or texts: the most probable classes."""
    import exactrun
    import keras
    import numpy as np

    from . import model as _  # noqa: F401, registers classes of your own that a file may name

    if not model.exists():
        raise UserError(
            f"There is no model {model}. Train one, python -m {__package__} train, or name its"
            " file: --model FILE"
        )
    names = exactrun.load_metadata(model)["class_names"]
    loaded = keras.models.load_model(model, compile=False)
    x = np.stack([read_input(path, loaded) for path in files])
    outputs = exactrun.class_probabilities(loaded, x) if names else loaded.predict(x, verbose=0)
    if not isinstance(outputs, np.ndarray):
        raise UserError(
            f"The model has several outputs. Write in {Path(__file__).name}, in predict, what is to"
            " be printed of them."
        )
    for path, values in zip(files, outputs, strict=True):
        if len(names) != values.size:
            print(f"{path}: {values.tolist()}")  # not classes, such as a price
            continue
        best = np.argsort(-values)[:3]
        print(f"{path}: " + ", ".join(f"{names[index]} {values[index]:.1%}" for index in best))
    return 0


def read_input(path: Path, model: Any) -> Any:
    """Read a file as what a model takes: a text, or a picture as `image_directory` reads it."""
    import exactrun
    import numpy as np

    inputs = getattr(model, "inputs", None) or []
    shape = tuple(inputs[0].shape) if len(inputs) == 1 else None
    try:
        if shape is not None and inputs[0].dtype == "string":
            return np.array(path.read_text(encoding="utf-8-sig"), dtype=object)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8; save it as UTF-8, or give another file.") from error
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}); give another file.") from error
    if shape is None or len(shape) != 4 or None in shape[1:] or shape[3] not in (1, 3, 4):
        raise UserError(
            f"The model takes {f'the shape {shape}' if shape else 'several inputs'}, neither a text"
            f" nor a picture of a fixed size. Write in {Path(__file__).name}, in read_input, how a"
            " file becomes what it takes."
        )
    return exactrun.read_image(path, size=shape[1:3], channels=shape[3])


def parser() -> argparse.ArgumentParser:
    """Return the command line: a flag for each field of Config, explained by its comment."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    learn = commands.add_parser("train", help=train.__doc__, description=train.__doc__)
    learn.set_defaults(command=train)
    text = "processes of this machine that train together (default: %(default)s)"
    learn.add_argument("--workers", type=int, default=1, metavar="COUNT", help=text)
    comments = dict(re.findall(r"^    (\w+): .+?  # (.+)$", inspect.getsource(Config), re.M))
    for field in fields(Config):
        flag, words = "--" + field.name.replace("_", "-"), comments.get(field.name, "")
        words = words.replace("%", "%%") + f" (default: {field.default!r})".replace("%", "%%")
        if isinstance(field.default, bool):
            switch = argparse.BooleanOptionalAction
            learn.add_argument(flag, action=switch, default=field.default, help=words)
        else:
            kind = type(field.default)
            learn.add_argument(flag, type=kind, default=field.default, metavar="VALUE", help=words)

    use = commands.add_parser("predict", help=predict.__doc__, description=predict.__doc__)
    use.set_defaults(command=predict)
    use.add_argument("files", type=Path, nargs="+", metavar="FILE", help="picture or text file")
    default = Path("runs") / str(Config().run_name) / "model.keras"
    use.add_argument("--model", type=Path, default=default, help="(default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
