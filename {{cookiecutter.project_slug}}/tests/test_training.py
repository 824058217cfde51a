"""Training: what is promised of order, checkpoints and resumption, on the project's own model.

These are the tests to keep when data.py and model.py become your own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import small_data

from {{ cookiecutter.__package }}.colab import accelerator
from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.errors import UserError
from {{ cookiecutter.__package }}.model import build_model, build_optimizer
from {{ cookiecutter.__package }}.training import checkpoints
from {{ cookiecutter.__package }}.training import folders as folders_module
from {{ cookiecutter.__package }}.training.batches import training_batches
from {{ cookiecutter.__package }}.training.delivery import deliver_model
from {{ cookiecutter.__package }}.training.figures import confusion, curves
from {{ cookiecutter.__package }}.training.folders import RunFolders
from {{ cookiecutter.__package }}.training.loop import (
    Training,
    train,
    weights_sha256,
)
from {{ cookiecutter.__package }}.training.progress import Progress
from {{ cookiecutter.__package }}.training.run import Run

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


def interrupt_after(epoch: int) -> Callable[[dict[str, Any]], None]:
    return lambda record: interrupt() if record["epoch"] == epoch else None


def train_in_process(place: Path, *, kill_after: float | None = None) -> str:
    """Run `killable.py` in a place; return its last line, or kill it with SIGKILL."""
    command = [sys.executable, str(Path(__file__).with_name("killable.py")), str(place)]
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=quiet) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        if kill_after is not None:
            time.sleep(kill_after)
            process.kill()
        lines = [first, *process.stdout]
    assert process.returncode == 0 or kill_after is not None
    return lines[-1]


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
            run(tmp_path / "broken", on_epoch=interrupt_after(epoch))
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


def test_the_means_of_an_epoch_begin_from_nothing(tmp_path: Path) -> None:
    run(tmp_path)
    newest = max(folders_in(tmp_path).checkpoints[0].glob("*.npz"))
    with np.load(newest) as stored:
        means = [stored[name] for name in sorted(stored.files)[-4:]]  # sums and counts of two
    assert not np.any(means)


def test_a_time_limit_stops_in_good_order(tmp_path: Path) -> None:
    _, training = run(tmp_path, replace(CONFIG, max_hours=1e-6))
    assert training.step < STEPS
    assert training.stopped_by == "max_hours=1e-06"
    assert 0 <= training.metrics["test_accuracy"] <= 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_before_it_stops(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    unbroken, _ = run(tmp_path / "unbroken")
    with pytest.raises(UserError, match=f"{number.name} stopped the training after step 4 of 12"):
        run(tmp_path / "told", on_epoch=lambda record: signal.raise_signal(number))
    assert signal.getsignal(number) is before
    resumed, rest = run(tmp_path / "told")
    assert rest.resumed_from == 4
    assert resumed == unbroken


def test_killed_again_and_again_it_ends_with_the_same_weights(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    unbroken = json.loads(train_in_process(tmp_path / "unbroken"))
    random = np.random.default_rng(int(time.time()))
    for kill in range(kills := request.config.getoption("--kills")):
        seconds = float(random.uniform(0.0, 2.0))
        print(f"kill {kill + 1} of {kills}: {seconds:.2f} s after the training begins")
        train_in_process(tmp_path / "killed", kill_after=seconds)
    assert json.loads(train_in_process(tmp_path / "killed")) == unbroken


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
        run(tmp_path / "lost", on_epoch=interrupt_after(2))
    (tmp_path / "lost" / "scratch").rename(tmp_path / "gone")
    resumed, rest = run(tmp_path / "lost")
    assert resumed == unbroken
    assert rest.resumed_from > 0


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unbroken, whole = run(tmp_path)
    for folder in folders_in(tmp_path).checkpoints:
        newest = max(folder.glob("step-*.npz"))
        content = bytearray(newest.read_bytes())
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)
    resumed, rest = run(tmp_path)
    assert "does not have the recorded SHA-256" in capsys.readouterr().out
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


def test_a_batch_larger_than_the_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch_size=65 is more than the 64"):
        run(tmp_path, Config(batch_size=65))


def test_a_loss_that_is_no_number_stops_the_training(tmp_path: Path) -> None:
    data, folders = small_data(), folders_in(tmp_path)
    model = build_model(data, CONFIG)
    model.weights[-1].assign(np.full(model.weights[-1].shape, np.nan))
    with pytest.raises(UserError, match="The loss is nan by step 4"):
        train(model, data, CONFIG, folders=folders)
    kept = {path.stem for folder in folders.checkpoints for path in folder.glob("step-*")}
    assert kept == {"step-00000000"}


def test_a_deleted_run_begins_afresh(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "kept" / "runs" / "test").rename(tmp_path / "deleted")
    assert run(tmp_path)[1].resumed_from == 0


def test_a_file_that_can_not_be_kept_is_named_with_where_it_is(tmp_path: Path) -> None:
    folders = folders_in(tmp_path)
    file = folders.work / "model.keras"
    file.write_bytes(b"model")
    folders.kept.rmdir()
    folders.kept.touch()  # no folder any more, as when Drive is gone
    with pytest.raises(UserError, match=r"model\.keras was not copied .* is complete in"):
        folders.publish(file)


def test_a_checkpoint_that_can_not_be_kept_does_not_stop_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(source: Path, folder: Path) -> None:
        raise OSError(28, "No space left on device")

    unbroken, _ = run(tmp_path / "unbroken")
    monkeypatch.setattr(folders_module, "publish", full)
    assert run(tmp_path / "full")[0] == unbroken
    assert "No space left on device" in capsys.readouterr().out


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    run(tmp_path)
    for folder in folders_in(tmp_path).checkpoints:
        assert len(list(folder.glob("*.npz"))) == checkpoints.KEPT


def test_the_delivered_model_answers_as_the_trained_one(tmp_path: Path) -> None:
    data = small_data()
    model = build_model(data, CONFIG)
    path, answers, compared = deliver_model(model, data, folders_in(tmp_path))
    assert path.exists()
    assert "same answers to 32 test examples" in compared
    assert np.array_equal(answers, model.predict(data.x_test, verbose=0))


def test_the_delivered_model_has_the_accuracy_of_the_last_epoch(tmp_path: Path) -> None:
    data = small_data()
    model = build_model(data, CONFIG)
    training = train(model, data, CONFIG, folders=folders_in(tmp_path))
    _, answers, _ = deliver_model(model, data, folders_in(tmp_path))
    accuracy = np.mean(answers.argmax(axis=1) == data.y_test, dtype=np.float32)
    assert float(accuracy) == training.history[-1]["test_accuracy"]


def test_determinism_is_switched_on_only_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(accelerator, "make_deterministic", lambda: asked.append(True))
    Run(Config()).check_accelerator()
    assert asked == []
    Run(Config(deterministic=True)).check_accelerator()
    assert asked == [True]


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    config = replace(CONFIG, warmup=0.2, learning_rate=0.5, clip_norm=3.0)
    optimizer = build_optimizer(config, steps=100)
    rates = [float(optimizer._learning_rate(step)) for step in (0, 10, 20, 60, 100)]
    assert rates == pytest.approx([0, 0.25, 0.5, 0.25, 0], abs=1e-6)
    assert optimizer.global_clipnorm == 3.0


def test_without_warm_up_the_learning_rate_begins_at_its_highest() -> None:
    optimizer = build_optimizer(replace(CONFIG, learning_rate=0.5), steps=100)
    rates = [float(optimizer._learning_rate(step)) for step in (0, 50, 100)]
    assert rates == pytest.approx([0.5, 0.25, 0], abs=1e-6)
    assert optimizer.global_clipnorm is None


def test_the_confusion_matrix_names_the_worst_mistakes() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2])
    given = np.array([0, 1, 1, 1, 0, 2])
    _, alt = confusion(truth, np.eye(3)[given], ("cat", "dog", "owl"))
    assert "3 of 6 test examples are right" in alt
    assert "cat taken for dog (2×); dog taken for cat (1×)" in alt


def test_a_curve_without_an_epoch_says_so() -> None:
    assert "no epoch is finished" in curves([])[1]
