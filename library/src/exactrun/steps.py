"""What a call of the graph computes: many steps, and what each of them measured.

Keras' own `train_step` and `test_step` do the work. Before each step the variables of the metrics
are set to zero and after it they are read: what a step added. These increments are summed on the
host, in float64 and one by one, so that no digit of a result depends on where a run was interrupted
or on how many steps a call made. It takes metrics whose state is a sum; see `check_metrics`.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .batches import Batches, Data, EvaluationBatches
from .distribution import Devices, gradients_summed_once
from .errors import UserError
from .structures import flatten, map_leaves

MOST_STEPS_PER_CALL = 200

SECONDS_PER_CALL = 0.25
"""How long one call from Python computes: long enough for Python to cost nothing, short enough to
show progress and to answer a signal."""

CHECKED_EXAMPLES = 16
"""So many examples show whether the metrics add up."""

STATEFUL_RANDOM = frozenset(
    {
        "RandomUniform", "RandomUniformInt", "RandomStandardNormal", "TruncatedNormal",
        "ParameterizedTruncatedNormal", "Multinomial", "RandomGamma", "RandomPoissonV2",
        "RandomShuffle", "SampleDistortedBoundingBoxV2", "RandomCrop",
    }
)  # fmt: skip
"""Operations that draw from a state inside TensorFlow's runtime, which can't be saved."""


class Meter:
    """The sums of what the steps measured, and the results that follow from them.

    Attributes:
        variables: Of the model's metrics.
        size: How many numbers they hold together.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        found = [v for metric in model.metrics for v in metric.variables]
        self.variables = list({id(v): v for v in found}.values())
        self._sizes = [int(np.prod(v.shape)) for v in self.variables]
        self.size = sum(self._sizes)
        starts = {id(v): sum(self._sizes[:i]) for i, v in enumerate(self.variables)}
        # Where the total of the mean loss stands in the sums; its count follows.
        self._loss = next(
            (
                starts[id(metric.total)]
                for metric in model.metrics
                if metric.name == "loss" and isinstance(metric, keras.metrics.Mean)
            ),
            None,
        )

    def zeros(self) -> np.ndarray:
        """Return the sums of no step, float64, shape (size,)."""
        return np.zeros(self.size)

    def clear(self) -> None:
        """Set the metrics to zero, within a step or outside."""
        for variable in self.variables:
            variable.assign(tf.zeros(variable.shape, variable.dtype))

    def read(self) -> list[tf.Tensor]:
        """Return the metrics' variables as they are on this device."""
        return [tf.convert_to_tensor(variable.value) for variable in self.variables]

    def loss(self, increments: np.ndarray) -> float:
        """Return the loss of a step; if it is not among the metrics, the sum of all of them."""
        if self._loss is None:
            return float(increments.sum())
        total, count = increments[self._loss], increments[self._loss + 1]
        return float(total / count) if count else 0.0

    def results(self, sums: np.ndarray) -> dict[str, Any]:
        """Return the metrics' values by name, as Python numbers, without touching the metrics."""
        parts = np.split(sums, np.cumsum(self._sizes)[:-1]) if self._sizes else []
        mapping = [
            (v, tf.cast(tf.reshape(tf.constant(part), v.shape), v.dtype))
            for v, part in zip(self.variables, parts, strict=True)
        ]
        with keras.StatelessScope(state_mapping=mapping):
            found = self._model.get_metrics_result()
        return {name: np.asarray(value).tolist() for name, value in found.items()}


@contextmanager
def _results_noted(metrics: list[Any]) -> Iterator[list[tuple[Any, str]]]:
    """Note what the metrics' `result` returns, while a step is traced, and the metric's name."""
    noted: list[tuple[Any, str]] = []

    def noting(metric: Any, result: Callable[[], Any]) -> Callable[[], Any]:
        def call() -> Any:
            noted.append((result(), metric.name))
            return noted[-1][0]

        return call

    for metric in metrics:
        metric.__dict__["result"] = noting(metric, metric.result)
    try:
        yield noted
    finally:
        for metric in metrics:
            del metric.__dict__["result"]


@contextmanager
def _chosen_alike() -> Iterator[None]:
    """Draw Python's random numbers alike in every session: AugMix chooses by them when traced."""
    state = random.getstate()
    random.seed(0)
    try:
        yield
    finally:
        random.setstate(state)


class Loop:
    """Many steps of a built model, in training or in evaluation, in one call of a graph.

    Attributes:
        meter: Of what the steps measure.
    """

    def __init__(self, model: keras.Model, devices: Devices, *, training: bool) -> None:
        self._model, self._devices, self._training = model, devices, training
        self.meter = Meter(model)
        # Of the logs of a step of the user's: the metric whose result each is; and those that are
        # none, of which the last step's count, as under Keras.
        self._metric_of: dict[str, str] = {}
        self._names: list[str] = []
        self._graph = tf.function(self._steps, autograph=False)
        self._traced: Any = None
        self._steps_per_call = 1  # of an evaluation

    def trace(self, stream: Any) -> list[Any]:
        """Build the graph for a stream, and refuse one whose random numbers have no state to save.

        Returns:
            The variables that it uses, in the same order in every process.
        """
        with _chosen_alike():
            self._traced = self._graph.get_concrete_function(stream, tf.TensorSpec([], tf.int32))
        operations = {op.type for op in self._traced.graph.get_operations()}
        for function in self._traced.graph.as_graph_def().library.function:
            operations |= {node.op for node in function.node_def}
        if drawn := sorted(operations & STATEFUL_RANDOM):
            raise UserError(
                f"The model draws random numbers by {', '.join(drawn)} (such as tf.random.normal"
                " or tf.image.random_…), whose state TensorFlow does not let anyone save: an"
                " interrupted run would draw others. Use keras.random with a"
                " keras.random.SeedGenerator, or Keras' layers."
            )
        # By where the graph uses them first: they come as a set, in another order in each process.
        places = {id(tensor): i for i, (tensor, _) in enumerate(self._traced.graph.captures)}
        found = self._traced.graph.variables
        return sorted(found, key=lambda v: (places.get(id(v.handle), len(places)), v.name))

    def __call__(self, stream: Any, count: int) -> np.ndarray:
        """Make a number of steps on the stream.

        Returns:
            What each step added to the metrics on each device of this process, then those of its
            logs that are no metrics, float64, shape (count, devices, meter.size + logs).
        """
        if self._traced is None:
            self.trace(stream)
        found: np.ndarray = self._traced(stream, tf.constant(count)).numpy()
        return found

    def evaluate(self, batches: EvaluationBatches) -> dict[str, Any]:
        """Return the metrics' values over one pass."""
        devices, meter = self._devices, self.meter
        stream = batches.stream(devices)
        shared, total = batches.shared_steps(devices), batches.steps(devices)
        sums, last, done = meter.zeros(), np.zeros(0), 0
        while total is None or done < total:
            count = 1 if total is None else min(total - done, self._steps_per_call)
            started = time.monotonic()
            try:
                measured = self(stream, count)
            except tf.errors.OutOfRangeError:
                if total is None and done:
                    break
                raise
            took = time.monotonic() - started
            self._steps_per_call = steps_of_next_call(self._steps_per_call, count, took)
            for of_step in measured:
                # What each device computes alike is counted on the chief's first one alone.
                counted = of_step if done < shared else of_step[: int(devices.chief)]
                sums = sums + counted[:, : meter.size].sum(axis=0)
                last, done = of_step[0, meter.size :], done + 1
        return self.logs(devices.sum_over_workers(sums), last)

    def logs(self, sums: np.ndarray, last: np.ndarray) -> dict[str, Any]:
        """Return what Keras would log, of the sums and of the last step's logs."""
        results = self.meter.results(sums)
        own = {log: results[name] for log, name in self._metric_of.items()}
        own |= zip(self._names, last.tolist(), strict=True)
        return own or results

    def _steps(self, stream: Any, count: tf.Tensor) -> tf.Tensor:
        strategy, own = self._devices.strategy, self._devices.own
        step, summed = self._step, self._devices.replicas if self._training else 1
        if self._model.jit_compile:
            step = tf.function(step, jit_compile=True, autograph=False)

        def one_more(index: tf.Tensor, measured: tf.TensorArray) -> tuple[Any, ...]:
            with gradients_summed_once(self._model.optimizer, summed):
                found = strategy.run(step, args=(next(stream),))
            local = tf.stack(strategy.experimental_local_results(found))
            return index + 1, measured.write(index, local)

        measured = tf.TensorArray(tf.float64, size=count, infer_shape=False)
        _, measured = tf.while_loop(lambda index, _: index < count, one_more, (0, measured))
        return tf.ensure_shape(measured.stack(), [None, own, None])

    def _step(self, data: Data) -> tf.Tensor:
        model, given = self._model, keras.utils.pack_x_y_sample_weight(*data)
        self.meter.clear()
        step = "train_step" if self._training else "test_step"
        # Keras' own are traced on several devices, in a thread for each.
        with _results_noted(model.metrics if overridden(model, step) else []) as noted:
            logs = getattr(model, step)(given)
        found = self.meter.read()
        logs = logs if isinstance(logs, dict) else {"loss": logs}
        if set(logs) != set(model.get_metrics_result()):
            self._metric_of = {
                log: name for log in logs for result, name in noted if result is logs[log]
            }
            self._names = sorted(set(logs) - set(self._metric_of))
            found += [tf.reduce_mean(tf.convert_to_tensor(logs[name])) for name in self._names]
        return tf.concat([tf.reshape(tf.cast(part, tf.float64), [-1]) for part in found], axis=0)


def steps_of_next_call(steps_per_call: int, count: int, seconds: float) -> int:
    """Return the steps per call from now on: those so far at most twice.

    Args:
        steps_per_call: So far.
        count: How many the last call made; fewer at an epoch's end.
        seconds: How long it took.
    """
    fitting = int(SECONDS_PER_CALL * count / max(seconds, 1e-9))
    return max(1, min(2 * steps_per_call, fitting, MOST_STEPS_PER_CALL))


def overridden(model: keras.Model, *names: str) -> list[str]:
    """Return which of Keras' methods the model has of its own."""
    kind = type(model)
    own = (n for n in names if getattr(kind, n) is not getattr(keras.Model, n) or n in vars(model))
    return list(own)


def check_metrics(model: keras.Model, devices: Devices, batches: Batches, variables: Any) -> None:
    """Refuse metrics whose state is not a sum over batches, by trying them on a few examples.

    The variables, of those that a step may change, are left as they were. A model that can't be
    tried, since only its own `train_step` knows the loss, may have Keras' own metrics only.
    """
    own, loss = overridden(model, "call", "train_step", "test_step"), model._compile_loss
    if own == ["train_step"] or (own == ["call", "train_step"] and loss is None):
        kinds = {m.name: type(m).__module__ for m in _single_metrics(model.metrics)}
        _refuse([name for name, kind in kinds.items() if not kind.startswith("keras.")])
        return
    meter, data = Meter(model), batches.first(CHECKED_EXAMPLES)
    half = max(len(flatten(data)[0]) // 2, 1)
    first = map_leaves(lambda a: tf.convert_to_tensor(a[:half]), data)
    second = map_leaves(lambda a: tf.convert_to_tensor(a[-half:]), data)
    before = [tf.convert_to_tensor(variable) for variable in variables]

    def measure(*given: Data) -> list[np.ndarray]:
        def run(*some: Data) -> list[tf.Tensor]:
            meter.clear()
            for batch in some:
                model.test_step(keras.utils.pack_x_y_sample_weight(*batch))
            return meter.read()

        call = functools.partial(devices.strategy.run, run)
        if devices.replicas > 1:  # which can't run eagerly without a warning
            call = tf.function(call, autograph=False)
        found = call(args=given)
        return [devices.strategy.experimental_local_results(v)[0].numpy() for v in found]

    def reset() -> None:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)

    one, other = measure(first), measure(second)
    reset()  # so that the same random numbers are drawn again
    both = measure(first, second)
    reset()
    wrong = set()
    for variable, a, b, together in zip(meter.variables, one, other, both, strict=True):
        scale = np.abs(together).max(initial=1.0)
        if not np.allclose(a + b, together, rtol=1e-3, atol=1e-4 * scale, equal_nan=True):
            wrong.add(id(variable))
    several = _single_metrics(model.metrics)
    _refuse([metric.name for metric in several if wrong & {id(v) for v in metric.variables}])


def _refuse(names: list[str]) -> None:
    """Refuse the metrics of these names, if there are any."""
    if names:
        raise UserError(
            f"The metrics {', '.join(names)} can't be used: their state is not a sum over"
            " batches, so it can't be kept exactly. Take them out of compile and compute them after"
            " the training, on model.predict's outputs."
        )


def _single_metrics(metrics: list[Any]) -> list[Any]:
    """Return metrics with those that only hold others replaced by what they hold."""
    found = []
    for metric in metrics:
        inner = getattr(metric, "metrics", None)
        found += _single_metrics(list(inner)) if inner else [metric]
    return found
