"""A directory of images, a directory for each class, as examples."""

from __future__ import annotations

import errno
import io
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import UserError
from .examples import BadExample, Examples
from .files import digest, explain, names_in, progress_bar
from .sources import in_order, listed

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Others, such as EPS, run programs, or have no pixels."""

MODES = MappingProxyType({1: "L", 3: "RGB", 4: "RGBA"})

PARTS = {
    **{"train": "train", "training": "train", "test": "test"},
    **dict.fromkeys(("validation", "valid", "val"), "validation"),
}
"""What directories of a data set's own parts are called, in any case."""

OWN_FAULTS = (None, errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EISDIR)
"""Errors of one file. With others, such as a lost connection to Drive, no file can be read."""


class ImageDirectory(Examples):
    """Images with the classes of their directories, decoded when they are asked for.

    An example is `(image, label)`: uint8, shape (height, width, channels), and the class index,
    int32. Made by `image_directory`, which says how images are read.

    Attributes:
        labels: The class index of each image, int32, shape (images,).
        ignored: The invalid files that were left out.
    """

    def __init__(
        self,
        directory: Path,
        files: list[tuple[str, str, int, str]],
        class_names: tuple[str, ...],
        *,
        shape: tuple[int, int, int],
        ignored: tuple[BadExample, ...],
    ) -> None:
        self.class_names, self.ignored = class_names, ignored
        self.labels = np.array([label for _, _, label, _ in files], np.int32)
        parts = np.array([part for _, part, *_ in files])
        if parts[0]:
            self.parts = {name: np.flatnonzero(parts == name) for name in dict.fromkeys(parts)}
        self._directory, self._shape = directory, shape
        self._names = [name for name, *_ in files]
        self._fingerprint = digest(json.dumps([shape, class_names, files]).encode())

    def __len__(self) -> int:
        return len(self._names)

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Decode images, in several threads.

        Raises:
            BadExample: If a file is damaged, or isn't there any more.
        """
        images = np.empty((len(rows), *self._shape), np.uint8)

        def decode(place: int) -> None:
            images[place] = self._decode(self._names[rows[place]])

        # Pillow lets other threads work while it decodes and resizes.
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for _ in threads.map(decode, range(len(rows))):
                pass
        return images, self.labels[rows]

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def _decode(self, name: str) -> np.ndarray:
        height, width, channels = self._shape
        try:
            with Image.open(self._directory / name, formats=FORMATS) as opened:
                # A JPEG is decoded faster at a half, quarter or eighth of its size.
                opened.draft(None, (2 * max(height, width),) * 2)
                image: Image.Image = ImageOps.exif_transpose(opened)
                if image.mode.startswith("I"):
                    # 16 bits. Pillow's own conversion to 8 clips instead of scaling.
                    image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
                if image.has_transparency_data and channels < 4:
                    opaque = Image.new("RGBA", image.size, "white")
                    opaque.alpha_composite(image.convert("RGBA"))
                    image = opaque
                image = image.convert(MODES[channels])
                image = image.resize((width, height), Image.Resampling.BILINEAR)
                return np.asarray(image).reshape(self._shape)
        except Exception as error:  # what a decoder raises depends on how the file is damaged
            raise _bad(name, error) from error


def image_directory(
    path: str | Path,
    *,
    size: tuple[int, int] = (64, 64),
    channels: int = 3,
    ignore_errors: bool = False,
) -> ImageDirectory:
    """Open a directory of images that holds a directory for each class.

    The classes are ordered by their names, as numbers if all are numbers. If the data come in parts
    of their own, `train` or `training`, `validation`, `valid` or `val`, and `test`, each with the
    same classes, all are read, and `parts` of the result tells them apart.

    Every file is read once here, to see whether it is an image and for the fingerprint, which is of
    names, classes and content, so that a copy elsewhere has the same. Images are decoded when they
    are asked for: turned as their EXIF orientation says, resized without regard to their
    proportions (bilinear, with antialiasing), 16-bit greys without their lower byte; of an
    animation or of several pages, the first image; what is transparent becomes white, unless there
    are four channels. Hidden files are passed over.

    Args:
        path: Where the classes' directories lie; further directories in them are read, too.
        size: Height and width in pixels.
        channels: 1 for greys, 3 for colours, 4 for colours and opacity.
        ignore_errors: Leave out what is no image, and print its names, instead of ending.

    Raises:
        UserError: Naming the files that are no images; or if the directory or a setting is wrong.
    """
    directory = Path(path)
    sides = [side for side in np.ravel(size).tolist() if isinstance(side, int) and side > 0]
    if np.shape(size) != (2,) or len(sides) < 2:
        raise UserError(f"size={size!r}: it must be height and width in pixels, as (64, 64).")
    if channels not in MODES:
        raise UserError(f"channels={channels!r}: choose 1 (grey), 3 (colour) or 4 (with opacity).")
    try:
        class_names, places, invalid = _scan(directory)
        named = [
            (file, part, label)
            for part, label, place in places
            for file in _files(directory, directory / place)
        ]
        with (
            progress_bar(len(named), "Checking images", unit="image") as bar,
            ThreadPoolExecutor(os.cpu_count()) as threads,
        ):
            seen = []
            for each in threads.map(lambda file: _check(directory, file), [n for n, *_ in named]):
                seen.append(each)
                bar.update()
    except OSError as error:
        raise UserError(
            f"{directory} can't be read: {explain(error)}. Mend that and open it again."
        ) from error
    pairs = list(zip(named, seen, strict=True))
    files = [(*file, sha256) for file, sha256 in pairs if isinstance(sha256, str)]
    invalid += [error for _, error in pairs if isinstance(error, BadExample)]
    if invalid and not ignore_errors:
        raise UserError(
            f"{directory} holds invalid files ({len(invalid):,}):{listed(invalid)}\nMend or delete"
            " them, or leave them out: ignore_errors=True"
        )
    filled = {(part, label) for _, part, label, _ in files}
    if empty := [place for part, label, place in places if (part, label) not in filled]:
        raise UserError(
            f"No image of {directory} lies in {', '.join(empty)}{':' * bool(invalid)}"
            f"{listed(invalid)}\nPut some there, or delete that directory."
        )
    if invalid:
        print(f"Invalid files in {directory}, left out ({len(invalid):,}):{listed(invalid)}")
    return ImageDirectory(
        directory, files, class_names, shape=(sides[0], sides[1], channels), ignored=tuple(invalid)
    )


def _scan(directory: Path) -> tuple[tuple[str, ...], list[tuple[str, int, str]], list[BadExample]]:
    """Return the classes; part, class index and name of each of their directories; other files."""
    if not directory.is_dir():
        raise UserError(f"{directory} is no directory. Give the one that holds the classes' own.")
    inside, outside = _entries(directory, "")
    parts = {name: PARTS[name.lower()] for name in inside if name.lower() in PARTS}
    if 1 < len(parts) < len(inside) or len(set(parts.values())) < len(parts):
        others = ", ".join(name for name in inside if name not in parts) or "each other"
        raise UserError(
            f"The directories {', '.join(parts)} in {directory} look like parts of the data, which"
            f" doesn't fit with {others}. Move the one or the other elsewhere."
        )
    own = bool(parts) and len(parts) == len(inside)
    classes: dict[str, list[str]] = {"": inside}
    if own:
        entries = {name: _entries(directory, name) for name in parts}
        classes = {name: found for name, (found, _) in entries.items()}
        outside += [file for _, more in entries.values() for file in more]
    names = in_order({name for each in classes.values() for name in each})
    for place, each in classes.items():
        if lacking := [name for name in names if name not in each]:
            raise UserError(
                f"{directory / place} has no directory for {', '.join(lacking)}, which another part"
                " has. Every part needs a directory for every class."
            )
    if len(names) < 2:
        holds = f"one class only, {names[0]!r}" if names else "no directories"
        raise UserError(
            f"{directory} holds {holds}: there is nothing to tell apart. It needs one for each"
            f" class, as in {directory / 'cat' / 'one.jpg'}, {directory / 'dog' / 'two.jpg'}."
        )
    places = [
        (parts.get(place, "") if own else "", label, f"{place}/{name}".lstrip("/"))
        for place in classes
        for label, name in enumerate(names)
    ]
    invalid = [BadExample(name, "it lies outside the classes' directories") for name in outside]
    return names, places, invalid


def _entries(directory: Path, place: str) -> tuple[list[str], list[str]]:
    """Return the names of a directory's directories; those of its files, from the first one."""
    names = [name for name in names_in(directory / place) if not _hidden(name)]
    inside = [name for name in names if (directory / place / name).is_dir()]
    return inside, [f"{place}/{name}".lstrip("/") for name in names if name not in inside]


def _files(directory: Path, place: Path) -> list[str]:
    """Return the names of all files in a class's directory, from the first one."""
    found = []
    for here, inside, names in os.walk(place, onerror=_raise):
        inside[:] = [name for name in inside if not _hidden(name)]
        # A link to a directory isn't followed, which may lead in circles, but named as invalid.
        names += [name for name in inside if os.path.islink(os.path.join(here, name))]
        found += [Path(here, name) for name in names if not _hidden(name)]
    return sorted(file.relative_to(directory).as_posix() for file in found)


def _check(directory: Path, name: str) -> str | BadExample:
    """Return the SHA-256 of an image's file; or why it is none."""
    try:
        content = (directory / name).read_bytes()
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.mode in ("I", "F") and image.format != "PPM":
                raise ValueError("its pixels have 32 bits, of unknown range: save it with 8 or 16")
            image.verify()
        return digest(content)
    except Exception as error:  # what a decoder raises depends on how the file is damaged
        return _bad(name, error)


def _bad(name: str, error: Exception) -> BadExample:
    """Return what is wrong with one file; raise what is wrong with all."""
    if isinstance(error, UnidentifiedImageError):
        return BadExample(name, f"not an image that can be read ({', '.join(FORMATS)})")
    if isinstance(error, OSError) and error.errno not in OWN_FAULTS:
        raise error
    said = error.strerror if isinstance(error, OSError) else None
    return BadExample(name, said or str(error) or type(error).__name__)


def _hidden(name: str) -> bool:
    """Tell whether a file or directory is one that systems put beside those of their users."""
    return name.startswith(".") or name.lower() in ("thumbs.db", "desktop.ini", "__macosx")


def _raise(error: OSError) -> NoReturn:
    raise error
