"""The files of the pins: their text, and putting them in place."""

import os
import re
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from exactrun.pins.solution import Pin


def render(
    pins: Mapping[str, Sequence[Pin]], tasks_of: Mapping[str, Collection[str]], tasks: Sequence[str]
) -> str:
    """Return the pins of the named packages, under a condition where not every task needs them.

    The rest is raw: Jinja reads it more than twice as fast, which every generation feels.
    """
    blocks = ["{% raw -%}\n"]
    for name in sorted(tasks_of):
        block = "".join(str(pin) for pin in pins[name])
        users = [task for task in tasks if task in tasks_of[name]]
        if len(users) < len(tasks):
            condition = " or ".join(f'cookiecutter.task == "{task}"' for task in users)
            block = f"{{% if {condition} %}}\n{block}{{% endif %}}\n"
            block = f"{{% endraw %}}\n{block}{{% raw -%}}\n"
        blocks.append(block)
    return "".join([*blocks, "{% endraw %}\n"])


def day_of(folder: Path) -> str:
    """Return the day of the pins in a folder, as their comment says it; empty if it says none."""
    file = folder / "requirements.txt"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    found = re.search(r", as of (\S+)\.$", text, flags=re.MULTILINE)
    return found[1] if found else ""


def known_requirements(folder: Path) -> str:
    """Return the pins of an earlier run without the template's own lines; empty without one."""
    lines: list[str] = []
    for name in ("requirements.txt", "requirements-dev.txt"):
        if (folder / name).is_file():
            lines += (folder / name).read_text(encoding="utf-8").splitlines()
    return "".join(f"{line}\n" for line in lines if not line.startswith(("#", "{%", "-r")))


def changed_files(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Return the names of the files that are not in a folder, or hold something else there."""
    return [
        name
        for name, text in files.items()
        if not (folder / name).is_file() or (folder / name).read_bytes() != text.encode()
    ]


def write_all(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Write files into a folder once all of them are complete; return the names that changed."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = changed_files(folder, files)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".pins-") as scratch:
        for name in changed:
            Path(scratch, name).write_bytes(files[name].encode())
        for name in changed:
            os.replace(Path(scratch, name), folder / name)
    return changed
