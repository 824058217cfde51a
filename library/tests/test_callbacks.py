"""Keras' callbacks do what they do under Keras' `fit`, and go on after an interruption."""

from __future__ import annotations

import csv
import os
import signal
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from cases import BATCH, Case, make
from keras import callbacks as kc
from reference import SEED, keras_fit

import exactrun

pytestmark = pytest.mark.thorough

EPOCHS = 6


class InterruptAt(kc.Callback):
    """Send SIGINT, as a notebook's *Interrupt* does, at a step of a run."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step, self.done = step, 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.done += 1
        if self.done == self.step:
            os.kill(os.getpid(), signal.SIGINT)


def fit(case: Case, directory: Path, callbacks: Any, **options: Any) -> exactrun.History:
    settings = {"epochs": EPOCHS, "verbose": 0, **options}
    return exactrun.fit(
        case.model,
        *case.data,
        validation_data=case.data,
        batch_size=BATCH,
        seed=SEED,
        callbacks=callbacks,
        checkpoint_dir=directory,
        **settings,
    )


def interrupted(
    make_callbacks: Callable[[], list[Any]], directory: Path, *, at: int, name: str = "regression"
) -> tuple[Case, list[Any], exactrun.History]:
    """Train with an interruption after a number of steps, then to the end."""
    with pytest.raises(KeyboardInterrupt, match=f"after step {at}. All of it is saved"):
        fit(make(name), directory, [*make_callbacks(), InterruptAt(at)])
    case, callbacks = make(name), make_callbacks()
    history = fit(case, directory, callbacks)
    assert history.resumed_from == at
    return case, callbacks, history


def assert_equal(case: Case, history: Any, other: Case, expected: Any) -> None:
    """Hold two runs to the same bits."""
    assert history.history == expected.history
    assert history.epoch == expected.epoch
    for one, two in zip(case.model.weights, other.model.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy(), err_msg=one.path)


def early_stopping() -> list[Any]:
    # So large a difference is asked for that it stops after three epochs.
    return [kc.EarlyStopping("val_loss", min_delta=0.2, patience=2, restore_best_weights=True)]


def plateau() -> list[Any]:
    return [kc.ReduceLROnPlateau("val_loss", min_delta=0.3, patience=1, factor=0.5, cooldown=1)]


def schedule() -> list[Any]:
    return [kc.LearningRateScheduler(lambda epoch, rate: rate * 0.8)]


def several() -> list[Any]:
    return [*early_stopping(), *plateau(), kc.TerminateOnNaN()]


STATEFUL = {
    "EarlyStopping": early_stopping,
    "ReduceLROnPlateau": plateau,
    "LearningRateScheduler": schedule,
    "several": several,
}


@pytest.mark.parametrize("name", STATEFUL)
def test_a_callback_does_what_it_does_under_keras(name: str, tmp_path: Path) -> None:
    theirs = make("regression")
    expected = keras_fit(theirs, epochs=EPOCHS, callbacks=STATEFUL[name]())
    ours = make("regression")
    found = fit(ours, tmp_path, STATEFUL[name]())
    assert found.epoch == expected.epoch
    assert found.history.keys() == expected.history.keys()
    for metric, values in expected.history.items():
        np.testing.assert_allclose(found.history[metric], values, rtol=2e-5, err_msg=metric)
    for one, two in zip(ours.model.weights, theirs.model.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("at", [5, 8])  # in an epoch, and at its end
@pytest.mark.parametrize("name", STATEFUL)
def test_a_callback_goes_on_after_an_interruption(name: str, at: int, tmp_path: Path) -> None:
    unbroken, callbacks = make("regression"), STATEFUL[name]()
    expected = fit(unbroken, tmp_path / "unbroken", callbacks)
    case, resumed, found = interrupted(STATEFUL[name], tmp_path / "resumed", at=at)
    assert_equal(case, found, unbroken, expected)
    for one, two in zip(callbacks, resumed, strict=True):
        for attribute in (
            "wait",
            "best",
            "best_epoch",
            "stopped_epoch",
            "cooldown_counter",
            "min_delta",
        ):
            assert getattr(one, attribute, None) == getattr(two, attribute, None), attribute


def test_early_stopping_ends_the_run_for_good(tmp_path: Path) -> None:
    first = make("regression")
    history = fit(first, tmp_path, early_stopping())
    assert len(history.epoch) < EPOCHS
    assert history.finished
    assert history.stopped_by == "a callback"
    again = make("regression")
    repeated = fit(again, tmp_path, early_stopping())
    assert repeated.resumed_from == len(history.epoch) * 4
    assert_equal(again, repeated, first, history)
    # A run that is made longer goes on.
    longer = fit(make("regression"), tmp_path, [], epochs=EPOCHS + 1)
    assert len(longer.epoch) == EPOCHS + 1


class Remembering(kc.Callback):
    """A callback of a user's, which holds all kinds of things."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.recent: deque[float] = deque(maxlen=3)
        self.counts = np.zeros(3, np.int64)
        self.by_epoch: dict[int, tuple[float, str]] = {}
        self.seen: set[int] = set()
        self.largest = np.float32(0)
        self.first_kernel: Any = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.losses.append(logs["loss"])
        self.recent.append(logs["loss"])
        self.counts[epoch % 3] += 1
        self.by_epoch[epoch] = (logs["val_loss"], "ok")
        self.seen.add(epoch)
        self.largest = max(self.largest, np.float32(logs["loss"]))
        if epoch == 0:
            self.began = np.mean(self.losses)  # np.float64, which is a float, too
        self.first_kernel = self.model.get_weights()[0]


def test_a_users_own_callback_keeps_its_state(tmp_path: Path) -> None:
    (one,) = callbacks = [Remembering()]
    fit(make("regression"), tmp_path / "unbroken", callbacks)
    _, (two,), _ = interrupted(lambda: [Remembering()], tmp_path / "resumed", at=9)
    for name in ("losses", "recent", "by_epoch", "seen", "largest", "began"):
        assert getattr(one, name) == getattr(two, name), name
        assert type(getattr(one, name)) is type(getattr(two, name))
    np.testing.assert_array_equal(one.counts, two.counts)
    np.testing.assert_array_equal(one.first_kernel, two.first_kernel)


class Drawing(kc.Callback):
    """Holds what no checkpoint can keep."""

    figure: Any = None
    day: Any = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.figure, self.day = object(), np.datetime64("2026-11-22")


def test_what_a_callback_can_not_keep_is_told_once(tmp_path: Path, capsys: Any) -> None:
    fit(make("regression"), tmp_path, [Drawing()], save_interval_secs=0)
    said = capsys.readouterr().out
    for what in ("figure is a object", "day is a datetime64"):
        assert said.count(f"Drawing.{what}, which a checkpoint can't keep") == 1


def test_a_setting_that_is_changed_between_sessions_counts(tmp_path: Path) -> None:
    def patient(patience: int) -> list[Any]:
        return [kc.EarlyStopping("val_loss", min_delta=100.0, patience=patience)]

    with pytest.raises(KeyboardInterrupt):
        fit(make("regression"), tmp_path, [*patient(5), InterruptAt(6)])
    assert len(fit(make("regression"), tmp_path, patient(2)).epoch) == 3


@pytest.mark.parametrize("at", [6, 8, 9])
def test_csv_logger_writes_each_epoch_once(at: int, tmp_path: Path) -> None:
    def log(name: str) -> Callable[[], list[Any]]:
        return lambda: [kc.CSVLogger(str(tmp_path / name))]

    fit(make("regression"), tmp_path / "unbroken", log("one.csv")())
    interrupted(log("two.csv"), tmp_path / "resumed", at=at)
    assert (tmp_path / "two.csv").read_text() == (tmp_path / "one.csv").read_text()


def test_csv_logger_drops_an_epoch_that_is_trained_again(tmp_path: Path) -> None:
    # The process died after the row was written and before the next checkpoint.
    fit(make("regression"), tmp_path / "run", [kc.CSVLogger(str(tmp_path / "log.csv"))], epochs=2)
    lines = (tmp_path / "log.csv").read_text()
    (tmp_path / "log.csv").write_text(
        lines + lines.splitlines()[-1].replace("1,", "2,", 1) + "\r\n"
    )
    fit(make("regression"), tmp_path / "run", [kc.CSVLogger(str(tmp_path / "log.csv"))], epochs=4)
    with (tmp_path / "log.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1", "2", "3"]


def test_model_checkpoint_keeps_its_best(tmp_path: Path) -> None:
    def best(name: str) -> Callable[[], list[Any]]:
        path = str(tmp_path / f"{name}.weights.h5")
        return lambda: [kc.ModelCheckpoint(path, save_best_only=True, save_weights_only=True)]

    (one,) = callbacks = best("one")()
    fit(make("regression"), tmp_path / "unbroken", callbacks)
    _, (two,), _ = interrupted(best("two"), tmp_path / "resumed", at=10)
    assert one.best == two.best
    saved = [make("regression").model for _ in range(2)]
    for model, name in zip(saved, ("one", "two"), strict=True):
        model.load_weights(str(tmp_path / f"{name}.weights.h5"))
    for a, b in zip(saved[0].get_weights(), saved[1].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_tensorboard_goes_on(tmp_path: Path) -> None:
    import tensorflow as tf

    logs = tmp_path / "logs"
    interrupted(lambda: [kc.TensorBoard(str(logs))], tmp_path / "run", at=9)
    found: dict[int, float] = {}
    for file in sorted(logs.glob("validation/events*")):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                if value.tag == "epoch_loss":
                    found[event.step] = float(tf.make_ndarray(value.tensor))
    assert sorted(found) == list(range(EPOCHS))


def test_a_callback_with_batches_sees_each_and_lambda_callback_works(tmp_path: Path) -> None:
    batches: list[int] = []
    epochs: list[int] = []
    seen = kc.LambdaCallback(
        on_train_batch_end=lambda batch, logs: batches.append(batch),
        on_epoch_end=lambda epoch, logs: epochs.append(epoch),
    )
    fit(make("regression"), tmp_path, [seen], epochs=2)
    assert batches == [0, 1, 2, 3] * 2
    assert epochs == [0, 1]


def test_steps_per_execution_is_what_a_callback_with_batches_sees(tmp_path: Path) -> None:
    case, batches = make("regression"), []
    case.model.steps_per_execution = 3
    fit(
        case,
        tmp_path,
        [kc.LambdaCallback(on_train_batch_end=lambda b, logs: batches.append(b))],
        epochs=1,
    )
    assert batches == [2, 3]


def test_a_callback_that_stops_in_an_epoch_ends_it_as_under_keras(tmp_path: Path) -> None:
    class Stop(kc.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if self.model.optimizer.iterations.numpy() == 6:
                self.model.stop_training = True

    theirs, ours = make("regression"), make("regression")
    expected = keras_fit(theirs, epochs=EPOCHS, callbacks=[Stop()])
    found = fit(ours, tmp_path, [Stop()])
    assert found.epoch == expected.epoch == [0, 1]
    np.testing.assert_allclose(found.history["loss"], expected.history["loss"], rtol=2e-5)
    assert found.finished


def diverging() -> Case:
    case = make("regression")
    case.model.optimizer.learning_rate = 1e18
    return case


def test_a_loss_that_is_nan_stops_with_step_epoch_and_advice(tmp_path: Path) -> None:
    with pytest.raises(
        exactrun.UserError, match=r"at step \d+, in epoch 1: .* smaller learning rate"
    ):
        fit(diverging(), tmp_path, [], save_interval_secs=0)
    # What was saved is from before.
    newest = exactrun.Checkpoints(tmp_path).newest()
    assert newest is not None
    assert all(
        np.isfinite(array).all() for array in newest.arrays.values() if array.dtype.kind == "f"
    )


def test_a_validation_loss_that_is_nan_stops_and_is_never_best(tmp_path: Path) -> None:
    case = make("regression")

    class Spoil(kc.Callback):
        def on_test_begin(self, logs: Any = None) -> None:
            self.kept = self.model.get_weights()
            self.model.set_weights([w * np.nan for w in self.kept])

    stopping = kc.EarlyStopping("val_loss", restore_best_weights=True)
    with pytest.raises(exactrun.UserError, match="The val_loss is nan at step 4, in epoch 1"):
        fit(case, tmp_path, [Spoil(), stopping])
    assert stopping.best is None


def test_terminate_on_nan_ends_the_session_without_saving_nan(tmp_path: Path) -> None:
    history = fit(diverging(), tmp_path, [kc.TerminateOnNaN()], save_interval_secs=0)
    assert history.stopped_by == "TerminateOnNaN"
    assert not history.finished
    newest = exactrun.Checkpoints(tmp_path).newest()
    assert newest is not None
    assert np.isfinite(newest.arrays["variable-00000"]).all()


@pytest.mark.parametrize(
    ("verbose", "words"),
    [
        (0, []),
        (1, ["Epoch 2/6", "2/4", "val_loss"]),
        (2, ["Epoch 2/6", "4/4 - ", "val_loss"]),
        ("auto", ["Epoch 2/6", "━"]),
    ],
)
def test_verbose_shows_keras_bar_at_the_runs_true_step(
    verbose: Any, words: list[str], tmp_path: Path, capsys: Any
) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(make("regression"), tmp_path, [InterruptAt(5)])
    capsys.readouterr()
    seen = kc.LambdaCallback(on_train_batch_end=lambda batch, logs: None)  # shows every batch
    fit(make("regression"), tmp_path, [seen], verbose=verbose)
    printed = capsys.readouterr().out
    assert ("Goes on after step 5: epoch 2 of 6, batch 2 of 4." in printed) == bool(verbose)
    for word in words:
        assert word in printed
    assert "Epoch 1/6" not in printed


def test_backup_and_restore_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        exactrun.UserError, match="BackupAndRestore, which would restore other weights"
    ):
        fit(make("regression"), tmp_path, [kc.BackupAndRestore(str(tmp_path / "backup"))])


def test_a_metric_that_is_numbered_anew_goes_on_under_its_new_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a notebook: the cell that builds the model is run again in the same process.
    with pytest.raises(KeyboardInterrupt):
        fit(make("binary_logits_clipnorm"), tmp_path, [InterruptAt(5)])
    monkeypatch.setattr(keras.utils, "clear_session", lambda **_: None)
    history = fit(make("binary_logits_clipnorm"), tmp_path, [])
    assert {len(values) for values in history.history.values()} == {EPOCHS}
    assert "true_positives" not in history.history
