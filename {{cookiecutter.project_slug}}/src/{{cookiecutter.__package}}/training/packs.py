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

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..colab.environment import locate
from ..colab.files import sha256_of
from ..errors import UserError
from .examples import Sharded, Subset
from .manifest import MANIFEST, Manifest, Shard

if TYPE_CHECKING:
    from ..config import Config
    from ..data import Data

VALIDATION, TEST = 0.1, 0.2
"""Shares of a pack's examples; the others are trained on."""


@dataclass(frozen=True, kw_only=True)
class Pack:
    """An opened pack.

    Attributes:
        manifest: What it holds.
        x: Inputs, uint8 for pictures, int32 for texts, float32 for numbers.
        y: Class indices, int32, shape (examples,).
    """

    manifest: Manifest
    x: Sharded
    y: Sharded


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
        package = str(__package__).partition(".")[0]
        raise UserError(
            f"{folder} holds no finished pack: it has no {MANIFEST}. Give the folder that the"
            f" command pack wrote, or make it: python -m {package} pack SOURCE {folder}"
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
    return Pack(manifest=manifest, x=Sharded(inputs), y=Sharded(labels))


def split(labels: np.ndarray, *, seed: int) -> dict[str, np.ndarray]:
    """Split examples by chance, every class alike, as a pure function of the seed.

    Args:
        labels: Class indices, shape (examples,).
        seed: Chooses the split.

    Returns:
        The rows of the parts validation, test and train, int32, each in ascending order.

    Raises:
        UserError: If there are too few examples for three parts.
    """
    # Of NumPy's generators, this one gives the same numbers in every version (NEP 19).
    shuffled = np.random.RandomState(seed).permutation(np.arange(len(labels), dtype=np.int32))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    chosen: dict[str, list[np.ndarray]] = {"validation": [], "test": [], "train": []}
    for rows in np.split(by_class, np.cumsum(np.bincount(labels))[:-1]):
        validation, test = (int(len(rows) * share + 0.5) for share in (VALIDATION, TEST))
        pieces = np.split(rows, [validation, validation + test])
        for part, piece in zip(chosen.values(), pieces, strict=True):
            part.append(piece)
    parts = {name: np.sort(np.concatenate(pieces)) for name, pieces in chosen.items()}
    for name, rows in parts.items():
        if not len(rows):
            raise UserError(
                f"{len(labels)} examples of {len(chosen[name])} classes are too few: the part"
                f" {name} would be empty. Pack more."
            )
    return parts


def load_pack(config: Config) -> Data:
    """Open and split the pack that `config.data` names, in place of what data.py loads.

    Raises:
        UserError: If there is none, it is damaged, or it holds what this project's Data doesn't.
    """
    from ..data import Data

    pack = open_pack(locate(config.data))
    manifest = pack.manifest
    content: dict[str, Any] = {
        f"{axis}_{part}": Subset(examples, rows)
        for part, rows in split(pack.y[:], seed=config.seed).items()
        for axis, examples in (("x", pack.x), ("y", pack.y))
    }
    if "vocabulary" in Data.__dataclass_fields__:
        if manifest.vocabulary is None:
            raise UserError(
                f"data={config.data!r} holds no texts, and the model of this project learns from"
                " texts. Pack a CSV with --text COLUMN, or change data.py and model.py."
            )
        content["vocabulary"] = manifest.vocabulary
    elif manifest.vocabulary is not None:
        raise UserError(
            f"data={config.data!r} holds texts, and the model of this project doesn't learn from"
            " texts. Pack pictures, or change data.py and model.py."
        )
    return Data(
        name=manifest.name,
        class_names=manifest.class_names,
        fingerprint=manifest.sha256,
        **content,
    )


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
