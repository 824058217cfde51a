"""Data sets for first steps, made of what is installed: nothing is downloaded."""

from __future__ import annotations

import ast
import gc
import gzip
import importlib.metadata
import importlib.util
import json
import os
import re
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .console import say
from .errors import UserError
from .files import digest, hidden, patiently
from .sources import ArrayExamples, as_examples

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
"""Directories left out: tests, copies of other libraries, and what NumPy has for old Pythons."""

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

RULES = 1
"""Raise it when the rules above or below change, so that older caches are left alone."""


def load_docstrings(cache_dir: str | Path | None = None) -> ArrayExamples:
    """Load about 15,000 docstrings of six Python libraries, each to be told from the other five.

    They are read from the installed libraries, which are parsed and never imported. A text is a
    docstring's lower-case words, with one space between them and `[library]` for the libraries'
    names. One that two libraries share has no right answer and is left out.

    Args:
        cache_dir: Where the texts are kept, as parsing takes seconds; `~/.keras/datasets` if None,
            where Keras keeps its own.

    Returns:
        The examples `(text, label)` and their `class_names`; the class index is an int32.

    Raises:
        UserError: If one of the libraries is not installed.

    Example:
        >>> docstrings = exactrun.datasets.load_docstrings()
        >>> docstrings.class_names
        ('numpy', 'scipy', 'pandas', 'matplotlib', 'scikit-learn', 'keras')
        >>> texts, labels = docstrings[:2]
    """
    installed = {library: _find(library) for library in LIBRARIES}
    versions = {library: version for library, (version, _) in installed.items()}
    key = digest(json.dumps([RULES, versions]).encode())[:16]
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    directory = Path(cache_dir) if cache_dir is not None else Path(home) / "datasets"
    path = directory / f"docstrings-{key}.json.gz"
    pairs = _cached(path)
    if pairs is None:
        pairs = _read_libraries(installed)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Under another name first: whoever looks meanwhile, or after a crash, finds it whole.
            partial = hidden(path, f"{os.getpid()}.partial")
            partial.write_bytes(gzip.compress(json.dumps(pairs).encode(), mtime=0))
            patiently(partial.replace, path)
        except OSError as error:
            say(f"{path} can't be written ({error}); the next session parses again.")
    names = tuple(LIBRARIES)
    texts = np.array([text for text, _ in pairs], dtype=object)
    labels = np.array([names.index(library) for _, library in pairs], np.int32)
    return ArrayExamples((texts, labels), class_names=names)


def take(part: Any, count: int) -> Any:
    """Return a few examples of data as `fit` takes them, as arrays.

    They are spread evenly, as data may be sorted by their classes; of a data set, which can only be
    read in order, they are the first.

    Args:
        part: `(x, y)` or `(x, y, sample_weight)`; `(source,)`; `(function,)`, whose epoch 0 is
            read; or a `tf.data.Dataset` of batches, also as `(dataset,)`.
        count: How many, at most.

    Returns:
        The examples as the tuple that one of `part` is, its arrays stacked along the first axis.

    Example:
        >>> x, y = exactrun.datasets.take((np.zeros((100, 4)), np.ones(100)), 10)
        >>> x.shape, y.shape
        ((10, 4), (10,))
    """
    data = part
    if isinstance(part, tuple | list):
        data = part[0] if len(part) == 1 else tuple(part)
    if callable(data) and not hasattr(data, "__getitem__"):
        data = data(0)
    if not hasattr(data, "unbatch"):
        examples = as_examples(data)
        rows = np.linspace(0, len(examples) - 1, min(count, len(examples)))
        return examples[rows.round().astype(np.int64)]
    whole = data.unbatch().batch(count)
    return next(whole.take(1).as_numpy_iterator())


def _cached(path: Path) -> list[tuple[str, str]] | None:
    """Return what an earlier session has kept; None if there is nothing that can be read."""
    try:
        stored = json.loads(gzip.decompress(path.read_bytes()))
        return [(text, library) for text, library in stored]
    except FileNotFoundError:
        return None
    except (OSError, EOFError, zlib.error, TypeError, ValueError) as error:
        say(f"{path} is damaged ({error}); the docstrings are read again.")
        return None


def _find(library: str) -> tuple[str, Path]:
    """Return a library's version and its directory, without importing it."""
    spec = importlib.util.find_spec(LIBRARIES[library])
    if spec is None or spec.origin is None:
        raise UserError(
            f"The docstrings of {library} can't be read: it is not installed here. Install it:"
            f" python -m pip install {library}"
        )
    return importlib.metadata.version(library), Path(spec.origin).parent


def _read_libraries(installed: dict[str, tuple[str, Path]]) -> list[tuple[str, str]]:
    """Return the libraries' distinct docstrings, each with its library, sorted."""
    started, found = time.monotonic(), 0
    origins: dict[str, set[str]] = {}
    # Parsing makes millions of objects and no cycles: without this, the garbage collector would
    # search all of TensorFlow again and again, and double the time.
    gc.freeze()
    try:
        for library, (version, directory) in installed.items():
            texts = list(read_docstrings(directory))
            for text in texts:
                origins.setdefault(text, set()).add(library)
            found += len(texts)
            say(f"Read {len(texts):,} docstrings of {library} {version}.")
    finally:
        gc.unfreeze()
    pairs = sorted((text, names.pop()) for text, names in origins.items() if len(names) == 1)
    seconds = time.monotonic() - started
    say(f"Kept {len(pairs):,} of {found:,}: each once ({seconds:.1f} s).")
    return pairs


def read_docstrings(package: Path) -> Iterator[str]:
    """Yield the docstrings of a package's modules, classes and functions, as `load_docstrings`."""
    for path in sorted(package.rglob("*.py")):
        if not SKIPPED.isdisjoint(path.relative_to(package).parts):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some strings hold invalid escape sequences
            tree = ast.parse(path.read_bytes(), filename=str(path))
        for docstring in _docstrings(tree):
            words = WORD.findall(NAMES.sub(MASK, docstring.lower()))
            if len(words) >= SHORTEST:
                yield " ".join(words)


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
