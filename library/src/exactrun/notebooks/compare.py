"""Whether two runs are the same, by their `run.json`; and if not, what differs first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from .record import read_json

PLACES = {"run_name", "persistent_dir", "data"}
"""Settings that say where things are; what is there is compared by its fingerprint."""


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


def facts_of(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what decides a run's weights, from the code on, and at last the weights."""
    pins, accelerator = record.get("pins", {}), record.get("accelerator", {})
    moved = [f"{each['name']} {each['installed']}" for each in pins.get("differences", [])]
    return {
        "code": {"revision": record.get("git_revision")},
        "packages": {
            "Python": record.get("environment", {}).get("python"),
            "versions": ", but ".join([f"Colab's {pins.get('runtime')}", *moved]),
        },
        "data": record.get("data", {}),
        "settings": {
            name: value for name, value in record.get("settings", {}).items() if name not in PLACES
        },
        "device": {
            **{name: accelerator.get(name) for name in ("kind", "name", "count")},
            **{name: record.get(name) for name in ("devices", "precision", "xla")},
        },
        "weights": {"SHA-256": record["weights_sha256"]},
    }


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the differences of two records, by part, in the order of cause and effect.

    Returns:
        For each part of `facts_of` its differences, such as `epochs: 3 and 5`; none if it is equal.
    """
    found = {}
    others = facts_of(second)
    for part, facts in facts_of(first).items():
        other = others[part]
        found[part] = [
            f"{name}: {_words(facts.get(name))} and {_words(other.get(name))}"
            for name in {**facts, **other}
            if facts.get(name) != other.get(name)
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


def _words(value: Any) -> str:
    return "not recorded" if value is None else str(value)
