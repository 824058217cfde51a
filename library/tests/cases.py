"""A table of models, losses, metrics and optimizers, each small enough to train in a second.

`make(name)` returns one, freshly built. With `noise`, its layers draw random numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, losses, metrics, ops, optimizers

ROWS, BATCH = 70, 16
"""Four batches an epoch, and six examples that wait for another one."""

CASES: dict[str, Callable[[Any], Case]] = {}


@dataclass
class Case:
    """A compiled model and what `fit` gets besides it."""

    model: keras.Model
    x: Any
    y: Any = None
    sample_weight: Any = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def data(self) -> tuple[Any, ...]:
        return tuple(part for part in (self.x, self.y, self.sample_weight) if part is not None)


def make(name: str, *, noise: bool = False, seed: int = 1) -> Case:
    """Build a case from scratch; its weights follow from the seed."""
    if not tf.distribute.has_strategy():  # whose scope it would break
        # Or else metrics are numbered: auc_1. To collect garbage would take longer than to build.
        keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed)

    def noisy(x: Any) -> Any:
        return layers.Dropout(0.2)(layers.GaussianNoise(0.1)(x)) if noise else x

    try:
        return CASES[name](noisy)
    finally:
        keras.config.set_dtype_policy("float32")


def case(function: Callable[[Any], Case]) -> Callable[[Any], Case]:
    CASES[function.__name__] = function
    return function


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).normal(size=shape).astype(np.float32)


def labels(classes: int, *shape: int, seed: int = 1) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, classes, size=shape or (ROWS,)).astype(np.int32)


X = numbers(ROWS, 6)
TARGET = (X[:, :1] * 2 - X[:, 1:2] + 0.1 * numbers(ROWS, 1, seed=3)).astype(np.float32)


def dense(noisy: Any, outputs: int, activation: str | None = None, **options: Any) -> keras.Model:
    inputs = keras.Input((6,))
    hidden = noisy(layers.Dense(8, activation="relu", **options)(inputs))
    return keras.Model(inputs, layers.Dense(outputs, activation=activation)(hidden))


@case
def regression(noisy: Any) -> Case:
    model = dense(noisy, 1)
    model.compile(
        optimizers.SGD(0.05, momentum=0.9), "mse", metrics=["mae", metrics.RootMeanSquaredError()]
    )
    return Case(model, X, TARGET)


@case
def huber_clipvalue(noisy: Any) -> Case:
    model = dense(noisy, 1)
    model.compile(optimizers.RMSprop(0.01, clipvalue=0.5), losses.Huber(), metrics=["mape"])
    return Case(model, X.astype(np.float64), TARGET.astype(np.float64))


@case
def binary(noisy: Any) -> Case:
    model = dense(noisy, 1, "sigmoid")
    model.compile("adam", "binary_crossentropy", metrics=["accuracy", "auc", "precision", "recall"])
    return Case(model, X, (TARGET > 0).astype(np.int32)[:, 0])


@case
def binary_logits_clipnorm(noisy: Any) -> Case:
    model = dense(noisy, 1)
    model.compile(
        optimizers.Adam(0.01, clipnorm=0.1),
        losses.BinaryCrossentropy(from_logits=True),
        metrics=[metrics.BinaryAccuracy(threshold=0.0), metrics.TruePositives()],
    )
    return Case(model, X, (TARGET > 0).astype(np.float32))


@case
def classes(noisy: Any) -> Case:
    model = dense(noisy, 5, "softmax")
    model.compile(
        optimizers.AdamW(0.01, weight_decay=0.1),
        "sparse_categorical_crossentropy",
        metrics=["accuracy", metrics.SparseTopKCategoricalAccuracy(2)],
    )
    return Case(model, X, labels(5))


@case
def one_hot(noisy: Any) -> Case:
    model = dense(noisy, 4, "softmax")
    model.compile(
        optimizers.Nadam(0.01),
        losses.CategoricalCrossentropy(label_smoothing=0.1),
        metrics=["accuracy", metrics.F1Score(average="macro"), metrics.CategoricalCrossentropy()],
    )
    return Case(model, X, np.eye(4, dtype=np.float32)[labels(4)])


@case
def multi_label(noisy: Any) -> Case:
    model = dense(noisy, 3, "sigmoid")
    model.compile(
        optimizers.Lion(0.003),
        losses.BinaryFocalCrossentropy(),
        metrics=[
            metrics.AUC(multi_label=True, num_labels=3),
            metrics.F1Score("micro", threshold=0.5),
        ],
    )
    return Case(model, X, labels(2, ROWS, 3).astype(np.float32))


@case
def segmentation(noisy: Any) -> Case:
    inputs = keras.Input((8, 8, 2))
    hidden = noisy(layers.Conv2D(4, 3, padding="same", activation="relu")(inputs))
    model = keras.Model(inputs, layers.Conv2D(3, 1, activation="softmax")(hidden))
    model.compile(
        "adam",
        "sparse_categorical_crossentropy",
        metrics=["accuracy", metrics.MeanIoU(3, sparse_y_pred=False)],
    )
    return Case(model, numbers(ROWS, 8, 8, 2), labels(3, ROWS, 8, 8))


@case
def two_inputs(noisy: Any) -> Case:
    image, table = keras.Input((4, 4, 1), name="image"), keras.Input((3,), name="table")
    both = layers.Concatenate()([layers.Flatten()(layers.Conv2D(2, 2)(image)), table])
    model = keras.Model({"table": table, "image": image}, layers.Dense(1)(noisy(both)))
    model.compile(optimizers.Adagrad(0.05), "mae")
    return Case(model, {"image": numbers(ROWS, 4, 4, 1), "table": numbers(ROWS, 3)}, TARGET)


@case
def listed_inputs(noisy: Any) -> Case:
    first, second = keras.Input((6,)), keras.Input((6,))
    shared = layers.Dense(5, activation="tanh")  # shared by both sides
    apart = layers.Lambda(lambda pair: pair[0] - pair[1])([noisy(shared(first)), shared(second)])
    model = keras.Model([first, second], layers.Dense(1, activation="sigmoid")(apart))
    model.compile(optimizers.Adamax(0.01), "binary_crossentropy", metrics=["accuracy"])
    return Case(model, [X, numbers(ROWS, 6, seed=4)], labels(2))


def _three(noisy: Any) -> tuple[keras.Model, dict[str, np.ndarray]]:
    inputs = keras.Input((6,))
    hidden = noisy(layers.Dense(8, activation="relu")(inputs))
    outputs = {
        "kind": layers.Dense(4, activation="softmax", name="kind")(hidden),
        "tags": layers.Dense(3, activation="sigmoid", name="tags")(hidden),
        "size": layers.Dense(1, name="size")(hidden),
    }
    targets = {"kind": labels(4), "tags": labels(2, ROWS, 3).astype(np.float32), "size": TARGET}
    return keras.Model(inputs, outputs), targets


@case
def three_outputs(noisy: Any) -> Case:
    model, targets = _three(noisy)
    model.compile(
        optimizers.Adam(0.01, global_clipnorm=0.5),
        {
            "kind": "sparse_categorical_crossentropy",
            "tags": "binary_crossentropy",
            "size": lambda y, p: ops.mean(ops.abs(y - p), axis=-1),
        },
        loss_weights={"kind": 1.0, "tags": 0.5, "size": 2.0},
        metrics={"kind": ["accuracy"], "tags": ["auc"], "size": ["mae", "mse"]},
    )
    return Case(model, X, targets)


@case
def three_outputs_weighted(noisy: Any) -> Case:
    model, targets = _three(noisy)
    names = ("kind", "tags", "size")
    model = keras.Model(model.input, [model.output[name] for name in names])
    model.compile(
        "adam",
        ["sparse_categorical_crossentropy", "binary_crossentropy", "mse"],
        loss_weights=[1.0, 0.3, 0.1],
        weighted_metrics=[["accuracy"], None, ["mae"]],
    )
    weights = [np.abs(numbers(ROWS, seed=s)) for s in (5, 6, 7)]
    return Case(model, X, [targets[name] for name in names], weights)


@case
def masked_sequences(noisy: Any) -> Case:
    words = labels(20, ROWS, 7)
    words[:, 5:] = 0
    inputs = keras.Input((7,), dtype="int32")
    hidden = layers.Embedding(20, 4, mask_zero=True)(inputs)
    hidden = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(hidden)
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(noisy(hidden)))
    model.compile("rmsprop", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return Case(model, words, labels(3, ROWS, 7))


@case
def regularized(noisy: Any) -> Case:
    inputs = keras.Input((6,))
    hidden = layers.Dense(
        8,
        kernel_regularizer=keras.regularizers.L1L2(0.01, 0.02),
        kernel_constraint=keras.constraints.MaxNorm(1.0),
    )(inputs)
    hidden = layers.BatchNormalization(momentum=0.9)(hidden)
    hidden = layers.ActivityRegularization(l2=0.01)(noisy(hidden))
    model = keras.Model(inputs, layers.Dense(1)(hidden))
    model.compile(optimizers.Adam(0.01), "log_cosh")
    return Case(model, X, TARGET)


@case
def synchronized(noisy: Any) -> Case:
    inputs = keras.Input((6,))
    # Without a bias, whose gradient would be nothing but rounding, which Adam makes large.
    hidden = layers.Dense(8, use_bias=False)(inputs)
    hidden = layers.BatchNormalization(synchronized=True)(hidden)
    model = keras.Model(inputs, layers.Dense(1)(noisy(hidden)))
    model.compile(optimizers.Adam(0.01), "mse")
    return Case(model, X, TARGET)


@case
def float16(noisy: Any) -> Case:
    keras.config.set_dtype_policy("mixed_float16")
    model = dense(noisy, 5, "softmax", kernel_regularizer="l2")
    scaled = optimizers.LossScaleOptimizer(
        optimizers.Adam(0.01), initial_scale=2.0**17, dynamic_growth_steps=3
    )
    model.compile(scaled, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return Case(model, X * 40, labels(5))


@case
def float16_by_itself(noisy: Any) -> Case:
    keras.config.set_dtype_policy("mixed_float16")
    model = dense(noisy, 1)
    model.compile(optimizers.SGD(0.01), "mse")
    return Case(model, X, TARGET)


@case
def bfloat16(noisy: Any) -> Case:
    keras.config.set_dtype_policy("bfloat16")
    model = dense(noisy, 1)
    model.compile(optimizers.Adam(0.01), "mse")
    return Case(model, X, TARGET)


@case
def averaged(noisy: Any) -> Case:
    model = dense(noisy, 1)
    model.compile(optimizers.Adam(0.02, use_ema=True, ema_momentum=0.9), "mse")
    return Case(model, X, TARGET)


@case
def averaged_often(noisy: Any) -> Case:
    model = dense(noisy, 1)
    model.compile(
        optimizers.SGD(0.02, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=3), "mse"
    )
    return Case(model, X, TARGET)


@case
def accumulated(noisy: Any) -> Case:
    model = dense(noisy, 1)
    model.compile(optimizers.Adam(0.02, gradient_accumulation_steps=3), "mse")
    return Case(model, X, TARGET)


class Sampling(layers.Layer):
    """A random layer inside of a custom one, and a loss of its own."""

    def __init__(self, draw: bool, **options: Any) -> None:
        super().__init__(**options)
        self.draw = draw
        self.seed_generator = keras.random.SeedGenerator(7)
        self.dropout = layers.Dropout(0.1)

    def call(self, x: Any, training: bool = False) -> Any:
        mean, log_variance = ops.split(x, 2, axis=-1)
        spread = ops.exp(0.5 * log_variance)
        self.add_loss(-0.05 * ops.mean(1 + log_variance - mean**2 - ops.exp(log_variance)))
        if not self.draw:
            return mean + 0.1 * spread
        drawn = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        return self.dropout(mean + spread * drawn, training=training)


@case
def added_loss_only(noisy: Any) -> Case:
    inputs = keras.Input((6,))
    marker = keras.Input((1,))
    code = Sampling(noisy(marker) is not marker)(layers.Dense(4)(inputs))
    outputs = layers.Dense(6)(code)

    class Reconstruction(layers.Layer):
        def call(self, pair: Any) -> Any:
            self.add_loss(ops.mean((pair[0] - pair[1]) ** 2))
            return pair[1]

    model = keras.Model(inputs, Reconstruction()([inputs, outputs]))
    model.compile(optimizers.Adam(0.01))
    return Case(model, X)


class Counting(layers.Layer):
    """A layer with state that is no weight, and with a metric."""

    def build(self, shape: Any) -> None:
        self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False, name="seen")
        self.mean_square = metrics.Mean(name="mean_square")

    def call(self, x: Any, training: bool = False) -> Any:
        if training:
            self.seen.assign_add(1.0)
        self.mean_square.update_state(ops.mean(x**2))
        return x * (1 + 0.01 * self.seen)


class Subclassed(keras.Model):
    def __init__(self, noisy: Any) -> None:
        super().__init__()
        marker = keras.Input((1,))
        self.hidden = layers.Dense(8, activation="gelu")
        self.counting = Counting()
        self.noise = layers.Dropout(0.3 if noisy(marker) is not marker else 0.0, seed=3)
        self.unused = layers.Dense(3)
        self.last = layers.Dense(2)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.last(self.noise(self.counting(self.hidden(x)), training=training))


@case
def subclassed(noisy: Any) -> Case:
    model = Subclassed(noisy)
    model.compile(
        optimizers.Adadelta(1.0), losses.CosineSimilarity(), metrics=["cosine_similarity"]
    )
    return Case(model, X, numbers(ROWS, 2, seed=8))


@case
def frozen_and_unused(noisy: Any) -> Case:
    inputs = keras.Input((6,))
    body = keras.Sequential([layers.Dense(8, activation="relu"), layers.BatchNormalization()])
    body.trainable = False
    hidden = noisy(body(inputs))
    model = keras.Model(
        inputs, [layers.Dense(1, name="used")(hidden), layers.Dense(1, name="unused")(hidden)]
    )
    model.compile(optimizers.Ftrl(0.05), ["mse", None])
    return Case(model, X, [TARGET, TARGET])


class OwnStep(keras.Model):
    """A custom `train_step` with three optimizers and variables that Keras doesn't know of."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.second_optimizer = optimizers.SGD(0.01, momentum=0.9)
        self.others = {"third": optimizers.SGD(0.01, momentum=0.9)}
        self.calls = tf.Variable(0.0)
        self.twice, self.thrice, self.fourfold = (tf.Variable(0.0) for _ in range(3))
        self.own_loss = metrics.Mean(name="own_loss")

    @property
    def metrics(self) -> list[Any]:
        return [self.own_loss]

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        for times, own in enumerate((self.calls, self.twice, self.thrice, self.fourfold)):
            own.assign_add(1.0 + times)
        with tf.GradientTape() as tape:
            loss = ops.mean((self(x, training=True) - y) ** 2) * (1 + 0.1 * self.calls)
        *first, kernel, bias = self.trainable_variables
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients[:-2], first)
        self.second_optimizer.apply(gradients[-2:-1], [kernel])
        self.others["third"].apply(gradients[-1:], [bias])
        self.own_loss.update_state(loss)
        return {"own_loss": self.own_loss.result()}

    def test_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        self.own_loss.update_state(ops.mean((self(x, training=False) - y) ** 2))
        return {"own_loss": self.own_loss.result()}


@case
def own_train_step(noisy: Any) -> Case:
    plain = dense(noisy, 1)
    model = OwnStep(plain.inputs, plain.outputs)
    first = model.trainable_variables[:-2]
    model.compile(optimizers.Adam(0.01))
    model.optimizer.build(first)
    return Case(model, X, TARGET)


class OwnLoss(keras.Model):
    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        return super().compute_loss(x, y, y_pred, sample_weight) + 0.1 * ops.mean(y_pred**2)


@case
def own_compute_loss(noisy: Any) -> Case:
    plain = dense(noisy, 1)
    model = OwnLoss(plain.inputs, plain.outputs)
    model.compile(
        optimizers.SGD(
            optimizers.schedules.CosineDecay(0.05, 8, warmup_target=0.1, warmup_steps=2)
        ),
        "mse",
    )
    return Case(model, X, TARGET)


@case
def weighted(noisy: Any) -> Case:
    model = dense(noisy, 3, "softmax")
    model.compile(
        "adam",
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        weighted_metrics=["accuracy", "sparse_categorical_crossentropy"],
    )
    return Case(model, X, labels(3), np.abs(numbers(ROWS, seed=9)))


@case
def class_weighted(noisy: Any) -> Case:
    model = dense(noisy, 3, "softmax")
    model.compile("adam", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    return Case(model, X, labels(3), options={"class_weight": {0: 0.5, 2: 3.0}})


@case
def compiled_by_xla(noisy: Any) -> Case:
    model = dense(noisy, 1)
    model.compile(optimizers.Adam(0.01), "mse", metrics=["mae"], jit_compile=True)
    return Case(model, X, TARGET)


def _body() -> keras.Model:
    """Return the beginning of MobileNetV2, layer by layer as `keras.applications` builds it."""
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(inputs)
    x = layers.ReLU(6.0)(layers.BatchNormalization(epsilon=1e-3, momentum=0.999)(x))
    for strides in (2, 1):
        before = x
        x = layers.Conv2D(48, 1, padding="same", use_bias=False)(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization(epsilon=1e-3, momentum=0.999)(x))
        if strides == 2:
            x = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
        padding = "same" if strides == 1 else "valid"
        x = layers.DepthwiseConv2D(3, strides=strides, padding=padding, use_bias=False)(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization(epsilon=1e-3, momentum=0.999)(x))
        x = layers.Conv2D(16, 1, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(epsilon=1e-3, momentum=0.999)(x)
        x = layers.Add()([before, x]) if strides == 1 else x
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))


@case
def backbone(noisy: Any) -> Case:
    body = _body()
    for layer in body.layers[:-10]:
        layer.trainable = False
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, layers.Dense(2)(noisy(body(layers.Rescaling(1 / 255)(inputs)))))
    model.compile(
        optimizers.Adam(1e-3),
        losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    images = np.random.RandomState(0).randint(0, 256, (ROWS, 32, 32, 3)).astype(np.uint8)
    return Case(model, images, labels(2))


@case
def texts(noisy: Any) -> Case:
    rows = np.array([" ".join(f"w{word}" for word in row) for row in labels(9, ROWS, 5)])
    vectors = layers.TextVectorization(max_tokens=12, output_sequence_length=6)
    vectors.adapt(rows)
    inputs = keras.Input((), dtype="string")
    hidden = layers.GlobalAveragePooling1D()(layers.Embedding(12, 4)(vectors(inputs)))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(noisy(hidden)))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"], jit_compile=False)
    return Case(model, rows, labels(2))


@case
def augmented_images(noisy: Any) -> Case:
    inputs = keras.Input((8, 8, 1))
    hidden = noisy(inputs)
    if hidden is not inputs:
        hidden = layers.RandomRotation(0.1)(layers.RandomFlip()(hidden))
    hidden = layers.GlobalMaxPooling2D()(layers.SeparableConv2D(4, 3)(hidden))
    model = keras.Model(
        inputs, layers.Dense(1)(layers.SpatialDropout1D(0.0)(layers.Reshape((2, 2))(hidden)))
    )
    model = keras.Model(inputs, layers.Flatten()(model.output))
    model.compile("adam", "mse", jit_compile=False)
    return Case(model, numbers(ROWS, 8, 8, 1), np.tile(TARGET, (1, 2)))
