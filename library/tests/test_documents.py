"""What the documentation shows is what happens."""

from __future__ import annotations

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

import exactrun

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.parametrize("name", sorted(set(exactrun.__all__) - {"__version__"}))
def test_the_example_of_a_public_name_holds(name: str, tmp_path: Path) -> None:
    thing = getattr(exactrun, name)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    known = {"exactrun": exactrun, "keras": keras, "np": np, "directory": tmp_path, "model": model}
    known["Checkpoints"] = exactrun.Checkpoints
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    module = thing if isinstance(thing, ModuleType) else importlib.import_module(thing.__module__)
    for test in finder.find(thing, name, module=module, globs=known):
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
    assert thing.__doc__
    if callable(thing) and not isinstance(thing, type):
        assert ">>>" in thing.__doc__, "a public function shows an example"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_readmes_first_example_runs_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.RandomState(0)
    few = (random.randint(0, 256, (96, 28, 28)).astype(np.uint8), random.randint(0, 10, 96))
    mnist = SimpleNamespace(load_data=lambda: (few, few))
    monkeypatch.setattr(keras.datasets, "mnist", mnist)
    first: dict[str, Any] = {}
    again: dict[str, Any] = {}
    exec(blocks()[0], first)
    exec(blocks()[0], again)
    assert again["history"].resumed_from == 15
    assert again["history"].history == first["history"].history
    code = [line for line in blocks()[0].splitlines() if line.strip()]
    assert len(code) <= 10


def test_the_readmes_example_of_larger_data_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    for kind, color in (("crow", "black"), ("swan", "white")):
        (tmp_path / "birds" / kind).mkdir(parents=True)
        for number in range(40):
            Image.new("RGB", (80, 70 + number), color).save(
                tmp_path / "birds" / kind / f"{number}.png"
            )
    layers = [keras.Input((64, 64, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
    model = keras.Sequential(layers)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    known: dict[str, Any] = {"model": model}
    exec(blocks()[1], known)
    assert known["history"].finished
    assert [len(known[part]) for part in ("train", "validation", "test")] == [64, 8, 8]


def test_without_tensorflow_a_name_that_needs_it_says_what_to_install() -> None:
    blocked = "import sys; sys.modules |= dict.fromkeys(['keras', 'numpy', 'tensorflow'])\n"
    code = blocked + "import exactrun, exactrun.notebooks\nprint('imported')\nexactrun.fit"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "imported\n"
    needed = "exactrun.fit needs the extra `tensorflow` of exactrun"
    assert done.stderr.splitlines()[-1].startswith(needed)
