"""Keras' callbacks, with a state that a checkpoint keeps.

A callback's state is what has changed in it since `on_train_begin`: numbers, texts, arrays and
lists, tuples, dicts or sets of them. So a setting that a user changes between two sessions, such as
a patience, counts from then on.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from .console import say
from .distribution import Devices
from .errors import UserError
from .files import whole_file

COPIED_BYTES = 16 << 20
"""Arrays up to this size are copied into a state, and compared by value. Of larger ones, such as
best weights, a change is seen when they are replaced, not when they are changed in place."""

LASTING_BYTES = 64 << 10
"""Arrays from this size on change rarely, and go into a file of their own."""

WRITERS = (
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.CSVLogger,
    keras.callbacks.TensorBoard,
    keras.callbacks.SwapEMAWeights,
)
_NEVER = ("_model", "model", "params", "validation_data")

BATCH_METHODS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")


class Callbacks:
    """Call Keras' callbacks as `fit` does, and save and restore what they hold.

    Attributes:
        all: Keras' own list, to be called.
        history: Keras' `History`.
        each_batch: Whether a callback wants to see every batch, or every `steps_per_execution`
            batches, as under `fit`; otherwise a call may make any number of steps.
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        *,
        model: keras.Model,
        devices: Devices,
        epochs: int,
        steps: int,
        verbose: int | str,
    ) -> None:
        own = [c for c in callbacks if devices.chief or not isinstance(c, WRITERS[:3])]
        show = verbose if devices.chief else 0
        given = next((c for c in own if isinstance(c, keras.callbacks.History)), None)
        self.history: History = given or History()
        if given is None:
            own.append(self.history)
        self.all = keras.callbacks.CallbackList(
            own,
            add_progbar=show != 0,
            model=model,
            verbose=show,
            epochs=epochs,
            steps=steps,
        )
        model.history = self.history
        # Calls from a thread would race with what a checkpoint reads.
        self.all._async_train = self.all._async_test = False
        self._own = own
        self.each_batch = any(map(_wants_batches, own))
        self.wants_logs = self.each_batch or show in (1, "auto")
        self._before: list[dict[str, Any]] = []

    def begin(self, *, done_epochs: int, resumed: bool) -> None:
        """Call `on_train_begin`.

        Args:
            done_epochs: Epochs that earlier sessions finished.
            resumed: Whether there was an earlier session.
        """
        for callback in self._own:
            if resumed and isinstance(callback, keras.callbacks.CSVLogger):
                _continue_csv(callback, done_epochs)
        self.all.on_train_begin()
        self._before = [_State.of(callback) for callback in self._own]

    def state(self) -> tuple[list[Any], dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return what has changed since `begin`.

        Returns:
            JSON; the small arrays that it refers to, by name; and the large ones.
        """
        states: list[Any] = []
        arrays: dict[str, np.ndarray] = {}
        for number, (callback, before) in enumerate(zip(self._own, self._before, strict=True)):
            changed = {}
            for name, value in _State.of(callback).items():
                if name in before and _same(before[name], value):
                    continue
                try:
                    changed[name] = _encode(value, arrays, f"callback-{number}-{name}")
                except TypeError:
                    _tell_unsaved(callback, name, value)
            states.append([type(callback).__name__, changed])
        small = {n: a for n, a in arrays.items() if a.nbytes < LASTING_BYTES}
        large = {n: a for n, a in arrays.items() if a.nbytes >= LASTING_BYTES}
        return states, small, large

    def restore(self, states: list[Any], arrays: dict[str, np.ndarray]) -> None:
        """Give the callbacks what an earlier session's held; each finds its own by its class."""
        waiting = list(states)
        for callback, before in zip(self._own, self._before, strict=True):
            kind = type(callback).__name__
            found = next((state for state in waiting if state[0] == kind), None)
            if found is None:
                say(f"The callback {kind} is new in this session and begins now.")
                continue
            waiting.remove(found)
            # It turns the sign of `min_delta`, once: that has to be before the saved one comes.
            if found[1] and getattr(callback, "monitor_op", True) is None:
                callback._set_monitor_op()
            for name, value in found[1].items():
                setattr(callback, name, _decode(value, arrays))
                before.pop(name, None)  # saved again, even if this object held it already
        for kind, _ in waiting:
            say(f"The callback {kind} of the session before is not there any more.")

    def tells_nan(self) -> bool:
        """Tell whether a callback ends the training when the loss is NaN."""
        return any(isinstance(c, keras.callbacks.TerminateOnNaN) for c in self._own)


class History(keras.callbacks.History):  # type: ignore[misc]
    """Keras' `History`, with what this session did.

    Attributes:
        resumed_from: The step at which this session took over; 0 if it began the run.
        stopped_by: What ended the run before its last epoch: a callback, or `max_time_secs`; or an
            empty text.
        finished: Whether nothing is left to do.
        unsaved: Why the newest state is not in every checkpoint directory, or an empty text.
        data: The fingerprint of what was trained on, which other data changes.
    """

    resumed_from = 0
    stopped_by = ""
    finished = False
    unsaved = ""
    data = ""


class _State:
    """What a callback holds, as it is now."""

    @staticmethod
    def of(callback: Any) -> dict[str, Any]:
        if isinstance(callback, keras.callbacks.TensorBoard):
            names = [n for n in vars(callback) if n.startswith("_global_")]
        elif isinstance(callback, keras.callbacks.CSVLogger):
            names = ["keys"]
        else:
            names = [name for name in vars(callback) if name not in _NEVER]
        return {name: _snapshot(vars(callback)[name]) for name in names}


def check_callbacks(callbacks: Any) -> list[keras.callbacks.Callback]:
    """Return the user's callbacks as a list.

    Raises:
        UserError: If something is no callback, or one that can't be used.
    """
    if callbacks is None:
        return []
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks = callbacks.callbacks
    found = list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
    for callback in found:
        if not isinstance(callback, keras.callbacks.Callback):
            hint = f" Create it: {callback.__name__}(…)." if isinstance(callback, type) else ""
            raise UserError(
                f"callbacks holds {callback!r}, which is no keras.callbacks.Callback.{hint}"
            )
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise UserError(
                "callbacks holds BackupAndRestore, which would restore other weights in between:"
                " it doesn't keep the random state, the callbacks or the step. Leave it out: fit"
                " saves and resumes by itself, in checkpoint_dir."
            )
    return found


def _wants_batches(callback: Any) -> bool:
    """Tell whether a callback does something at each batch of a training."""
    if isinstance(callback, keras.callbacks.ProgbarLogger | keras.callbacks.TerminateOnNaN):
        return False
    if isinstance(callback, keras.callbacks.ModelCheckpoint):
        return bool(callback.save_freq != "epoch")
    if isinstance(callback, keras.callbacks.TensorBoard):
        return callback.update_freq != "epoch" or bool(callback._should_trace)
    if type(callback).__module__.startswith("keras.") and not isinstance(
        callback, keras.callbacks.LambdaCallback
    ):
        return False
    return any(
        name in vars(callback)
        or getattr(type(callback), name) is not getattr(keras.callbacks.Callback, name)
        for name in BATCH_METHODS
    )


def _continue_csv(callback: keras.callbacks.CSVLogger, done_epochs: int) -> None:
    """Have a CSVLogger go on with its file, without the rows of epochs that are trained again."""
    callback.append = True
    path = Path(callback.filename)
    if not path.exists():
        return
    with path.open(newline="") as file:
        rows = list(csv.reader(file, delimiter=callback.sep))
    kept = [row for row in rows[1:] if row and row[0].isdigit() and int(row[0]) < done_epochs]
    with whole_file(path, "w", newline="") as file:
        csv.writer(file, delimiter=callback.sep).writerows([*rows[:1], *kept])


def _tell_unsaved(callback: Any, name: str, value: Any) -> None:
    if not type(callback).__module__.startswith("keras.") and not hasattr(
        callback, f"_told_{name}"
    ):
        object.__setattr__(callback, f"_told_{name}", True)
        say(
            f"{type(callback).__name__}.{name} is a {type(value).__name__}, which a checkpoint"
            " can't keep: a resumed run finds there what on_train_begin leaves. Numbers, texts,"
            " arrays, and lists, tuples, dicts or sets of them are kept."
        )


def _snapshot(value: Any) -> Any:
    """Return a copy of a value that changes no more; of what can't be kept, the thing itself."""
    if isinstance(value, np.ndarray):
        return value.copy() if value.nbytes <= COPIED_BYTES else value
    if type(value) in (list, tuple, set):
        return type(value)(map(_snapshot, value))
    if type(value) is deque:
        return deque(map(_snapshot, value), value.maxlen)
    if type(value) is dict:
        return {key: _snapshot(part) for key, part in value.items()}
    return value


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        small = one.nbytes <= COPIED_BYTES
        return small and one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, list | tuple | deque):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, bool | int | float | str | bytes | set | np.generic):
        return bool(one == other)
    return False


def _encode(value: Any, arrays: dict[str, np.ndarray], name: str) -> Any:
    """Return a value as JSON; TypeError if it is none that can be kept."""
    if isinstance(value, np.bool_ | np.integer | np.floating):  # np.float64 is a float, too
        value = np.asarray(value)
        return {"scalar": value.item(), "dtype": value.dtype.name}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufcSUV":
        arrays[name] = value
        return {"array": name}
    kind = type(value)
    if kind in (list, tuple, set, deque):
        parts = [_encode(part, arrays, f"{name}-{i}") for i, part in enumerate(value)]
        return (
            {kind.__name__: parts, "maxlen": value.maxlen}
            if kind is deque
            else {kind.__name__: parts}
        )
    if kind is dict:
        return {
            "dict": [
                [_encode(key, arrays, ""), _encode(part, arrays, f"{name}-{i}")]
                for i, (key, part) in enumerate(value.items())
            ]
        }
    raise TypeError(kind.__name__)


def _decode(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if not isinstance(value, dict):
        return value
    if "scalar" in value:
        return np.dtype(value["dtype"]).type(value["scalar"])
    if "array" in value:
        return arrays[value["array"]]
    if "dict" in value:
        return {_decode(key, arrays): _decode(part, arrays) for key, part in value["dict"]}
    if "deque" in value:
        return deque((_decode(p, arrays) for p in value["deque"]), value["maxlen"])
    ((kind, parts),) = value.items()
    made = (_decode(part, arrays) for part in parts)
    return {"list": list, "tuple": tuple, "set": set}[kind](made)
