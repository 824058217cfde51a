"""What a pack can be made from: pictures in folders, a table in a CSV, NumPy arrays."""

from __future__ import annotations

import errno
import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
from PIL import Image, ImageOps

from ..errors import UserError
from .manifest import Bad

OWN_FAULTS = (None, errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP)
"""Errors of one file. With others, such as a lost connection to Drive, no file can be read."""

Example = tuple[np.ndarray, int]
"""Inputs and class index."""


class Source(Protocol):
    """Examples to pack.

    Attributes:
        name: What the data are called in a run's record.
        options: What the source is and how it is to be packed, as JSON can hold it.
        examples: How many there are, good ones and those that are not known to be bad.
        shape, dtype: Of one example's inputs.
        class_names: The name of each class, by its index.
        vocabulary: The word of each index, for texts.
        bad: What is known to be bad without reading every example.
    """

    name: str
    options: dict[str, Any]
    examples: int
    shape: tuple[int, ...]
    dtype: np.dtype
    class_names: tuple[str, ...]
    vocabulary: tuple[str, ...] | None
    bad: list[Bad]

    def stamp(self) -> str:
        """Return a fingerprint that changes when the source does."""

    def read(self, start: int, stop: int) -> Iterator[Example | Bad]:
        """Yield the examples from `start` up to, not including, `stop`; or why one is bad."""


class Pictures:
    """A folder that holds a folder of pictures for each class.

    They are turned as their EXIF orientation says, resized to one size without regard to their
    proportions (bilinear, with antialiasing), and kept as bytes. 16-bit greys lose their lower
    byte. Of an animation or of several pages, the first picture is taken. What is transparent
    becomes white, unless there are four channels. Hidden files are passed over.

    Args:
        folder: Where the classes' folders lie.
        height, width: Of every picture, in pixels.
        channels: 1 for greys, 3 for colours, 4 for colours and opacity.

    Raises:
        UserError: If an argument is out of range, or there are no classes in the folder.
    """

    FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
    MODES = MappingProxyType({1: "L", 3: "RGB", 4: "RGBA"})

    def __init__(
        self, folder: Path, *, height: int = 64, width: int = 64, channels: int = 3
    ) -> None:
        for name, value in (("height", height), ("width", width)):
            if value < 1:
                raise UserError(f"{name}={value} is too small; it must be at least 1 pixel.")
        if channels not in self.MODES:
            raise UserError(f"channels={channels} is unknown; choose 1 (grey), 3 (colour) or 4.")
        self.name = folder.resolve().name
        self.shape: tuple[int, ...] = (height, width, channels)
        self.dtype: np.dtype = np.dtype(np.uint8)
        self.vocabulary: tuple[str, ...] | None = None
        size = {"height": height, "width": width, "channels": channels}
        self.options: dict[str, Any] = {"source": "pictures", **size}
        self._folder = folder
        entries = [entry for entry in folder.iterdir() if not _hidden(entry.name)]
        classes = {entry.name: entry for entry in entries if entry.is_dir()}
        if not classes:
            what = "no folders in it" if entries else "nothing in it"
            raise UserError(
                f"{folder} has {what}. Pictures are packed from a folder for each class:"
                f" {folder / 'cat' / 'one.jpg'}, {folder / 'dog' / 'two.jpg'}."
            )
        if set(classes) <= {"train", "training", "val", "valid", "validation", "test"}:
            raise UserError(
                f"The folders in {folder} ({', '.join(sorted(classes))}) look like parts of a"
                " split, not like classes. Put the classes of all parts together: the training"
                " splits them itself."
            )
        self.class_names = in_order(classes)
        self._files = [
            (file, label)
            for label, name in enumerate(self.class_names)
            for file in sorted(classes[name].rglob("*"), key=Path.as_posix)
            if not any(map(_hidden, file.relative_to(folder).parts)) and not file.is_dir()
        ]
        self.examples = len(self._files)
        labels = {label for _, label in self._files}
        empty = [name for label, name in enumerate(self.class_names) if label not in labels]
        if empty:
            raise UserError(
                f"No picture lies in {_listed(str(classes[name]) for name in empty)}."
                " Put some there, or delete it."
            )
        outside = sorted(entry for entry in entries if not entry.is_dir())
        self.bad = [Bad(where=e.name, why="it lies outside the classes' folders") for e in outside]

    def stamp(self) -> str:
        return stamp_of(self._folder, [file for file, _ in self._files])

    def read(self, start: int, stop: int) -> Iterator[Example | Bad]:
        files = self._files[start:stop]
        # Pillow lets other threads work while it decodes and resizes. A few at a time, so that
        # what is waiting takes little memory.
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for first in range(0, len(files), 256):
                some, labels = zip(*files[first : first + 256], strict=True)
                for found, label in zip(threads.map(self._picture, some), labels, strict=True):
                    yield found if isinstance(found, Bad) else (found, label)

    def _picture(self, file: Path) -> np.ndarray | Bad:
        try:
            with Image.open(file, formats=self.FORMATS) as image:
                # A JPEG is decoded faster at a half, quarter or eighth of its size.
                image.draft(None, (2 * max(self.shape[:2]),) * 2)
                return self._pixels(image)
        except Exception as error:  # what a decoder raises depends on how the file is damaged
            if isinstance(error, OSError) and error.errno not in OWN_FAULTS:
                raise
            why = str(error).replace(str(file), file.name) or type(error).__name__
            return Bad(where=file.relative_to(self._folder).as_posix(), why=why)

    def _pixels(self, image: Image.Image) -> np.ndarray:
        height, width, channels = self.shape
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
            # Pillow's own conversion to 8 bits clips instead of scaling.
            upright = ImageOps.exif_transpose(image)
            image = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
        elif image.mode in ("I", "F"):
            raise ValueError("its pixels have 32 bits, of unknown range: save it with 8 or 16")
        else:
            image = ImageOps.exif_transpose(image)
        if image.has_transparency_data and channels < 4:
            opaque = Image.new("RGBA", image.size, "white")
            opaque.alpha_composite(image.convert("RGBA"))
            image = opaque
        image = image.convert(self.MODES[channels])
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(image).reshape(self.shape)


class Arrays:
    """Inputs and labels as NumPy arrays, which may be memory-mapped and larger than memory.

    Bytes and booleans are kept as uint8, other integers as int32, other numbers as float32. The
    labels' distinct values, in order, are the classes.

    Args:
        x: Inputs, shape (examples, ...).
        y: Labels, integers or strings, shape (examples,).
        name: What the data are called in a run's record.

    Raises:
        UserError: If the arrays don't belong together or hold something else than such values.
    """

    CHUNK_BYTES = 16 << 20

    def __init__(self, x: np.ndarray, y: np.ndarray, *, name: str = "arrays") -> None:
        if y.ndim != 1 or y.dtype.kind not in "biuU":
            raise UserError(
                f"y has the type {y.dtype} and shape {y.shape}; it must hold an integer or a string"
                " for each example. Whole numbers of another type: y.astype(int)."
            )
        if x.ndim < 2 or 0 in x.shape[1:] or x.dtype.kind not in "biuf":
            raise UserError(
                f"x has the type {x.dtype} and shape {x.shape}; it must hold numbers, of shape"
                " (examples, ...). One number for each example: x[:, None]."
            )
        if len(x) != len(y):
            raise UserError(f"x holds {len(x)} examples, y {len(y)} labels: they belong in pairs.")
        self.name, self.examples, self.shape = name, len(x), x.shape[1:]
        self._x, self._y = x, y
        self._chunk = max(1, self.CHUNK_BYTES // (x[:1].nbytes or 1))
        small = x.dtype.kind == "b" or x.dtype == np.uint8
        whole = np.int32 if x.dtype.kind in "iu" else np.float32
        self.dtype: np.dtype = np.dtype(np.uint8 if small else whole)
        self.vocabulary: tuple[str, ...] | None = None
        self._labels = np.unique(y)
        self.class_names = tuple(str(value) for value in self._labels)
        if "" in self.class_names:
            raise UserError(f"y[{np.argmax(y == '')}] is empty; it must hold a label for each row.")
        self.options: dict[str, Any] = {"source": "arrays"}
        self.bad: list[Bad] = []
        digest = hashlib.sha256(f"{x.dtype.str}{x.shape}{y.dtype.str}".encode())
        for first in range(0, len(x), self._chunk):
            inputs, labels = x[first : first + self._chunk], y[first : first + self._chunk]
            digest.update(np.ascontiguousarray(inputs).data)
            digest.update(np.ascontiguousarray(labels).tobytes())
            rows = first + np.flatnonzero(~self._good(inputs))
            why = f"it holds a value that {self.dtype} can't: NaN, infinity, or too large a number"
            self.bad += [Bad(where=f"row {row}", why=why) for row in rows]
        self._stamp = digest.hexdigest()

    def stamp(self) -> str:
        return self._stamp

    def read(self, start: int, stop: int) -> Iterator[Example | Bad]:
        for first in range(start, stop, self._chunk):
            last = min(first + self._chunk, stop)
            inputs = self._x[first:last]
            labels = np.searchsorted(self._labels, self._y[first:last])
            for row in np.flatnonzero(self._good(inputs)):
                yield inputs[row], int(labels[row])

    def _good(self, inputs: np.ndarray) -> np.ndarray:
        """Tell which examples fit the packed type, shape (examples,)."""
        if self.dtype == np.uint8:
            return np.ones(len(inputs), bool)
        limits = np.finfo(np.float32) if self.dtype.kind == "f" else np.iinfo(np.int32)
        fits = (inputs >= limits.min) & (inputs <= limits.max)  # NaN compares as false
        return fits.reshape(len(inputs), -1).all(axis=1)


def load_arrays(path: Path) -> Arrays:
    """Open `x.npy` and `y.npy` in a folder, memory-mapped, or `x` and `y` of an .npz file.

    An .npz file has to fit into memory: it is a zip archive.

    Raises:
        UserError: If they can't be read, or the file holds other arrays.
    """
    try:
        if path.is_dir():
            x, y = (np.load(path / f"{axis}.npy", mmap_mode="r") for axis in "xy")
            return Arrays(x, y, name=path.resolve().name)
        with np.load(path) as file:
            if not {"x", "y"} <= set(file):
                raise UserError(
                    f"{path} holds {_listed(file)}, but x and y are packed. Save them so:"
                    f' np.savez("{path.name}", x=inputs, y=labels)'
                )
            return Arrays(file["x"], file["y"], name=path.stem)
    except (ValueError, TypeError, OSError, EOFError, BadZipFile, zlib.error) as error:
        raise UserError(
            f"The arrays in {path} can't be read: {error}. Save them again with np.save or"
            " np.savez, as numbers or strings, not as Python objects."
        ) from error


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of classes in order: as numbers if all are, else by the alphabet."""
    distinct = sorted(set(names))
    if all(name.isascii() and name.isdigit() for name in distinct):
        distinct.sort(key=int)
    return tuple(distinct)


def stamp_of(folder: Path, files: Sequence[Path]) -> str:
    """Return a fingerprint of files' names, sizes and times of change, not of their content."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(folder).as_posix()}\n".encode())
        if file.exists():  # a link may lead nowhere
            found = file.stat()
            digest.update(f"{found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _hidden(name: str) -> bool:
    """Tell whether a file or folder is one that systems put beside those of their users."""
    return name.startswith(".") or name.lower() in ("thumbs.db", "desktop.ini", "__macosx")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"
