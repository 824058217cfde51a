"""The commands `exactrun pins add` and `exactrun pins remove`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_to(subparsers: Any) -> None:
    """Add the commands to a parser's; each sets `command`, a function of the options."""
    parser = subparsers.add_parser(
        "pins", help="add libraries under Colab's versions, or remove some"
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, help_ in (
        ("add", "add libraries to pyproject.toml and to the pins"),
        ("remove", "take libraries out of pyproject.toml and of the pins"),
    ):
        command = commands.add_parser(name, help=help_, description=f"{help_.capitalize()}.")
        command.add_argument("libraries", nargs="+", metavar="NAME", help="such as umap-learn")
        command.add_argument(
            "--freeze", default="", help="path or address of the runtime's pip freeze; Google's own"
        )
        command.set_defaults(command=_run, action=name)


def _run(options: argparse.Namespace) -> int:
    from . import project

    change = getattr(project, options.action)(Path.cwd(), options.libraries, freeze=options.freeze)
    print(change)
    return 0
