"""Checkpoints that hold everything, are written whole or not at all, and are trusted only verified.

A checkpoint is two files: `step-00000250.npz` with every variable, and `step-00000250.json`, its
manifest, written last. `tf.train.Checkpoint(model=…)` would leave out the state of the random
numbers in dropout and augmentation layers, and a run resumed from it would end elsewhere.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..colab.files import explain, sha256_of, write_whole
from ..errors import UserError

FORMAT = 2
KEPT = 2
"""How many checkpoints stay in a folder: the newest, and one in case it can't be read."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state of a run after a whole number of steps.

    Attributes:
        step: Optimizer steps made so far.
        names: The names of the variables: of the model, its random numbers' state included, and
            of the optimizer.
        arrays: Their values, in the same order.
        best: The weights of the best epoch so far; empty before the first epoch ends.
        sums: Of the epoch under way: the sums of the losses and of the accuracies of its examples.
        history: One record per finished epoch.
        identity: What a run has to keep from its beginning to its end: settings that decide what
            it learns, and its data's fingerprint.
        settings: All settings, for whoever reads the manifest.
    """

    step: int
    names: Sequence[str]
    arrays: Sequence[np.ndarray]
    best: Sequence[np.ndarray]
    sums: Sequence[float]
    history: Sequence[dict[str, Any]]
    identity: dict[str, Any]
    settings: dict[str, Any]


def save(folder: Path, checkpoint: Checkpoint) -> tuple[Path, Path]:
    """Write a checkpoint and return its two files, the manifest last.

    Raises:
        OSError: If the disk is full or can't be written; earlier checkpoints stay as they were.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays = folder / f"step-{checkpoint.step:08}.npz"
    partial = arrays.with_name(f".{arrays.name}.partial")
    groups = {"now": checkpoint.arrays, "best": checkpoint.best}
    named = {f"{group}-{i:05}": a for group, arrays in groups.items() for i, a in enumerate(arrays)}
    try:
        with partial.open("wb") as file:
            write_arrays(file, named)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        partial.unlink(missing_ok=True)  # gives a full disk its space back
        raise
    manifest = {
        "format": FORMAT,
        "step": checkpoint.step,
        "size": partial.stat().st_size,
        "sha256": sha256_of(partial),
        "names": list(checkpoint.names),
        "sums": list(checkpoint.sums),
        "identity": checkpoint.identity,
        "settings": checkpoint.settings,
        "history": list(checkpoint.history),
    }
    partial.replace(arrays)
    write_whole(described := arrays.with_suffix(".json"), json.dumps(manifest, indent=1))
    return arrays, described


def write_arrays(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as `np.savez` does, in blocks of 1 MiB.

    NumPy's own blocks are 16 times as large, and Python's lock is held while one is copied: that
    long, the training could not make its next call.
    """
    with zipfile.ZipFile(file, "w") as archive:
        for name, values in arrays.items():
            array = np.asarray(values, order="C")
            header = np.lib.format.header_data_from_array_1_0(array)
            content = array.reshape(-1).view(np.uint8)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, header)
                for start in range(0, len(content), 1 << 20):
                    member.write(content[start : start + (1 << 20)].data)


def newest(folders: Iterable[Path], *, identity: dict[str, Any]) -> Checkpoint | None:
    """Return the newest checkpoint in any of the folders that can be read and verified.

    Damaged and half-written ones are passed over with a line of output.

    Raises:
        UserError: If that checkpoint belongs to other settings or other data, or if a folder can't
            be listed, such as that of a Drive whose connection was lost.
    """
    manifests: list[Path] = []
    for folder in folders:
        try:
            manifests += folder.glob("step-*.json")
        except OSError as error:
            raise UserError(f"{folder} can't be read: {explain(error)}. Try again.") from error
    for path in sorted(manifests, key=lambda path: path.name, reverse=True):
        try:
            checkpoint = _read(path)
        except (OSError, ValueError, KeyError) as error:
            print(f"Checkpoint {path} is passed over: {error}")
            continue
        _refuse_another_run(checkpoint, identity, path)
        return checkpoint
    return None


def assign(variables: Sequence[Any], checkpoint: Checkpoint) -> None:
    """Give each variable its saved value.

    Raises:
        UserError: If the model is another one, naming the first variable that differs.
    """
    now = [tuple(variable.shape) for variable in variables]
    then = [array.shape for array in checkpoint.arrays]
    if now != then:
        pairs = zip(checkpoint.names, then, now, strict=False)
        differing = next((pair for pair in pairs if pair[1] != pair[2]), None)
        what = "; {} had shape {}, now {}".format(*differing) if differing else ""
        raise UserError(
            f"The model has changed since the run began: {len(then)} variables then,"
            f" {len(now)} now{what}. Choose another run_name, or restore model.py."
        )
    for variable, array in zip(variables, checkpoint.arrays, strict=True):
        variable.assign(array)


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
        values = {name: stored[name] for name in sorted(stored.files)}
    return Checkpoint(
        step=manifest["step"],
        names=manifest["names"],
        arrays=[array for name, array in values.items() if name.startswith("now")],
        best=[array for name, array in values.items() if name.startswith("best")],
        sums=manifest["sums"],
        history=manifest["history"],
        identity=manifest["identity"],
        settings=manifest["settings"],
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
