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
from trainings import CONFIG, STEPS_PER_EPOCH, after, folders_in, interrupt, run

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
from {{ cookiecutter.__package }}.training.loop import train
from {{ cookiecutter.__package }}.training.run import Run
from {{ cookiecutter.__package }}.training.steps import Evaluation
from {{ cookiecutter.__package }}.training.stopping import best_epoch
from {{ cookiecutter.__package }}.training.tensorboard import TensorBoardLogs

LONG = replace(CONFIG, epochs=9)


@pytest.fixture
def getting_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every validation find a higher loss and a lower accuracy, whatever model learns."""

    def compile_evaluation(model: keras.Model, *_: Any, **__: Any) -> Callable[[], Evaluation]:
        def evaluate() -> Evaluation:
            epoch = int(model.optimizer.iterations.numpy()) // STEPS_PER_EPOCH
            return Evaluation(loss=float(epoch), accuracy=1 / epoch, answers=np.empty((0, 1)))

        return evaluate

    monkeypatch.setattr(loop, "compile_evaluation", compile_evaluation)


def noting_weights(found: list[str]) -> Callback:
    """Return a callback that notes the weights after each epoch."""

    class Noting(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            found.append(weights_sha256(self.model))

    return Noting()


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
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", callbacks=after(3, interrupt))
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
    callbacks = [TensorBoardLogs(folders), *after(2, interrupt)]
    with pytest.raises(KeyboardInterrupt):
        train(model, data, CONFIG, folders=folders, callbacks=callbacks)
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


@pytest.mark.parametrize(
    ("warmup", "expected"),
    [
        (0.2, {0: 0.0, 10: 0.25, 20: 0.5, 60: 0.25, 100: 0.0}),
        (0.0, {0: 0.5, 50: 0.25, 100: 0.0}),
    ],
)
def test_the_learning_rate_rises_then_falls_to_zero(
    warmup: float, expected: dict[int, float]
) -> None:
    optimizer = build_optimizer(replace(CONFIG, warmup=warmup, learning_rate=0.5), steps=100)
    rates = {step: float(optimizer._learning_rate(step)) for step in expected}
    assert rates == pytest.approx(expected, abs=1e-6)
