"""The newswires: the other data set on offer, downloaded by Keras."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from {{ cookiecutter.__package }} import data as corpus
from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.errors import UserError


@pytest.fixture
def reuters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keras' download of the newswires, led to a folder with a small set in the same layout."""
    import keras
    from keras.datasets import reuters

    source = tmp_path / "source"
    source.mkdir()
    words = {f"term{rank}": rank for rank in range(1, 121)}
    (source / "reuters_word_index.json").write_text(json.dumps(words))
    generator = np.random.default_rng(0)
    newswires = np.empty(50, dtype=object)
    for index in range(50):
        newswires[index] = generator.integers(1, 121, size=5 + index).tolist()
    np.savez(source / "reuters.npz", x=newswires, y=np.arange(50) % 46)

    folder = tmp_path / "keras"
    folder.mkdir()

    def get_file(fname: str, *, origin: str, file_hash: str) -> str:
        local = (source / origin.rpartition("/")[2]).as_uri()
        return keras.utils.get_file(fname, origin=local, cache_dir=folder)

    monkeypatch.setattr(sys.modules[reuters.load_data.__module__], "get_file", get_file)
    return source


def test_the_newswires_are_one_setting_away(reuters: Path, tmp_path: Path) -> None:
    config = Config(dataset="reuters", vocabulary_size=100, sequence_length=20)
    data = corpus.load(config, cache=tmp_path)
    assert data.x_train.shape == (36, 20)
    assert data.x_validation.shape == (4, 20)
    assert data.x_test.shape == (10, 20)
    assert data.x_train.dtype == data.y_train.dtype == np.int32
    assert data.vocabulary[:5] == ("", "[START]", "[UNK]", "[UNUSED]", "term1")
    assert len(data.vocabulary) == 100
    assert data.x_train.max() < 100
    assert len(data.class_names) == 46

    stored = np.load(reuters / "reuters.npz", allow_pickle=True)
    # Words beyond the vocabulary are unknown; long texts lose their ends, short ones are padded.
    known = {
        " ".join(["[START]", *(f"term{w}" if w < 97 else "[UNK]" for w in newswire)][:20]): label
        for newswire, label in zip(stored["x"], stored["y"], strict=True)
    }
    rows = [*data.x_train, *data.x_validation, *data.x_test]
    labels = [*data.y_train, *data.y_validation, *data.y_test]
    assert [known[data.text(row)] for row in rows] == labels
    assert "earn" in corpus.preview(data, classes=46)[1]


def test_the_newswires_are_split_by_the_seed(reuters: Path, tmp_path: Path) -> None:
    config = Config(dataset="reuters", vocabulary_size=100, sequence_length=20)
    first = corpus.load(config, cache=tmp_path)
    assert corpus.load(config, cache=tmp_path).sha256 == first.sha256
    assert corpus.load(replace(config, seed=1), cache=tmp_path).sha256 != first.sha256


def test_newswires_that_cannot_be_downloaded_say_what_to_do(reuters: Path, tmp_path: Path) -> None:
    (reuters / "reuters.npz").unlink()
    with pytest.raises(UserError, match=r'(?s)could not be downloaded: .*dataset="docstrings"'):
        corpus.load(Config(dataset="reuters"), cache=tmp_path)
