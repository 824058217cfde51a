"""The commands `exactrun pins add`, `remove` and `move`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_to(subparsers: Any) -> None:
    """Add the commands to a parser's; each sets `command`, a function of the options."""
    parser = subparsers.add_parser(
        "pins", help="add libraries under Colab's versions, remove some, or take another runtime"
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, help_ in (
        ("add", "add libraries to pyproject.toml and to the pins"),
        ("remove", "take libraries out of pyproject.toml and of the pins"),
        ("move", "bring pins, Python and notebooks to another runtime of Colab"),
    ):
        command = commands.add_parser(name, help=help_, description=f"{help_.capitalize()}.")
        command.add_argument(
            "--freeze", default="", help="path or address of the runtime's pip freeze; Google's own"
        )
        if name == "move":
            command.add_argument("runtime", metavar="NAME", help="such as 2026.07, or latest")
            command.add_argument("--python", help="its Python, such as 3.13, if no freeze tells")
            command.set_defaults(command=_move)
        else:
            command.add_argument("libraries", nargs="+", metavar="NAME", help="such as umap-learn")
            command.set_defaults(command=_change, action=name)


def _change(options: argparse.Namespace) -> int:
    from . import project

    change = getattr(project, options.action)(Path.cwd(), options.libraries, freeze=options.freeze)
    print(change)
    return 0


def _move(options: argparse.Namespace) -> int:
    from .project import move

    print(move(Path.cwd(), options.runtime, freeze=options.freeze, python=options.python))
    print("Install the new versions: python -m pip install -r requirements-dev.txt")
    return 0
