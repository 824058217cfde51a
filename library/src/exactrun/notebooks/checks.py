"""What the lint's rules look for in a notebook's cells."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from IPython.core.inputtransformer2 import TransformerManager

from .files import Json
from .rules import Finding
from .secrets import find_secrets

PICTURES = re.compile(r"image/(?!svg)|audio/|video/|application/pdf")
"""Outputs in base64, in which no secret can be told from chance."""

SHARED = "user|username|you|your[\\w-]*|me|name|jovyan|jupyter|ec2-user|runner|vscode|[\\w-]*-user"
LOCAL_PATH = re.compile(
    rf"(?<![\w.:/~-])/(?:home|Users)/(?!(?:{SHARED})\b)[\w.-]+/"
    r"|file:///\w[^\s'\"]*|(?:^|(?<=[\s'\"=]))[A-Za-z]:\\(?!\\)\w[^\n'\"]*"
)
"""Not of an example's user, or of one who is the same on every machine of a service."""

NO_ALT = r"!\[\s*\][(\[][^)\]]*[)\]]|<img\b(?![^>]*\balt\s*=\s*[\"']\s*[^\"'\s])[^>]*>"
FILE = r"([\w.-]+/[\w.-]+?)/blob/[^/\s]+/([^)\"'\s?#]+)"
BADGE = (
    r"(?:!\[[^\]]*\]\([^)]*\)\]\(|<a\b[^>]*?\bhref=[\"']?)https?://(?:www\.)?{}"
    r"(?:[^)\s\"'>]*\)|[^>]*>\s*<img\b)"
)
BADGES = (  # each finds OWNER/REPOSITORY, and the file that a picture with this link opens
    BADGE.format(rf"colab\.research\.google\.com/github/{FILE}"),
    BADGE.format(rf"kaggle\.com/kernels/welcome\?src=https://github\.com/{FILE}"),
)
FETCHED = re.compile(r"^repository = [\"']https://github\.com/([\w./-]+?)(?:\.git)?[\"']", re.M)
UNSEEN = {"pip", "conda", "mamba", "uv", "sx", "system"}
"""Magics that go on as if nothing had happened when their command fails."""

AUTOMAGIC = re.compile(
    r"(autoreload|cat|cd|conda|cp|debug|env|history|ldir|less|ll|load_ext|ls|lsmagic|man|matplotlib"
    r"|mkdir|more|mv|pip|prun|pwd|pylab|reload_ext|rm|rmdir|run|time|timeit|uv|who|whos)\b.*"
)
"""Magics and commands that IPython takes without a `%`, as the only line of a cell."""

ASSIGNED = re.compile(r"^([ \t]*[\w.,\[\]'\" \t]+?=[ \t]*)!(.*)$", re.M)
"""`files = !ls`, which Colab's IPython 7.34 no longer reads on Python 3.12 and later."""

FORM_TYPES: dict[str, set[type]] = {
    "boolean": {bool},
    "date": {str},
    "integer": {int},
    "number": {int, float},
    "raw": {bool, int, float, str, list, tuple, dict, type(None)},
    "slider": {int, float},
    "string": {str},
}
"""The types of Colab's form fields, and those of the values that each of them writes."""


def named(notebook: Json) -> Iterator[tuple[str, Json]]:
    """Yield each cell with its id, or its number if it has none."""
    for number, cell in enumerate(notebook["cells"], 1):
        yield cell.get("id", str(number)), cell


def source_of(cell: Json) -> str:
    """Return a cell's text, which the format lets be one string or a list of lines."""
    return "".join(cell["source"])


def tags_of(cell: Json) -> list[str]:
    """Return a cell's tags."""
    tags: list[str] = cell["metadata"].get("tags", [])
    return tags


def is_python(notebook: Json) -> bool:
    """Tell whether its code is Python's, as far as it says."""
    held = notebook["metadata"]
    spec, info = held.get("kernelspec", {}), held.get("language_info", {})
    language = info.get("name") or spec.get("language") or "python"
    known = {"ir": "R"}  # Colab writes neither of the two
    return str(known.get(spec.get("name"), language)).lower() in ("python", "ipython")


def secrets(notebook: Json) -> Iterator[Finding]:
    """Search each cell, its outputs and metadata too, and the notebook's metadata."""
    for name, part in [*named(notebook), ("", notebook["metadata"])]:
        found = dict(each for text in _texts(part) for each in find_secrets(text))
        for kind, secret in found.items():
            yield Finding(rule="secret", cell=name, fault=f"it holds {kind}, {secret[:8]}…")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and all(isinstance(part, str) for part in value):
        yield "".join(value)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, dict):
        for key, part in value.items():
            if not PICTURES.match(key):
                yield from _texts(part)


def code(notebook: Json) -> Iterator[Finding]:
    """Check what the code cells of a Python notebook name and call."""
    for name, cell in named(notebook) if is_python(notebook) else ():
        if cell["cell_type"] != "code":
            continue
        try:
            tree = _parsed(source_of(cell))
        except (SyntaxError, ValueError, RecursionError) as error:
            if not _is_meant(cell):
                line = f"line {error.lineno}" if isinstance(error, SyntaxError) else "code"
                fault = f"its {line} is not Python: {getattr(error, 'msg', None) or error}"
                yield Finding(rule="syntax-error", cell=name, fault=fault)
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if found := LOCAL_PATH.search(node.value):
                    fault = f"it names {_cut(found[0].strip())}"
                    yield Finding(rule="local-path", cell=name, fault=fault)
            elif isinstance(node, ast.Call):
                yield from _call(name, node)


def _is_meant(cell: Json) -> bool:
    """Tell whether a cell that is not Python may be as it should be."""
    shown = any(output["output_type"] == "error" for output in cell.get("outputs", []))
    automagic = AUTOMAGIC.fullmatch(source_of(cell).strip())
    return "raises-exception" in tags_of(cell) or shown or bool(automagic)


def _parsed(source: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # of escapes in strings: no fault yet
        try:
            return ast.parse(_plain(source))
        except SyntaxError:
            read = ASSIGNED.sub(lambda m: f"{m[1]}get_ipython().getoutput({m[2]!r})", source)
            return ast.parse(_plain(read))


def _plain(source: str) -> str:
    """Return a cell's code with calls in the place of magics, as IPython runs it."""
    return str(TransformerManager().transform_cell(source))


def _call(name: str, call: ast.Call) -> Iterator[Finding]:
    function = ast.unparse(call.func)
    given = [value.value for value in call.args if isinstance(value, ast.Constant)]
    shell = function in ("get_ipython().system", "get_ipython().getoutput")
    if shell or (function.startswith("get_ipython().run_") and UNSEEN & {*given[:1]}):
        line = f"{'!' if shell else '%'}{' '.join(map(str, given)).strip()}"
        fault = f"when `{line}` fails, the notebook goes on"
        yield Finding(rule="silent-failure", cell=name, fault=fault)
    if function == "plt.show":
        yield Finding(rule="plot-alt", cell=name, fault="its plot has no alt text")


def pictures(notebook: Json) -> Iterator[Finding]:
    """Check that each picture of a Markdown cell has an alt text."""
    for name, cell in named(notebook):
        if cell["cell_type"] == "markdown":
            prose = re.sub(r"```.*?```|`[^`\n]*`", "", source_of(cell), flags=re.S)
            for found in re.finditer(NO_ALT, prose):
                fault = f"its picture {_cut(found[0])} has no alt text"
                yield Finding(rule="picture-alt", cell=name, fault=fault)


def kernel(notebook: Json) -> Iterator[Finding]:
    """Check that any machine has the kernel."""
    name = notebook["metadata"].get("kernelspec", {}).get("name")
    if is_python(notebook) and name != "python3":
        fault = f"its kernel is {name}" if name else "it names no kernel"
        yield Finding(rule="kernel", fault=fault)


def runtime(notebook: Json, *, pinned: str) -> Iterator[Finding]:
    """Check that the runtime that Colab is asked for is the one that is pinned.

    Args:
        notebook: The notebook.
        pinned: That of the project's pins; `latest` has no name to ask for. Empty: there is none.
    """
    attributes = notebook["metadata"].get("colab", {}).get("runtime_attributes", {})
    asked = attributes.get("runtime_version", "latest")
    if pinned and asked != pinned:
        fault = f"it asks Colab for the runtime {asked}, and requirements.txt is of {pinned}"
        yield Finding(rule="runtime", fault=fault)


def parameters(notebook: Json, *, needed: bool) -> Iterator[Finding]:
    """Check the cell whose values papermill and Colab's form replace.

    Args:
        notebook: The notebook.
        needed: Whether it is run with parameters.
    """
    tagged = [(name, cell) for name, cell in named(notebook) if "parameters" in tags_of(cell)]
    if len(tagged) > 1:
        fault = f"{len(tagged)} cells are tagged parameters"
        yield Finding(rule="parameters-cell", fault=fault)
    elif needed and not tagged:
        fault = "no cell is tagged parameters, though pyproject.toml gives it some"
        yield Finding(rule="parameters-cell", fault=fault)
    for name, cell in named(notebook):
        if "injected-parameters" in tags_of(cell):
            fault = "it holds the parameters of an earlier run"
            yield Finding(rule="injected-parameters", cell=name, fault=fault)
    for name, cell in tagged:
        lines = source_of(cell).encode().splitlines()
        try:
            statements = ast.parse(b"\n".join(lines)).body
        except (SyntaxError, ValueError):  # magics among them, or a fault that `code` finds
            continue
        for statement in statements:
            rest = lines[(statement.end_lineno or 1) - 1][statement.end_col_offset or 0 :]
            if fault := _form_fault(statement, rest.decode()):
                fault = f"`{ast.unparse(statement)}` {fault}"
                yield Finding(rule="parameter-form", cell=name, fault=fault)


def _form_fault(statement: ast.stmt, comment: str) -> str:
    """Return what is wrong with a line `name = value  # @param …`; nothing if it is right."""
    form = re.search(r"#\s*@param\s*(\[.*?\])?\s*(?:\{.*?\btype[\"']?\s*:\s*[\"'](\w+))?", comment)
    if form is None or not isinstance(statement, ast.Assign | ast.AnnAssign):
        return ""
    try:
        value = ast.literal_eval(statement.value or ast.Constant(None))
    except ValueError:  # a computed default
        return ""
    choices: list[Any] = []
    if form[1]:
        try:
            choices = json.loads(form[1])
        except ValueError:
            return f"has choices that are not JSON: {form[1]}"
    if choices and "allow-input" not in comment and value not in choices:
        return f"is none of the choices {form[1]} of its form field"
    if form[2] and type(value) not in FORM_TYPES.get(form[2], set()):
        return f"does not fit its form field of type {form[2]}"
    return ""


def _cut(text: str) -> str:
    """Return what fits into a line, such as of a picture that is in its own address."""
    return text if len(text) <= 100 else f"{text[:99]}…"


def badges(notebook: Json, path: Path) -> Iterator[Finding]:
    """Check that badges lead to this notebook, all to one repository, and it fetches this one.

    Args:
        notebook: The notebook.
        path: Where it lies.
    """
    if any(
        "view-in-github" in (name, cell["metadata"].get("id")) for name, cell in named(notebook)
    ):
        return  # Colab's own badge, above what a copy of another notebook still says
    first = ""
    for form in BADGES:
        found = [
            (name, repository, unquote(opened))
            for name, cell in named(notebook)
            if cell["cell_type"] == "markdown"
            for repository, opened in re.findall(form, source_of(cell))
        ]
        if len({opened for _, _, opened in found}) != 1:
            continue  # none, or a list of notebooks
        name, repository, opened = found[0]
        first = first or repository
        if repository != first:
            fault = f"its badge opens a notebook of {repository}, and another one of {first}"
            yield Finding(rule="badge", cell=name, fault=fault)
        here = _in_repository(path.resolve())
        if not f"/{opened}".endswith(f"/{here}"):  # a branch with a `/` stands before the path
            fault = f"its badge opens {opened}, and this notebook is {here}"
            yield Finding(rule="badge", cell=name, fault=fault)
    for name, cell in named(notebook) if first else ():
        if (fetched := FETCHED.search(source_of(cell))) and fetched[1] != first:
            fault = f"it fetches {fetched[1]}, and the badge opens a notebook of {first}"
            yield Finding(rule="badge", cell=name, fault=fault)


def _in_repository(path: Path) -> str:
    """Return a file's path in its repository; its name outside of any."""
    root = next((each for each in path.parents if (each / ".git").exists()), path.parent)
    return path.relative_to(root).as_posix()
