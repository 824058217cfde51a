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
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras.callbacks import Callback, LambdaCallback
from small import small_data

from {{ cookiecutter.__package }}.colab import publishing
from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.errors import UserError
from {{ cookiecutter.__package }}.model import build_model
from {{ cookiecutter.__package }}.training import checkpoints
from {{ cookiecutter.__package }}.training.batches import training_batches
from {{ cookiecutter.__package }}.training.delivery import (
    deliver_model,
    weights_sha256,
)
from {{ cookiecutter.__package }}.training.folders import RunFolders
from {{ cookiecutter.__package }}.training.loop import Training, train
from {{ cookiecutter.__package }}.training.progress import Progress
from {{ cookiecutter.__package }}.training.steps import compile_evaluation

CONFIG = Config(epochs=3, batch_size=16, checkpoint_seconds=0.0)
STEPS = 3 * 64 // 16


def folders_in(place: Path) -> RunFolders:
    return RunFolders("test", scratch=place / "scratch", persistent=place / "kept")


def run(place: Path, config: Config = CONFIG, **options: Any) -> tuple[str, Training]:
    """Train in a place; return the SHA-256 of the weights, and what the training did."""
    data = options.pop("data", small_data())
    model = build_model(data, config)
    training = train(model, data, config, folders=folders_in(place), **options)
    return weights_sha256(model), training


def after(epoch: int, act: Callable[[], Any]) -> list[Callback]:
    """Return a callback that acts at an epoch's end."""
    return [LambdaCallback(on_epoch_end=lambda n, logs: act() if n + 1 == epoch else None)]


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


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def without_seconds(training: Training) -> list[dict[str, Any]]:
    return [{**record, "seconds": None} for record in training.history]


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
    assert 0 < rest.resumed_from < STEPS
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


def test_a_time_limit_stops_in_good_order(tmp_path: Path) -> None:
    _, training = run(tmp_path, replace(CONFIG, max_hours=1e-6))
    assert training.step < STEPS
    assert training.stopped_by == "max_hours=1e-06"
    assert not training.finished


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


def test_a_lost_machine_goes_on_from_the_persistent_folder_alone(tmp_path: Path) -> None:
    unbroken, _ = run(tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "lost", callbacks=after(2, interrupt))
    (tmp_path / "lost" / "scratch").rename(tmp_path / "gone")
    resumed, rest = run(tmp_path / "lost")
    assert resumed == unbroken
    assert rest.resumed_from > 0


def flip_a_bit(arrays: Path) -> None:
    content = bytearray(arrays.read_bytes())
    content[len(content) // 2] ^= 1
    arrays.write_bytes(content)


def truncate(arrays: Path) -> None:
    arrays.write_bytes(arrays.read_bytes()[:-100])


def garble_the_manifest(arrays: Path) -> None:
    arrays.with_suffix(".json").write_text('{"format": 2, "step"')


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flip_a_bit, "does not have the recorded SHA-256"),
        (truncate, "bytes instead of"),
        (garble_the_manifest, "is passed over"),
        (Path.unlink, "No such file"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path,
    damage: Callable[[Path], None],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    unbroken, whole = run(tmp_path)
    for folder in folders_in(tmp_path).checkpoints:
        damage(max(folder.glob("step-*.npz")))
    resumed, rest = run(tmp_path)
    assert said in capsys.readouterr().out
    assert 0 < rest.resumed_from < whole.step
    assert resumed == unbroken


def test_other_settings_are_not_mixed_into_a_run(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(UserError, match=r"dropout: 0\.\d+ then, 0\.0 now"):
        run(tmp_path, replace(CONFIG, dropout=0.0))


def test_other_data_is_not_mixed_into_a_run(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(UserError, match="data_sha256"):
        run(tmp_path, data=small_data(test=16))


def test_another_model_is_not_mixed_into_a_run(tmp_path: Path) -> None:
    run(tmp_path)
    data = small_data()
    layers = [keras.layers.Rescaling(0.01), keras.layers.Flatten(), keras.layers.Dense(4)]
    other = keras.Sequential([keras.Input(data.x_train.shape[1:]), *layers])
    with pytest.raises(UserError, match="The model has changed since the run began"):
        train(other, data, CONFIG, folders=folders_in(tmp_path))


def test_a_loss_that_is_no_number_stops_the_training(tmp_path: Path) -> None:
    data, folders = small_data(), folders_in(tmp_path)
    model = build_model(data, CONFIG)
    model.weights[-1].assign(np.full(model.weights[-1].shape, np.nan))
    with pytest.raises(UserError, match="The loss is nan at step 1"):
        train(model, data, CONFIG, folders=folders)
    kept = {path.stem for folder in folders.checkpoints for path in folder.glob("step-*")}
    assert kept == {"step-00000000"}


def test_a_local_folder_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "scratch").touch()  # a file where the folder should be
    with pytest.raises(UserError, match=r"scratch.* can't be written"):
        folders_in(tmp_path)


def test_a_deleted_run_begins_afresh(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "kept" / "runs" / "test").rename(tmp_path / "deleted")
    assert run(tmp_path)[1].resumed_from == 0


def test_a_checkpoint_that_can_not_be_kept_does_not_stop_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(source: Path, folder: Path, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    unbroken, _ = run(tmp_path / "unbroken")
    monkeypatch.setattr(publishing, "publish", full)
    assert run(tmp_path / "full")[0] == unbroken
    assert "No space left on device" in capsys.readouterr().out


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    run(tmp_path)
    for folder in folders_in(tmp_path).checkpoints:
        assert len(list(folder.glob("*.npz"))) == checkpoints.KEPT


def test_the_delivered_model_answers_as_the_trained_one(tmp_path: Path) -> None:
    data = small_data()
    model = build_model(data, CONFIG)
    path, found, compared = deliver_model(model, data, folders_in(tmp_path))
    assert path.exists()
    assert "same answers to 32 test examples" in compared
    assert found.answers == pytest.approx(model.predict(data.x_test, verbose=0), abs=1e-6)


def test_a_model_that_is_loaded_as_another_one_is_not_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = small_data()
    other = build_model(data, replace(CONFIG, seed=1))
    monkeypatch.setattr(keras.saving, "load_model", lambda path, compile: other)
    with pytest.raises(UserError, match="answers differently from the trained model"):
        deliver_model(build_model(data, CONFIG), data, folders_in(tmp_path))


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


def test_an_evaluation_has_the_digits_of_the_last_validation(tmp_path: Path) -> None:
    data = small_data()
    data = replace(data, x_test=data.x_validation, y_test=data.y_validation)
    model = build_model(data, CONFIG)
    config = replace(CONFIG, deliver="last")
    training = train(model, data, config, folders=folders_in(tmp_path))
    _, found, _ = deliver_model(model, data, folders_in(tmp_path))
    last = training.history[-1]
    assert (found.loss, found.accuracy) == (last["val_loss"], last["val_accuracy"])
