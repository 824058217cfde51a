"""A training that was killed at the worst instants ends with the weights of an unbroken one."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from workbench import SMALL, Bench

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def unbroken(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return bench.train(tmp_path_factory.mktemp("unbroken"), **SMALL)


@pytest.mark.parametrize(
    ("instant", "lost"),
    [
        ("before the first checkpoint", False),
        ("half of the arrays written", False),
        ("arrays without their manifest", False),
        ("written and not published", False),
        ("written and not published", True),
        ("arrays published without their manifest", False),
        ("arrays published without their manifest", True),
    ],
)
def test_killed_at_an_instant_it_goes_on_to_the_same_weights(
    bench: Bench, unbroken: dict[str, Any], tmp_path: Path, instant: str, lost: bool
) -> None:
    process = bench.start("train.py", tmp_path, json.dumps(SMALL | {"kill": instant}))
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    if lost:
        (tmp_path / "scratch-0").rename(tmp_path / "gone")
    resumed = bench.train(tmp_path, **SMALL)
    assert resumed["weights"] == unbroken["weights"]
    assert resumed["history"] == unbroken["history"]
    assert resumed["seeds"] == unbroken["seeds"]
