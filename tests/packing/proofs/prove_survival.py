"""Killed at any instant, any number of times, a packing ends with the bytes of an unbroken one."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from handwritten_digits.errors import UserError
from handwritten_digits.training import packing
from handwritten_digits.training.manifest import shard_names
from handwritten_digits.training.packs import open_pack

KILLS = 30

PROGRAM = """
import sys
from pathlib import Path
from handwritten_digits.training import packing
packing.SHARD_BYTES = 100_000
print("ready", flush=True)
packing.pack(packing.find_source(Path(sys.argv[1])), Path(sys.argv[2]))
"""


def source(folder: Path) -> Path:
    """Arrays of 20 MB, which are memory-mapped."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    np.save(folder / "x.npy", generator.random((10_000, 16, 32), np.float32))
    np.save(folder / "y.npy", generator.integers(0, 10, 10_000))
    return folder


def test_a_packing_survives_being_killed(tmp_path: Path) -> None:
    program = [sys.executable, "-c", PROGRAM, str(source(tmp_path / "source"))]
    started = time.monotonic()
    subprocess.run([*program, str(tmp_path / "unbroken")], check=True, capture_output=True)
    whole = time.monotonic() - started
    chance, killed = random.Random(0), 0
    for _ in range(KILLS):
        process = subprocess.Popen([*program, str(tmp_path / "pack")], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0, whole / 8))
        process.kill()
        process.stdout.close()
        killed += process.wait() != 0
        if (tmp_path / "pack" / "manifest.json").exists():
            break
        with pytest.raises(UserError, match="no finished pack"):
            open_pack(tmp_path / "pack")
    assert killed >= 5
    subprocess.run([*program, str(tmp_path / "pack")], check=True, capture_output=True)
    ours, unbroken = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()}
        for name in ("pack", "unbroken")
    )
    print(f"killed {killed} times, {len(ours)} files")
    assert ours == unbroken
    assert len(ours) > 100


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_disk_that_fills_up_keeps_what_is_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = packing.find_source(source(tmp_path / "source"))
    monkeypatch.setattr(packing, "SHARD_BYTES", 1_000_000)
    save = np.save

    def save_or_fill(file: object, array: np.ndarray) -> None:
        if len(list((tmp_path / "pack").glob("x-*"))) == 7:
            with open("/dev/full", "wb") as full:
                full.write(bytes(1 << 20))
        save(file, array)

    monkeypatch.setattr(np, "save", save_or_fill)
    with pytest.raises(UserError, match=r"(?s)it is full.*kept there.*same command"):
        packing.pack(data, tmp_path / "pack")
    assert len(list((tmp_path / "pack").glob("x-*"))) == 7
    monkeypatch.setattr(np, "save", save)
    whole = [tmp_path / "pack" / name for k in range(6) for name in shard_names(k)]
    times = {file: file.stat().st_mtime_ns for file in whole}
    assert len(packing.pack(data, tmp_path / "pack").x) == 10_000
    assert {file: file.stat().st_mtime_ns for file in whole} == times
