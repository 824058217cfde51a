"""One device, two devices and two workers learn the same, and go on exactly."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.thorough

HERE = Path(__file__).parent
SOURCE = HERE.parent / "src"


def start(directory: Path, *, ports: tuple[int, ...] = (), worker: int = 0, **settings: Any) -> Any:
    """Start `scaled.py`, as one of several workers if they have ports."""
    env = os.environ | {"PYTHONPATH": f"{SOURCE}{os.pathsep}{HERE}", "TF_CPP_MIN_LOG_LEVEL": "2"}
    if ports:
        cluster = {"worker": [f"localhost:{port}" for port in ports]}
        env["TF_CONFIG"] = json.dumps(
            {"cluster": cluster, "task": {"type": "worker", "index": worker}}
        )
    given = json.dumps({"epochs": 2, "directory": str(directory), **settings})
    return subprocess.Popen(
        [sys.executable, str(HERE / "scaled.py"), given],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(process: Any) -> dict[str, Any]:
    printed, complaints = process.communicate(timeout=240)
    assert process.returncode == 0, complaints[-3000:]
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def start_workers(
    directories: tuple[Path, Path], *, of_second: dict[str, Any] | None = None, **settings: Any
) -> list[Any]:
    """Start two workers that find each other on this machine, each with its own directory."""
    with socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.bind(("localhost", 0))
        ports = (one.getsockname()[1], two.getsockname()[1])
    return [
        start(
            directory,
            ports=ports,
            worker=index,
            **(settings | ((of_second or {}) if index else {})),
        )
        for index, directory in enumerate(directories)
    ]


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Hold logs to 1e-5 and weights to 1e-6."""
    assert found["history"].keys() == expected["history"].keys()
    for name, values in expected["history"].items():
        np.testing.assert_allclose(found["history"][name], values, rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(found["weights"], expected["weights"], rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return result(start(tmp_path_factory.mktemp("one"), name="three_outputs"))


def test_two_devices_learn_what_one_does(one: dict[str, Any], tmp_path: Path) -> None:
    found = result(start(tmp_path, name="three_outputs", devices=2))
    assert_same(found, one)
    assert found["evaluated"] == pytest.approx(one["evaluated"], rel=1e-5)


def test_two_workers_learn_what_one_device_does(one: dict[str, Any], tmp_path: Path) -> None:
    chief, other = map(
        result, start_workers((tmp_path / "a", tmp_path / "b"), name="three_outputs")
    )
    assert_same(chief, one)
    assert other["digest"] == chief["digest"]
    assert other["history"] == chief["history"]
    # Only the chief writes, so that a directory that both see has one writer.
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "regression",
        "segmentation",
        "float16",
        "averaged",
        "synchronized",
        "weighted",
        "frozen_and_unused",
        "huber_clipvalue",
        "binary_logits_clipnorm",
    ],
)
def test_two_devices_learn_what_one_does_in_each_case(name: str, tmp_path: Path) -> None:
    expected = result(start(tmp_path / "one", name=name))
    assert_same(result(start(tmp_path / "two", name=name, devices=2)), expected)


@pytest.mark.slow
def test_two_devices_with_noise_go_on_exactly_after_a_kill(tmp_path: Path) -> None:
    unbroken = result(start(tmp_path / "unbroken", name="regression", noise=True, devices=2))
    killed_at(
        tmp_path / "killed",
        5,
        start(tmp_path / "killed", name="regression", noise=True, devices=2, hang_at=5),
    )
    found = result(start(tmp_path / "killed", name="regression", noise=True, devices=2))
    assert 0 < found["resumed_from"] < 8
    assert found["digest"] == unbroken["digest"]
    assert found["history"] == unbroken["history"]


@pytest.mark.slow
def test_a_worker_that_dies_ends_the_others_with_words_and_both_go_on_exactly(
    tmp_path: Path,
) -> None:
    unbroken = [
        result(p)
        for p in start_workers((tmp_path / "a", tmp_path / "b"), name="regression", noise=True)
    ]
    chief, other = start_workers(
        (tmp_path / "c", tmp_path / "d"), name="regression", noise=True, of_second={"hang_at": 5}
    )
    killed_at(tmp_path / "c", 5, other)
    died = time.monotonic()
    _, complaints = chief.communicate(timeout=120)
    assert time.monotonic() - died < 60
    assert chief.returncode == 1
    assert "Another worker went away" in complaints
    resumed = [
        result(p)
        for p in start_workers((tmp_path / "c", tmp_path / "d"), name="regression", noise=True)
    ]
    assert 0 < resumed[0]["resumed_from"] < 8
    assert [each["digest"] for each in resumed] == [each["digest"] for each in unbroken]
    assert resumed[0]["history"] == unbroken[0]["history"]


@pytest.mark.slow
def test_a_worker_that_hangs_ends_the_others_with_words_within_a_minute(tmp_path: Path) -> None:
    chief, other = start_workers(
        (tmp_path / "a", tmp_path / "b"), name="regression", of_second={"hang_at": 5}
    )
    try:
        wait_until_stopped(other)
        hung = time.monotonic()
        _, complaints = chief.communicate(timeout=120)
        assert time.monotonic() - hung < 60
        assert "Another worker went away" in complaints
    finally:
        other.kill()
        other.communicate()


@pytest.mark.slow
def test_the_number_of_workers_may_change_between_sessions(tmp_path: Path) -> None:
    one = result(start(tmp_path / "one", name="regression", epochs=3))
    result(start(tmp_path / "both", name="regression", epochs=1))
    # The second worker's own directory is empty: it gets the chief's state.
    chief, other = map(
        result, start_workers((tmp_path / "both", tmp_path / "new"), name="regression", epochs=2)
    )
    assert chief["resumed_from"] == other["resumed_from"] == 4
    last = result(start(tmp_path / "both", name="regression", epochs=3, devices=2))
    assert last["resumed_from"] == 8
    assert_same(last, one)


@pytest.mark.slow
def test_workers_with_different_settings_refuse_to_train(tmp_path: Path) -> None:
    both = start_workers((tmp_path / "a", tmp_path / "b"), name="regression", of_second={"seed": 1})
    for process in both:
        _, complaints = process.communicate(timeout=120)
        assert process.returncode == 1
        assert "The workers have different data, settings or models" in complaints
    assert not (tmp_path / "a").exists()


def killed_at(directory: Path, step: int, process: Any) -> None:
    """Kill a process that has stopped at a step."""
    wait_until_stopped(process)
    process.kill()
    process.communicate()
    saved = [int(path.stem.removeprefix("step-")) for path in directory.glob("step-*.npz")]
    assert max(saved) <= step


def wait_until_stopped(process: Any) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1][-2000:]
        if Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
            return
        time.sleep(0.05)
    raise AssertionError("the process did not stop")
