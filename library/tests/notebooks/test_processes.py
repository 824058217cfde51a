"""What a run's processes hold together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from exactrun.notebooks import processes


def held(rss: int, pss: int | None) -> Any:
    """Return a process whose proportional share the system tells, or doesn't."""

    def full() -> Any:
        if pss is None:
            raise psutil.AccessDenied(1)
        return SimpleNamespace(rss=rss, pss=pss)

    return SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=rss), memory_full_info=full)


@pytest.mark.parametrize(
    ("found", "used"),
    [
        ([held(600, 150), held(600, 150)], 300),
        ([held(600, None), held(500, None)], 600),
        ([held(600, 150), held(500, None)], 650),
        ([], 0),
    ],
    ids=["shares", "no shares", "some", "none"],
)
def test_what_is_shared_counts_once(
    found: list[Any], used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "processes_of", lambda run: found)
    assert processes.memory_of("run") == used
