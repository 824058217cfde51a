"""Whether two runs are the same, by their `run.json`; and if not, what differs first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from .record import read_json

PARTS = {
    "code": ("git_revision",),
    "packages": ("environment.python", "packages", "pins.runtime", "pins.differences"),
    "data": ("data_sha256", "data"),
    "settings": ("settings",),
    "device": (
        *("accelerator.kind", "accelerator.name", "accelerator.count"),
        *("devices", "precision", "xla"),
    ),
    "weights": ("weights_sha256",),
}
"""Where a record tells what decides a run's weights, from the code on, and at last the weights."""

PLACES = {"run_name", "persistent_dir"}
"""Settings that say where a run is kept, which decides nothing."""


def read_run(run: Path) -> dict[str, Any]:
    """Read a run's record.

    Args:
        run: The run's directory, or its `run.json`.

    Raises:
        UserError: If there is none, or it is of a run that has trained nothing yet.
    """
    path = run / "run.json" if run.is_dir() else run
    record = read_json(path)
    if "weights_sha256" not in record:
        raise UserError(f"{path} records no weights yet. Run it to its end, then compare.")
    return record


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the differences of two records, by part, in the order of cause and effect.

    Returns:
        For each of PARTS its differences, such as `epochs: 3 and 5`; none if it is equal.
    """
    found = {}
    for part, paths in PARTS.items():
        one, other = (
            {name: value for path in paths for name, value in _leaves(record, path.split("."))}
            for record in (first, second)
        )
        found[part] = [
            f"{name}: {_words(one.get(name))} and {_words(other.get(name))}"
            for name in one | other
            if one.get(name) != other.get(name) and not (part == "settings" and name in PLACES)
        ]
    return found


def verdict(differences: Mapping[str, list[str]], record: Mapping[str, Any]) -> str:
    """Say in a line for each part what `compare` found, and at last what differs first.

    Args:
        differences: What `compare` returned.
        record: One of the two records.
    """
    lines = [
        f"{'✖' if found else '✔'} {part}: {'; '.join(found) or 'equal'}"
        for part, found in differences.items()
    ]
    revision = record.get("git_revision")
    if not differences["code"] and (revision is None or "+" in revision):
        # The same words for what may be different code.
        lines[0] = "– code: not known to be equal, since it was not committed"
    different = [part for part, found in differences.items() if found]
    lines.append(f"What differs first: the {different[0]}." if different else "The runs are equal.")
    return "\n".join(lines)


def _leaves(value: Any, path: Sequence[str], name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what is at a path in a record and below, each value with its name."""
    if path:
        inner = value.get(path[0]) if isinstance(value, Mapping) else None
        yield from _leaves(inner, path[1:], "" if isinstance(inner, Mapping) else path[0])
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _leaves(each, (), f"{name}.{key}" if name else key)
    else:
        yield name, value


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_words, value)) or "none"
    if isinstance(value, Mapping):
        return " ".join(map(_words, value.values()))
    return "none" if value is None else str(value)
