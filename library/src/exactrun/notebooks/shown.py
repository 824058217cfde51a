"""What of an executed notebook a page shows: which cells, in which form, and how much of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

from nbformat import NotebookNode, from_dict

from .sanitize import clean, is_tangled
from .terminal import with_basic_colours

NOTE = "application/vnd.exactrun.note"
"""The form of an output that says in words what is not shown."""

FORMS = [
    *("text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg"),
    *("text/latex", "text/plain", NOTE),
]
"""The first of these that an output has is shown: none needs a script."""

WIDGET = "application/vnd.jupyter.widget-view+json"
PICTURES = ("image/svg+xml", "image/png", "image/jpeg")
NEEDS_SCRIPT = re.compile(
    r"application/(?:javascript|vnd\.(?:plotly|vega|vegalite|bokehjs|holoviews))"
)

TEXT_LIMIT = 100_000
SOURCE_LIMIT = 20_000
MARKUP_LIMIT = 150_000
PICTURE_LIMIT = 4_000_000
"""Characters of a text, of a cell's source, of HTML without its
pictures, and of a picture. The time that HTML and colours take grows with the square."""

OUTPUTS_LIMIT = 100
ALL_OUTPUTS_LIMIT = 3_000
CELLS_LIMIT = 1_000
"""Outputs of a cell and of all cells, and cells."""

MARKUP_BUDGET = 1_000_000
RAW_BUDGET = 30_000_000
"""Characters of all HTML, texts and code, which take time, and of all else, which takes memory."""

_SHEET = re.compile(r"<style\b[^<]*+</style\s*>", re.I)
_PICTURE_DATA = re.compile(r"data:[\w/+.;,=-]{1,60}base64,[A-Za-z0-9+/=]{500,}")


@dataclass(kw_only=True)
class Selection:
    """Takes from a notebook what a page shows, until the page would become too large.

    Attributes:
        whole: Name of the file that has all of it.
        hide: Shortens the paths of this machine in a text.
    """

    whole: str
    hide: Callable[[str], str]
    _outputs: int = field(default=0, init=False)
    _markup: int = field(default=0, init=False)
    _raw: int = field(default=0, init=False)

    def of(self, notebook: NotebookNode, *, look_at: str | None) -> NotebookNode:
        """Return a notebook of what is shown, of which only the parts named here are the user's.

        Args:
            notebook: The executed notebook; it is not changed.
            look_at: Id of the cell that is shown whatever its tags.
        """
        language = notebook.metadata.get("language_info", {}).get("name")
        known = isinstance(language, str) and re.fullmatch(r"[\w+#.-]{1,40}", language)
        chosen = [
            cell
            for cell in notebook.cells
            if "remove-cell" not in tags_of(cell) or (look_at and cell.get("id") == look_at)
        ]
        cells: list[Any] = []
        for index, cell in enumerate(chosen):
            left_out = len(chosen) - CELLS_LIMIT
            if left_out > 0 and CELLS_LIMIT - 10 <= index < len(chosen) - 10:
                if index == CELLS_LIMIT - 10:
                    cells.append(self._text_cell(f"*{left_out:,} cells {self._left_out('are')}*"))
                if look_at is None or cell.get("id") != look_at:
                    continue
            looked_at = look_at is not None and cell.get("id") == look_at
            # It has room, however full the page is.
            selection = Selection(whole=self.whole, hide=self.hide) if looked_at else self
            made = selection._cell(cell, looked_at=looked_at)
            cells.append(made | {"id": anchor_of(cell) or f"unnamed-{index}"})
        metadata = {"language_info": {"name": language}} if known else {}
        return from_dict({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})

    def _cell(self, cell: NotebookNode, *, looked_at: bool) -> dict[str, Any]:
        if cell.cell_type != "code":
            made = self._text_cell(self._source(cell), kind=cell.cell_type)
            raw_type = cell.metadata.get("raw_mimetype", "")
            made["metadata"] = {"raw_mimetype": raw_type if isinstance(raw_type, str) else "none"}
            made["attachments"] = _attachments(cell)
            return made
        tags = set() if looked_at else tags_of(cell)
        seconds = cell.metadata.get("papermill", {}).get("duration")
        outputs = [] if "remove-output" in tags else cell.get("outputs", [])
        count = cell.get("execution_count")
        return {
            "cell_type": "code",
            "source": self._source(cell),
            "execution_count": count if isinstance(count, int) else None,
            "metadata": {
                "tags": sorted(tags & {"parameters", "injected-parameters", "hide-output"}),
                "seconds": seconds if isinstance(seconds, int | float) and seconds >= 1 else None,
                "transient": {"remove_source": "remove-input" in tags},
            },
            "outputs": self._outputs_of(list(outputs)),
        }

    def _source(self, cell: NotebookNode) -> str:
        text = self._shortened(str(cell.source), SOURCE_LIMIT)
        if not self._room_for_markup(len(text)):
            return f"# {_size(text)} {self._left_out()}"
        return text

    def _text_cell(self, text: str, kind: str = "markdown") -> dict[str, Any]:
        kind = kind if kind in ("markdown", "raw") else "markdown"
        return {
            "cell_type": kind,
            "id": "left-out",
            "source": text,
            "metadata": {},
            "attachments": {},
        }

    def _outputs_of(self, outputs: list[Any]) -> list[dict[str, Any]]:
        left = max(min(OUTPUTS_LIMIT, ALL_OUTPUTS_LIMIT - self._outputs), 20)
        first = outputs if len(outputs) <= left else outputs[: left - 10]
        last = outputs[len(first) :][-10:]
        self._outputs += len(first) + len(last)
        shown = [made for output in first for made in self._output(output)]
        if left_out := len(outputs) - len(first) - len(last):
            shown.append(self._note(f"{left_out:,} outputs {self._left_out('are')}"))
        return shown + [made for output in last for made in self._output(output)]

    def _output(self, output: Any) -> list[dict[str, Any]]:
        kind = output.get("output_type")
        if kind == "stream":
            name = "stderr" if output.get("name") == "stderr" else "stdout"
            text = self._text(str(output.get("text", "")))
            return [{"output_type": "stream", "name": name, "text": text}]
        if kind == "error":
            text = self._text("\n".join(map(str, output.get("traceback", []))))
            # What has no traceback would be an empty box.
            text = text.strip() or f"{output.get('ename', 'Error')}: {output.get('evalue', '')}"
            return [{"output_type": "error", "ename": "", "evalue": "", "traceback": [text]}]
        data = output.get("data")
        return self._display(data, output) if isinstance(data, Mapping) else []

    def _display(self, data: Mapping[str, Any], output: Any) -> list[dict[str, Any]]:
        form = _form(data)
        if form is None:
            if not data:
                return []
            named = ", ".join(str(name)[:60] for name in list(data)[:5])
            if any(NEEDS_SCRIPT.match(str(name)) for name in data):
                return [self._note(self.no_script(data))]
            return [self._note(f"No page can show this output ({named}); {self.whole} has it")]
        value, what = str(data[form]), form.partition("/")[2].partition("+")[0].upper()
        if form in PICTURES:
            if len(value) > PICTURE_LIMIT or not self._room(len(value)):
                return [self._note(f"A picture ({what}) of {_size(value)} {self._left_out()}")]
            return [_displayed(form, value, _picture_metadata(output, form))]
        if form in ("text/html", "text/markdown"):
            return self._marked_up(form, value, data)
        if form == "text/latex":
            value = self._shortened(value, SOURCE_LIMIT)
        return [_displayed(form, self._text(value))]

    def _marked_up(self, form: str, value: str, data: Mapping[str, Any]) -> list[dict[str, Any]]:
        notes = []
        markup = len(_PICTURE_DATA.sub("", value))
        if form == "text/html" and markup > MARKUP_LIMIT:
            value = _SHEET.sub("", value)  # cut in its midst, nothing of a table would be shown
            markup = len(_PICTURE_DATA.sub("", value))
        most = MARKUP_LIMIT if form == "text/html" else SOURCE_LIMIT
        if markup > most or len(value) > PICTURE_LIMIT:
            limit = most if len(value) - markup < most else 0
            if form == "text/html":  # not in the midst of a tag
                limit = value.rfind(">", 0, limit) + 1
            rest = f"The rest of this output, {_size(value[limit:])}, {self._left_out()}"
            notes = [self._note(rest)]
            value = value[:limit]
        if not self._room_for_markup(min(markup, len(value))) or not self._room(len(value)):
            return [self._note(f"An output of {_size(value)} {self._left_out()}")]
        value = self.hide(value)
        if form == "text/html" and is_tangled(value):
            said = (
                f"This HTML is too deep or too tangled to be shown as a page: {self.whole} has it"
            )
            text = data.get("text/plain")
            notes.insert(0, self._note(said))
            return [_displayed("text/plain", self._text(text if text else value)), *notes]
        if form == "text/html":
            value = clean(value, missing=f'<p class="note">{escape(self.no_script(data))}</p>')
        return [*([_displayed(form, value)] if value else []), *notes]

    def _text(self, text: str) -> str:
        if not self._room(min(len(text), TEXT_LIMIT)):
            return f"[{_size(text)} of text {self._left_out()}]"
        return self.hide(with_basic_colours(self._shortened(text, TEXT_LIMIT)))

    def _shortened(self, text: str, limit: int) -> str:
        if len(text) <= limit:
            return text
        half = limit // 2
        note = f"[… {_size(text[half:-half])} {self._left_out()} …]"
        return f"{text[:half]}\n\n{note}\n\n{text[-half:]}"

    def _room(self, size: int) -> bool:
        self._raw += size
        return self._raw <= RAW_BUDGET

    def _room_for_markup(self, size: int) -> bool:
        if self._markup + size > MARKUP_BUDGET:
            return False
        self._markup += size
        return True

    def _note(self, words: str) -> dict[str, Any]:
        return _displayed(NOTE, words)

    def _left_out(self, verb: str = "is") -> str:
        return f"{verb} left out here; {self.whole} has it all"

    def no_script(self, data: Mapping[str, Any]) -> str:
        """Say why an output that a script would draw is not here, and how to have it here."""
        said = "A script would draw this output, and a page that runs none can't show it"
        if any("plotly" in str(name) for name in data):
            said += ': show it as a picture, too, by figure.show("png"), which needs kaleido'
        return f"{said}. {self.whole} has all of it"


def tags_of(cell: NotebookNode) -> set[str]:
    """Return a cell's tags."""
    tags = cell.metadata.get("tags", [])
    return {tag for tag in tags if isinstance(tag, str)} if isinstance(tags, list) else set()


def anchor_of(cell: NotebookNode) -> str:
    """Return a cell's id, where it is of the form that nbformat demands; otherwise nothing."""
    found = str(cell.get("id", ""))
    return found if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", found) else ""


def _form(data: Mapping[str, Any]) -> str | None:
    """Return the form in which an output is shown; None if there is none that says anything."""
    there = [name for name in FORMS if isinstance(data.get(name), str) and data[name].strip()]
    drawn = any(NEEDS_SCRIPT.match(str(name)) for name in data)
    if drawn or ("text/html" in there and re.search(r"<script\b", data["text/html"], re.I)):
        there.sort(key=lambda name: name not in PICTURES)
    if drawn and there == ["text/plain"] and WIDGET not in data:
        return None  # it is a dump of the figure
    return there[0] if there else None


def _displayed(form: str, value: str, metadata: Mapping[str, Any] | None = None) -> dict[str, Any]:
    data = {form: value}
    return {"output_type": "display_data", "data": data, "metadata": dict(metadata or {})}


def _picture_metadata(output: Any, form: str) -> dict[str, Any]:
    metadata = output.get("metadata", {})
    own = metadata.get(form)
    known = own if isinstance(own, Mapping) else metadata
    found = {n: known[n] for n in ("width", "height") if isinstance(known.get(n), int)}
    alt = known.get("alt")
    return found | ({"alt": alt[:1_000]} if isinstance(alt, str) else {})


def _attachments(cell: NotebookNode) -> dict[str, Any]:
    """Return a text's pictures, without those that are too large."""
    return {
        str(name): {form: code for form, code in forms.items() if isinstance(code, str)}
        for name, forms in cell.get("attachments", {}).items()
        if isinstance(forms, Mapping)
        and sum(len(str(code)) for code in forms.values()) <= PICTURE_LIMIT
    }


def _size(text: str) -> str:
    size = len(text.encode("utf-8", "replace"))
    for unit, name in ((1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"
