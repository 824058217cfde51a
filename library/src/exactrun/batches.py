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
from .examples import Examples, root_of
from .files import digest
from .sources import ArrayExamples
from .structures import flatten, map_leaves, rebuild

Data = tuple[Any, ...]
"""`(x,)`, `(x, y)` or `(x, y, sample_weight)`, as Keras takes apart what a data set gives."""


class ExampleBatches:
    """Training batches of examples that are read by index.

    The examples that don't fill a last batch wait for another epoch, as with `drop_remainder`.
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

    def specs(self) -> Data:
        """Return the TensorSpecs of a batch; its rows are not fixed."""
        return self._gather.specs()

    def first(self, count: int) -> Data:
        """Return the first examples, at most `count`, as arrays."""
        return self._gather.first(count)

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

    def close(self) -> None:
        """Let go of the iterator, so that no thread of it reads on: see `Training.run`."""
        self._stream = None

    @property
    def failed(self) -> np.ndarray | None:
        """The rows in whose reading the source failed."""
        return self._gather.failed

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
        epochs: Of the run; with several, the second one is looked at, too.
    """

    examples = failed = None
    SAMPLED = 4096
    """Elements of each tensor that its digest is made of, evenly spaced."""

    def __init__(self, function: Callable[[int], Any], *, epochs: int) -> None:
        self._function = function
        data = self._data(0)
        self.steps_per_epoch, self._spec = _form(data)
        if self.steps_per_epoch < 1:
            what = "is empty"
            if self.steps_per_epoch == tf.data.UNKNOWN_CARDINALITY:
                what = (
                    "doesn't know how many batches it has; add"
                    " .apply(tf.data.experimental.assert_cardinality(steps_per_epoch))"
                )
            raise UserError(f"The tf.data.Dataset that x(0) returned {what}.")
        self.batch_size = flatten(self._spec)[0].shape[0]
        self.fingerprint = digest(repr((self._spec, self.steps_per_epoch)).encode())
        self._digests: dict[tuple[int, int], int] = {}
        self._stream: Any = None
        self._epoch = -1
        if epochs > 1:
            self._data(1)

    def specs(self) -> Data:
        """Return the TensorSpecs of a batch."""
        return self._spec

    def first(self, count: int) -> Data:
        """Return the first rows of the first batch, at most `count`, as arrays."""
        return _first_rows(self._data(0), count)

    def stream(self, devices: Devices, *, epoch: int, batch: int, epochs: int) -> Any:
        """Return an iterator over the batches of one epoch from there on."""
        if epoch != self._epoch:
            self._epoch = epoch
            data = self._data(epoch).enumerate()
            recorded = data.map(
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

    def close(self) -> None:
        """Let go of the iterator, so that no thread of it reads on: see `Training.run`."""
        self._stream, self._epoch = None, -1

    def check(self, epoch: int, batch: int, recorded: str) -> None:
        """Refuse if the batches that were passed over differ from the session before's."""
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

    def _data(self, epoch: int) -> tf.data.Dataset:
        """Return an epoch's data set, with words for what the user's function does wrong."""
        takes = "A function given as x takes the epoch, from 0 on, and returns a tf.data.Dataset."
        try:
            data = self._function(epoch)
        except Exception as error:
            raise UserError(
                f"x({epoch}) raised {type(error).__name__}: {error}. {takes}"
            ) from error
        if not isinstance(data, tf.data.Dataset):
            raise UserError(f"x({epoch}) returned {type(data).__name__}. {takes}")
        require_batches(data, f"x({epoch})")
        if epoch and repr(_form(data)) != repr((self.steps_per_epoch, self._spec)):
            count, spec = _form(data)
            raise UserError(
                f"x({epoch}) returned {count} batches of {spec}, but x(0) {self.steps_per_epoch} of"
                f" {self._spec}. Every epoch has to have the same number of batches, of the same"
                " form."
            )
        return data

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def _record(self, epoch: int, index: tf.Tensor, parts: Any) -> Data:
        data = _as_elements(*parts)
        sampled = []
        for tensor in tf.nest.flatten(data):
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

    def __init__(self, source: Any, *, batch_size: int) -> None:
        self._source, self._batch_size = source, batch_size
        self.examples = source if isinstance(source, Examples) else None
        if self.examples is not None:
            self._gather = _Gather(self.examples)
            self.batches: int | None = -(-len(self.examples) // batch_size)
            self.fingerprint = self.examples.fingerprint
        else:
            count, spec = int(source.cardinality()), source.element_spec
            self.batches = count if count >= 0 else None
            self.fingerprint = digest(repr((spec, count)).encode())
            self._specs = map_leaves(
                lambda leaf: tf.TensorSpec([None, *leaf.shape[1:]], leaf.dtype), as_data(spec)
            )

    def specs(self) -> Data:
        """Return the TensorSpecs of a batch; its rows are not fixed."""
        return self._specs if self.examples is None else self._gather.specs()

    def first(self, count: int) -> Data:
        """Return the first rows, at most `count`, as arrays."""
        if self.examples is None:
            return _first_rows(self._source, count)
        return self._gather.first(count)

    @property
    def failed(self) -> np.ndarray | None:
        """The rows in whose reading the source failed."""
        return None if self.examples is None else self._gather.failed

    def shared_steps(self, devices: Devices) -> int:
        """Return how many steps take a different batch on each device; later ones don't."""
        if self.examples is None:
            return 0
        return len(self.examples) // self._batch_size // devices.replicas

    def steps(self, devices: Devices) -> int | None:
        """Return how many steps it takes to see all batches; None if that is not known."""
        shared = self.shared_steps(devices)
        return None if self.batches is None else self.batches - shared * (devices.replicas - 1)

    def stream(self, devices: Devices) -> Any:
        """Return an iterator over one pass."""

        def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
            if self.examples is not None:
                shared = self.shared_steps(devices) * devices.replicas
                own = np.arange(shared).reshape(-1, devices.workers, devices.own)
                # What can't be shared evenly, every device computes; it is counted once.
                rest: np.ndarray = np.repeat(np.arange(shared, self.batches), devices.own)
                order = np.concatenate([own[:, context.input_pipeline_id].ravel(), rest])
                data = tf.data.Dataset.from_tensor_slices(order).map(self._batch)
            else:
                data = self._source.map(_as_elements)
                if devices.own > 1:
                    data = data.flat_map(
                        lambda *parts: tf.data.Dataset.from_tensors(parts).repeat(devices.own)
                    )
                data = data.map(lambda *parts: tf.nest.map_structure(_forget_rows, parts))
            return data.prefetch(tf.data.AUTOTUNE)

        return _distribute(devices, make)

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def _batch(self, index: tf.Tensor) -> Data:
        assert self.examples is not None
        first = index * self._batch_size
        return self._gather(
            tf.range(first, tf.minimum(first + self._batch_size, len(self.examples)))
        )


Batches = ExampleBatches | DatasetBatches | EvaluationBatches


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
        self.failed: np.ndarray | None = None
        self._floatx = floatx()
        self._form = self.read_structure(np.zeros(1, np.int64))
        self._leaves = flatten(self._form)
        self._tensors = None
        size = sum(leaf.nbytes for leaf in self._leaves) * len(examples)
        if size <= self.COPIED_BYTES and _in_memory(examples):
            with tf.device("CPU"):
                every = flatten(self.read_structure(np.arange(len(examples))))
                self._tensors = [tf.constant(array) for array in every]

    def first(self, count: int) -> Data:
        """Return the first rows, at most `count`."""
        return self.read_structure(np.arange(min(count, len(self._examples))))

    def read_structure(self, rows: np.ndarray) -> Data:
        """Return the rows as `(x,)`, `(x, y)` or `(x, y, sample_weight)`."""
        data: Data = map_leaves(self._cast, as_data(self._examples.read(rows)))
        if self._class_weight is not None:
            data = (*data, weights_of_classes(data[1], self._class_weight))
        return data

    def specs(self) -> Data:
        leaves = (
            tf.TensorSpec([None, *leaf.shape[1:]], _tensor_type(leaf)) for leaf in self._leaves
        )
        return rebuild(self._form, leaves)  # type: ignore[no-any-return]

    def __call__(self, rows: tf.Tensor) -> Data:
        if self._tensors is not None:
            gathered = (tf.gather(tensor, rows) for tensor in self._tensors)
            return rebuild(self._form, gathered)  # type: ignore[no-any-return]

        def read(rows: np.ndarray) -> list[np.ndarray]:
            try:
                return flatten(self.read_structure(rows))
            except Exception:  # of which TensorFlow makes an error of its own
                self.failed = rows
                raise

        types = [_tensor_type(leaf) for leaf in self._leaves]
        tensors = tf.numpy_function(read, [rows], types, stateful=False)
        for tensor, leaf in zip(tensors, self._leaves, strict=True):
            tensor.set_shape([rows.shape[0], *leaf.shape[1:]])
        return rebuild(self._form, iter(tensors))  # type: ignore[no-any-return]

    def _cast(self, array: np.ndarray) -> np.ndarray:
        array = np.asarray(array)
        return array.astype(self._floatx, copy=False) if array.dtype.kind == "f" else array


def floatx() -> np.dtype[Any]:
    """Return the type of NumPy's in which numbers with a fraction reach the model."""
    name: str = keras.config.floatx()
    return np.dtype(name.replace("bfloat16", "float32"))


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


def require_batches(data: tf.data.Dataset, name: str) -> None:
    """Refuse a data set whose elements are no batches of tensors, calling it by this name."""
    leaves = flatten(as_data(data.element_spec))
    if odd := [leaf for leaf in leaves if not isinstance(leaf, tf.TensorSpec)]:
        raise UserError(
            f"{name} gives {type(odd[0]).__name__.removesuffix('Spec')}s; it must give tensors. Use"
            " .padded_batch(32) for rows of different lengths, tf.sparse.to_dense for sparse ones."
        )
    if data.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise UserError(f"{name} has no end; add .take(steps) to the data set.")
    rows = {0 if leaf.shape.rank == 0 else leaf.shape[:1][0] for leaf in leaves} - {None}
    if 0 in rows or len(rows) > 1:
        shapes = ", ".join(str(leaf.shape) for leaf in leaves)
        raise UserError(
            f"{name} gives {shapes}, which are no batches with a row for each example: add"
            " .batch(32)."
        )


def as_data(parts: Any) -> Data:
    """Return what a data set or an example holds as `(x,)`, `(x, y)` or `(x, y, sample_weight)`."""
    data = parts if isinstance(parts, tuple) and not hasattr(parts, "_fields") else (parts,)
    return tuple(_without_lists(part) for part in data if part is not None)


def _as_elements(*parts: Any) -> Data:
    """Return what a data set passes to a mapped function in the same form."""
    return as_data(parts if len(parts) > 1 else parts[0])


def _without_lists(structure: Any) -> Any:
    """Return a structure with tuples for lists, which tf.data would take for tensors."""
    if isinstance(structure, dict):
        return {key: _without_lists(part) for key, part in structure.items()}
    if isinstance(structure, list | tuple):
        return tuple(_without_lists(part) for part in structure)
    return structure


def _in_memory(examples: Examples) -> bool:
    """Tell whether examples are arrays that are not mapped from a disk."""
    root = root_of(examples)
    if not isinstance(root, ArrayExamples):
        return False
    for leaf in flatten(root.columns):
        while isinstance(leaf, np.ndarray):
            leaf = leaf.base
        if isinstance(leaf, Examples | mmap.mmap):
            return False
    return True


def _tensor_type(array: np.ndarray) -> tf.DType:
    return tf.string if array.dtype.kind in "USO" else tf.as_dtype(array.dtype)


def _form(data: tf.data.Dataset) -> tuple[int, Data]:
    return int(data.cardinality()), as_data(data.element_spec)


def _first_rows(data: tf.data.Dataset, count: int) -> Data:
    first = as_data(next(iter(data)))
    return map_leaves(lambda tensor: tensor[:count].numpy(), first)  # type: ignore[no-any-return]


def _forget_rows(tensor: tf.Tensor) -> tf.Tensor:
    return tf.compat.v1.placeholder_with_default(tensor, [None, *tensor.shape[1:]])


def _distribute(devices: Devices, make: Callable[[Any], tf.data.Dataset]) -> Any:
    if devices.replicas == 1:
        return iter(make(tf.distribute.InputContext()))
    return iter(devices.strategy.distribute_datasets_from_function(make))
