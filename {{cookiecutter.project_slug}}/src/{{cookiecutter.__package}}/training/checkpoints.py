"""Checkpoints that hold everything, are written whole or not at all, and are trusted only verified.

A checkpoint is two files: `step-00000250.npz` with every variable, and `step-00000250.json`, its
manifest, written last. `tf.train.Checkpoint(model=…)` would leave out the state of the random
numbers in dropout and augmentation layers, and a run resumed from it would end elsewhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..colab.files import sha256_of, write_whole
from ..errors import UserError

FORMAT = 1
KEPT = 2
"""How many checkpoints stay in a folder: the newest, and one in case it can't be read."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state of a run after a whole number of steps.

    Attributes:
        step: Optimizer steps made so far.
        arrays: The values of the variables, in the order in which they were given.
        history: One record per finished epoch.
        identity: What the run is made of: its settings and its data's fingerprint.
    """

    step: int
    arrays: Sequence[np.ndarray]
    history: Sequence[dict[str, Any]]
    identity: dict[str, Any]


def save(folder: Path, checkpoint: Checkpoint) -> tuple[Path, Path]:
    """Write a checkpoint and return its two files, the manifest last.

    Raises:
        OSError: If the disk is full or can't be written; earlier checkpoints stay as they were.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays = folder / f"step-{checkpoint.step:08}.npz"
    partial = arrays.with_name(f".{arrays.name}.partial")
    with partial.open("wb") as file:
        np.savez(file, **{f"{i:05}": array for i, array in enumerate(checkpoint.arrays)})
        file.flush()
        os.fsync(file.fileno())
    manifest = {
        "format": FORMAT,
        "step": checkpoint.step,
        "size": partial.stat().st_size,
        "sha256": sha256_of(partial),
        "identity": checkpoint.identity,
        "history": list(checkpoint.history),
    }
    partial.replace(arrays)
    write_whole(described := arrays.with_suffix(".json"), json.dumps(manifest, indent=1))
    return arrays, described


def newest(folders: Iterable[Path], *, identity: dict[str, Any]) -> Checkpoint | None:
    """Return the newest checkpoint in any of the folders that can be read and verified.

    Damaged and half-written ones are passed over with a line of output.

    Raises:
        UserError: If that checkpoint belongs to other settings or other data.
    """
    manifests = [path for folder in folders for path in folder.glob("step-*.json")]
    for path in sorted(manifests, key=lambda path: path.name, reverse=True):
        try:
            checkpoint = _read(path)
        except (OSError, ValueError, KeyError) as error:
            print(f"Checkpoint {path} is passed over: {error}")
            continue
        _refuse_another_run(checkpoint, identity, path)
        return checkpoint
    return None


def prune(folder: Path, *, emptied: bool) -> None:
    """Delete all but the newest checkpoints of a folder.

    Args:
        folder: Where the checkpoints are.
        emptied: Whether files are emptied first. What is deleted on Drive goes to its trash and
            counts there; but a file on the local disk may still be being copied.
    """
    for manifest in sorted(folder.glob("step-*.json"))[:-KEPT]:
        for path in (manifest, manifest.with_suffix(".npz")):
            if emptied and path.exists():
                path.write_bytes(b"")
            path.unlink(missing_ok=True)


def _read(path: Path) -> Checkpoint:
    """Read and verify the checkpoint of a manifest; ValueError if it is damaged."""
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if manifest["format"] != FORMAT:
        raise ValueError(f"its format is {manifest['format']}, this code reads {FORMAT}")
    arrays = path.with_suffix(".npz")
    if (size := arrays.stat().st_size) != manifest["size"]:
        raise ValueError(f"{arrays.name} has {size} bytes instead of {manifest['size']}")
    if sha256_of(arrays) != manifest["sha256"]:
        raise ValueError(f"{arrays.name} does not have the recorded SHA-256")
    with np.load(arrays, allow_pickle=False) as stored:
        values = [stored[name] for name in sorted(stored.files)]
    return Checkpoint(
        step=manifest["step"],
        arrays=values,
        history=manifest["history"],
        identity=manifest["identity"],
    )


def _refuse_another_run(checkpoint: Checkpoint, identity: dict[str, Any], path: Path) -> None:
    """Raise unless the checkpoint was made by a run of the same settings and data."""
    then = checkpoint.identity
    changed = [
        f"  {name}: {then.get(name)!r} then, {identity.get(name)!r} now"
        for name in sorted(then.keys() | identity.keys())
        if then.get(name) != identity.get(name)
    ]
    if changed:
        raise UserError(
            f"The run in {path.parent} was started with something else:\n"
            + "\n".join(changed)
            + "\nGo on with what it was started with, or choose another run_name."
        )
