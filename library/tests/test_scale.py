"""One device, two devices and two workers learn the same, and go on exactly."""

from __future__ import annotations

import json
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scaled import train

pytestmark = pytest.mark.thorough


class Session:
    """A process that trains; see `scaled.train`."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        from sessions import CONTEXT, start_server  # not on every system

        start_server()
        self.place = Path(tempfile.mkdtemp(dir=directory.parent))
        settings = {"epochs": 2, "directory": str(directory), **settings}
        self.process = CONTEXT.Process(target=train, args=(settings, self.place))
        self.process.start()

    def said(self) -> str:
        """Wait for its end; return what it printed."""
        self.process.join(240)
        assert self.process.exitcode is not None, "it hangs"
        return (self.place / "said.txt").read_text()

    def result(self) -> dict[str, Any]:
        said = self.said()
        assert self.process.exitcode == 0, said[-3000:]
        found: dict[str, Any] = json.loads((self.place / "result.json").read_text())
        return found

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


def train_alone(directory: Path, **settings: Any) -> dict[str, Any]:
    return Session(directory, **settings).result()


def start_workers(
    directories: tuple[Path, Path], *, of_second: dict[str, Any] | None = None, **settings: Any
) -> list[Session]:
    """Start two workers that find each other on this machine, each with its own directory."""
    with socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.bind(("localhost", 0))
        addresses = [f"localhost:{each.getsockname()[1]}" for each in (one, two)]
    return [
        Session(
            directory,
            cluster={
                "cluster": {"worker": addresses},
                "task": {"type": "worker", "index": index},
            },
            **(settings | ((of_second or {}) if index else {})),
        )
        for index, directory in enumerate(directories)
    ]


def train_workers(
    directories: tuple[Path, Path], **settings: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train on two workers; return the result of the chief, and of the other."""
    chief, other = start_workers(directories, **settings)
    return chief.result(), other.result()


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Hold logs to 1e-5 and weights to 1e-6."""
    assert found["history"].keys() == expected["history"].keys()
    for name, values in expected["history"].items():
        np.testing.assert_allclose(found["history"][name], values, rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(found["weights"], expected["weights"], rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two devices learn, and, `alone`, what one does."""
    place = tmp_path_factory.mktemp("two")
    return train_alone(place / "two", alone=str(place / "one"), name="three_outputs", devices=2)


@pytest.mark.xdist_group("two")  # of pytest-xdist's workers one makes the fixture, not both
def test_two_devices_learn_what_one_does(two: dict[str, Any]) -> None:
    one = two["alone"]
    assert_same(two, one)
    assert two["evaluated"] == pytest.approx(one["evaluated"], rel=1e-5)


@pytest.mark.xdist_group("two")
def test_two_workers_learn_what_one_device_does(two: dict[str, Any], tmp_path: Path) -> None:
    chief, other = train_workers((tmp_path / "a", tmp_path / "b"), name="three_outputs")
    assert_same(chief, two["alone"])
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
    found = train_alone(tmp_path / "two", alone=str(tmp_path / "one"), name=name, devices=2)
    assert_same(found, found["alone"])


@pytest.mark.slow
def test_two_devices_with_noise_go_on_exactly_after_a_kill(tmp_path: Path) -> None:
    noisy = {"name": "regression", "noise": True, "devices": 2}
    unbroken = train_alone(tmp_path / "unbroken", **noisy)
    assert unbroken["seeds"]
    for one, other in unbroken["seeds"]:
        assert one != other, "each device draws numbers of its own"
    killed_at(tmp_path / "killed", 5, Session(tmp_path / "killed", **noisy, hang_at=5))
    found = train_alone(tmp_path / "killed", **noisy)
    assert 0 < found["resumed_from"] < 8
    assert found["digest"] == unbroken["digest"]
    assert found["history"] == unbroken["history"]


@pytest.mark.slow
def test_a_worker_that_dies_ends_the_others_with_words_and_both_go_on_exactly(
    tmp_path: Path,
) -> None:
    noisy = {"name": "regression", "noise": True}
    unbroken = train_workers((tmp_path / "a", tmp_path / "b"), **noisy)
    killed = tmp_path / "c", tmp_path / "d"
    chief, other = start_workers(killed, **noisy, of_second={"hang_at": 5})
    killed_at(tmp_path / "c", 5, other)
    died = time.monotonic()
    assert "Another worker went away" in chief.said()
    assert time.monotonic() - died < 60
    assert chief.process.exitcode == 1
    resumed = train_workers(killed, **noisy)
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
        assert "Another worker went away" in chief.said()
        assert time.monotonic() - hung < 60
    finally:
        other.kill()


@pytest.mark.slow
def test_the_number_of_workers_may_change_between_sessions(tmp_path: Path) -> None:
    one = train_alone(tmp_path / "one", name="regression", epochs=3)
    train_alone(tmp_path / "both", name="regression", epochs=1)
    # The second worker's own directory is empty: it gets the chief's state.
    places = tmp_path / "both", tmp_path / "new"
    chief, other = train_workers(places, name="regression", epochs=2)
    assert chief["resumed_from"] == other["resumed_from"] == 4
    last = train_alone(tmp_path / "both", name="regression", epochs=3, devices=2)
    assert last["resumed_from"] == 8
    assert_same(last, one)


@pytest.mark.slow
def test_workers_with_different_settings_refuse_to_train(tmp_path: Path) -> None:
    both = start_workers((tmp_path / "a", tmp_path / "b"), name="regression", of_second={"seed": 1})
    for session in both:
        assert "The workers have different data, settings or models" in session.said()
        assert session.process.exitcode == 1
    assert not (tmp_path / "a").exists()


def killed_at(directory: Path, step: int, session: Session) -> None:
    """Kill a process that has stopped at a step."""
    wait_until_stopped(session)
    session.kill()
    saved = [int(path.stem.removeprefix("step-")) for path in directory.glob("step-*.npz")]
    assert max(saved) <= step


def wait_until_stopped(session: Session) -> None:
    deadline = time.monotonic() + 120
    status = Path(f"/proc/{session.process.pid}/stat")
    while time.monotonic() < deadline:
        assert session.process.exitcode is None, session.said()[-2000:]
        if status.read_text().rpartition(")")[2].split()[0] == "T":
            return
        time.sleep(0.05)
    raise AssertionError("the process did not stop")
