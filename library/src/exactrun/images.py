"""A directory of images, a directory for each class, as examples."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .errors import UserError
from .examples import BadExample, Examples
from .files import digest, explain, progress_bar, sha256_of
from .sources import in_order, leave_out
from .structures import Array

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Others, such as EPS, run programs, or have no pixels."""

MODES = {1: "L", 3: "RGB", 4: "RGBA"}

PARTS = {"train": "train", "training": "train", "test": "test"}
PARTS |= dict.fromkeys(("validation", "valid", "val"), "validation")
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

    fingerprint = ""

    def __init__(
        self,
        directory: Path,
        files: list[tuple[str, str, str, str]],
        shape: tuple[int, int, int],
        ignored: tuple[BadExample, ...],
    ) -> None:
        self._directory, self._shape, self.ignored = directory, shape, ignored
        self._names, parts, labels, _ = zip(*files, strict=True)
        self.class_names = in_order(labels)
        index = {name: place for place, name in enumerate(self.class_names)}
        self.labels = np.array([index[label] for label in labels], np.int32)
        if any(parts):
            found = np.array(parts)
            self.parts = {name: np.flatnonzero(found == name) for name in dict.fromkeys(parts)}
        self.fingerprint = digest(json.dumps([shape, files]).encode())

    def __len__(self) -> int:
        return len(self._names)

    def read(self, rows: Array) -> tuple[Array, Array]:
        """Decode images, in several threads, as Pillow lets others work meanwhile.

        Raises:
            BadExample: If a file is damaged, or isn't there any more.
        """
        images = np.empty((len(rows), *self._shape), np.uint8)
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for place, image in enumerate(threads.map(self._decode, rows.tolist())):
                images[place] = image
        return images, self.labels[rows]

    def _decode(self, row: int) -> Array:
        try:
            return _decode(self._directory / self._names[row], self._shape)
        except Exception as error:  # what a decoder raises depends on how the file is damaged
            raise _bad(self._names[row], error) from error


def image_directory(
    path: str | Path,
    *,
    size: tuple[int, int] = (64, 64),
    channels: int = 3,
    ignore_errors: bool = False,
) -> ImageDirectory:
    """Open a directory of images that holds a directory for each class.

    The classes are ordered by their names, as numbers if all are numbers. If all directories are
    called `train` or `training`, `validation`, `valid` or `val`, and `test`, they are the parts
    that the data come in, and hold the directories of the classes.

    Every file is read once here, to see whether it is an image and for the fingerprint. Images are
    decoded when they are asked for: turned as their EXIF orientation says, resized without regard
    to proportions (bilinear, antialiased), 16-bit greys without their lower byte; of several in a
    file, the first; transparent on white, unless there are four channels. Hidden files are left.

    Args:
        path: Where the classes' directories lie; further directories in them are read, too.
        size: Height and width in pixels.
        channels: 1 for greys, 3 for colours, 4 for colours and opacity.
        ignore_errors: Leave out what is no image, and print its names, instead of ending.

    Raises:
        UserError: Naming the files that are no images; or if the directory or a setting is wrong.

    Example:
        >>> from PIL import Image
        >>> for kind in ("crow", "swan"):
        ...     (directory / "birds" / kind).mkdir(parents=True)
        ...     Image.new("RGB", (80, 70)).save(directory / "birds" / kind / "1.png")
        >>> birds = exactrun.image_directory(directory / "birds", size=(32, 32))
        >>> len(birds), birds.class_names, birds[0][0].shape
        (2, ('crow', 'swan'), (32, 32, 3))
    """
    directory = Path(path)
    sides = [side for side in np.ravel(size).tolist() if isinstance(side, int) and side > 0]
    if np.shape(size) != (2,) or len(sides) < 2:
        raise UserError(f"size={size!r}: it must be height and width in pixels, as (64, 64).")
    if channels not in MODES:
        raise UserError(f"channels={channels!r}: choose 1 (grey), 3 (colour) or 4 (with opacity).")
    files, ignored = list[tuple[str, str, str, str]](), list[BadExample]()
    try:
        names = list(_files(directory))
        in_parts = all(name.split("/")[0].lower() in PARTS for name in names if "/" in name)
        with ThreadPoolExecutor() as pool, progress_bar(len(names), "Checking", unit="file") as bar:
            checked = pool.map(lambda name: _check(directory, name), names)
            for name, found in zip(names, checked, strict=True):
                bar.update()
                *inside, _ = name.split("/")
                part = PARTS[inside.pop(0).lower()] if in_parts and inside else ""
                if isinstance(found, BadExample):
                    ignored.append(found)
                elif inside:
                    files.append((name, part, inside[0], found))
                else:
                    ignored.append(BadExample(name, "it lies outside the classes' directories"))
    except OSError as error:
        raise UserError(f"{directory} can't be read: {explain(error)}. Check the path.") from error
    leave_out(ignored, "file", directory, ignore_errors=ignore_errors)
    if len({label for _, _, label, _ in files}) < 2:
        raise UserError(f"{directory} needs images of two classes, as cat/1.jpg and dog/1.jpg.")
    return ImageDirectory(directory, files, (sides[0], sides[1], channels), tuple(ignored))


def read_image(path: str | Path, *, size: tuple[int, int] = (64, 64), channels: int = 3) -> Array:
    """Read one image as `image_directory` does, for a model that has learned from such.

    Args:
        path: The file.
        size: Height and width in pixels.
        channels: 1 for greys, 3 for colours, 4 for colours and opacity.

    Returns:
        uint8, shape (height, width, channels).

    Raises:
        UserError: If it is no image, or can't be read.

    Example:
        >>> from PIL import Image
        >>> Image.new("RGB", (80, 70)).save(directory / "bird.png")
        >>> exactrun.read_image(directory / "bird.png", size=(32, 32)).shape
        (32, 32, 3)
    """
    try:
        return _decode(Path(path), (*size, channels))
    except Exception as error:  # as above
        raise UserError(
            f"{path} can't be read as an image: {explain(error) or repr(error)}. Give another file,"
            " such as a PNG or JPEG."
        ) from error


def _files(directory: Path, inside: str = "") -> Iterator[str]:
    """Yield the names of the files that lie in a directory at any depth, but for hidden ones."""
    with os.scandir(directory / inside) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        hidden = entry.name.lower() in ("thumbs.db", "desktop.ini", "__macosx")
        if hidden or entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _files(directory, f"{inside}{entry.name}/")
        else:
            yield f"{inside}{entry.name}"


def _check(directory: Path, name: str) -> str | BadExample:
    """Return the SHA-256 of an image's file; or why it is none."""
    try:
        with _open(directory / name) as image:
            image.verify()
        return sha256_of(directory / name)
    except Exception as error:  # what a decoder raises depends on how the file is damaged
        return _bad(name, error)


def _open(path: Path) -> Image.Image:
    """Open an image's file, unless its pixels can't be made into bytes."""
    image = Image.open(path, formats=FORMATS)
    if image.mode in ("I", "F") and image.format != "PPM":
        image.close()
        raise ValueError("its pixels have 32 bits, of unknown range: save it with 8 or 16")
    return image


def _decode(path: Path, shape: tuple[int, int, int]) -> Array:
    height, width, channels = shape
    with _open(path) as opened:
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
        return np.asarray(image).reshape(shape)


def _bad(name: str, error: Exception) -> BadExample:
    """Return what is wrong with one file; raise what is wrong with all."""
    if isinstance(error, OSError) and error.errno not in OWN_FAULTS:
        raise error
    return BadExample(name, getattr(error, "strerror", None) or str(error) or repr(error))
