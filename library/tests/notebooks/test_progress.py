"""What a log shows of a running notebook."""

from __future__ import annotations

import pytest

from exactrun.notebooks.progress import Progress


def test_a_progress_bar_leaves_few_lines_in_a_log(caplog: pytest.LogCaptureFixture) -> None:
    progress = Progress()
    with caplog.at_level("INFO", logger="exactrun.notebooks.printed"):
        for percent in range(101):
            progress.message("stream", {"name": "stderr", "text": f"\r{percent} %"})
        progress.message("stream", {"name": "stderr", "text": "\n"})
        progress.message("stream", {"name": "stdout", "text": "first\nsec"})
        progress.message("stream", {"name": "stdout", "text": "ond"})
        progress.end()
    assert caplog.messages == ["0 %", "100 %", "first", "second"]


def test_a_long_line_is_cut_in_a_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="exactrun.notebooks.printed"):
        Progress().message("stream", {"name": "stdout", "text": "x" * 1_000_000 + "\n"})
    (line,) = caplog.messages
    assert "left out here" in line
    assert len(line) < 11_000


def test_displays_that_replace_each_other_leave_few_lines_in_a_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    progress = Progress()
    with caplog.at_level("INFO", logger="exactrun.notebooks.printed"):
        for step in range(100):
            content = {"data": {"text/plain": f"step {step}"}, "transient": {"display_id": "bar"}}
            progress.message("update_display_data", content)
        for loop in range(100):
            progress.message("clear_output", {"wait": True})
            progress.message("stream", {"name": "stdout", "text": f"loop {loop}\n"})
        progress.end()
    assert caplog.messages == ["step 0", "loop 0", "step 99", "loop 99"]
