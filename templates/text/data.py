"""What to learn from: docstrings of six Python libraries, each to be told from the other five.

The docstrings are read from the installed libraries, without importing them; the names of the
libraries are masked. `dataset="reuters"` chooses the Reuters newswires instead. Put your own texts
here: whatever `load` returns as a `Data` is trained on, recorded and shown.
"""

from __future__ import annotations

import ast
import gc
import gzip
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import textwrap
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from .config import Config
from .errors import UserError

LIBRARIES = {
    "numpy": "numpy",
    "scipy": "scipy",
    "pandas": "pandas",
    "matplotlib": "matplotlib",
    "scikit-learn": "sklearn",
    "keras": "keras",
}
"""The classes: what pip calls each library, and what Python imports."""

SKIPPED = {"tests", "externals", "array_api_compat", "array_api_extra", "distutils"}
"""Folders left out: tests, copies of other libraries, and what numpy ships for old Pythons only."""

SHORTEST = 7
"""Words that a docstring must have. Below that, no reader could tell where it comes from."""

MASK = "[library]"
"""Stands where a library was named, so that no text tells its own class."""

NAMES = re.compile(
    r"numpy|scipy|pandas|matplotlib|sklearn|scikit(?:[-_ ]?learn)?|keras|tensorflow"
    r"|(?<![a-z0-9])(?:np|sp|pd|plt|mpl|tf)(?![a-z0-9])"
)
"""The names, also inside longer ones (kerastensor), and the usual aliases that stand alone."""

WORD = re.compile(re.escape(MASK) + r"|\w+", re.ASCII)

PARSER = 1
"""Raise it when the rules above or below change, so that older caches are left alone."""

PADDING, UNKNOWN = "", "[UNK]"


@dataclass(frozen=True, kw_only=True)
class Data:
    """A labelled data set, split for training and testing.

    Attributes:
        name: What it is called in the run's record.
        x_train, x_test: Texts as indices of words, int32, shape (examples, sequence_length);
            short texts are padded with 0 at their end.
        y_train, y_test: Class indices, int32, shape (examples,).
        class_names: The name of each class, by its index.
        vocabulary: The word of each index. Index 0 is padding.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]
    vocabulary: tuple[str, ...]

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of every array's type, shape and values, in hexadecimal."""
        digest = hashlib.sha256()
        for array in (self.x_train, self.y_train, self.x_test, self.y_test):
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


def read_docstrings(folder: Path) -> Iterator[str]:
    """Yield the docstrings of a package's modules, classes and functions, as `masked_words`.

    Args:
        folder: The package. Its files are parsed, never run.
    """
    for path in folder.rglob("*.py"):
        if not SKIPPED.isdisjoint(path.relative_to(folder).parts):
            continue
        with warnings.catch_warnings():
            # Some strings hold invalid escape sequences, which is not this project's concern.
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes(), filename=str(path))
        for docstring in _docstrings(tree):
            words = masked_words(docstring)
            if len(words) >= SHORTEST:
                yield " ".join(words)


def masked_words(text: str) -> list[str]:
    """Split a text into lower-case words, the libraries' names masked."""
    return WORD.findall(NAMES.sub(MASK, text.lower()))


def _load_docstrings(config: Config, cache: Path) -> Data:
    """Load the docstrings: 4/5 to train on, 1/5 to test on, every class alike in both."""
    from sklearn.model_selection import train_test_split

    texts, libraries = zip(*_cached_docstrings(cache), strict=True)
    class_names = tuple(LIBRARIES)
    labels = np.array([class_names.index(library) for library in libraries], np.int32)
    train, test, y_train, y_test = train_test_split(
        texts, labels, test_size=0.2, random_state=config.seed, stratify=labels
    )
    vocabulary = _vocabulary(train, size=config.vocabulary_size)
    x_train = _encode(train, vocabulary, length=config.sequence_length)
    x_test = _encode(test, vocabulary, length=config.sequence_length)
    # Texts that differ in rare words or in their ends only look alike to the model.
    tested = {row.tobytes() for row in x_test}
    unseen = np.array([row.tobytes() not in tested for row in x_train])
    return Data(
        name="docstrings of six Python libraries",
        x_train=x_train[unseen],
        y_train=y_train[unseen],
        x_test=x_test,
        y_test=y_test,
        class_names=class_names,
        vocabulary=vocabulary,
    )


def _load_reuters(config: Config, cache: Path) -> Data:
    """Load the Reuters newswires, 11,228 texts of 46 topics, from where Keras keeps them.

    Keras downloads them once (2 MB), into its own folder, and splits them by the seed.
    """
    from keras.datasets import reuters
    from keras.utils import pad_sequences

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

    return Data(
        name="Reuters newswires",
        x_train=pad(x_train),
        y_train=y_train.astype(np.int32),
        x_test=pad(x_test),
        y_test=y_test.astype(np.int32),
        class_names=tuple(reuters.get_label_names()),
        vocabulary=vocabulary[: config.vocabulary_size],
    )


LOADERS: dict[str, Callable[[Config, Path], Data]] = {
    "docstrings": _load_docstrings,
    "reuters": _load_reuters,
}


def _cached_docstrings(cache: Path) -> list[tuple[str, str]]:
    """Return what `_read_libraries` returns, from the cache if it was made of these versions."""
    installed = {library: _find(library) for library in LIBRARIES}
    rules = [PARSER, {library: version for library, (version, _) in installed.items()}]
    fingerprint = hashlib.sha256(json.dumps(rules).encode()).hexdigest()[:16]
    path = cache / f"docstrings-{fingerprint}.json.gz"
    if path.exists():
        try:
            stored = json.loads(gzip.decompress(path.read_bytes()))
            return [(text, library) for text, library in stored]
        except (OSError, EOFError, zlib.error, ValueError) as error:
            print(f"{path} is damaged ({error}); the docstrings are read again.", flush=True)
    pairs = _read_libraries(installed)
    cache.mkdir(parents=True, exist_ok=True)
    # Under another name first: whoever looks meanwhile, or after a crash, finds no half a file.
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(gzip.compress(json.dumps(pairs).encode(), mtime=0))
    partial.replace(path)
    return pairs


def _find(library: str) -> tuple[str, Path]:
    """Return a library's version and its folder, without importing it."""
    spec = importlib.util.find_spec(LIBRARIES[library])
    if spec is None or spec.origin is None:
        raise UserError(
            f"The docstrings of {library} can't be read: it is not installed here."
            " Install what this project needs: python -m pip install -r requirements.txt"
        )
    return importlib.metadata.version(library), Path(spec.origin).parent


def _read_libraries(installed: dict[str, tuple[str, Path]]) -> list[tuple[str, str]]:
    """Parse the libraries; return their distinct docstrings, each with its library, sorted.

    A docstring becomes lower-case words with one space between them, the names masked. One that
    two libraries share has no right answer and is left out.
    """
    started, found = time.monotonic(), 0
    origins: dict[str, set[str]] = {}
    # Parsing makes millions of objects and no cycles: without this, the garbage collector would
    # search all of TensorFlow again and again, and double the time.
    gc.freeze()
    try:
        for library, (version, folder) in installed.items():
            texts = list(read_docstrings(folder))
            for text in texts:
                origins.setdefault(text, set()).add(library)
            found += len(texts)
            print(f"Read {len(texts):,} docstrings of {library} {version}.", flush=True)
    finally:
        gc.unfreeze()
    pairs = sorted((text, names.pop()) for text, names in origins.items() if len(names) == 1)
    seconds = time.monotonic() - started
    print(f"Kept {len(pairs):,} of {found:,}: each once ({seconds:.1f} s).", flush=True)
    return pairs


def _docstrings(node: ast.AST) -> Iterator[str]:
    """Yield the docstring of a module, class or function and of all that it defines."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        docstring = ast.get_docstring(node, clean=False)
        if docstring:
            yield docstring
    # Only statements hold definitions: leaving the expressions out is six times as fast.
    for block in ("body", "orelse", "handlers", "finalbody", "cases"):
        for child in getattr(node, block, ()):
            yield from _docstrings(child)


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
