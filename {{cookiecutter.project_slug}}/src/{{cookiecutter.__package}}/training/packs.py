"""Packed data sets: shards of examples that are memory-mapped, and split without being copied.

A pack is a folder, written by `packing.py`:

    manifest.json   what it holds, and the SHA-256 of every other file; written last
    x-00000.npy     inputs of the first examples, shape (rows, ...)
    y-00000.npy     their class indices, int32, shape (rows,)
    x-00001.npy     and so on

Only the rows asked for are read, through the system's own cache: the memory of the process stays
the same however large the pack is.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..colab.environment import locate
from ..colab.files import sha256_of
from ..errors import UserError
from .examples import Sharded, Subset
from .manifest import MANIFEST, Bad, Manifest, Shard

if TYPE_CHECKING:
    from ..config import Config
    from ..data import Data


@dataclass(frozen=True, kw_only=True)
class Pack:
    """An opened pack.

    Attributes:
        name: What the data are called in a run's record.
        x: Inputs, uint8 for pictures, int32 for texts, float32 for numbers.
        y: Class indices, int32, shape (examples,).
        class_names: The name of each class, by its index.
        vocabulary: The word of each index, padding being 0; None unless it holds texts.
        skipped: The bad examples of the source, which are left out.
        sha256: Fingerprint of the examples, in hexadecimal.
    """

    name: str
    x: Sharded
    y: Sharded
    class_names: tuple[str, ...]
    vocabulary: tuple[str, ...] | None
    skipped: tuple[Bad, ...]
    sha256: str

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.x.shape[1:]


def open_pack(folder: Path, *, verify: bool = True) -> Pack:
    """Open a pack without reading its examples into memory.

    Args:
        folder: Where it lies.
        verify: Whether to compare every file with its SHA-256, which reads them all, about a
            second for each gigabyte; otherwise their sizes, shapes and types only.

    Raises:
        UserError: If there is no pack, or it isn't the one that was written there.
    """
    manifest_file = folder / MANIFEST
    if not manifest_file.is_file():
        raise UserError(
            f"{folder} holds no finished pack: it has no {MANIFEST}. Give the folder that the"
            f" command pack wrote, or make it: {command()} pack SOURCE {folder}"
        )
    manifest = Manifest.read(manifest_file)
    for shard in manifest.shards:
        for name, sha256 in shard.files.items():
            if not (folder / name).is_file():
                raise _mismatch(folder / name, "is missing")
            if verify and sha256_of(folder / name) != sha256:
                raise _mismatch(folder / name, "is damaged, or belongs to another pack")
    parts = [_arrays(folder, shard, manifest) for shard in manifest.shards]
    inputs, labels = zip(*parts, strict=True)
    return Pack(
        name=manifest.name,
        x=Sharded(inputs),
        y=Sharded(labels),
        class_names=manifest.class_names,
        vocabulary=manifest.vocabulary,
        skipped=tuple(manifest.all_bad),
        sha256=manifest.sha256,
    )


@dataclass(frozen=True, kw_only=True)
class Part:
    """Inputs and labels of some of a pack's examples."""

    x: Subset
    y: Subset


@dataclass(frozen=True, kw_only=True)
class Split:
    """The parts of a split pack; no example is in two of them, and each is in one."""

    train: Part
    validation: Part
    test: Part


def split(pack: Pack, *, seed: int, validation: float = 0.1, test: float = 0.2) -> Split:
    """Split a pack by chance, every class alike, as a pure function of the seed.

    Each class gives the same shares of its examples, rounded, and keeps one at least to train on.

    Args:
        pack: The pack.
        seed: Chooses the split.
        validation, test: Shares of all examples.

    Returns:
        Views on the pack; what they hold in memory is four bytes for each example.

    Raises:
        UserError: If the shares leave nothing to train on, or a part would be empty.
    """
    shares = {"validation": validation, "test": test}
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise UserError(
            f"validation={validation} and test={test} can't be shares of one data set: they must"
            " not be negative, and leave something to train on."
        )
    labels = pack.y[:]
    # Of NumPy's generators, this one gives the same numbers in every version (NEP 19).
    shuffled = np.random.RandomState(seed).permutation(np.arange(len(labels), dtype=np.int32))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    chosen: dict[str, list[np.ndarray]] = {name: [] for name in ("train", *shares)}
    for rows in np.split(by_class, np.cumsum(np.bincount(labels))[:-1]):
        first = 0
        for name, share in shares.items():
            last = min(first + int(len(rows) * share + 0.5), max(first, len(rows) - 1))
            chosen[name].append(rows[first:last])
            first = last
        chosen["train"].append(rows[first:])
    parts = {name: np.sort(np.concatenate(pieces)) for name, pieces in chosen.items()}
    for name, share in shares.items():
        if share and not len(parts[name]):
            raise UserError(
                f"{name}={share} of {len(labels)} examples in {len(chosen[name])} classes is"
                f" none: no class has more than {max(map(len, chosen['train']))}. Pack more."
            )
    return Split(
        **{
            name: Part(x=Subset(pack.x, rows), y=Subset(pack.y, rows))
            for name, rows in parts.items()
        }
    )


def load_pack(config: Config) -> Data:
    """Open and split the pack that `config.data` names, in place of what data.py loads.

    Raises:
        UserError: If there is none, it is damaged, or it holds what this project's Data doesn't.
    """
    from ..data import Data

    pack = open_pack(locate(config.data))
    parts = split(pack, seed=config.seed)
    content: dict[str, Any] = {
        f"{axis}_{part.name}": getattr(getattr(parts, part.name), axis)
        for part in fields(parts)
        for axis in ("x", "y")
    }
    if "vocabulary" in Data.__dataclass_fields__:
        if pack.vocabulary is None:
            raise UserError(
                f"data={config.data!r} holds no texts, and the model of this project learns from"
                " texts. Pack a CSV with --text COLUMN, or change data.py and model.py."
            )
        content["vocabulary"] = pack.vocabulary
    elif pack.vocabulary is not None:
        raise UserError(
            f"data={config.data!r} holds texts, and the model of this project doesn't learn from"
            " texts. Pack pictures, or change data.py and model.py."
        )
    return Data(name=pack.name, class_names=pack.class_names, fingerprint=pack.sha256, **content)


def _arrays(folder: Path, shard: Shard, manifest: Manifest) -> list[np.ndarray]:
    """Map a shard's inputs and labels."""
    arrays = []
    forms = (((shard.rows, *manifest.shape), manifest.dtype), ((shard.rows,), "int32"))
    for name, (shape, dtype) in zip(shard.files, forms, strict=True):
        try:
            array = np.load(folder / name, mmap_mode="r")
        except (ValueError, EOFError) as error:
            raise _mismatch(folder / name, f"is damaged ({error})") from error
        if array.shape != shape or array.dtype != dtype:
            found = f"holds {array.dtype} of shape {array.shape}, not {dtype} of shape {shape}"
            raise _mismatch(folder / name, found)
        arrays.append(array)
    return arrays


def _mismatch(path: Path, what: str) -> UserError:
    return UserError(
        f"{path} {what}. Run the same pack command again, which writes anew what is not as it"
        f" was; or copy the whole folder {path.parent} again from where it came from."
    )


def command() -> str:
    """Return how this package is called on a command line."""
    return f"python -m {str(__package__).partition('.')[0]}"
