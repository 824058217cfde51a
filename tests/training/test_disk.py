"""A disk that is full, in the middle and from the start: a real one, of a few megabytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from workbench import SMALL, Bench

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Mount a file system in memory of as many MiB as the test asks for."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a file system needs Linux and root")
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={request.param}m", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a file system can't be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def train(bench: Bench, place: Path, **settings: Any) -> tuple[int, str, str]:
    """Train; return the exit code and what was printed to both streams."""
    process = bench.start("train.py", place, json.dumps(SMALL | settings))
    printed, complaints = process.communicate(timeout=300)
    return process.returncode, printed, complaints


@pytest.mark.parametrize("small_disk", [24], indirect=True)
def test_a_disk_that_fills_up_keeps_the_last_good_checkpoint(
    bench: Bench, small_disk: Path, tmp_path: Path
) -> None:
    unbroken = bench.train(tmp_path / "unbroken", **SMALL)
    code, _, complaints = train(bench, small_disk, stop_after_steps=5)
    assert code == 0, complaints
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        file.write(b"0" * (free - 64_000))
    # The check before the start refuses a disk as full as this one.
    code, _, complaints = train(bench, small_disk)
    assert code == 1
    assert "but writing checkpoints of this model needs" in complaints
    # Past the check, the disk fills up in the middle: the training goes on, and says what is lost.
    code, printed, complaints = train(bench, small_disk, unchecked=True)
    assert code == 0, complaints
    assert "A checkpoint was not written to" in printed
    assert "No space left on device" in printed
    kept = sorted(small_disk.rglob("kept/**/step-*.json"))
    assert kept[-1].stem == "step-00000005"
    ballast.unlink()
    resumed = bench.train(small_disk, **SMALL)
    assert resumed["resumed_from"] == 5
    assert resumed["weights"] == unbroken["weights"]
