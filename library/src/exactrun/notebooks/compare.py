"""Whether two runs are the same, by their records; and if not, what differs first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

PARTS = {
    "code": ("git_revision",),
    "packages": ("exactrun", "environment.python", "packages", "pins.runtime", "pins.differences"),
    "settings": ("settings",),
    "data": ("data_sha256", "data"),
    "device": (
        *("accelerator.kind", "accelerator.name", "accelerator.count"),
        *("devices", "precision", "deterministic", "xla"),
    ),
    "weights": ("weights_sha256",),
}
"""Where a record tells what decides a run's weights, causes first, and at last the weights."""

FOLLOWS = {
    "data": ("code", "packages", "settings"),  # such as a split by another seed
    "device": ("settings",),
    "weights": ("code", "packages", "settings", "data", "device"),
}
"""The parts that may differ because others do."""

PLACES = {"run_name", "persistent_dir"}
"""Settings that say where a run is kept, which decides nothing."""

WIDTH = 24
"""Of a value in a line of two, in characters."""


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the differences of two records, by part, causes before their consequences.

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
            f"{name}: {' and '.join(shortened(words(one.get(name)), words(other.get(name))))}"
            for name in one | other
            if not _same(one.get(name), other.get(name))
            and not (part == "settings" and name in PLACES)
        ]
    return found


def verdict(
    differences: Mapping[str, list[str]], first: Mapping[str, Any], second: Mapping[str, Any]
) -> str:
    """Say of each part what `compare` found, then the figures of both, then what differs first.

    Args:
        differences: What `compare` returned.
        first: The one record.
        second: The other.
    """
    lines, different = [], [part for part, found in differences.items() if found]
    for part, found in differences.items():
        causes = [each for each in FOLLOWS.get(part, ()) if each in different]
        mark = "→" if causes and found else "✖" if found else "✔"
        if part == "code" and not found and "+" in (first.get("git_revision") or "+"):
            # The same words for what may be different code.
            lines.append("– code: not known to be equal, since it was not committed")
        elif len(found) < 2:
            lines.append(f"{mark} {part}: {found[0] if found else 'equal'}")
        else:
            lines += [f"{mark} {part}:", *(f"    {each}" for each in found)]
    lines += ["", *_side_by_side(first, second), ""]
    if not different:
        return "\n".join([*lines, "The runs are equal."])
    causes = [part for part in different if not {*FOLLOWS.get(part, ())} & {*different}]
    lines.append(f"What differs first: {', '.join(f'the {part}' for part in causes)}.")
    if follow := [part for part in different if part not in causes]:
        lines.append(f"That may be why these differ too: {', '.join(follow)}.")
    if causes == ["weights"]:
        lines.append(
            "Nothing that was recorded explains it: look for what is random without a seed."
        )
    return "\n".join(lines)


def figures_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's metrics and times by name: numbers, or texts of a report."""
    found: dict[str, Any] = {}
    metrics = record.get("metrics")
    if isinstance(metrics, Mapping):
        found |= {
            str(name).replace("_", " "): value
            for name, value in metrics.items()
            if isinstance(value, int | float)
        }
    figures = record.get("figures")
    if isinstance(figures, Mapping):
        found = {**{str(n): v for n, v in figures.items() if isinstance(v, str)}, **found}
    if isinstance(record.get("epochs"), int):
        found["epochs"] = record["epochs"]
    times = ((n, v) for n, v in record.items() if n.endswith(("seconds", "secs")))
    return found | {n.replace("_", " "): v for n, v in times if isinstance(v, int | float)}


def words(value: Any) -> str:
    """Return a value of a record as it is read."""
    if isinstance(value, list):
        return ", ".join(map(words, value)) or "none"
    if isinstance(value, Mapping):
        return " ".join(map(words, value.values()))
    if isinstance(value, str):
        return value or "''"
    return "none" if value is None else str(value)


def shortened(one: str, other: str, *, width: int = WIDTH) -> tuple[str, str]:
    """Cut two texts to a width, so that what differs between them stays visible."""
    same = next((i for i, pair in enumerate(zip(one, other, strict=False)) if len({*pair}) > 1), 0)
    start = max(0, same - width // 2) if max(len(one), len(other)) > width else 0

    def cut(text: str) -> str:
        before, rest = ("…" if start else ""), text[start:]
        return before + (rest if len(rest) <= width else f"{rest[: width - 1]}…")

    return cut(one), cut(other)


def number(value: Any) -> str:
    """Return a figure with the digits that one looks at."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _side_by_side(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    names = [str(record.get("name") or "") for record in (first, second)]
    if not all(names) or names[0] == names[1]:
        names = ["first", "second"]
    one, other = figures_of(first), figures_of(second)
    rows = [("", *shortened(*names))]
    for name in one | other:
        texts = [number(each.get(name, "–")) for each in (one, other)]
        if texts[0] == texts[1] and not _same(one.get(name), other.get(name)):
            texts = [repr(each.get(name)) for each in (one, other)]  # they differ further on
        rows.append((name, *shortened(*texts)))
    wide = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        f"{name:<{wide[0]}}  {one:>{wide[1]}}  {other:>{wide[2]}}" for name, one, other in rows
    ]
    return lines if len(rows) > 1 else []


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


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) or repr(one) == repr(other)  # NaN is not equal to itself
