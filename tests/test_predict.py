"""`predict` of a project reads files as the training did, and says what it can't use."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import exactrun
import keras
import numpy as np
import pytest
from baking import bake
from PIL import Image

LAYER = """


@keras.saving.register_keras_serializable()
class Twice(keras.layers.Layer):
    def call(self, x):
        return 2 * x
"""


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """A project's command line; its `model.py` has a layer of the user's own."""
    project = bake(tmp_path_factory.mktemp("project"))
    with (project.path / "src/handwritten_digits/model.py").open("a") as file:
        file.write(LAYER)
    sys.path.insert(0, str(project.path / "src"))
    yield importlib.import_module("handwritten_digits.__main__")
    sys.path.pop(0)
    for name in [name for name in sys.modules if name.split(".")[0] == "handwritten_digits"]:
        del sys.modules[name]


def saved(path: Path, *layers: keras.Layer) -> Path:
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers, keras.layers.Flatten()])
    return exactrun.save_model(model, path)


def test_a_picture_is_read_as_it_was_for_the_training(line: ModuleType, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 4)).astype(np.uint8)
    turned, place = Image.Exif(), tmp_path / "pictures" / "a"
    turned[0x0112] = 6  # by a phone that was held upright
    for each in (place, place.with_name("b")):
        each.mkdir(parents=True)
        Image.fromarray(pixels[..., :3]).save(each / "1.jpg", exif=turned)
        Image.fromarray(pixels).save(each / "2.png")  # partly transparent
        Image.fromarray(pixels[..., 0] * np.uint16(257)).save(each / "3.png")
    pictures = exactrun.image_directory(place.parent, size=(8, 10))
    model = SimpleNamespace(inputs=[SimpleNamespace(shape=(None, 8, 10, 3), dtype="float32")])
    for index, file in enumerate(sorted(place.iterdir())):
        np.testing.assert_array_equal(line.read_input(file, model), pictures[index][0])


def test_a_text_is_read_as_windows_saves_it(line: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a bird", encoding="utf-8-sig")
    model = SimpleNamespace(inputs=[SimpleNamespace(shape=(None,), dtype="string")])
    assert line.read_input(tmp_path / "a.txt", model) == "a bird"


def test_a_model_with_a_layer_of_ones_own_is_used(
    line: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = importlib.import_module("handwritten_digits.model")
    model, picture = saved(tmp_path / "model.keras", own.Twice()), tmp_path / "a.png"
    Image.new("RGB", (8, 8), (1, 1, 1)).save(picture)
    keras.saving.get_custom_objects().clear()  # as in a process that has not built the model
    del sys.modules["handwritten_digits.model"]
    del sys.modules["handwritten_digits"].model
    assert line.main(["predict", "--model", str(model), str(picture)]) == 0
    assert f"a.png: {[2.0] * 192}" in capsys.readouterr().out


def test_what_can_not_be_used_is_said_without_a_traceback(
    line: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.effect_noise((40, 40), 9).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("no picture")
    model = saved(tmp_path / "model.keras")
    (tmp_path / "cut.keras").write_bytes(model.read_bytes()[:-99])
    x, y, same = keras.Input((8, 8, 3)), keras.Input((5,)), keras.layers.Identity()
    heads = [same(x), keras.layers.Flatten()(x)]
    both = keras.layers.Concatenate()([heads[1], y])
    several = {"two": (x, heads), "vector": (y, same(y)), "both": ([x, y], both)}
    two, vector, both = (
        exactrun.save_model(keras.Model(*each), tmp_path / f"{name}.keras")
        for name, each in several.items()
    )
    for model_file, picture, words in (
        (model, "cut.jpg", "cut.jpg can't be read as an image: "),
        (model, "text.jpg", "text.jpg can't be read as an image: cannot identify"),
        (model, "none.jpg", "none.jpg can't be read as an image: No such file"),
        (model, ".", "can't be read as an image: "),
        (tmp_path / "cut.keras", "whole.jpg", "cut.keras can't be read as a .keras file"),
        (tmp_path / "whole.jpg", "whole.jpg", "whole.jpg can't be read as a .keras file"),
        (tmp_path, "whole.jpg", "can't be read as a .keras file"),
        (tmp_path / "none.keras", "whole.jpg", "There is no model"),
        (two, "whole.jpg", "The model has several outputs"),
        (vector, "whole.jpg", "The model takes the shape (None, 5), neither"),
        (both, "whole.jpg", "The model takes several inputs, neither"),
    ):
        files = (str(model_file), str(tmp_path / picture))
        assert line.main(["predict", "--model", *files]) == 1, words
        assert words in capsys.readouterr().err
