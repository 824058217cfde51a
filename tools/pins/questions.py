"""The template's question for the runtime: its choices, wherever they are written."""

import json
import re
from pathlib import Path

from exactrun.errors import UserError
from exactrun.pins.runtimes import LATEST

QUESTIONS = Path("cookiecutter.json")
HOOK = Path("hooks/pre_gen_project.py")


def choices_in(root: Path) -> list[str]:
    """Return the runtimes that users of a template can choose."""
    choices: list[str] = json.loads((root / QUESTIONS).read_text(encoding="utf-8"))["colab_runtime"]
    return choices


def offer_runtime(root: Path, runtime: str, python: str) -> list[str]:
    """Let users choose a runtime: those with a name, the newest first, which is the default.

    Args:
        root: The template's folder.
        runtime: Its name, such as 2026.07.
        python: Its Python, such as 3.13.

    Returns:
        The names of the files that changed: none if it could be chosen already.

    Raises:
        UserError: A file isn't written as this tool knows it.
    """
    text, choices = (root / QUESTIONS).read_text(encoding="utf-8"), choices_in(root)
    if runtime in choices:
        return []
    newer = sorted({*choices, runtime} - {LATEST}, reverse=True)
    newer += [LATEST] if LATEST in (*choices, runtime) else []
    asked = _replaced(QUESTIONS, text, r'("colab_runtime": )\[[^]]*\]', json.dumps(newer))
    # Its words stand before those of the next older one, or else behind the last ones.
    moves = ", what Colab starts unasked and changes at any time" if runtime == LATEST else ""
    label = f'"{runtime}": "{runtime}: Python {python}{moves}"'
    place = newer.index(runtime)
    if runtime == newer[-1]:
        last = re.escape(newer[place - 1])
        words = _replaced(QUESTIONS, asked, rf'(\n *)("{last}": ".*")', rf"\2,\1{label}")
    else:
        older = re.escape(newer[place + 1])
        words = _replaced(QUESTIONS, asked, rf'(\n *)(?="{older}": )', rf"{label},\1")
    listed = ", ".join(f'"{each}"' for each in newer)
    hook = (root / HOOK).read_text(encoding="utf-8")
    checked = _replaced(HOOK, hook, r'("colab_runtime": )\([^)]*\)', f"({listed})")
    (root / QUESTIONS).write_text(words, encoding="utf-8", newline="\n")
    (root / HOOK).write_text(checked, encoding="utf-8", newline="\n")
    return [str(QUESTIONS), str(HOOK)]


def _replaced(file: Path, text: str, pattern: str, new: str) -> str:
    """Replace what follows the first group of a pattern, which must be found exactly once."""
    changed, count = re.subn(pattern, rf"\1{new}", text)
    if count != 1:
        raise UserError(
            f"{file} isn't written as this tool knows it: {pattern} is there {count} times.\n"
            "Add the runtime to colab_runtime there by hand."
        )
    return changed
