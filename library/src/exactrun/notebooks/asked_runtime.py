"""The runtime that a notebook asks Colab for, in its metadata."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

from .files import read_notebook
from .spans import Edit, edited, members


def asking_for(path: Path, runtime: str) -> str:
    """Return a notebook's text that asks Colab for a runtime; outside its metadata no byte differs.

    Args:
        path: The notebook.
        runtime: Such as 2026.07. `latest` has no name to ask for.

    Raises:
        UserError: If the file is not a valid notebook.
    """
    held = read_notebook(path)["metadata"]
    text = path.read_bytes().decode("utf-8")
    wanted = copy.deepcopy(held)
    colab = wanted.setdefault("colab", {})
    attributes = colab.setdefault("runtime_attributes", {})
    if runtime == "latest":
        attributes.pop("runtime_version", None)
    else:
        attributes["runtime_version"] = runtime
    for outer, name in ((colab, "runtime_attributes"), (wanted, "colab")):
        if not outer[name]:
            del outer[name]
    if wanted == held:
        return text
    top = {member.name: member for member in members(text, text.index("{"))}
    member = top["metadata"]
    found = re.search(r"(\r?\n)([ \t]*)$", text[: member.key])  # its own indentation
    written = json.dumps(wanted, indent=found[2] if found else None, ensure_ascii=False)
    written = written.replace("\n", found[0]) if found else written
    return edited(text, [Edit(start=member.start, end=member.end, text=written)])
