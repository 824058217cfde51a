"""The training loop: many steps a call, checkpoints by the clock, callbacks as under `fit`."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .batches import DatasetBatches, ExampleBatches
from .callbacks import Callbacks, History
from .checkpoints import Checkpoint, Checkpoints
from .console import say
from .distribution import Devices, State
from .errors import UserError
from .examples import root_of
from .files import require_space
from .identity import differences, optimizers_of
from .sources import ArrayExamples
from .steps import Loop, check_metrics, steps_of_next_call
from .stopping import Stopping

BEGIN_ANOTHER = (
    "begin another run: choose another run_name, or without a Run another checkpoint_dir."
)
"""What works where a run can't go on."""


class Training:
    """One session of a run, from its newest checkpoint on.

    If its checkpoints can't be read or belong to another run, that is a UserError before anything
    on disk is changed.
    """

    def __init__(
        self,
        model: keras.Model,
        batches: ExampleBatches | DatasetBatches,
        *,
        validate: Callable[[], dict[str, Any]] | None,
        devices: Devices,
        checkpoints: Checkpoints,
        identity: dict[str, Any],
        epochs: int,
        save_interval_secs: float,
        verbose: int | str,
    ) -> None:
        self._model, self._batches, self._validate = model, batches, validate
        self._devices, self._checkpoints = devices, checkpoints
        self._identity = json.loads(json.dumps(identity))  # as a later session reads it
        self._epochs, self._save_interval_secs = epochs, save_interval_secs
        self._verbose = verbose and devices.chief
        self._train = Loop(model, devices, training=True)
        self._meter = self._train.meter
        self._step = self._epoch = self._batch = 0
        self._sums = self._meter.zeros()
        self._logs: dict[str, Any] = {}
        self._stopped = self._recorded = ""

        # 1. The newest checkpoint, if it is this run's. Only the chief reads: the others get it.
        checkpoint = None
        with devices.faults_told():
            if devices.chief and (checkpoint := checkpoints.newest()) is not None:
                self._require_same_run(checkpoint)
        self.resumed = devices.any_worker(checkpoint is not None)
        self._facts: dict[str, Any] = {}
        self._arrays: dict[str, np.ndarray] = {}
        if self.resumed:
            state: State | None = None
            if checkpoint is not None:
                state = checkpoint.facts, {**checkpoint.arrays, **checkpoint.lasting}
            self._facts, self._arrays = facts, _ = devices.share(state)
            self._step, self._epoch, self._batch = facts["step"], facts["epoch"], facts["batch"]
            self._logs, self._stopped = facts["logs"], facts["stopped"]
            self._sums, self._recorded = self._arrays["sums"], facts["batches"]
            if self._stopped and epochs > facts["epochs"]:
                self._stopped = ""  # a longer run than the one that was stopped

        # 2. The graph, which creates what variables are still missing; then all of them.
        self._names = list(self._meter.results(self._sums))
        self._variables = self._find_variables([])
        if not self._over or len(self._variables) != len(self._facts["variables"]):
            self._stream = self._open_stream()
            self._variables = self._find_variables(self._train.trace(self._stream))
        self._read = tf.function(
            lambda: [tf.convert_to_tensor(v) for v in self._variables], autograph=False
        ).get_concrete_function()
        # 3. What could not be done later is refused now; then the first change on disk.
        with devices.faults_told():
            if not self.resumed:
                check_metrics(model, devices, batches, self._variables)
            if devices.chief:
                # As many as stay, a new one, and the best weights that callbacks hold.
                size = sum(math.prod(v.shape) * v.dtype.size for v in self._read.outputs)
                for place in checkpoints.places if not self.resumed else []:
                    require_space(place, 4 * size, purpose="saving checkpoints of this model")
                checkpoints.require_writable()
                checkpoints.set_damaged_aside()
                checkpoints.catch_up()
        if self.resumed:
            self._assign()
        devices.make_seeds_differ(model)

    @property
    def _over(self) -> bool:
        """Whether nothing is left to train."""
        return bool(self._stopped) or self._epoch >= self._epochs

    def run(self, callbacks: Callbacks, *, max_time_secs: float | None) -> History:
        """Train to the end of the run, or until something stops it."""
        model, history = self._model, callbacks.history
        self._callbacks = callbacks
        model.stop_training = False
        resumed_from = self._step
        if self.resumed:
            self._tell_where_it_goes_on()
        callbacks.begin(done_epochs=self._epoch, resumed=self.resumed)
        if self._batch:
            callbacks.all.on_epoch_begin(self._epoch)
        if self.resumed:
            # Again, since a callback may have changed something, such as the learning rate.
            self._assign()
            self._devices.make_seeds_differ(model)
            callbacks.restore(self._facts["callbacks"], self._arrays)
            self._rename_metrics(history, self._facts["metrics"])
        elif self._devices.chief:
            # The beginning is a checkpoint, too: a cell that is run again has used its model.
            self._checkpoints.save(self._checkpoint(), wait=True)
        self._facts, self._arrays = {}, {}
        reason = ""
        try:
            with Stopping(max_time_secs) as stopping:
                reason = self._train_on(stopping)
                if self._step > resumed_from and not self._diverged:
                    self._save(wait=True)
        finally:
            # A thread that still reads examples as Python ends would keep it from ending.
            self._stream = None
            self._batches.close()
            unsaved = self._checkpoints.wait()
        if stopping.signal is not None:  # even if the run was over by then
            self._end_by(stopping.signal, unsaved)
        if not reason and isinstance(model.optimizer, keras.optimizers.Optimizer):
            inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
            inner.finalize_variable_values(model.trainable_weights)
        callbacks.all.on_train_end(self._logs or None)
        history.resumed_from, history.unsaved = resumed_from, unsaved
        history.data = self._identity["data"]
        history.stopped_by = reason or self._stopped
        history.finished = not reason
        return history

    # --- The loop ----------------------------------------------------------------------------

    _diverged = False

    def _train_on(self, stopping: Stopping) -> str:
        """Train until the run is over; return why before that, or an empty text."""
        per_epoch, callbacks = self._batches.steps_per_epoch, self._callbacks.all
        steps_per_call = self._model.steps_per_execution if self._callbacks.each_batch else 1
        saved = time.monotonic()
        checked = self._batch
        while not self._over:
            if self._batch == 0:
                callbacks.on_epoch_begin(self._epoch)
                self._stream = self._open_stream()
            count = min(steps_per_call, per_epoch - self._batch)
            callbacks.on_train_batch_begin(self._batch)
            started = time.monotonic()
            measured = self._train(self._stream, count)
            took = time.monotonic() - started
            if checked:
                self._batches.check(self._epoch, checked, self._recorded)
                checked = 0
            self._add(measured)
            if self._callbacks.wants_logs or self._diverged:
                self._logs = self._train.logs(self._sums, self._last)
            callbacks.on_train_batch_end(self._batch - 1, self._logs)
            if self._batch == per_epoch or self._model.stop_training:
                self._end_epoch()
            # What one worker asks for, all of them do.
            due = time.monotonic() - saved >= self._save_interval_secs
            asked = np.array([due, bool(stopping.reason), took])
            due, stop, took = self._devices.sum_over_workers(asked)
            if self._diverged:
                return "TerminateOnNaN"
            if stop and not self._over:
                return stopping.reason or "another worker"
            if due:
                self._save(wait=False)
                saved = time.monotonic()
            if not self._callbacks.each_batch:
                mean = took / self._devices.workers
                steps_per_call = steps_of_next_call(steps_per_call, count, mean)
        return ""

    def _add(self, measured: np.ndarray) -> None:
        """Count the steps of a call, one by one: calls of another length must not change a bit."""
        size = self._meter.size
        summed = self._devices.sum_over_workers(measured[:, :, :size].sum(axis=1))
        self._last = measured[-1, 0, size:]
        for increments in summed:
            self._step += 1
            self._batch += 1
            loss = self._meter.loss(increments)
            if not np.isfinite(loss):
                if not self._callbacks.tells_nan():
                    raise self._divergence("loss", loss)
                self._diverged = True
            self._sums = self._sums + increments

    def _end_epoch(self) -> None:
        """Validate, and tell the callbacks."""
        callbacks, logs = self._callbacks.all, self._train.logs(self._sums, self._last)
        if self._validate is not None:
            callbacks.on_test_begin()
            found = self._validate()
            loss = found.get("loss", 0.0)
            if not np.isfinite(loss) and not self._diverged:
                raise self._divergence("val_loss", loss)
            callbacks.on_test_end(found)
            logs |= {f"val_{name}": value for name, value in found.items()}
        callbacks.on_epoch_end(self._epoch, logs)
        self._logs = logs
        self._epoch, self._batch, self._sums = self._epoch + 1, 0, self._meter.zeros()
        if self._devices.any_worker(self._model.stop_training):
            self._stopped = "a callback"

    def _open_stream(self) -> Any:
        return self._batches.stream(
            self._devices, epoch=self._epoch, batch=self._batch, epochs=self._epochs
        )

    # --- The state ---------------------------------------------------------------------------

    def _find_variables(self, used: list[Any]) -> list[Any]:
        """Return every variable that a step reads or writes, but for those of the metrics."""
        model = self._model
        known = [*model.variables, *(v for o in optimizers_of(model) for v in o.variables)]
        known = list({id(v): v for v in known}.values())
        copies = self._devices.strategy.experimental_local_results
        handles = {
            id(copy.handle) for v in [*known, *self._meter.variables] for copy in copies(v.value)
        }
        # A custom `train_step` or layer may use variables that Keras doesn't know of.
        return [*known, *(v for v in used if id(v.handle) not in handles)]

    def _save(self, *, wait: bool) -> None:
        skipped = not wait and self._checkpoints.busy  # another one follows soon
        if skipped and self._devices.workers == 1:
            return
        checkpoint = self._checkpoint()  # by all workers: some variables are read together
        if self._devices.chief and not skipped:
            self._checkpoints.save(checkpoint, wait=wait)

    def _checkpoint(self) -> Checkpoint:
        # On a CPU without a copy: TensorFlow writes into a new buffer while one is held here.
        arrays = {f"variable-{i:05}": np.asarray(v) for i, v in enumerate(self._read())}
        callbacks, small, large = self._callbacks.state()
        facts = {
            "library": self._identity["library"],
            "identity": self._identity,
            "made with": self._made_with(),
            "epoch": self._epoch,
            "batch": self._batch,
            "epochs": self._epochs,
            "logs": self._logs,
            "metrics": self._names,
            "stopped": self._stopped,
            "callbacks": callbacks,
            "variables": [getattr(v, "path", v.name) for v in self._variables],
            "batches": self._batches.digest(self._epoch, self._batch),
        }
        arrays |= {"sums": self._sums} | small
        return Checkpoint(step=self._step, arrays=arrays, lasting=large, facts=facts)

    def _assign(self) -> None:
        """Give each variable its saved value; refuse if the variables are others."""
        arrays = [a for name, a in sorted(self._arrays.items()) if name.startswith("variable-")]
        then = [(n, a.shape) for n, a in zip(self._facts["variables"], arrays, strict=True)]
        now = [(getattr(v, "path", v.name), tuple(v.shape)) for v in self._variables]
        if [shape for _, shape in then] != [shape for _, shape in now]:
            pairs = zip(then, now, strict=False)
            changed = [f"  {a} then, {b} now" for a, b in pairs if a[1] != b[1]]
            raise UserError(
                f"The model has {len(now)} variables, but the checkpoint {len(then)}:\n"
                + "\n".join(changed[:10])
                + f"\nGo on with the model of the run's beginning, or {BEGIN_ANOTHER}"
            )
        for variable, array in zip(self._variables, arrays, strict=True):
            variable.assign(array)

    def _rename_metrics(self, history: History, before: list[str]) -> None:
        """Give what was logged the metrics' names of today.

        Keras numbers them: where a cell is run again, what was `auc` is `auc_1`.
        """
        names = dict(zip(before, self._names, strict=True))
        names |= {f"val_{then}": f"val_{now}" for then, now in names.items()}
        for logs in (history.history, self._logs):
            for then in [name for name in logs if names.get(name, name) != name]:
                logs[names[then]] = logs.pop(then)

    # --- Words -------------------------------------------------------------------------------

    def _require_same_run(self, checkpoint: Checkpoint) -> None:
        """Refuse to go on with the checkpoint of another run, or to end before what is done."""
        if changed := differences(checkpoint.facts["identity"], self._identity):
            raise UserError(
                f"The run in {self._checkpoints.directory} was started with something else:\n"
                + "\n".join(changed)
                + f"\nGo on with what it was started with, or {BEGIN_ANOTHER}"
            )
        done = checkpoint.facts["epoch"] + (checkpoint.facts["batch"] > 0)
        if done > self._epochs:
            raise UserError(
                f"epochs={self._epochs} is less than the run in {self._checkpoints.directory} has"
                f" trained: it is in epoch {done}. Set epochs to {done} or more, or choose another"
                " checkpoint_dir."
            )
        then, now = checkpoint.facts["made with"], self._made_with()
        if self._verbose and (told := differences(then, now)):
            say("This session differs from the last one, so digits may, too:\n" + "\n".join(told))

    def _divergence(self, name: str, loss: float) -> UserError:
        examples = self._batches.examples
        if examples is None or not isinstance(root_of(examples), ArrayExamples):
            cause = "the data hold what is no number (not all was looked at), or the training"
        else:
            cause = "the training"
        return UserError(
            f"The {name} is {loss} at step {self._step}, in epoch {self._epoch + 1}: {cause}"
            " has diverged. The newest checkpoint is from before and stays. Start another"
            " checkpoint_dir with a smaller learning rate, with clipnorm=1.0 in the optimizer, or"
            " with float32 instead of a mixed precision."
        )

    def _made_with(self) -> dict[str, str]:
        return {
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "devices": str(self._devices),
            "XLA": str(bool(self._model.jit_compile)),
        }

    def _tell_where_it_goes_on(self) -> None:
        if not self._verbose:
            return
        if self._over:
            why = f", stopped by {self._stopped}" if self._stopped else ""
            say(f"The run is finished, after {self._step} steps{why}.")
        elif self._step:
            place = f"epoch {self._epoch + 1} of {self._epochs}"
            if self._batch:
                place += f", batch {self._batch + 1} of {self._batches.steps_per_epoch}"
            say(f"Goes on after step {self._step}: {place}.")

    def _end_by(self, number: signal.Signals, unsaved: str) -> None:
        """End the process's call as the signal would have, now that all is saved."""
        kept = f"It is not in every place: {unsaved}" if unsaved else "All of it is saved"
        said = (
            f"{number.name} stopped the training after step {self._step}. {kept}. Run the same"
            " again, and it goes on from there."
        )
        if number == signal.SIGINT:
            raise KeyboardInterrupt(said)
        say(said)
        raise SystemExit(128 + number)
