"""What cells put out, kept whole in the notebook's file, up to a total that memory can hold."""

from __future__ import annotations

import json
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_output

from .progress import LINE_LIMIT, collapse, shorten

TOTAL_LIMIT = 64_000_000
"""Characters kept of all of a notebook's outputs."""

TEXT_LIMIT = 100_000
"""Characters kept of a stream beyond that, and of a part of a traceback."""

CHUNK = 65_536
"""Characters to which a stream's text grows before another one begins, until its cell has ended.

To add to one long text would copy all of it for each line that is printed.
"""

LEFT_OUT = f"[… outputs left out here: the notebook's are longer than {TOTAL_LIMIT:,} …]"

OVERHEAD = 1_000
"""What an output takes in memory besides its characters."""


class Outputs:
    """Keeps the outputs of one notebook."""

    def __init__(self) -> None:
        self._before, self._sizes, self._told = 0, list[int](), False
        self._updates: dict[str, int] = {}  # sizes, by display

    def begin_cell(self) -> None:
        """Begin with a cell that has none."""
        self._before, self._sizes, self._told = self._before + sum(self._sizes), [], False
        self._total = self._before

    def added(self, outs: list[NotebookNode], *, known: bool) -> None:
        """Take note of the output that was added last: a stream goes on where it stopped.

        Args:
            outs: The cell's outputs.
            known: Whether its place in there is known to others, who will change it.
        """
        if len(outs) <= len(self._sizes):  # all that there was has been cleared
            self._sizes, self._total, self._told = [], self._before, False
        made = outs[-1]
        self._sizes.append(0)
        if made.output_type == "error":
            made.evalue = shorten(made.evalue, LINE_LIMIT)
            made.traceback = [shorten(part, TEXT_LIMIT) for part in made.traceback]
        elif made.output_type == "stream":
            self._add_stream(outs)
        elif self._total > TOTAL_LIMIT:
            self._leave_out(outs, known)
        if outs:
            self._measure(len(outs) - 1, outs[-1])

    def updated(self, display: str, data: dict[str, Any]) -> dict[str, Any]:
        """Return what is kept of an update of a display, which replaces the one before."""
        before = self._updates.get(display, 0)
        if self._total - before + _length_of(data) > TOTAL_LIMIT:
            data = {"text/plain": LEFT_OUT}
        self._updates[display] = OVERHEAD + _length_of(data)
        self._before += self._updates[display] - before
        self._total += self._updates[display] - before
        return data

    def end_cell(self, outs: list[NotebookNode]) -> list[int]:
        """Make one output of a stream's chunks; return the new place of each output."""
        joined: list[NotebookNode] = []
        texts: list[list[str]] = []
        places = []
        for each in outs:
            stream = each.output_type == "stream"
            if stream and joined and joined[-1].get("name") == each.name:
                texts[-1].append(each.text)
            else:
                joined.append(each)
                texts.append([each.text] if stream else [])
            places.append(len(joined) - 1)
        for each, parts in zip(joined, texts, strict=True):
            if len(parts) > 1:
                each.text = "".join(parts)
        outs[:] = joined
        return places

    def _add_stream(self, outs: list[NotebookNode]) -> None:
        made, full = outs[-1], self._total > TOTAL_LIMIT
        if len(outs) > 1 and outs[-2].get("name") == made.name:
            earlier = outs[-2]
            if full or len(earlier.text) < CHUNK:
                outs.pop()
                self._sizes.pop()
                again = "\r" in made.text or earlier.text.endswith("\r")
                earlier.text += made.text
                if again:
                    earlier.text = collapse(earlier.text)
            else:  # a line that goes on begins the new chunk, since it may be taken back
                whole, end, begun = earlier.text.rpartition("\n")
                if end and len(begun) < CHUNK:
                    earlier.text, made.text = whole + end, collapse(begun + made.text)
                    self._measure(len(outs) - 2, earlier)
        else:
            made.text = collapse(made.text)
        if full or self._total + len(outs[-1].text) > TOTAL_LIMIT:
            outs[-1].text = shorten(outs[-1].text, TEXT_LIMIT)

    def _leave_out(self, outs: list[NotebookNode], known: bool) -> None:
        """Leave out an output; say so once a cell."""
        if known:
            outs[-1].data = {"text/plain": LEFT_OUT}
            return
        outs.pop()
        self._sizes.pop()
        if not self._told:
            outs.append(new_output("display_data", data={"text/plain": LEFT_OUT}))
            self._sizes.append(0)
            self._told = True

    def _measure(self, place: int, output: NotebookNode) -> None:
        size = OVERHEAD + size_of(output)
        self._total += size - self._sizes[place]
        self._sizes[place] = size


def size_of(output: NotebookNode) -> int:
    """Return about how many characters an output has in the file."""
    if output.output_type == "stream":
        return len(output.text)
    if output.output_type == "error":
        return sum(map(len, output.traceback))
    return _length_of(output.data)


def _length_of(data: dict[str, Any]) -> int:
    return sum(len(v) if isinstance(v, str) else len(json.dumps(v)) for v in data.values())
