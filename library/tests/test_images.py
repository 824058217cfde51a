"""Images of every mode, format and orientation are read as they look, or named."""

from __future__ import annotations

import errno
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exactrun import images as module
from exactrun.errors import UserError
from exactrun.examples import BadExample
from exactrun.images import ImageDirectory, image_directory
from exactrun.shards import write_shards
from exactrun.splits import split

SIZE = (48, 32)
"""Width and height; the left half is dark, the right half is light."""


def drawn(mode: str) -> Image.Image:
    """Return an image in a mode of Pillow's."""
    grey = np.zeros(SIZE[::-1], np.uint8)
    grey[:, : SIZE[0] // 2], grey[:, SIZE[0] // 2 :] = 40, 200
    if mode == "I;16":
        return Image.fromarray(grey.astype(np.uint16) * 257)
    if mode in ("I", "F"):
        return Image.fromarray(grey.astype(np.int32 if mode == "I" else np.float32))
    if mode == "1":
        return Image.fromarray(grey > 100)
    if mode == "P":
        return Image.fromarray(grey).quantize()
    return Image.fromarray(grey).convert("RGB").convert(mode)


def opened(directory: Path, *, channels: int = 3, ignore_errors: bool = False) -> ImageDirectory:
    return image_directory(
        directory, size=SIZE[::-1], channels=channels, ignore_errors=ignore_errors
    )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a directory whose second class holds one image."""
    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
    drawn("RGB").save(tmp_path / "in" / "b" / "image.png")
    return tmp_path / "in"


MODES = {
    "png": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "jpg": ["L", "RGB", "CMYK"],
    "gif": ["L", "P", "RGB", "RGBA"],
    "bmp": ["1", "L", "P", "RGB", "RGBA"],
    "webp": ["RGB", "RGBA"],
    "tif": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"],
    "ppm": ["RGB"],
    "pgm": ["L", "I;16"],
}


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_mode_looks_the_same(channels: int, directory: Path) -> None:
    names = [(suffix, mode) for suffix, modes in MODES.items() for mode in modes]
    for number, (suffix, mode) in enumerate(names):
        drawn(mode).save(directory / "a" / f"{number:02}.{suffix}")
    images, labels = opened(directory, channels=channels)[:]
    assert (images.dtype, images.shape) == (np.uint8, (len(names) + 1, 32, 48, channels))
    assert labels.dtype == np.int32
    assert labels.tolist() == [0] * len(names) + [1]
    for (suffix, mode), image in zip(names, images, strict=False):
        dark, light = (0, 255) if mode == "1" else (40, 200)
        looks = image.astype(int)[..., : min(channels, 3)]
        assert np.abs(looks[:, : SIZE[0] // 2 - 4] - dark).max() <= 8, (suffix, mode)
        assert np.abs(looks[:, SIZE[0] // 2 + 4 :] - light).max() <= 8, (suffix, mode)
        assert channels < 4 or (image[..., 3] == 255).all()


def test_images_are_resized_and_large_jpegs_look_alike(directory: Path) -> None:
    for suffix in ("png", "jpg"):
        drawn("RGB").resize((96, 64)).save(directory / "a" / f"large.{suffix}", quality=95)
    small = drawn("RGB")
    images, _ = opened(directory)[:]
    for image in images:
        assert np.abs(image.astype(int) - np.asarray(small)).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_their_exif_says(orientation: int, directory: Path) -> None:
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # is stored turned back, to be turned forth
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = drawn("RGB")
    stored = upright.transpose(turns[orientation]) if orientation in turns else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(directory / "a" / "image.png", exif=exif)
    np.testing.assert_array_equal(opened(directory)[0][0], np.asarray(upright))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(mode: str, directory: Path) -> None:
    image = drawn("RGBA")
    image.putalpha(Image.fromarray(np.asarray(drawn("L")) // 200 * 255))  # the dark half is clear
    image = image.quantize() if mode == "P" else image.convert(mode)
    image.save(directory / "a" / "image.png")
    found = opened(directory)[0][0]
    assert (found[:, : SIZE[0] // 2] == 255).all()
    assert (abs(found[:, SIZE[0] // 2 :].astype(int) - 200) <= 2).all()
    assert (opened(directory, channels=4)[0][0][:, 0, 3] == 0).all()


def test_an_animation_gives_its_first_image(directory: Path) -> None:
    first, second = drawn("L"), Image.new("L", SIZE, 255)
    first.save(directory / "a" / "moving.gif", save_all=True, append_images=[second])
    assert opened(directory)[0][0][0, 0, 0] == 40


def test_invalid_files_are_all_named_or_left_out(
    directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn("L").save(directory / "a" / "good.png")
    drawn("I").save(directory / "a" / "wide.tif")
    drawn("F").save(directory / "a" / "float.tif")
    whole = (directory / "b" / "image.png").read_bytes()
    (directory / "a" / "torn.png").write_bytes(whole[:-30])
    (directory / "a" / "empty.jpg").write_bytes(b"")
    (directory / "a" / "notes.txt").write_text("no image")
    # Pillow would start a program to read it.
    (directory / "a" / "page.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (directory / "b" / "nowhere.png").symlink_to(directory / "nowhere.png")
    (directory / "outside.png").write_bytes(whole)
    Image.new("L", (40 * SIZE[0], SIZE[1])).save(directory / "b" / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10 * SIZE[0] * SIZE[1])
    for name in (".DS_Store", "Thumbs.db", ".thumbs"):
        (directory / "b" / name).write_bytes(b"")
    (directory / "__MACOSX").mkdir()
    reasons = {
        "a/empty.jpg": "cannot identify image file",
        "a/float.tif": "its pixels have 32 bits",
        "a/notes.txt": "cannot identify image file",
        "a/page.eps": "cannot identify image file",
        "a/torn.png": "",
        "a/wide.tif": "its pixels have 32 bits",
        "b/huge.png": "Image size",
        "b/nowhere.png": "No such file or directory",
        "outside.png": "it lies outside",
    }
    with pytest.raises(UserError) as refused:
        opened(directory)
    for name, why in reasons.items():
        assert f"\n  {name}: {why}" in str(refused.value)
    assert f"{len(reasons)} invalid files in " in str(refused.value)
    assert "ignore_errors=True" in str(refused.value)
    images = opened(directory, ignore_errors=True)
    assert [bad.where for bad in images.ignored] == list(reasons)
    assert images.labels.tolist() == [0, 1]
    assert "are left out:\n  a/empty.jpg: cannot" in capsys.readouterr().out
    (directory / "b" / "image.png").unlink()
    with pytest.raises(UserError, match="needs images of two classes"):
        opened(directory, ignore_errors=True)
    (directory / "b" / "loop").symlink_to(directory / "b")
    with pytest.raises(UserError, match="can't be read: Too many levels of symbolic links"):
        opened(directory)


def test_a_file_that_fails_later_is_named_and_left_out_of_shards(
    directory: Path, tmp_path: Path
) -> None:
    for number in range(4):
        drawn("RGB").resize((480, 320)).save(directory / "a" / f"{number}.jpg")
    whole = (directory / "a" / "2.jpg").read_bytes()
    (directory / "a" / "2.jpg").write_bytes(whole[: len(whole) // 2])  # its header is whole
    images = opened(directory)
    with pytest.raises(BadExample, match=r"^a/2\.jpg: image file is truncated"):
        images[:]
    with pytest.raises(UserError, match=r"1 invalid .*:\n  a/2\.jpg: image file is truncated"):
        write_shards(images, tmp_path / "shards")
    shards = write_shards(images, tmp_path / "shards", ignore_errors=True)
    assert shards[:][1].tolist() == [0, 0, 0, 1]
    np.testing.assert_array_equal(shards[:][0], images[np.array([0, 1, 3, 4])][0])
    assert shards.class_names == ("a", "b")


def test_no_damage_ends_in_a_traceback(directory: Path) -> None:
    for number, suffix in enumerate(["png", "jpg", "gif", "bmp", "webp", "tif", "ppm"] * 15):
        chance = random.Random(number)
        file = directory / "a" / f"{number:03}.{suffix}"
        drawn("RGB").save(file)
        content = bytearray(file.read_bytes())
        if chance.random() < 0.5:
            del content[chance.randrange(len(content)) :]
        for _ in range(chance.randrange(4) if content else 0):
            content[chance.randrange(len(content))] = chance.randrange(256)
        file.write_bytes(bytes(content))
    (directory / "a" / "token.ppm").write_bytes(b"P3 2 2 255 " + b"x " * 12)  # no OSError
    images = opened(directory, ignore_errors=True)
    with pytest.raises(BadExample, match=r"^a/token\.ppm: "):
        images[-2]
    found = 0
    for row in range(len(images)):
        try:
            found += images[row][0].shape == (32, 48, 3)
        except BadExample:
            continue
    assert found > 10
    assert len(images.ignored) > 10


def test_a_lost_connection_is_no_fault_of_the_images(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn("L").save(directory / "a" / "good.png")
    images = opened(directory)

    def open_nothing(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(Image, "open", open_nothing)
    with pytest.raises(UserError, match=r"can't be read: .*connection to Drive"):
        opened(directory, ignore_errors=True)
    with pytest.raises(OSError, match="Transport"):
        images[:]


def test_classes_are_ordered_and_what_lies_deeper_belongs_to_them(tmp_path: Path) -> None:
    for name in ("10", "9", "2/more/yet"):
        (tmp_path / name).mkdir(parents=True)
        drawn("L").save(tmp_path / name / "image.png")
    images = image_directory(tmp_path, size=(4, 6), channels=1)
    assert images.class_names == ("2", "9", "10")
    assert images[:][0].shape == (3, 4, 6, 1)
    assert images.parts is None
    (tmp_path / "x").mkdir()
    drawn("L").save(tmp_path / "x" / "image.png")
    assert image_directory(tmp_path).class_names == ("10", "2", "9", "x")


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    for part, images in (("train", 20), ("val", 3), ("Test", 2)):
        for label in ("a", "b"):
            (tmp_path / part / label).mkdir(parents=True)
            for number in range(images):
                drawn("L").save(tmp_path / part / label / f"{number:02}.png")
    return tmp_path


def test_parts_of_its_own_are_taken_as_they_are(parts: Path) -> None:
    images = image_directory(parts)
    assert images.parts is not None
    assert {name: len(rows) for name, rows in images.parts.items()} == {
        "test": 4,
        "train": 40,
        "validation": 6,
    }
    found = split(images, validation=0.5)
    assert [len(part) for part in found] == [40, 6, 4]
    shutil.rmtree(parts / "val")
    train, validation, test = split(image_directory(parts), validation=0.25, stratify=True)
    assert [len(part) for part in (train, validation, test)] == [30, 10, 4]
    assert validation[:][1].tolist() == [0] * 5 + [1] * 5
    shutil.rmtree(parts / "Test" / "a")
    assert split(image_directory(parts)).test[:][1].tolist() == [1, 1]
    drawn("L").save(parts / "outside.png")
    with pytest.raises(UserError, match=r"outside\.png: it lies outside the classes' directories"):
        image_directory(parts)


def test_the_fingerprint_is_of_content_and_settings(directory: Path, tmp_path: Path) -> None:
    drawn("L").save(directory / "a" / "image.png")
    before = opened(directory).fingerprint
    copy = shutil.copytree(directory, tmp_path / "copy")  # with other times of change
    (copy / "a" / "image.png").touch()
    assert opened(copy).fingerprint == before
    assert opened(copy, channels=1).fingerprint != before
    drawn("1").save(copy / "a" / "image.png")
    assert opened(copy).fingerprint != before
    (directory / "a" / "image.png").rename(directory / "a" / "other.png")
    assert opened(directory).fingerprint != before


def test_wrong_directories_and_settings_are_refused(directory: Path, tmp_path: Path) -> None:
    image = directory / "b" / "image.png"
    for place, named in (
        (tmp_path / "nowhere", "can't be read: No such file or directory"),
        (image, "can't be read: Not a directory"),
        (directory / "b", r"image\.png: it lies outside the classes' directories"),
        (tmp_path, "needs images of two classes"),
        (directory, "needs images of two classes"),
    ):
        with pytest.raises(UserError, match=named):
            image_directory(place)
    for size in ((0, 5), 64, (4, 4, 3), (4.5, 4), "ab"):
        with pytest.raises(UserError, match=r"it must be height and width in pixels"):
            image_directory(directory, size=size)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"channels=2: choose 1"):
        image_directory(directory, channels=2)


def test_images_are_read_in_any_order_and_repeated(directory: Path) -> None:
    for number in range(3):
        Image.new("L", (9, 9), 50 * number).save(directory / "a" / f"{number}.png")
    images, labels = opened(directory)[np.array([2, 0, 2, 3, 1])]
    assert images[[0, 1, 2, 4], 0, 0, 0].tolist() == [100, 0, 100, 50]
    assert labels.tolist() == [0, 0, 0, 1, 0]
    assert module.in_order(["b", "10", "b", "9"]) == ("10", "9", "b")
