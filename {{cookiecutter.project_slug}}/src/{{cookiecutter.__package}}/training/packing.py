"""Pack examples, once, into shards that can be opened without being read.

A shard is written whole and verified before it counts; what was packed when the process died is
kept, and the same call goes on from there. The same source gives the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..colab.files import explain, progress_bar, require_space, sha256_of, write_whole
from ..errors import UserError
from .manifest import MANIFEST, Bad, Manifest, Shard, shard_names
from .packs import Pack, open_pack
from .sources import Pictures, Source, load_arrays
from .tables import Table

UNFINISHED = "unfinished.json"
"""The manifest of a pack under way."""

SHARD_BYTES = 64 << 20
MOST_SHARDS = 256
"""A process may have a thousand files open at a time on many systems; two are open for each."""

LISTED = 20
"""How many bad examples a message names; the manifest names all."""

OPTIONS = {
    "pictures": ("height", "width", "channels"),
    "table": ("label", "text", "sequence_length", "vocabulary_size"),
    "arrays": (),
}
"""What each kind of source can be told."""


def find_source(path: Path, **options: Any) -> Source:
    """Return what lies at a path as a source of examples.

    Args:
        path: A folder of pictures by class, a .csv, an .npz, or a folder with x.npy and y.npy.
        options: What `Pictures` or `Table` take; None stands for their default.

    Raises:
        UserError: If it is none of these, or has no such options.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if not path.exists():
        raise UserError(f"{path} is not there. Give a folder of pictures, a .csv or an .npz file.")
    if path.is_dir():
        kind = "arrays" if {"x.npy", "y.npy"} <= {p.name for p in path.iterdir()} else "pictures"
    else:
        kind = {".csv": "table", ".npz": "arrays"}.get(path.suffix.lower(), "")
    if not kind:
        raise UserError(
            f"{path} can't be packed. What can: a folder that holds a folder of pictures for each"
            " class, a .csv file with a header, an .npz file with x and y, or a folder with x.npy"
            " and y.npy."
        )
    for name in given:
        if name not in OPTIONS[kind]:
            fit = ", ".join(OPTIONS[kind]) or "none"
            raise UserError(
                f"{name}={given[name]!r} doesn't fit {path}, which holds {kind}. Options that do:"
                f" {fit}."
            )
    try:
        if kind == "arrays":
            return load_arrays(path)
        return Pictures(path, **given) if kind == "pictures" else Table(path, **given)
    except OSError as error:
        raise UserError(f"{path} can't be read: {explain(error)}.") from error


def pack(source: Source, target: Path, *, skip_bad: bool = False) -> Pack:
    """Pack a source, or go on with a packing that was interrupted.

    Args:
        source: The examples.
        target: Folder for the pack: a new or empty one, or that of the same pack.
        skip_bad: Whether bad examples are left out and listed in the manifest. Otherwise one is
            enough to end without a pack.

    Raises:
        UserError: Naming the bad examples; or what is wrong with the source or the target.
    """
    if source.bad and not skip_bad:
        raise _refused(source.bad, source)
    _check_content(source)
    size = source.dtype.itemsize * int(np.prod(source.shape)) + 4  # a label has four bytes
    rows = max(1, SHARD_BYTES // size, -(-source.examples // MOST_SHARDS))
    starts = range(0, source.examples, rows)
    plan = Manifest(
        name=source.name,
        shape=tuple(source.shape),
        dtype=source.dtype.name,
        class_names=source.class_names,
        vocabulary=source.vocabulary,
        options=source.options | {"examples_per_shard": rows},
        stamp=source.stamp(),
        bad=tuple(source.bad),
        shards=(),
    )
    finished = _begin(target, plan)
    missing = sum(number not in finished for number in range(len(starts)))
    left = min(missing * rows, source.examples)
    require_space(target, left * size, purpose=f"packing {left:,} examples of {size:,} bytes")
    try:
        with progress_bar(source.examples, "Packing", unit="example") as bar:
            for number, start in enumerate(starts):
                stop = min(start + rows, source.examples)
                if number in finished:
                    bar.update(stop - start)
                    continue
                finished[number] = _write_shard(source, target, number, start, stop, bar)
                write_whole(target / UNFINISHED, _with(plan, finished).to_json())
        manifest = _with(plan, finished)
        _check_result(source, target, manifest, skip_bad=skip_bad)
        write_whole(target / MANIFEST, manifest.to_json())
        (target / UNFINISHED).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"Packing into {target} stopped: {explain(error)}. What is packed is kept there; mend"
            " that and run the same command again."
        ) from error
    if manifest.all_bad:
        print(f"Bad examples, left out ({len(manifest.all_bad)}){_listed(manifest.all_bad)}")
    return open_pack(target, verify=False)


def _check_content(source: Source) -> None:
    """Refuse a source that nothing can be learnt from."""
    if not source.examples:
        raise UserError(
            f"{source.name} holds no example that can be packed, and {len(source.bad)} bad ones"
            f"{_listed(source.bad)}"
        )
    if len(source.class_names) < 2:
        raise UserError(
            f"{source.name} holds one class only, {source.class_names[0]!r}: there is nothing to"
            " tell apart. Give it two classes or more."
        )


def _begin(target: Path, plan: Manifest) -> dict[int, Shard]:
    """Make the target ready to be written to; return the shards that can stay, by number."""
    try:
        target.mkdir(parents=True, exist_ok=True)
        there = {path.name for path in target.iterdir()}
        finished = MANIFEST in there
        if not there & {MANIFEST, UNFINISHED}:
            if there - {f".{UNFINISHED}.partial"}:
                raise UserError(f"{target} holds other files. Choose a new folder or an empty one.")
            write_whole(target / UNFINISHED, plan.to_json())
        before = Manifest.read(target / (MANIFEST if finished else UNFINISHED))
        difference = _difference(before, plan)
        if difference and finished:
            raise UserError(
                f"{target} holds another pack: {difference}. Choose another folder, or delete this"
                " one."
            )
        if difference:
            print(f"{target} holds an unfinished pack, but {difference}: packing begins again.")
            for pattern in ("x-*.npy", "y-*.npy", ".*.npy.partial"):
                for file in target.glob(pattern):
                    file.unlink()
            write_whole(target / UNFINISHED, plan.to_json())
    except OSError as error:
        raise UserError(
            f"{target} can't be written: {explain(error)}. Choose another folder."
        ) from error
    # What was bad in an unfinished pack is tried again: it may have been mended since.
    shards = [] if difference else [s for s in before.shards if finished or not s.bad]
    kept = {shard.number: shard for shard in shards if _is_whole(target, shard)}
    if kept:
        print(f"Shards in {target} that are packed already, and verified: {len(kept)}")
    return kept


def _difference(before: Manifest, plan: Manifest) -> str:
    """Say in what a pack was made otherwise than is planned; an empty text if in nothing."""
    options = [
        f"{name}={before.options.get(name)!r} there and {plan.options.get(name)!r} here"
        for name in sorted({*before.options, *plan.options})
        if before.options.get(name) != plan.options.get(name)
    ]
    if options:
        return ", ".join(options)
    return "" if before.stamp == plan.stamp else "its source is another one or has changed since"


def _is_whole(target: Path, shard: Shard) -> bool:
    """Tell whether a shard's files are there as they were written."""
    files = ((target / name, sha256) for name, sha256 in shard.files.items())
    return all(path.is_file() and sha256_of(path) == sha256 for path, sha256 in files)


def _write_shard(
    source: Source, target: Path, number: int, start: int, stop: int, bar: tqdm
) -> Shard:
    """Pack the examples from `start` up to, not including, `stop`."""
    x = np.empty((stop - start, *source.shape), source.dtype)
    y = np.empty(stop - start, np.int32)
    rows, bad = 0, []
    for found in source.read(start, stop):
        if isinstance(found, Bad):
            bad.append(found)
        else:
            x[rows], y[rows] = found
            rows += 1
        bar.update()
    digests = [
        _write_array(target / name, array[:rows])
        for name, array in zip(shard_names(number), (x, y), strict=True)
    ]
    return Shard(number=number, rows=rows, x=digests[0], y=digests[1], bad=tuple(bad))


def _write_array(path: Path, array: np.ndarray) -> str:
    """Write an array so that the file is whole or absent; return its SHA-256."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        np.save(file, array)
        file.flush()
        os.fsync(file.fileno())
    digest = sha256_of(partial)
    partial.replace(path)
    return digest


def _check_result(source: Source, target: Path, manifest: Manifest, *, skip_bad: bool) -> None:
    """Refuse what was packed of a source that changed, that has bad examples, or lost a class."""
    if source.stamp() != manifest.stamp:
        raise UserError(
            f"The source of {target} has changed while it was packed. Wait until nothing writes to"
            " it any more, then run the same command again."
        )
    if manifest.all_bad and not skip_bad:
        raise _refused(manifest.all_bad, source)
    counts = np.zeros(len(manifest.class_names), np.int64)
    for shard in manifest.shards:
        _, labels = shard_names(shard.number)
        counts += np.bincount(np.load(target / labels), minlength=len(counts))
    lost = [name for name, count in zip(manifest.class_names, counts, strict=True) if not count]
    if lost:
        raise UserError(
            f"Every example of {', '.join(lost)} is bad, so nothing is packed. Mend some of them,"
            f" or take them out of the source{_listed(manifest.all_bad)}"
        )


def _with(plan: Manifest, finished: dict[int, Shard]) -> Manifest:
    """Return a manifest of the finished shards, in order."""
    return replace(plan, shards=tuple(finished[number] for number in sorted(finished)))


def _refused(bad: Sequence[Bad], source: Source) -> UserError:
    return UserError(
        f"Nothing is packed: there are bad examples in {source.name} ({len(bad)}){_listed(bad)}\n"
        "Mend or delete them, or leave them out: --skip-bad"
    )


def _listed(bad: Sequence[Bad]) -> str:
    """Name the first bad examples, a line for each, and say how many more there are."""
    lines = [f"  {each.where}: {each.why}" for each in bad[:LISTED]]
    if len(bad) > LISTED:
        lines.append(f"  … and {len(bad) - LISTED} more")
    return ":\n" + "\n".join(lines) if lines else "."
