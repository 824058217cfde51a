"""What must hold of a stored notebook's cells, and how to fix what does not."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from IPython.core.inputtransformer2 import TransformerManager

from .files import Json

SECRETS = {
    "a GitHub token": r"\bgh[opsur]_[A-Za-z0-9]{36}|\bgithub_pat_[A-Za-z0-9_]{22,}",
    "a Google API key": r"\bAIza[A-Za-z0-9_-]{35}",
    "a Google access token": r"\bya29\.[A-Za-z0-9_-]{20,}",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "an API key": r"\bsk-(?:[a-z0-9]+-)*[A-Za-z0-9_]{20,}",
    "an AWS key": r"\bAKIA[A-Z0-9]{16}\b",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
}
LOCAL_PATH = r"(?<![\w.:/])/(?:home|Users|root|mnt)/[\w.-]+|file:///\S+|\b[A-Z]:\\{1,2}\w[^\\\n]*\\"
NO_ALT = r"!\[\s*\][(\[][^)\]]*[)\]]|<img\b(?![^>]*\balt\s*=\s*[\"']\s*[^\"'\s])[^>]*>"
GITHUB, FILE = r"github\.com/([\w.-]+/[\w.-]+?)", r"/blob/[^/\s]+/([^)\"'\s?#]+)"
ADDRESSES = (  # each finds OWNER/REPOSITORY, and the file that a badge opens
    rf"colab\.research\.google\.com/github/([\w.-]+/[\w.-]+){FILE}",
    rf"kaggle\.com/kernels/welcome\?src=https://{GITHUB}{FILE}",
    rf"(?m:^repository = [\"']|git clone )https://{GITHUB}(?:\.git)?()(?=[\"'\s]|$)",
)
UNSEEN = {"pip", "conda", "mamba", "uv", "sx", "system"}
"""Magics that go on as if nothing had happened when their command fails."""

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


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A fault of a stored notebook.

    Attributes:
        cell: Id of the cell, or its number if it has none; empty for the whole notebook.
        fault: What is wrong, and why that matters.
        remedy: What to do.
    """

    cell: str = ""
    fault: str
    remedy: str

    def __str__(self) -> str:
        return f"{f'cell {self.cell}: ' if self.cell else ''}{self.fault}. {self.remedy}"


def named(notebook: Json) -> Iterator[tuple[str, Json]]:
    """Yield each cell with its id, or its number if it has none."""
    for number, cell in enumerate(notebook["cells"], 1):
        yield cell.get("id", str(number)), cell


def source_of(cell: Json) -> str:
    """Return a cell's text, which the format lets be one string or a list of lines."""
    return "".join(cell["source"])


def metadata(notebook: Json) -> Iterator[Finding]:
    """Check that Colab and papermill start the notebook as it is meant."""
    held = notebook["metadata"]
    for name, wanted in (("kernelspec", "python3"), ("language_info", "python")):
        found = held.get(name, {}).get("name")
        if found != wanted:
            fault = f"its {name} is {found}, and Colab's is {wanted}"
            remedy = f"Set the name of {name} to {wanted} in the notebook's metadata."
            yield Finding(fault=fault, remedy=remedy)
    accelerator, kind = held.get("accelerator"), held.get("colab", {}).get("gpuType")
    if (accelerator == "GPU") != (kind is not None) and accelerator != "TPU":
        fault = f"its metadata asks Colab for accelerator {accelerator} and gpuType {kind}"
        yield Finding(fault=fault, remedy="Give both, such as GPU and T4, or neither.")


def private(name: str, cell: Json) -> Iterator[Finding]:
    """Search a cell, its outputs and metadata too, for what is of one person or machine."""
    for text in _strings(cell):
        for kind, pattern in SECRETS.items():
            if found := re.search(pattern, text):
                fault = f"it holds {kind}, {found[0][:8]}…, which whoever reads it can use"
                remedy = "Revoke it now; read the next one from Colab's secrets or the environment."
                yield Finding(cell=name, fault=fault, remedy=remedy)
        if found := re.search(LOCAL_PATH, text):
            fault = f"it names {found[0]}, which is on one machine only"
            remedy = "Use a path relative to the project, or a parameter."
            yield Finding(cell=name, fault=fault, remedy=remedy)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def pictures(name: str, cell: Json) -> Iterator[Finding]:
    """Check that each picture of a Markdown cell has an alt text."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", source_of(cell), flags=re.S)
    for found in re.finditer(NO_ALT, prose):
        fault = f"its picture {found[0]} has no alt text for those who can't see it"
        remedy = "Say what it shows: ![what it shows](file)."
        yield Finding(cell=name, fault=fault, remedy=remedy)


def calls(name: str, cell: Json) -> Iterator[Finding]:
    """Check what a code cell calls, as IPython understands it."""
    try:
        tree = ast.parse(TransformerManager().transform_cell(source_of(cell)))
    except SyntaxError as error:
        fault = f"its line {error.lineno} is not Python: {error.msg}"
        yield Finding(cell=name, fault=fault, remedy="Correct it.")
        return
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        function = ast.unparse(call.func)
        given = [value.value for value in call.args if isinstance(value, ast.Constant)]
        shell = function in ("get_ipython().system", "get_ipython().getoutput")
        if shell or (function.startswith("get_ipython().run_") and UNSEEN & {*given[:1]}):
            line = f"{'!' if shell else '%'}{' '.join(map(str, given)).strip()}"
            fault = f"when `{line}` fails, the notebook goes on as if it had not"
            remedy = "Use subprocess.run([...], check=True)."
            yield Finding(cell=name, fault=fault, remedy=remedy)
        if function == "plt.show":
            fault = "its plot has no alt text for those who can't see it"
            remedy = 'Use display(figure, metadata={"image/png": {"alt": "what it shows"}}).'
            yield Finding(cell=name, fault=fault, remedy=remedy)


def parameters(notebook: Json) -> Iterator[Finding]:
    """Check the cell whose values papermill and Colab's form replace."""
    tags = [(name, cell, cell["metadata"].get("tags", [])) for name, cell in named(notebook)]
    tagged = [(name, cell) for name, cell, given in tags if "parameters" in given]
    if len(tagged) != 1:
        fault = f"{len(tagged)} cells are tagged parameters; a run sets the values of one"
        yield Finding(fault=fault, remedy="Tag exactly one cell: its property `tags`.")
    for name in [name for name, _, given in tags if "injected-parameters" in given]:
        fault = "it holds the values of an earlier run, which would win over any later ones"
        yield Finding(cell=name, fault=fault, remedy="Delete the cell.")
    for name, cell in tagged:
        lines = TransformerManager().transform_cell(source_of(cell)).encode().splitlines()
        try:
            statements = ast.parse(b"\n".join(lines)).body
        except SyntaxError:  # which is a finding of every code cell
            continue
        for statement in statements:
            rest = lines[(statement.end_lineno or 1) - 1][statement.end_col_offset or 0 :]
            if fault := _parameter_fault(statement, rest.decode()):
                remedy = 'Write it as: epochs = 15  # @param {type:"integer"}'
                yield Finding(cell=name, fault=f"`{ast.unparse(statement)}` {fault}", remedy=remedy)


def _parameter_fault(statement: ast.stmt, comment: str) -> str:
    """Return what is wrong with a line `name = value  # @param …`; nothing if it is right."""
    if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
        return "is no parameter: it gives no name a value"
    try:
        value = ast.literal_eval(statement.value)
    except ValueError:
        return "has no plain value, so its type can't be told"
    form = re.search(r"#\s*@param\s*(\[.*?\])?\s*(?:\{.*?\btype[\"']?\s*:\s*[\"'](\w+))?", comment)
    if form is None or form.group(1, 2) == (None, None):
        return "has no form field with a type or choices"
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


def addresses(notebook: Json, file: str) -> Iterator[Finding]:
    """Check that badges and clones lead to one repository, and each badge to this file of it."""
    first = ""
    for name, cell in named(notebook):
        source = source_of(cell)
        for repository, opened in (each for form in ADDRESSES for each in re.findall(form, source)):
            first = first or repository
            if repository != first:
                fault = f"it leads to {repository}, and an address before it to {first}"
                yield Finding(cell=name, fault=fault, remedy="Correct the one that is wrong.")
            if opened and opened != file:
                fault = f"its badge opens {opened}, and this notebook is {file}"
                yield Finding(cell=name, fault=fault, remedy="Correct the badge's address.")
