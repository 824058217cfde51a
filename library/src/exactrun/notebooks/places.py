"""Paths of this machine, which say nothing to who reads elsewhere, and too much of its owner."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path


def hide_places(*directories: Path) -> Callable[[str], str]:
    """Return a function that shortens paths in a text: these directories to `…`, home to `~`.

    Args:
        directories: The run's own. The root directory, and what is right below it, such as
            `/content`, are the same on many machines, and stay.
    """
    names: dict[str, str] = {}
    for directory in directories:
        for path in (Path(os.path.abspath(directory)), directory.resolve()):
            if len(path.parts) > 2:
                names[str(path)] = "…"
    home = str(Path.home())
    if len(home) > 1:
        names[home] = "~"
    if not names:
        return lambda text: text
    longest = sorted(names, key=len, reverse=True)
    # Not within another path, nor by chance within the base64 of a picture.
    found = re.compile(
        rf"(?<![\w+/.,=-])(?:file://)?({'|'.join(map(re.escape, longest))})(?![\w.-])"
    )

    def hidden(text: str) -> str:
        return found.sub(lambda match: names[match[1]], text)

    return hidden
