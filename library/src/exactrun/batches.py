"""Batches as a pure function of (seed, epoch, step), so that a run can go on anywhere.

Every epoch visits the examples in an order of its own: a pseudorandom permutation that is computed
index by index (`tf.random.experimental.index_shuffle`), so that nothing is buffered and starting at
step 1,000 costs no more than at 0. `tf.data.Dataset.shuffle` loses its state (tensorflow #48178).
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .distribution import Devices
from .errors import UserError
from .examples import Examples, Subset
from .files import digest
from .sources import ArrayExamples
from .structures import flatten, map_leaves, rebuild

Data = tuple[Any, ...]
"""`(x,)`, `(x, y)` or `(x, y, sample_weight)`, as Keras takes apart what a data set gives."""


class ExampleBatches:
    """Training batches of examples that are read by index.

    The examples that don't fill a last batch wait for another epoch, as with `drop_remainder`.

    Args:
        examples: What to learn from.
        batch_size: Examples per step, of all devices together.
        seed: Chooses the order.
        class_weight: Weight of each class index, as in Keras.
    """

    def __init__(
        self,
        examples: Examples,
        *,
        batch_size: int,
        seed: int,
        class_weight: Mapping[int, float] | None = None,
    ) -> None:
        self.examples, self.batch_size, self._seed = examples, batch_size, seed
        self.steps_per_epoch = len(examples) // batch_size
        self.fingerprint = examples.fingerprint
        self._gather = _Gather(examples, class_weight=class_weight)
        self._stream: Any = None

    def specs(self, batch: int | None) -> Data:
        """Return the TensorSpecs of a batch of that many rows."""
        return self._gather.specs(batch)

    def first(self, count: int) -> Data:
        """Return the first examples, at most `count`, as arrays."""
        return self._gather.read_structure(np.arange(min(count, len(self.examples))))

    def stream(self, devices: Devices, *, epoch: int, batch: int, epochs: int) -> Any:
        """Return an iterator over the batches from there on; it goes on through all epochs."""
        if self._stream is None:
            per_epoch, own = self.steps_per_epoch, self.batch_size // devices.workers
            start, stop = epoch * per_epoch + batch, epochs * per_epoch

            def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
                offset = context.input_pipeline_id * own
                steps = tf.data.Dataset.range(start, stop)
                # Two batches at a time, in order: the result doesn't depend on the machine.
                data = steps.map(
                    lambda step: self._batch(step, offset, own),
                    num_parallel_calls=2,
                    deterministic=True,
                )
                if devices.own > 1:
                    data = data.rebatch(own // devices.own)
                return data.prefetch(tf.data.AUTOTUNE)

            self._stream = _distribute(devices, make)
        return self._stream

    def check(self, epoch: int, batch: int, recorded: str) -> None:
        """Do nothing: the order is this class's own."""

    def digest(self, epoch: int, batch: int) -> str:
        """Return an empty text; see `DatasetBatches.digest`."""
        return ""

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def _batch(self, step: tf.Tensor, offset: int, own: int) -> Data:
        epoch, batch = step // self.steps_per_epoch, step % self.steps_per_epoch
        places = batch * self.batch_size + offset + tf.range(own, dtype=tf.int64)
        key = tf.stack([tf.constant(self._seed, tf.int64), epoch])
        rows = tf.random.experimental.index_shuffle(places, key, max_index=len(self.examples) - 1)
        return self._gather(tf.ensure_shape(rows, [own]))


class DatasetBatches:
    """Training batches that a user's function of the epoch gives.

    Resuming in the middle of an epoch goes through its first batches again, without training on
    them, and compares them with what was recorded: see `digest`.

    Args:
        function: Takes the epoch, from 0 on; returns a finite `tf.data.Dataset` of batches, always
            the same one for the same epoch.

    Raises:
        UserError: If it returns something else.
    """

    SAMPLED = 4096
    """Elements of each tensor that its digest is made of, evenly spaced."""

    def __init__(self, function: Callable[[int], Any]) -> None:
        self._function = function
        data = function(0)
        count = int(data.cardinality())
        if count < 1:
            what = {
                int(tf.data.UNKNOWN_CARDINALITY): "doesn't know how many batches it has; add"
                " .apply(tf.data.experimental.assert_cardinality(steps_per_epoch))",
            }.get(count, "is empty")
            raise UserError(f"The tf.data.Dataset that x(0) returned {what}.")
        self.steps_per_epoch = count
        self._spec = as_data(data.element_spec)
        self.batch_size = tf.nest.flatten(self._spec, expand_composites=True)[0].shape[0]
        self.fingerprint = digest(repr((self._spec, count)).encode())
        self._digests: dict[tuple[int, int], int] = {}
        self._stream: Any = None
        self._epoch = -1

    def specs(self, batch: int | None) -> Data:
        """Return the TensorSpecs of a batch."""
        return self._spec

    def first(self, count: int) -> Data:
        """Return the first rows of the first batch, at most `count`, as arrays."""
        data = as_data(next(iter(self._function(0))))
        return map_leaves(lambda tensor: tensor[:count].numpy(), data)  # type: ignore[no-any-return]

    def stream(self, devices: Devices, *, epoch: int, batch: int, epochs: int) -> Any:
        """Return an iterator over the batches of one epoch from there on."""
        if epoch != self._epoch:
            self._epoch = epoch
            data = self._function(epoch)
            if int(data.cardinality()) != self.steps_per_epoch or not _same_form(
                as_data(data.element_spec), self._spec
            ):
                raise UserError(
                    f"x({epoch}) returned {int(data.cardinality())} batches of"
                    f" {data.element_spec}, but x(0) {self.steps_per_epoch} of {self._spec}. Every"
                    " epoch has to have the same number of batches, of the same form."
                )
            recorded = data.enumerate().map(
                lambda index, *parts: (index, self._record(epoch, index, parts)),
                num_parallel_calls=1,
            )
            rest = recorded.filter(lambda index, _: index >= batch).map(lambda _, parts: parts)

            def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
                share = rest
                if devices.replicas > 1:
                    own = self.batch_size // devices.workers
                    first = context.input_pipeline_id * own
                    share = share.map(
                        lambda *parts: tf.nest.map_structure(
                            lambda t: t[first : first + own], parts
                        )
                    ).rebatch(own // devices.own)
                return share.prefetch(tf.data.AUTOTUNE)

            self._stream = _distribute(devices, make)
        return self._stream

    def check(self, epoch: int, batch: int, recorded: str) -> None:
        """Compare the batches that were passed over with those of the session before.

        Raises:
            UserError: If they differ.
        """
        if recorded and self.digest(epoch, batch) != recorded:
            raise UserError(
                f"x({epoch}) gave other batches than in the session before: it is not a function of"
                " the epoch alone, so the training can't go on exactly. Shuffle with"
                " seed=epoch, interleave with deterministic=True, and augment inside the model."
                " Nothing was saved."
            )

    def digest(self, epoch: int, batch: int) -> str:
        """Return a digest of the batches of an epoch before this one."""
        numbers = [self._digests[epoch, index] for index in range(batch)]
        return digest(np.array(numbers, np.int64).tobytes())

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def _record(self, epoch: int, index: tf.Tensor, parts: Any) -> Data:
        data = as_data(parts if len(parts) > 1 else parts[0])
        sampled = []
        for tensor in tf.nest.flatten(data, expand_composites=True):
            flat = tf.reshape(tensor, [-1])
            stride = tf.maximum(tf.size(flat) // self.SAMPLED, 1)
            sampled.append(tf.io.serialize_tensor(flat[::stride]))
        number = tf.strings.to_hash_bucket_fast(tf.strings.join(sampled), 1 << 62)

        def remember(index: np.ndarray, number: np.ndarray) -> np.ndarray:
            self._digests[epoch, int(index)] = int(number)
            return index

        known = tf.numpy_function(remember, [index, number], tf.int64)
        with tf.control_dependencies([known]):
            return tf.nest.map_structure(tf.identity, data)  # type: ignore[no-any-return]


class EvaluationBatches:
    """All examples once and in order, in whole batches that the devices share.

    A last batch may be smaller. One device and several see the very same batches, so that what
    depends on a batch, such as a masked loss, is the same on any number of devices.

    Args:
        source: Examples, or a finite `tf.data.Dataset` of batches.
        batch_size: Of the examples.
    """

    def __init__(self, source: Examples | tf.data.Dataset, *, batch_size: int) -> None:
        self._source, self._batch_size = source, batch_size
        if isinstance(source, Examples):
            self._gather = _Gather(source)
            self.batches: int | None = -(-len(source) // batch_size)
            self.fingerprint = source.fingerprint
        else:
            count = int(source.cardinality())
            self.batches = count if count >= 0 else None
            self.fingerprint = digest(repr((source.element_spec, count)).encode())

    def specs(self) -> Data:
        """Return the TensorSpecs of a batch; its rows are not fixed."""
        if isinstance(self._source, Examples):
            return self._gather.specs(None)
        return tf.nest.map_structure(_without_rows, as_data(self._source.element_spec))  # type: ignore[no-any-return]

    def first(self, count: int) -> Data:
        """Return the first rows, at most `count`, as arrays."""
        if isinstance(self._source, Examples):
            return self._gather.read_structure(np.arange(min(count, len(self._source))))
        data = as_data(next(iter(self._source)))
        return map_leaves(lambda tensor: tensor[:count].numpy(), data)  # type: ignore[no-any-return]

    def shared_steps(self, devices: Devices) -> int:
        """Return how many steps take a different batch on each device; later ones don't."""
        if not isinstance(self._source, Examples):
            return 0
        return len(self._source) // self._batch_size // devices.replicas

    def steps(self, devices: Devices) -> int | None:
        """Return how many steps it takes to see all batches; None if that is not known."""
        shared = self.shared_steps(devices)
        return None if self.batches is None else self.batches - shared * (devices.replicas - 1)

    def stream(self, devices: Devices) -> Any:
        """Return an iterator over one pass."""

        def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
            source = self._source
            if isinstance(source, Examples):
                assert self.batches is not None
                shared = self.shared_steps(devices) * devices.replicas
                own = np.arange(shared).reshape(-1, devices.workers, devices.own)
                # What can't be shared evenly, every device computes; it is counted once.
                rest = np.repeat(np.arange(shared, self.batches), devices.own)
                order = np.concatenate([own[:, context.input_pipeline_id].ravel(), rest])
                data = tf.data.Dataset.from_tensor_slices(order).map(self._batch)
            else:
                data = source.map(lambda *parts: as_data(parts if len(parts) > 1 else parts[0]))
                if devices.own > 1:
                    data = data.flat_map(
                        lambda *parts: tf.data.Dataset.from_tensors(parts).repeat(devices.own)
                    )
                data = data.map(lambda *parts: tf.nest.map_structure(_forget_rows, parts))
            return data.prefetch(tf.data.AUTOTUNE)

        return _distribute(devices, make)

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def _batch(self, index: tf.Tensor) -> Data:
        assert isinstance(self._source, Examples)
        first = index * self._batch_size
        rows = tf.range(first, tf.minimum(first + self._batch_size, len(self._source)))
        return self._gather(rows)


class _Gather:
    """Read rows of examples from within a graph; what they hold may lie on disk.

    Numbers with a fraction become Keras' `floatx`, as in Keras' own `fit`. Arrays in memory
    are gathered from without Python, which takes a twelfth off the time of a small model.
    """

    COPIED_BYTES = 512 << 20
    """Arrays up to this size are copied to tensors."""

    def __init__(
        self, examples: Examples, *, class_weight: Mapping[int, float] | None = None
    ) -> None:
        self._examples, self._class_weight = examples, class_weight
        self._floatx = (
            np.dtype(keras.config.floatx())
            if keras.config.floatx() != "bfloat16"
            else np.dtype("float32")
        )
        self._form = self.read_structure(np.zeros(1, np.int64))
        self._leaves = flatten(self._form)
        self._tensors = None
        size = sum(leaf.nbytes for leaf in self._leaves) * len(examples)
        if size <= self.COPIED_BYTES and _in_memory(examples):
            with tf.device("CPU"):
                every = flatten(self.read_structure(np.arange(len(examples))))
                self._tensors = [tf.constant(array) for array in every]

    def read_structure(self, rows: np.ndarray) -> Data:
        """Return the rows as `(x,)`, `(x, y)` or `(x, y, sample_weight)`."""
        data = as_data(self._examples.read(rows))
        data = map_leaves(self._cast, data)
        if self._class_weight is not None:
            data = (*data, weights_of_classes(data[1], self._class_weight))
        return data

    def specs(self, batch: int | None) -> Data:
        leaves = (
            tf.TensorSpec([batch, *leaf.shape[1:]], _tensor_type(leaf)) for leaf in self._leaves
        )
        return rebuild(self._form, leaves)  # type: ignore[no-any-return]

    def __call__(self, rows: tf.Tensor) -> Data:
        if self._tensors is not None:
            gathered = (tf.gather(tensor, rows) for tensor in self._tensors)
            return rebuild(self._form, gathered)  # type: ignore[no-any-return]

        def read(rows: np.ndarray) -> list[np.ndarray]:
            return flatten(self.read_structure(rows))

        types = [_tensor_type(leaf) for leaf in self._leaves]
        tensors = tf.numpy_function(read, [rows], types, stateful=False)
        for tensor, leaf in zip(tensors, self._leaves, strict=True):
            tensor.set_shape([rows.shape[0], *leaf.shape[1:]])
        return rebuild(self._form, iter(tensors))  # type: ignore[no-any-return]

    def _cast(self, array: np.ndarray) -> np.ndarray:
        array = np.asarray(array)
        return (
            array.astype(self._floatx)
            if array.dtype.kind == "f" and array.dtype != self._floatx
            else array
        )


def weights_of_classes(y: Any, class_weight: Mapping[int, float]) -> np.ndarray:
    """Return the weight of each example by its class, float32, shape (rows,).

    Args:
        y: Class indices, shape (rows,) or (rows, 1), or one-hot, shape (rows, classes).
        class_weight: Weight of each class index; those that are missing weigh 1.
    """
    labels = np.asarray(y)
    if labels.ndim > 1 and labels.shape[-1] > 1:
        labels = labels.argmax(axis=-1)
    classes = labels.reshape(len(labels)).astype(np.int64)
    table = np.ones(max(int(classes.max(initial=0)), *class_weight) + 1, np.float32)
    for index, weight in class_weight.items():
        table[index] = weight
    return table[classes]


def as_data(parts: Any) -> Data:
    """Return what a data set or an example holds as `(x,)`, `(x, y)` or `(x, y, sample_weight)`."""
    data = parts if isinstance(parts, tuple) and not hasattr(parts, "_fields") else (parts,)
    return tuple(_without_lists(part) for part in data if part is not None)


def _without_lists(structure: Any) -> Any:
    """Return a structure with tuples for lists, which tf.data would take for tensors."""
    if isinstance(structure, dict):
        return {key: _without_lists(part) for key, part in structure.items()}
    if isinstance(structure, list | tuple):
        return tuple(_without_lists(part) for part in structure)
    return structure


def _in_memory(examples: Examples) -> bool:
    """Tell whether examples are arrays that are not mapped from a disk."""
    while isinstance(examples, Subset):
        examples = examples.base
    if not isinstance(examples, ArrayExamples):
        return False
    for leaf in flatten(examples.columns):
        while isinstance(leaf, np.ndarray):
            leaf = leaf.base
        if isinstance(leaf, Examples | mmap.mmap):
            return False
    return True


def _tensor_type(array: np.ndarray) -> tf.DType:
    return tf.string if array.dtype.kind in "USO" else tf.as_dtype(array.dtype)


def _without_rows(spec: tf.TensorSpec) -> tf.TensorSpec:
    return tf.TensorSpec([None, *spec.shape[1:]], spec.dtype)


def _forget_rows(tensor: tf.Tensor) -> tf.Tensor:
    return tf.compat.v1.placeholder_with_default(tensor, [None, *tensor.shape[1:]])


def _same_form(one: Data, other: Data) -> bool:
    return repr(one) == repr(other)


def _distribute(devices: Devices, make: Callable[[Any], tf.data.Dataset]) -> Any:
    if devices.replicas == 1:
        return iter(make(tf.distribute.InputContext()))
    return iter(devices.strategy.distribute_datasets_from_function(make))
