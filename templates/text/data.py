"""What to learn from: docstrings of six Python libraries, each to be told from the other five.

The docstrings are read from the installed libraries, without importing them; the names of the
libraries are masked. `dataset="reuters"` chooses the Reuters newswires instead. Put your own texts
here: whatever `load` returns as a `Data` is trained on, recorded and shown.
"""

from __future__ import annotations

import hashlib
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from . import docstrings
from .config import Config
from .errors import UserError

PADDING, UNKNOWN = "", "[UNK]"


@dataclass(frozen=True, kw_only=True)
class Data:
    """A labelled data set, split for training, validation and testing.

    Attributes:
        name: What it is called in the run's record.
        x_train, x_validation, x_test: Texts as indices of words, int32, shape (examples,
            sequence_length); short texts are padded with 0 at their end.
        y_train, y_validation, y_test: Class indices, int32, shape (examples,).
        class_names: The name of each class, by its index.
        vocabulary: The word of each index. Index 0 is padding.
        fingerprint: SHA-256 of the content, where that is known already; empty: it is computed.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_validation: np.ndarray
    y_validation: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]
    vocabulary: tuple[str, ...]
    fingerprint: str = ""

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of every array's type, shape and values, in hexadecimal."""
        if self.fingerprint:
            return self.fingerprint
        digest = hashlib.sha256()
        for array in (
            *(self.x_train, self.y_train, self.x_validation, self.y_validation),
            *(self.x_test, self.y_test),
        ):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def text(self, indices: np.ndarray) -> str:
        """Return one example as the model sees it, in words."""
        return " ".join(self.vocabulary[index] for index in indices if index)


def load(config: Config, *, cache: Path) -> Data:
    """Load the data set that `config.dataset` names.

    Args:
        config: `seed` decides the split; `vocabulary_size` and `sequence_length`, what is kept.
        cache: Folder for the parsed docstrings, which take seconds to make.

    Raises:
        UserError: If one of the libraries is missing, or the newswires can't be downloaded.
    """
    return LOADERS[config.dataset](config, cache)


def preview(data: Data, *, classes: int = 8, lines: int = 3) -> tuple[Figure, str]:
    """Draw how many training texts each of the largest classes has, and a text of each.

    Returns:
        The figure and its alt text.
    """
    counts = np.bincount(data.y_train, minlength=len(data.class_names))
    labels = np.argsort(-counts, kind="stable")[:classes]
    labels = labels[counts[labels] > 0]
    texts = [data.text(_telling(data.x_train[data.y_train == label])) for label in labels]
    names = [data.class_names[label] for label in labels]

    figure = Figure(figsize=(11, 0.8 + 0.65 * len(labels)), layout="constrained")
    bars, examples = figure.subplots(1, 2, sharey=True, width_ratios=(2, 5))
    drawn = bars.barh(names, counts[labels], height=0.5, color="tab:blue")
    bars.bar_label(drawn, fmt="{:,.0f}", padding=3)
    bars.margins(x=0.25)
    bars.invert_yaxis()
    bars.set_title("Training texts", fontsize=10, loc="left")
    bars.spines[["top", "right", "bottom"]].set_visible(False)
    bars.tick_params(left=False, bottom=False, labelbottom=False)
    examples.set_title("An example of each, as the model sees it", fontsize=10, loc="left")
    examples.axis("off")
    for position, text in enumerate(texts):
        words = "\n".join(textwrap.wrap(text, width=100, max_lines=lines, placeholder=" …"))
        style = {"fontsize": 8, "family": "monospace", "parse_math": False}
        examples.text(0, position, words, verticalalignment="center", **style)

    shown = "; ".join(
        f"{name}: {count:,}, such as “{textwrap.shorten(text, 80, placeholder=' …')}”"
        for name, count, text in zip(names, counts[labels], texts, strict=True)
    )
    return figure, f"{data.name}, training texts by class. {shown}."


def _load_docstrings(config: Config, cache: Path) -> Data:
    """Load the docstrings: 1/5 to test, 1/10 of the rest to validate, all classes alike."""
    from sklearn.model_selection import train_test_split

    texts, libraries = zip(*docstrings.cached_docstrings(cache), strict=True)
    class_names = tuple(docstrings.LIBRARIES)
    labels = np.array([class_names.index(library) for library in libraries], np.int32)

    def split(rows: np.ndarray, *, share: float) -> list[np.ndarray]:
        return train_test_split(
            rows, test_size=share, random_state=config.seed, stratify=labels[rows]
        )

    train, test = split(np.arange(len(labels)), share=0.2)
    train, validation = split(train, share=0.1)
    vocabulary = _vocabulary([texts[row] for row in train], size=config.vocabulary_size)
    x = _encode(texts, vocabulary, length=config.sequence_length)
    # Texts that differ in rare words or in their ends only look alike to the model.
    tested = {x[row].tobytes() for row in test}
    validation = np.array([row for row in validation if x[row].tobytes() not in tested])
    tested |= {x[row].tobytes() for row in validation}
    train = np.array([row for row in train if x[row].tobytes() not in tested])
    return Data(
        name="docstrings of six Python libraries",
        x_train=x[train],
        y_train=labels[train],
        x_validation=x[validation],
        y_validation=labels[validation],
        x_test=x[test],
        y_test=labels[test],
        class_names=class_names,
        vocabulary=vocabulary,
    )


def _load_reuters(config: Config, cache: Path) -> Data:
    """Load the Reuters newswires, 11,228 texts of 46 topics, from where Keras keeps them.

    Keras downloads them once (2 MB), into its own folder, and splits them by the seed.
    """
    from keras.datasets import reuters
    from keras.utils import pad_sequences
    from sklearn.model_selection import train_test_split

    try:
        (x_train, y_train), (x_test, y_test) = reuters.load_data(
            num_words=config.vocabulary_size, test_split=0.2, seed=config.seed
        )
        words = reuters.get_word_index()
    except Exception as error:  # Keras raises nothing more special for a failed download.
        raise UserError(
            f"The Reuters newswires could not be downloaded: {error}. They come from the network"
            " when first used. Connect this machine to the internet (on Kaggle: Settings →"
            ' Internet) and try again, or take dataset="docstrings", which needs no network.'
        ) from error
    # Keras counts words from 1 and moves them up by 3: the most frequent one has index 4.
    special = (PADDING, "[START]", UNKNOWN, "[UNUSED]")
    vocabulary = (*special, *sorted(words, key=lambda word: words[word]))

    def pad(sequences: Sequence[Sequence[int]]) -> np.ndarray:
        return pad_sequences(
            sequences,
            maxlen=config.sequence_length,
            dtype="int32",
            padding="post",
            truncating="post",
        )

    # Some topics have two newswires only: this split can't give each topic its share.
    x_train, x_validation, y_train, y_validation = train_test_split(
        x_train, y_train, test_size=0.1, random_state=config.seed
    )
    return Data(
        name="Reuters newswires",
        x_train=pad(x_train),
        y_train=y_train.astype(np.int32),
        x_validation=pad(x_validation),
        y_validation=y_validation.astype(np.int32),
        x_test=pad(x_test),
        y_test=y_test.astype(np.int32),
        class_names=tuple(reuters.get_label_names()),
        vocabulary=vocabulary[: config.vocabulary_size],
    )


LOADERS: dict[str, Callable[[Config, Path], Data]] = {
    "docstrings": _load_docstrings,
    "reuters": _load_reuters,
}


def _vocabulary(texts: Sequence[str], *, size: int) -> tuple[str, ...]:
    """Return padding, unknown and the most frequent words; the alphabet decides between equals."""
    counts = Counter(word for text in texts for word in text.split())
    words = sorted(counts, key=lambda word: (-counts[word], word))
    return (PADDING, UNKNOWN, *words)[:size]


def _encode(texts: Sequence[str], vocabulary: Sequence[str], *, length: int) -> np.ndarray:
    """Return the indices of each text's first words, padded with 0, shape (texts, length)."""
    indices = {word: index for index, word in enumerate(vocabulary)}
    unknown = indices[UNKNOWN]
    encoded = np.zeros((len(texts), length), np.int32)
    for row, text in zip(encoded, texts, strict=True):
        words = text.split()[:length]
        row[: len(words)] = [indices.get(word, unknown) for word in words]
    return encoded


def _telling(rows: np.ndarray) -> np.ndarray:
    """Return the first of the texts that has twenty words or more, or else the longest."""
    lengths = np.count_nonzero(rows, axis=1)
    return rows[np.argmax(np.minimum(lengths, 20))]
