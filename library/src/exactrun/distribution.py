"""What a model trains on: one device, several of a machine, or several workers.

The strategy is the model's own: the one in whose scope it was built. Several workers are processes
that each run the same program under `TF_CONFIG`, as Vertex AI, Kubeflow and Ray Train set it, with
`tf.distribute.MultiWorkerMirroredStrategy`.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .errors import UserError
from .files import digest
from .workers import place_among

State = tuple[dict[str, Any], dict[str, np.ndarray]]
"""Facts, as JSON can hold them, and arrays by name."""


class Devices:
    """The devices of a model's strategy, and what the workers tell each other.

    Attributes:
        replicas: Devices that share each batch, of all workers.
        workers: Processes that train together.
        worker: Index of this one; 0 is the chief, the only one that writes.
    """

    HEALTH_SECONDS = 10.0
    """How often each worker asks whether the others still answer."""

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self.strategy = strategy
        self.replicas: int = strategy.num_replicas_in_sync
        self.workers, self.worker = 1, 0
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            resolver = strategy.cluster_resolver
            cluster, index = resolver.cluster_spec().as_dict(), int(resolver.task_id or 0)
            self.workers, self.worker = place_among(cluster, resolver.task_type, index)
            # TensorFlow's own check, which ends what waits for a worker that is gone; by default
            # it takes a minute to begin and another one to give up.
            strategy.extended._check_health_interval = self.HEALTH_SECONDS
        elif self.replicas > 1 and not isinstance(strategy, tf.distribute.MirroredStrategy):
            raise UserError(
                f"The model was built under {type(strategy).__name__}, which Keras 3 does not"
                " train on. Build it under tf.distribute.MirroredStrategy (several GPUs of a"
                " machine) or MultiWorkerMirroredStrategy (several machines)."
            )

    @property
    def chief(self) -> bool:
        """Whether this process writes checkpoints."""
        return self.worker == 0

    @property
    def own(self) -> int:
        """Devices of this process."""
        return self.replicas // self.workers

    def __str__(self) -> str:
        gpus = tf.config.get_visible_devices("GPU")
        names = {
            tf.config.experimental.get_device_details(g).get("device_name", "GPU") for g in gpus
        }
        count = f"{self.replicas} × " if self.replicas > 1 else ""
        of = f" of {self.workers} workers" if self.workers > 1 else ""
        return f"{count}{' + '.join(sorted(names)) or 'CPU'}{of}"

    def sum_over_workers(self, values: np.ndarray) -> np.ndarray:
        """Add up what each worker holds; all of them have to call it, and get the same sum.

        Args:
            values: float64 or int32, of the same shape on every worker.
        """
        if self.workers == 1:
            return values
        own = tf.constant(values)

        def share(context: Any) -> tf.Tensor:  # once for each worker, not for each device
            first = context.replica_id_in_sync_group % self.own == 0
            return own if first else tf.zeros_like(own)

        shares = self.strategy.experimental_distribute_values_from_function(share)
        summed: np.ndarray = self.strategy.reduce(
            tf.distribute.ReduceOp.SUM, shares, axis=None
        ).numpy()
        return summed

    def any_worker(self, says: bool) -> bool:
        """Tell every worker whether one of them says so; all of them have to call it."""
        return bool(self.sum_over_workers(np.array([float(says)]))[0])

    def from_chief(self, values: np.ndarray) -> np.ndarray:
        """Return what the chief holds; all workers have to call it, and get the same."""
        return self.sum_over_workers(values if self.chief else np.zeros_like(values))

    def share(self, state: State | None) -> State:
        """Return the chief's facts and arrays on every worker; the others give None."""
        if self.workers == 1:
            assert state is not None
            return state
        file = io.BytesIO()
        if state is not None:
            facts = np.frombuffer(json.dumps(state[0]).encode(), np.uint8)
            np.savez(file, allow_pickle=False, facts=facts, **state[1])
        content = np.frombuffer(file.getvalue(), np.uint8)
        size = int(self.from_chief(np.array([len(content)], np.int32))[0])
        words = np.zeros(-(-size // 4), np.int32)
        words.view(np.uint8)[: len(content)] = content
        received = self.from_chief(words).view(np.uint8)[:size].tobytes()
        with np.load(io.BytesIO(received), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return json.loads(arrays.pop("facts").tobytes()), arrays

    @contextmanager
    def faults_told(self) -> Iterator[None]:
        """Have every worker end if one of them refuses: the others would wait for it."""
        fault: UserError | None = None
        try:
            yield
        except UserError as error:
            fault = error
        if self.any_worker(fault is not None):
            self._let_others_hear()
            other = "Another worker can't train, and says why in its own output."
            raise fault or UserError(other)

    def require_identical(self, identity: dict[str, Any]) -> None:
        """Refuse on every worker if they have different identities; all have to call it."""
        text = digest(json.dumps(identity, sort_keys=True).encode())
        own = np.frombuffer(text.encode(), np.uint8).astype(np.int32)
        if self.any_worker(bool((self.from_chief(own) != own).any())):
            self._let_others_hear()
            raise UserError(
                "The workers have different data, settings or models. Start the same program, with"
                " the same data, on all of them."
            )

    def _let_others_hear(self) -> None:
        """Wait before this process ends: the others still fetch the last sum from it."""
        if self.workers > 1:
            time.sleep(2.0)

    def make_seeds_differ(self, model: keras.Model) -> None:
        """Give each device random numbers of its own, so that dropout differs on each.

        The first device keeps its state, which is what a checkpoint holds: one device alone draws
        the same numbers with this and without.
        """
        if self.replicas == 1:
            return
        for variable in model.variables:
            if variable.name != "seed_generator_state":
                continue
            copies = self.strategy.experimental_local_results(variable.value)
            state = copies[0].numpy()
            for index, copy in enumerate(copies, start=self.worker * self.own):
                copy.assign(state + np.array([index, 0], state.dtype))  # (seed, times used)

    @contextmanager
    def losses_told(self) -> Iterator[None]:
        """Say in words that another worker died, hangs or can't be reached."""
        try:
            yield
        except tf.errors.OpError as error:
            if self.workers == 1:
                raise
            raise UserError(
                f"Another worker went away, or the way to it: {error.message.splitlines()[0]}."
                " Start all workers again: they go on from the newest checkpoint."
            ) from error


@contextmanager
def gradients_summed_once(optimizer: Any, replicas: int) -> Iterator[None]:
    """Have an optimizer get the gradient of the whole batch, while a step is traced.

    Keras clips the gradient of each device and adds up afterwards, and looks for infinities, under
    float16, on each device alone. Here the gradients are added up first, so that several devices
    do what one does; and only once. With one replica, nothing is changed.
    """
    if replicas == 1:
        yield
        return
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    apply = optimizer.apply

    def apply_sum(gradients: Any, trainable_variables: Any = None) -> Any:
        present = [tf.convert_to_tensor(g) for g in gradients if g is not None]
        context = tf.distribute.get_replica_context()
        summed = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, present))
        return apply([None if g is None else next(summed) for g in gradients], trainable_variables)

    optimizer.__dict__["apply"] = apply_sum
    inner.__dict__["_all_reduce_sum_gradients"] = list
    try:
        yield
    finally:
        del optimizer.__dict__["apply"], inner.__dict__["_all_reduce_sum_gradients"]
