"""Pictures of every mode, format and orientation are read as they look, or named."""

from __future__ import annotations

import errno
import random
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from handwritten_digits.errors import UserError
from handwritten_digits.training import packing
from handwritten_digits.training.manifest import Bad
from handwritten_digits.training.packing import pack
from handwritten_digits.training.packs import Pack
from handwritten_digits.training.sources import Pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

SIZE = (48, 32)
"""Width and height; the left half is dark, the right half is light."""


def drawn(mode: str) -> Image.Image:
    """A picture in a mode of Pillow's."""
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


def packed(folder: Path, *, channels: int = 3, skip_bad: bool = False) -> Pack:
    width, height = SIZE
    source = Pictures(folder / "in", height=height, width=width, channels=channels)
    shutil.rmtree(folder / "pack", ignore_errors=True)
    return pack(source, folder / "pack", skip_bad=skip_bad)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose second class holds one picture."""
    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
    drawn("RGB").save(tmp_path / "in" / "b" / "picture.png")
    return tmp_path


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
@pytest.mark.parametrize(
    ("suffix", "mode"), [(suffix, mode) for suffix, modes in MODES.items() for mode in modes]
)
def test_every_mode_looks_the_same(suffix: str, mode: str, channels: int, folder: Path) -> None:
    drawn(mode).save(folder / "in" / "a" / f"picture.{suffix}")
    opened = packed(folder, channels=channels)
    dark, light = (0, 255) if mode == "1" else (40, 200)
    looks = opened.x[0].astype(int)[..., : min(channels, 3)]
    assert np.abs(looks[:, : SIZE[0] // 2 - 4] - dark).max() <= 8
    assert np.abs(looks[:, SIZE[0] // 2 + 4 :] - light).max() <= 8
    if channels == 4:
        assert (opened.x[0][..., 3] == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_exif_says(orientation: int, folder: Path) -> None:
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
    stored.save(folder / "in" / "a" / "picture.png", exif=exif)
    np.testing.assert_array_equal(packed(folder).x[0], np.asarray(upright))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(mode: str, folder: Path) -> None:
    picture = drawn("RGBA")
    picture.putalpha(Image.fromarray(np.asarray(drawn("L")) // 200 * 255))  # the dark half is clear
    picture = picture.quantize() if mode == "P" else picture.convert(mode)
    picture.save(folder / "in" / "a" / "picture.png")
    found = packed(folder).x[0]
    assert (found[:, : SIZE[0] // 2] == 255).all()
    assert (abs(found[:, SIZE[0] // 2 :].astype(int) - 200) <= 2).all()
    assert (packed(folder, channels=4).x[0][:, 0, 3] == 0).all()


def test_an_animation_gives_its_first_picture(folder: Path) -> None:
    first, second = drawn("L"), Image.new("L", SIZE, 255)
    first.save(folder / "in" / "a" / "moving.gif", save_all=True, append_images=[second])
    assert packed(folder).x[0][0, 0, 0] == 40


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_of_unknown_range_are_named(mode: str, folder: Path) -> None:
    drawn("L").save(folder / "in" / "a" / "good.png")
    drawn(mode).save(folder / "in" / "a" / "wide.tif")
    opened = packed(folder, skip_bad=True)
    assert [(bad.where, bad.why[:28]) for bad in opened.manifest.all_bad] == [
        ("a/wide.tif", "its pixels have 32 bits, of ")
    ]


def test_programs_are_not_run_by_what_only_looks_like_a_picture(folder: Path) -> None:
    drawn("L").save(folder / "in" / "a" / "good.png")
    (folder / "in" / "a" / "page.eps").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    )
    assert [bad.where for bad in packed(folder, skip_bad=True).manifest.all_bad] == ["a/page.eps"]


def test_too_large_a_picture_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn("L").save(folder / "in" / "a" / "good.png")
    Image.new("L", (4 * SIZE[0], SIZE[1])).save(folder / "in" / "a" / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIZE[0] * SIZE[1])
    (bad,) = packed(folder, skip_bad=True).manifest.all_bad
    assert bad.where == "a/huge.png"
    assert "decompression bomb" in bad.why


@settings(deadline=None, database=None, max_examples=150)
@given(
    suffix=st.sampled_from(["png", "jpg", "gif", "bmp", "webp", "tif", "ppm"]),
    seed=st.integers(0, 2**32),
    cut=st.booleans(),
)
def test_no_damage_ends_in_a_traceback(suffix: str, seed: int, cut: bool) -> None:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in ("a", "b"):
            (folder / "in" / name).mkdir(parents=True)
            drawn("RGB").save(folder / "in" / name / "good.png")
        damaged = folder / "in" / "a" / f"damaged.{suffix}"
        drawn("RGB").save(damaged)
        content = bytearray(damaged.read_bytes())
        if cut:
            del content[chance.randrange(len(content)) :]
        for _ in range(chance.randrange(4)):
            if content:
                content[chance.randrange(len(content))] = chance.randrange(256)
        damaged.write_bytes(bytes(content))
        opened = packed(folder, skip_bad=True)
        assert len(opened.x) + len(opened.manifest.all_bad) == 3
        assert {bad.where for bad in opened.manifest.all_bad} <= {f"a/damaged.{suffix}"}


def test_a_shard_may_hold_bad_pictures_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "SHARD_BYTES", 1)  # a shard for each
    drawn("L").save(folder / "in" / "a" / "good.png")
    (folder / "in" / "a" / "empty.png").write_bytes(b"")
    (folder / "in" / "b" / "nowhere.png").symlink_to(folder / "nowhere.png")
    opened = packed(folder, skip_bad=True)
    assert [bad.where for bad in opened.manifest.all_bad] == ["a/empty.png", "b/nowhere.png"]
    assert opened.x[:].shape == (2, SIZE[1], SIZE[0], 3)
    assert opened.y[:].tolist() == [0, 1]


def test_a_lost_connection_is_no_fault_of_the_pictures(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn("L").save(folder / "in" / "a" / "good.png")

    def open_nothing(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", open_nothing)
        with pytest.raises(UserError, match=r"Packing into .* stopped: .*connection to Drive"):
            packed(folder, skip_bad=True)
    assert len(packed(folder).x) == 2


def test_what_was_bad_is_tried_again(folder: Path) -> None:
    drawn("L").save(folder / "in" / "a" / "secret.png")
    source = Pictures(folder / "in", height=8, width=8)
    reading, source.read = source.read, lambda start, stop: iter([Bad(where="x", why="y")])
    with pytest.raises(UserError, match="Nothing is packed"):
        pack(source, folder / "pack")
    source.read = reading
    assert len(pack(source, folder / "pack").x) == 2


def test_a_class_that_lost_all_its_pictures_is_refused(folder: Path) -> None:
    (folder / "in" / "a" / "empty.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"(?s)Every example of a is bad.*a/empty.png: cannot"):
        packed(folder, skip_bad=True)
