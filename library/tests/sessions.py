"""Sessions of a training, each a process of its own, to be killed at any instant.

They are forked from a server that has imported TensorFlow, and run nothing of it, so that a session
starts in no time. `run` starts one, waits for its end and returns what is known of it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from cases import BATCH, ROWS, Case, make
from reference import tuples

import exactrun
from exactrun import archive, checkpoints, files, fitting, steps
from exactrun.callbacks import Callbacks
from exactrun.checkpoints import Checkpoints
from exactrun.identity import optimizers_of
from exactrun.steps import Loop
from exactrun.training import Training

EPOCHS = 6
TIMEOUT = 180.0
"""Seconds after which a session hangs; most take two."""

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["sessions"])
PYTHONPATH = os.pathsep.join(sys.path)
"""For processes that import what this one can import."""


@dataclass(frozen=True, kw_only=True)
class Strike:
    """A signal that a session gets.

    Attributes:
        at: One of INSTANTS.
        step: The first step after which it is meant.
        delay: Seconds from that instant on.
        signal: SIGKILL, or one that a program can hear.
    """

    at: str = "after a step"
    step: int = 1
    delay: float = 0.0
    signal: int = signal.SIGKILL


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a session trains, and how.

    Attributes:
        name: Of the case; with a function of the epoch instead of its arrays if that is asked for.
        each_batch: Whether a callback of the user's sees every batch.
        each_step: Whether each step is saved, and copied, before the next one is made.
        settings: Values of the library's modules by their names, such as `files.CHUNK`.
    """

    name: str
    directory: Path
    persistent: Path | None = None
    max_to_keep: int = 2
    function: bool = False
    each_batch: bool = False
    each_step: bool = False
    batch: int = BATCH
    verbose: int = 2
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a session ended.

    Attributes:
        code: As of `Process.exitcode`: -9 if it was killed.
        said: All that it printed.
        seen: What it passed: "trains", "calls", "called", "ends".
        state: Digests of all that has to be the same at the end of a run.
        told: Attributes of the History.
    """

    code: int
    said: str
    seen: list[str]
    state: dict[str, str]
    told: dict[str, Any]

    @property
    def trained(self) -> bool:
        """Whether the end came while the training was running."""
        return "trains" in self.seen and "ends" not in self.seen

    @property
    def took_over_at(self) -> int:
        """The step of the checkpoint that the session went on from; 0 if it began the run."""
        found = re.search(r"Goes on after step (\d+)|finished, after (\d+) steps", self.said)
        return int(found[1] or found[2]) if found else 0


@functools.cache
def start_server() -> None:
    """Start the server; its processes are of `CONTEXT.Process`."""
    # Some releases of Python start it without the parent's `sys.path`.
    with mock.patch.dict(os.environ, PYTHONPATH=PYTHONPATH):
        forkserver.ensure_running()


def run(plan: Plan, *strikes: Strike) -> Outcome:
    """Run a session to its end, whatever that is."""
    start_server()
    said = plan.directory.with_name(f"{plan.directory.name}-{time.monotonic_ns()}.log")
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_session, args=(plan, strikes, said, sender))
    process.start()
    sender.close()
    seen: list[Any] = []
    until = time.monotonic() + TIMEOUT
    try:
        while receiver.poll(max(0.0, until - time.monotonic())):
            seen.append(receiver.recv())
    except (EOFError, OSError):  # at its end; or killed in the middle of a message
        pass
    process.join(max(0.0, until - time.monotonic()))
    hung = process.exitcode is None
    process.kill()
    process.join()
    text = said.read_text(errors="replace") if said.exists() else ""
    assert not hung, f"{plan} hangs after {seen[-1:]}:\n{text}"
    state, told = seen.pop() if seen and isinstance(seen[-1], tuple) else ({}, {})
    return Outcome(code=process.exitcode or 0, said=text, seen=seen, state=state, told=told)


def _session(plan: Plan, strikes: tuple[Strike, ...], said: Path, sender: Any) -> None:
    """Train, in the session's own process."""
    from tensorflow.python.eager import context

    assert not context.context()._initialized, "The server has run TensorFlow: it can't be forked."
    file = os.open(said, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    keras.utils.disable_interactive_logging()
    checkpoints.REST = 0.0  # so that a short training saves often
    for name, value in plan.settings.items():
        module, _, attribute = name.partition(".")
        setattr(importlib.import_module(f"exactrun.{module}"), attribute, value)
    _before(Training, "_train_on", lambda *_: sender.send("trains"))
    _before(Loop, "__call__", lambda *_: sender.send("calls"))
    _after(Loop, "__call__", lambda *_: sender.send("called"))
    _after(Training, "_add", _count)
    if plan.each_step:
        steps.SECONDS_PER_CALL = 0.0
        _after(Training, "_save", lambda it, wait: it._checkpoints.wait())
    for strike in strikes:
        INSTANTS[strike.at](plan, strike.step, _once(strike))
    case = make(plan.name, noise=True)
    callbacks = callbacks_of(plan)
    history = fit(plan, case, callbacks)
    sender.send("ends")
    names = ("finished", "resumed_from", "stopped_by", "unsaved")
    told = {name: getattr(history, name) for name in names}
    told["steps"] = ROWS // plan.batch * len(history.epoch)
    sender.send((state_of(case.model, callbacks, history), told))


def fit(plan: Plan, case: Case, callbacks: list[Any]) -> exactrun.History:
    x, y, weight = case.x, case.y, case.sample_weight
    if plan.function:
        arrays = tuples(case.data)

        def x(epoch: int) -> tf.data.Dataset:
            data = tf.data.Dataset.from_tensor_slices(arrays).shuffle(ROWS, seed=epoch)
            return data.batch(plan.batch, drop_remainder=True)

        y = weight = None
    return fitting.fit(
        case.model,
        x,
        y,
        weight,
        validation_data=case.data,
        batch_size=plan.batch,
        epochs=EPOCHS,
        callbacks=callbacks,
        verbose=plan.verbose,
        checkpoint_dir=Checkpoints(
            plan.directory, persistent=plan.persistent, max_to_keep=plan.max_to_keep
        ),
        save_interval_secs=0,
        **case.options,
    )


# --- What has to be the same ---------------------------------------------------------------------


class Own(keras.callbacks.Callback):
    """A callback of a user's, which holds all kinds of things, and adds to the logs."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.moving = 0, np.float32(0)
        self.recent: deque[float] = deque(maxlen=2)
        self.by_epoch: dict[int, tuple[float, Any]] = {}
        self.weights: Any = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.begun += 1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        loss = next(iter(logs.values()))
        self.moving = np.float32(0.9) * self.moving + np.float32(loss)
        logs["moving"] = self.moving
        self.recent.append(loss)
        self.by_epoch[epoch] = (loss, {self.model.optimizer.iterations.numpy().item()})
        kernel = self.model.get_weights()[0]
        self.weights = kernel if self.weights is None else self.weights + kernel


class OwnBatches(Own):
    """The same, which sees every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[int, dict[str, float]]] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.batches.append((batch, dict(logs)))


def callbacks_of(plan: Plan) -> list[Any]:
    """Return the callbacks of a run; the loss of the validation rules them."""
    monitor = "val_own_loss" if plan.name == "own_train_step" else "val_loss"
    options = {"monitor": monitor, "mode": "min", "min_delta": 0.0}
    found = [
        keras.callbacks.EarlyStopping(**options, patience=3, restore_best_weights=True),
        OwnBatches() if plan.each_batch else Own(),
    ]
    if plan.name != "own_compute_loss":  # which has a schedule
        found.append(keras.callbacks.ReduceLROnPlateau(**options, patience=1, factor=0.5))
    return found


def state_of(model: keras.Model, callbacks: list[Any], history: Any) -> dict[str, str]:
    """Return a digest of each part of what a run ends with."""
    measured = {id(v) for metric in model.metrics for v in metric.variables}  # of the last batch
    own = [v for v in vars(model).values() if isinstance(v, tf.Variable)]
    optimizers = [v for optimizer in optimizers_of(model) for v in optimizer.variables]
    skipped = ("_model", "model", "params", "validation_data")
    held = [{k: v for k, v in vars(c).items() if k not in skipped} for c in callbacks]
    return {
        "variables": _digest([v.numpy() for v in model.variables if id(v) not in measured]),
        "own variables": _digest([v.numpy() for v in own]),
        "optimizers": _digest([v.numpy() for v in optimizers]),
        "callbacks": _digest(held),
        "history": repr((history.epoch, history.history)),
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(_bytes(value)).hexdigest()


def _bytes(value: Any) -> bytes:
    """Return a value with its types, every bit of it, the same in each process."""
    if isinstance(value, np.ndarray | np.generic):
        return f"{value.dtype} {value.shape} {type(value).__name__}".encode() + value.tobytes()
    if isinstance(value, dict):
        return b"".join(_bytes(key) + b":" + _bytes(part) for key, part in value.items())
    if isinstance(value, list | tuple | set | deque):
        return type(value).__name__.encode() + b"".join(_bytes(part) + b"," for part in value)
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value).encode()
    return getattr(value, "__name__", type(value).__name__).encode()


# --- Instants ------------------------------------------------------------------------------------

Act = Callable[[], None]
_done = 0
"""Steps that this process knows to be made."""


def _count(trained: Any, *_: Any) -> None:
    global _done
    _done = trained._step


def _before(owner: Any, name: str, act: Callable[..., None]) -> None:
    """Have something done before each call of a function."""
    inner = getattr(owner, name)

    def first_act(*arguments: Any, **options: Any) -> Any:
        act(*arguments, **options)
        return inner(*arguments, **options)

    setattr(owner, name, first_act)


def _after(owner: Any, name: str, act: Callable[..., None]) -> None:
    """Have something done after each call of a function."""
    inner = getattr(owner, name)

    def then_act(*arguments: Any, **options: Any) -> Any:
        found = inner(*arguments, **options)
        act(*arguments, **options)
        return found

    setattr(owner, name, then_act)


def _once(strike: Strike) -> Act:
    """Return what sends the strike's signal, when it is called first."""
    waiting = [strike]

    def send(delay: float) -> None:
        time.sleep(delay)
        os.kill(os.getpid(), strike.signal)

    def act() -> None:
        if waiting:
            delay = waiting.pop().delay
            if delay:
                threading.Thread(target=send, args=(delay,), daemon=True).start()
            else:
                send(0)

    return act


def _when(found: Callable[..., bool], act: Act) -> Callable[..., None]:
    return lambda *arguments, **options: act() if found(*arguments, **options) else None


def _is(path: Any, step: int, place: Path | None = None) -> bool:
    """Tell whether a path, partial or not, is of a checkpoint of that step or a later one."""
    path = Path(str(path))
    matched = re.fullmatch(r"\.?step-(\d+)\.npz(\.partial)?", path.name)
    return bool(matched) and int(matched[1]) >= step and place in (None, path.parent)


def _is_best(path: Any, step: int) -> bool:
    """Tell whether a path, partial or not, is of best weights, written after that step."""
    return "best-" in Path(str(path)).name and _done >= step


def _half_written(found: Callable[[Any, int], bool]) -> Any:
    def arm(plan: Plan, step: int, act: Act) -> None:
        written: list[Any] = []

        def second(file: Any, *_: Any) -> None:
            if found(file.filename, step):
                written.append(file)
                if written.count(file) == 2:
                    file.fp.flush()
                    act()

        _before(archive, "_write_array", second)

    return arm


def _half_uploaded(plan: Plan, step: int, act: Act) -> None:
    """Take blocks of 4 KiB, and strike after the third."""
    files.CHUNK = 4096
    inner = checkpoints.copy_verified

    def copy(source: Path, place: Path, *, moved: Act) -> Path:
        blocks = iter(range(1, 1 << 20))

        def third() -> None:
            moved()
            if next(blocks) == 3 and _is(source, step):
                act()

        return inner(source, place, moved=third)

    checkpoints.copy_verified = copy


INSTANTS: dict[str, Callable[[Plan, int, Act], None]] = {
    "before the first checkpoint": lambda plan, step, act: _before(
        Checkpoints, "save", _when(lambda _, checkpoint, **__: checkpoint.step == 0, act)
    ),
    "after the first checkpoint": lambda plan, step, act: _after(
        Checkpoints, "save", _when(lambda _, checkpoint, **__: checkpoint.step == 0, act)
    ),
    "while its state is restored": lambda plan, step, act: _before(
        Callbacks, "restore", lambda *_: act()
    ),
    "after a step": lambda plan, step, act: _after(
        Training, "_add", _when(lambda it, *_: it._step >= step, act)
    ),
    "in a call": lambda plan, step, act: _before(
        Loop, "__call__", _when(lambda it, *_: it._training and _done >= step, act)
    ),
    "during validation": lambda plan, step, act: _before(
        Loop, "__call__", _when(lambda it, *_: not it._training and _done >= step, act)
    ),
    "after an epoch, before its checkpoint": lambda plan, step, act: _before(
        Training, "_save", _when(lambda it, wait: it._batch == 0 and it._step >= step, act)
    ),
    "half of the best weights written": _half_written(_is_best),
    "best weights written, the step not": lambda plan, step, act: _after(
        checkpoints, "write_archive", _when(lambda path, *_, **__: _is_best(path, step), act)
    ),
    "half of the archive written": _half_written(_is),
    "archive written without its digest": lambda plan, step, act: _before(
        archive, "_digest", _when(lambda path, *_: ".partial" in path.name and _is(path, step), act)
    ),
    "archive written, not renamed": lambda plan, step, act: _before(
        Path, "replace", _when(lambda path, _: _is(path, step, plan.directory), act)
    ),
    "between rename and prune": lambda plan, step, act: _before(
        Checkpoints,
        "_prune",
        _when(lambda it, place: place == it.directory and _newest(place, step), act),
    ),
    "half pruned": lambda plan, step, act: _before(
        Path, "unlink", _when(lambda path, **_: _is(path, 0, plan.directory) and _done >= step, act)
    ),
    "written, not uploaded": lambda plan, step, act: _before(
        checkpoints, "copy_verified", _when(lambda path, *_, **__: _is(path, step), act)
    ),
    "half of an upload": _half_uploaded,
    "uploaded, not renamed": lambda plan, step, act: _before(
        Path, "replace", _when(lambda path, _: _is(path, step, plan.persistent), act)
    ),
    "uploaded, not pruned": lambda plan, step, act: _before(
        Checkpoints,
        "_prune",
        _when(lambda it, place: place == plan.persistent and _newest(place, step), act),
    ),
    "before the last save": lambda plan, step, act: _before(
        Training, "_save", _when(lambda _, wait: wait, act)
    ),
    "after the last checkpoint": lambda plan, step, act: _before(
        keras.callbacks.CallbackList, "on_train_end", lambda *_: act()
    ),
}
"""Where a strike can come: each takes the plan, the least step, and what to do there."""


def _newest(place: Path, step: int) -> bool:
    return any(_is(path, step) for path in place.iterdir())
