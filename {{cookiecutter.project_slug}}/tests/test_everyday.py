"""Everyday needs of a training: what is kept, when it stops, who is told, how it computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras.callbacks import Callback, CSVLogger, EarlyStopping, LambdaCallback
from small import small_data

from {{ cookiecutter.__package }}.colab import accelerator
from {{ cookiecutter.__package }}.colab.accelerator import Accelerator
from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.errors import UserError
from {{ cookiecutter.__package }}.model import build_model, build_optimizer
from {{ cookiecutter.__package }}.training import (
    distribution,
    loop,
    precision,
)
from {{ cookiecutter.__package }}.training.delivery import weights_sha256
from {{ cookiecutter.__package }}.training.figures import confusion, curves
from {{ cookiecutter.__package }}.training.folders import RunFolders
from {{ cookiecutter.__package }}.training.loop import Training, train
from {{ cookiecutter.__package }}.training.run import Run
from {{ cookiecutter.__package }}.training.steps import Evaluation
from {{ cookiecutter.__package }}.training.stopping import best_epoch
from {{ cookiecutter.__package }}.training.tensorboard import TensorBoardLogs

CONFIG = Config(epochs=3, batch_size=16, checkpoint_seconds=0.0)
STEPS_PER_EPOCH = 64 // 16
LONG = replace(CONFIG, epochs=9)


def folders_in(place: Path) -> RunFolders:
    return RunFolders("test", scratch=place / "scratch", persistent=place / "kept")


@pytest.fixture
def getting_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every validation find a higher loss and a lower accuracy, whatever model learns."""

    def compile_evaluation(model: keras.Model, *_: Any, **__: Any) -> Callable[[], Evaluation]:
        def evaluate() -> Evaluation:
            epoch = int(model.optimizer.iterations.numpy()) // STEPS_PER_EPOCH
            return Evaluation(loss=float(epoch), accuracy=1 / epoch, answers=np.empty((0, 1)))

        return evaluate

    monkeypatch.setattr(loop, "compile_evaluation", compile_evaluation)


def run(place: Path, config: Config = CONFIG, **options: Any) -> tuple[str, Training]:
    """Train in a place; return the SHA-256 of the weights, and what the training did."""
    data = small_data()
    model = build_model(data, config)
    training = train(model, data, config, folders=folders_in(place), **options)
    return weights_sha256(model), training


def noting_weights(found: list[str]) -> Callback:
    """Return a callback that notes the weights after each epoch."""

    class Noting(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            found.append(weights_sha256(self.model))

    return Noting()


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def made_for(kind: str, *precisions: str) -> Accelerator:
    return Accelerator(
        kind=kind,
        name="a Tesla T4",
        count=int(kind == "gpu"),
        precisions=("float32", *precisions),
        status="passed",
        checked="",
    )


def test_the_first_of_equally_good_epochs_is_the_best() -> None:
    losses, accuracies = [3.0, 2.0, 1.5, 1.5, 1.0], [0.5, 0.7, 0.7, 0.7, 0.6]
    history = [
        {"epoch": n + 1, "val_loss": losses[n], "val_accuracy": accuracies[n]} for n in range(5)
    ]
    assert best_epoch(history, "val_loss") == 5
    assert best_epoch(history, "val_accuracy") == 3
    assert best_epoch([], "val_loss") == 0


@pytest.mark.usefixtures("getting_worse")
@pytest.mark.parametrize("deliver", ["best", "last"])
def test_the_model_has_the_weights_that_were_asked_for(tmp_path: Path, deliver: str) -> None:
    found: list[str] = []
    config = replace(CONFIG, deliver=deliver)
    weights, training = run(tmp_path, config, callbacks=[noting_weights(found)])
    assert training.delivered_epoch == (1 if deliver == "best" else 0)
    assert weights == found[0 if deliver == "best" else 2]


@pytest.mark.usefixtures("getting_worse")
def test_the_best_weights_survive_an_interruption(tmp_path: Path) -> None:
    unbroken, whole = run(tmp_path / "unbroken")
    stop = LambdaCallback(on_epoch_end=lambda n, logs: interrupt() if n == 2 else None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", callbacks=[stop])
    resumed, rest = run(tmp_path / "broken")
    assert rest.delivered_epoch == whole.delivered_epoch == 1
    assert resumed == unbroken


@pytest.mark.usefixtures("getting_worse")
def test_a_training_that_gets_no_better_ends_early(tmp_path: Path) -> None:
    _, training = run(tmp_path, replace(LONG, early_stopping=2))
    assert len(training.history) == 1 + 2
    assert (training.finished, training.stopped_by) == (True, "early_stopping=2")


@pytest.mark.usefixtures("getting_worse")
def test_an_interrupted_training_ends_as_early_as_an_unbroken_one(tmp_path: Path) -> None:
    config = replace(LONG, early_stopping=2)
    unbroken, whole = run(tmp_path / "unbroken", config)
    run(tmp_path / "broken", replace(config, stop_after_steps=STEPS_PER_EPOCH + 1))
    resumed, rest = run(tmp_path / "broken", config)
    assert len(rest.history) == len(whole.history)
    assert resumed == unbroken
    again = run(tmp_path / "broken", config)[1]
    assert again.resumed_from == rest.step  # nothing is left to do


def test_a_run_may_become_longer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path)
    _, training = run(tmp_path, replace(CONFIG, epochs=5))
    assert training.resumed_from == 3 * STEPS_PER_EPOCH
    assert [record["epoch"] for record in training.history] == [1, 2, 3, 4, 5]
    assert "epochs was 3 and is 5 now" in capsys.readouterr().out


def test_a_run_can_not_become_shorter_than_it_is(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(UserError, match=r"epochs=2 is less than .* Set epochs to more than 3"):
        run(tmp_path, replace(CONFIG, epochs=2))


def test_callbacks_of_keras_are_told_what_fit_would_tell(tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []
    names = ("on_epoch_begin", "on_epoch_end", "on_train_batch_begin", "on_train_batch_end")
    each = {name: lambda n, logs, name=name: told.append((name, n)) for name in names}
    table = tmp_path / "log.csv"
    run(tmp_path, callbacks=[LambdaCallback(**each), CSVLogger(table)])
    assert told[:2] == [("on_epoch_begin", 0), ("on_train_batch_begin", 0)]
    assert told[-1] == ("on_epoch_end", 2)
    assert told.count(("on_train_batch_end", STEPS_PER_EPOCH - 1)) == 3
    header, *rows = table.read_text(encoding="utf-8").splitlines()
    assert set(header.split(",")) == {"epoch", "loss", "accuracy", "val_loss", "val_accuracy"}
    assert len(rows) == 3


@pytest.mark.usefixtures("getting_worse")
def test_a_callback_may_stop_the_training_at_the_end_of_an_epoch(tmp_path: Path) -> None:
    stop = EarlyStopping(monitor="val_loss", patience=1)
    _, training = run(tmp_path, LONG, callbacks=[stop])
    assert training.stopped_by == "a callback"
    assert training.step == 2 * STEPS_PER_EPOCH


def test_logs_for_tensorboard_are_kept_after_each_epoch(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folders = folders_in(tmp_path)
    data = small_data()
    model = build_model(data, CONFIG)
    stop = LambdaCallback(on_epoch_end=lambda n, logs: interrupt() if n == 1 else None)
    with pytest.raises(KeyboardInterrupt):
        train(model, data, CONFIG, folders=folders, callbacks=[TensorBoardLogs(folders), stop])
    assert folders.wait() == ""
    logs = EventAccumulator(str(folders.kept / "logs" / "validation"))
    logs.Reload()
    assert len(logs.Tensors("epoch_accuracy")) == 2


def test_precision_is_what_the_accelerator_is_made_for() -> None:
    auto = replace(CONFIG, precision="auto")
    t4 = made_for("gpu", "mixed_float16")
    assert precision.settle_precision(auto, made_for("cpu")) == "float32"
    assert precision.settle_precision(auto, t4) == "mixed_float16"
    assert precision.settle_precision(replace(auto, precision="float32"), t4) == "float32"
    with pytest.raises(UserError, match="precision=mixed_bfloat16 is not what a Tesla T4 is made"):
        precision.settle_precision(replace(auto, precision="mixed_bfloat16"), t4)


def test_a_run_keeps_the_precision_it_was_begun_with(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(UserError, match="precision: 'float32' then, 'mixed_float16' now"):
        run(tmp_path, precision="mixed_float16")


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("", (1, 0)),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}', (1, 0)),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}', (2, 1)),
        (
            '{"cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1"]},'
            ' "task": {"type": "worker", "index": 1}}',
            (3, 2),
        ),
    ],
)
def test_the_chief_is_the_first_of_the_workers(told: str, found: tuple[int, int]) -> None:
    assert distribution.read_workers(told) == found


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("localhost:2222", "can't be understood"),
        ("[]", "can't be understood"),
        (
            '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "evaluator", "index": 0}}',
            "the task evaluator 0, but",
        ),
    ],
)
def test_a_wrong_description_of_the_workers_is_refused(told: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        distribution.read_workers(told)


def test_xla_is_for_a_gpu_and_for_layers_that_it_can_compile() -> None:
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    turned = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.RandomRotation(0.1)])
    nested = keras.Sequential([keras.Input((8, 8, 1)), turned])
    cpu, gpu = made_for("cpu"), made_for("gpu")
    assert precision.settle_xla(CONFIG, gpu, plain)
    assert not precision.settle_xla(CONFIG, cpu, plain)
    assert not precision.settle_xla(CONFIG, gpu, nested)
    assert not precision.settle_xla(replace(CONFIG, xla="off"), gpu, plain)
    assert not precision.settle_xla(replace(CONFIG, deterministic=True), gpu, plain)
    with pytest.raises(UserError, match="XLA can't compile the layers random_rotation"):
        precision.settle_xla(replace(CONFIG, xla="on"), cpu, nested)


def test_determinism_is_switched_on_only_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(accelerator, "make_deterministic", lambda: asked.append(True))
    Run(Config()).check_accelerator()
    assert asked == []
    Run(Config(deterministic=True)).check_accelerator()
    assert asked == [True]


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    config = replace(CONFIG, warmup=0.2, learning_rate=0.5)
    optimizer = build_optimizer(config, steps=100)
    rates = [float(optimizer._learning_rate(step)) for step in (0, 10, 20, 60, 100)]
    assert rates == pytest.approx([0, 0.25, 0.5, 0.25, 0], abs=1e-6)


def test_without_warm_up_the_learning_rate_begins_at_its_highest() -> None:
    optimizer = build_optimizer(replace(CONFIG, learning_rate=0.5), steps=100)
    rates = [float(optimizer._learning_rate(step)) for step in (0, 50, 100)]
    assert rates == pytest.approx([0.5, 0.25, 0], abs=1e-6)


def test_the_confusion_matrix_names_the_worst_mistakes() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2])
    given = np.array([0, 1, 1, 1, 0, 2])
    _, alt = confusion(truth, np.eye(3)[given], ("cat", "dog", "owl"))
    assert "3 of 6 test examples are right" in alt
    assert "cat taken for dog (2×); dog taken for cat (1×)" in alt


def test_a_curve_without_an_epoch_says_so() -> None:
    assert "no epoch is finished" in curves([])[1]
