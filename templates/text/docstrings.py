"""Where the docstrings come from: the installed libraries, parsed and never imported."""

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
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

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


def cached_docstrings(cache: Path) -> list[tuple[str, str]]:
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
