"""Training: what is promised of order, checkpoints and resumption, on the project's own model.

These are the tests to keep when data.py and model.py become your own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small import small_data
from trainings import CONFIG, STEPS_PER_EPOCH, after, folders_in, interrupt, run, without_seconds

from {{ cookiecutter.__package }}.errors import UserError
from {{ cookiecutter.__package }}.model import build_model
from {{ cookiecutter.__package }}.training.batches import training_batches
from {{ cookiecutter.__package }}.training.delivery import weights_sha256
from {{ cookiecutter.__package }}.training.loop import train
from {{ cookiecutter.__package }}.training.progress import Progress
from {{ cookiecutter.__package }}.training.steps import compile_evaluation


def train_in_process(place: Path, *, kill_after: float | None = None) -> tuple[str, float, float]:
    """Run `killable.py` in a place, or kill it with SIGKILL.

    Returns its last line, the seconds from when it was ready to its first steps, and those from
    there to its end.
    """
    command = [sys.executable, str(Path(__file__).with_name("killable.py")), str(place)]
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    lines, times = [], {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=quiet) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            times.setdefault(line.strip(), time.monotonic())
            if line == "ready\n" and kill_after is not None:
                threading.Timer(kill_after, process.kill).start()
        ended = time.monotonic()
    assert process.returncode == 0 or kill_after is not None
    first = times.get("trains", ended)
    return lines[-1], first - times["ready"], ended - first


def order_of(*, seed: int, start: int = 0, stop: int = 8) -> list[list[int]]:
    """Return which of 33 examples each step sees, 8 at a time."""
    rows = np.arange(33)
    stream = training_batches(rows, rows, batch_size=8, seed=seed, start=start, stop=stop)
    return [x.tolist() for x, _ in stream.as_numpy_iterator()]


def test_an_epoch_sees_no_example_twice() -> None:
    seen = [row for batch in order_of(seed=1, stop=4) for row in batch]
    assert len(set(seen)) == 32


def test_every_epoch_and_every_seed_has_an_order_of_its_own() -> None:
    first = order_of(seed=1)
    assert first[:4] != first[4:]
    assert first != order_of(seed=2)


def test_the_order_is_the_same_from_any_step_on() -> None:
    assert order_of(seed=1, start=3) == order_of(seed=1)[3:]


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    weights, _ = run(tmp_path / "one")
    assert run(tmp_path / "two")[0] == weights
    assert run(tmp_path / "three", replace(CONFIG, seed=1))[0] != weights


def test_an_interrupted_training_ends_with_the_weights_of_an_unbroken_one(tmp_path: Path) -> None:
    unbroken, whole = run(tmp_path / "unbroken")
    for epoch in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "broken", callbacks=after(epoch, interrupt))
    resumed, rest = run(tmp_path / "broken")
    assert resumed == unbroken
    assert 0 < rest.resumed_from < 3 * STEPS_PER_EPOCH
    assert without_seconds(rest) == without_seconds(whole)


def test_it_goes_on_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    unbroken, whole = run(tmp_path / "unbroken")
    for stop in (3, 6):
        config = replace(CONFIG, stop_after_steps=stop)
        stopped = run(tmp_path / "broken", config)[1]
        assert (stopped.step, stopped.stopped_by) == (stop, f"stop_after_steps={stop}")
    resumed, rest = run(tmp_path / "broken")
    assert rest.resumed_from == 6
    assert resumed == unbroken
    assert without_seconds(rest) == without_seconds(whole)


def test_a_cell_stopped_in_its_first_epoch_can_be_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken, _ = run(tmp_path / "unbroken")
    data, folders = small_data(), folders_in(tmp_path / "stopped")
    model = build_model(data, CONFIG)
    monkeypatch.setattr(Progress, "at", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(model, data, CONFIG, folders=folders)
    monkeypatch.undo()
    train(model, data, CONFIG, folders=folders)
    assert weights_sha256(model) == unbroken


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_before_it_stops(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    unbroken, _ = run(tmp_path / "unbroken")
    said = rf"{number.name} stopped the training after step 4 of 12\. All of it is kept"
    with pytest.raises(UserError, match=said):
        run(tmp_path / "told", callbacks=after(1, lambda: signal.raise_signal(number)))
    assert signal.getsignal(number) is before
    resumed, rest = run(tmp_path / "told")
    assert rest.resumed_from == 4
    assert resumed == unbroken


def test_a_time_limit_stops_in_good_order(tmp_path: Path) -> None:
    _, training = run(tmp_path, replace(CONFIG, max_hours=1e-6))
    assert training.step < 3 * STEPS_PER_EPOCH
    assert training.stopped_by == "max_hours=1e-06"
    assert not training.finished


def test_a_loss_that_is_no_number_stops_the_training(tmp_path: Path) -> None:
    data, folders = small_data(), folders_in(tmp_path)
    model = build_model(data, CONFIG)
    model.weights[-1].assign(np.full(model.weights[-1].shape, np.nan))
    with pytest.raises(UserError, match="The loss is nan at step 1"):
        train(model, data, CONFIG, folders=folders)
    kept = {path.stem for folder in folders.checkpoints for path in folder.glob("step-*")}
    assert kept == {"step-00000000"}


def test_the_loss_of_an_epoch_is_the_mean_over_its_examples(tmp_path: Path) -> None:
    random = {name: 0.0 for name in ("dropout", "shift", "rotation") if hasattr(CONFIG, name)}
    still = replace(CONFIG, epochs=1, learning_rate=1e-8, **random)
    data = small_data()
    model = build_model(data, still)
    training = train(model, data, still, folders=folders_in(tmp_path))
    classes = len(data.class_names)
    found = compile_evaluation(model, data.x_train, data.y_train, classes=classes)()
    assert training.history[0]["loss"] == pytest.approx(found.loss, rel=1e-4)
    assert training.history[0]["accuracy"] == pytest.approx(found.accuracy, abs=0.02)


def test_killed_again_and_again_it_ends_with_the_same_weights(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    unbroken, before, training = train_in_process(tmp_path / "unbroken")
    random = np.random.default_rng(int(time.time()))
    for kill in range(kills := request.config.getoption("--kills")):
        # Each gets so far that something is left for the next one.
        instant = float(random.uniform(0.0, before + training / kills))
        train_in_process(tmp_path / "killed", kill_after=instant)
        steps = [path.stem for path in (tmp_path / "killed" / "kept").rglob("step-*.json")]
        newest = max(steps, default="nothing")
        print(f"kill {kill + 1} of {kills}, {instant:.2f} s after it was ready: {newest} is kept")
    assert json.loads(train_in_process(tmp_path / "killed")[0]) == json.loads(unbroken)
    print(f"{kills} kills, and the weights and history of an unbroken run")
