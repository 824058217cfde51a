"""The user's Python, adapted to this edition: data and model, settings, imports."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ADAPTED = Path(__file__).parent / "adapted"
NEEDED = {
    "data.py": "Config Data Path dataclass load np name x_train x_validation x_test class_names",
    "model.py": "Config build_loss build_metric build_model build_optimizer keras",
}
"""What the first edition's files define or import, and what is put at their ends uses."""
RENAMED = {"persistent": "persistent_dir", "checkpoint_seconds": "save_interval_secs"}


def why_not_adapted(name: str, source: str) -> str:
    """Return why a `data.py` or `model.py` can't be adapted; empty if it can be."""
    try:
        nodes = [*ast.walk(ast.parse(source))]
    except SyntaxError as error:
        return f"line {error.lineno} is no Python"
    found = {getattr(node, "asname", None) or getattr(node, "name", None) for node in nodes}
    found |= {node.target.id for node in nodes if isinstance(node, ast.AnnAssign)}
    missing = [each for each in NEEDED[name].split() if each not in found]
    return f"it doesn't define {', '.join(missing)}" if missing else ""


def adapt(name: str, source: str, *, task: str) -> str:
    """Return a `data.py` or `model.py` with what this edition calls put at its end."""
    source = source.rstrip("\n") + "\n" + (ADAPTED / f"{name}.txt").read_text(encoding="utf-8")
    if name == "model.py":
        head, tail = source.rsplit("\n\n\n", 1)
        head = re.sub(r"\bbuild_model\b", "build_network", head)
        head = re.sub(r"^(?=from \.config )", "from .data import Splits\n", head, flags=re.M)
        source = f"{head}\n\n\n{tail}"
        if task == "text":
            source += (ADAPTED / "export_model.py.txt").read_text(encoding="utf-8")
    return source


def settings_in(config: str) -> dict[str, tuple[Any, str, range]]:
    """Return a config.py's settings that have a literal default: that, their help, their lines."""
    found = {}
    for node in ast.walk(ast.parse(config)):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            given = node.value.args if isinstance(node.value, ast.Call) else [node.value]
            try:
                value, *words = map(ast.literal_eval, given)
            except ValueError:
                continue  # computed; its lines are listed for the user
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            found[node.target.id] = (value, " ".join(words), lines)
    return found


def form_in(source: str) -> dict[str, Any]:
    """Return the values of a notebook's parameters."""
    lines = re.findall(r"^(\w+) = (.+?)(?:  # .*)?$", source, re.M)
    return {name: ast.literal_eval(value) for name, value in lines}


def changed(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is new or has another value, by this edition's names."""
    different = {n: value for n, value in now.items() if n not in before or before[n] != value}
    return {RENAMED.get(name, name): value for name, value in different.items()}


def literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def with_value(source: str, name: str, value: Any) -> str | None:
    """Return a config.py or a form in which a setting has another value; None if it has none."""
    pattern = rf"^( *{name}(?:: \w+)? = )(.+?)(?=  #|$)"
    text, count = re.subn(pattern, lambda m: m[1] + literal(value), source, count=1, flags=re.M)
    return text if count else None


def with_setting(config: str, name: str, value: Any, words: str) -> str:
    """Return a config.py with a further setting behind its last one."""
    *_, last = re.finditer(r"^    \w+: \w+ = .+\n", config, re.M)
    line = f"    {name}: {type(value).__name__} = {literal(value)}"
    short = f"{line}  # {words}"
    line = short if len(short) <= 100 else f"    # {words}\n{line}"
    return f"{config[: last.end()]}{line}\n{config[last.end() :]}"
