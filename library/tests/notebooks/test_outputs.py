"""Outputs: whole up to a total, in bounded memory and time."""

from __future__ import annotations

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_output

from exactrun.notebooks import outputs as module
from exactrun.notebooks.outputs import CHUNK, OVERHEAD, Outputs


def stream(text: str, name: str = "stdout") -> NotebookNode:
    return new_output("stream", name=name, text=text)


def shown(text: str) -> NotebookNode:
    return new_output("display_data", data={"text/plain": text})


def kept(*added: NotebookNode, known: bool = False) -> list[NotebookNode]:
    """Return what is kept of the outputs of a notebook's only cell."""
    held, outs = Outputs(), list[NotebookNode]()
    held.begin_cell()
    for each in added:
        outs.append(each)
        held.added(outs, known=known)
    held.end_cell(outs)
    return outs


def test_a_stream_goes_on_where_it_stopped() -> None:
    outs = kept(stream("a"), stream("b\n"), stream("e", "stderr"), stream("c"))
    assert [each.text for each in outs] == ["ab\n", "e", "c"]


@pytest.mark.thorough
def test_nothing_printed_is_lost_and_to_add_to_it_is_not_to_copy_it() -> None:
    lines = [f"{number:09}\n" for number in range(30_000)]
    held, outs, longest = Outputs(), list[NotebookNode](), 0
    held.begin_cell()
    for line in lines:
        outs.append(stream(line))
        held.added(outs, known=False)
        longest = max(longest, len(outs[-1].text))
    assert longest < CHUNK + 20
    assert held.end_cell(outs) == [0] * 5
    assert [each.text for each in outs] == ["".join(lines)]


def test_a_line_that_is_taken_back_at_the_border_of_chunks_is_taken_back() -> None:
    (out,) = kept(stream("x" * CHUNK + "\n" + "50 %"), stream("\r51 %"), stream("\r52 %"))
    assert out.text == "x" * CHUNK + "\n52 %"


def test_a_progress_bar_takes_no_more_than_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOTAL_LIMIT", 5_000)
    (out,) = kept(*(stream(f"\r{number} %") for number in range(10_000)))
    assert out.text == "9999 %"


def test_beyond_the_total_what_is_left_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOTAL_LIMIT", 3_000_000)
    (out,) = kept(*(stream("x" * 9_999 + "\n") for _ in range(1_000)), stream("the end"))
    assert 3_000_000 < len(out.text) < 3_500_000
    assert "left out here" in out.text
    assert out.text.endswith("the end")


@pytest.mark.parametrize("known", [False, True])
def test_displays_beyond_the_total_are_left_out(
    known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOTAL_LIMIT", 10 * (OVERHEAD + 1_000))
    outs = kept(*(shown("x" * 1_000) for _ in range(100)), known=known)
    texts = [each.data["text/plain"] for each in outs]
    assert len(outs) == (100 if known else 12)
    assert texts[:11] == ["x" * 1_000] * 11
    assert "left out here" in texts[11]


def test_what_was_cleared_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOTAL_LIMIT", 10_000)
    held, outs = Outputs(), list[NotebookNode]()
    held.begin_cell()
    for number in range(100):
        outs[:] = [shown(f"{number}" * 1_000)]
        held.added(outs, known=False)
    assert outs[0].data["text/plain"] == "99" * 1_000


def test_updates_of_displays_count_each_in_the_place_of_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TOTAL_LIMIT", 10_000 + 4 * OVERHEAD)
    held, long = Outputs(), {"text/plain": "x" * 3_000}
    for _ in range(5):  # cells
        held.begin_cell()
        for _ in range(100):
            assert held.updated("a", long) == held.updated("b", long) == long
    assert held.updated("c", long) == long
    assert "left out here" in held.updated("d", long)["text/plain"]
    assert held.updated("a", {"text/plain": "x"}) == {"text/plain": "x"}
    assert held.updated("d", long) == long
