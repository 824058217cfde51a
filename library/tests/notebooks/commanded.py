"""The library's notebook commands, called as `exactrun` calls them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from exactrun.notebooks import commands


def command(*arguments: str | Path) -> int:
    """Run a command and return its exit code."""
    parser = argparse.ArgumentParser(prog="exactrun")
    commands.add_to(parser.add_subparsers(required=True))
    options = parser.parse_args(list(map(str, arguments)))
    code: int = options.command(options)
    return code


if __name__ == "__main__":
    sys.exit(command(*sys.argv[1:]))
