"""The manifest of a packed data set: what it holds, and the SHA-256 of every file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError

MANIFEST = "manifest.json"
FORMAT = 1
"""Raised when a pack of today could not be read by a program of before."""


@dataclass(frozen=True, kw_only=True)
class Bad:
    """An example that can't be packed: the file or line where it stands, and why."""

    where: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Shard:
    """What the manifest says of a pair of files.

    Attributes:
        number: Which of the pack's shards, in their names.
        rows: Examples in it.
        x, y: SHA-256 of its two files.
        bad: Examples that are left out.
    """

    number: int
    rows: int
    x: str
    y: str
    bad: tuple[Bad, ...] = ()

    @property
    def files(self) -> dict[str, str]:
        """The SHA-256 of each file, by its name."""
        names = shard_names(self.number)
        return dict(zip(names, (self.x, self.y), strict=True))


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a pack holds.

    Attributes:
        name: What the data are called in a run's record.
        shape, dtype: Of one example.
        class_names: The name of each class, by its index.
        vocabulary: The word of each index, for texts.
        options: What the source is and how it was packed.
        stamp: Fingerprint of the source when it was packed.
        bad: Examples that were seen to be bad before any shard was written.
        shards: The finished shards, in order.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    class_names: tuple[str, ...]
    vocabulary: tuple[str, ...] | None
    options: dict[str, Any]
    stamp: str
    bad: tuple[Bad, ...]
    shards: tuple[Shard, ...]

    @property
    def all_bad(self) -> list[Bad]:
        """Every example that is left out."""
        return [*self.bad, *(bad for shard in self.shards for bad in shard.bad)]

    @property
    def sha256(self) -> str:
        """Fingerprint of the examples, in hexadecimal; the same source gives the same."""
        content = [self.shape, self.dtype, self.class_names, self.vocabulary]
        files = [[shard.rows, shard.x, shard.y] for shard in self.shards]
        return hashlib.sha256(json.dumps([*content, files]).encode()).hexdigest()

    def to_json(self) -> str:
        """Return the text of the file."""
        content = {"format": FORMAT, "sha256": self.sha256, **asdict(self)}
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read the file.

        Raises:
            UserError: If it is damaged, or of a later format.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            known, sha256 = content.pop("format"), content.pop("sha256")
            if known > FORMAT:
                raise UserError(
                    f"{path} is of format {known}; this project reads {FORMAT}. Update the"
                    " project, or pack again with it into another folder."
                )
            for name in ("shape", "class_names"):
                content[name] = tuple(content[name])
            if content["vocabulary"] is not None:
                content["vocabulary"] = tuple(content["vocabulary"])
            content["bad"] = tuple(Bad(**bad) for bad in content["bad"])
            for shard in content["shards"]:
                shard["bad"] = tuple(Bad(**bad) for bad in shard["bad"])
            content["shards"] = tuple(Shard(**shard) for shard in content["shards"])
            manifest = cls(**content)
            if manifest.sha256 != sha256:
                raise ValueError("it does not agree with its own fingerprint")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path} is damaged: {error}. Delete the folder {path.parent} and pack again."
            ) from error
        return manifest


def shard_names(number: int) -> tuple[str, str]:
    """Return the names of a shard's files, inputs and labels."""
    return f"x-{number:05}.npy", f"y-{number:05}.npy"
