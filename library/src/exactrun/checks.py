"""Settings and models that would fail or mislead later are refused before any time is spent."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .batches import Data, DatasetBatches, EvaluationBatches, ExampleBatches
from .data_checks import check_values, misfits_told, part_names, reading_told
from .distribution import Devices
from .errors import UserError
from .steps import Loop, overridden
from .structures import flatten, walk

LEAST = {"batch_size": 1, "epochs": 1, "seed": 0}


def check_settings(**settings: Any) -> None:
    """Refuse settings that are out of range, naming each with its value and what works."""
    faults = []
    for name, value in settings.items():
        number = isinstance(value, Real) and not isinstance(value, bool)
        if name in LEAST:
            right = number and isinstance(value, Integral) and LEAST[name] <= int(value) < 2**63
            must = f"a whole number from {LEAST[name]} to 2**63 - 1"
        elif name == "verbose":
            right = type(value) in (int, str) and value in (0, 1, 2, "auto")
            must = "0, 1, 2 or 'auto'"
        else:
            right = (number and float(value) >= 0) or (value is None and name == "max_time_secs")
            must = "a number of seconds, not negative"
        if not right:
            faults.append(f"{name}={value!r} must be {must}.")
    if faults:
        raise UserError("\n".join(faults))


def check_model(model: Any, *, replicas: int, training: bool) -> None:
    """Refuse models that can't be trained exactly, with the reason and what works."""
    if not model.compiled:
        raise UserError("The model is not compiled. Call model.compile(optimizer, loss) first.")
    if model.run_eagerly:
        raise UserError(
            "The model is compiled with run_eagerly=True, in which many steps can't be made in one"
            " call. Compile it without; to look into a step, use model.train_on_batch."
        )
    own = overridden(model, "train_step", "test_step")
    if training and model.optimizer is None and "train_step" not in own:
        raise UserError("The model has optimizer=None. Compile it with one, such as 'adam'.")
    if replicas > 1 and own:
        raise UserError(
            f"{type(model).__name__} has a {own[0]} of its own, which is honoured on one device"
            f" only: whether it scales its loss for {replicas} devices can't be known. Build the"
            " model outside of the strategy's scope, or override compute_loss instead."
        )
    for layer in model._flatten_layers():
        if getattr(layer, "stateful", False):
            raise UserError(
                f"The layer {layer.name} is stateful: what it has seen in one batch it takes to the"
                " next, but examples are put into batches in another order each epoch. Make it"
                " without stateful=True."
            )
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    for name, thing, instead in (
        ("gradient_accumulation_steps", optimizer, "Leave it out"),
        ("ema_overwrite_frequency", optimizer, "Leave it out"),
        ("jit_compile", model, "Compile the model with jit_compile='auto'"),
    ):
        if replicas > 1 and training and (value := getattr(thing, name, None)):
            raise UserError(
                f"{type(thing).__name__} has {name}={value}, which Keras and TensorFlow can't do on"
                f" {replicas} devices. {instead}, or train on one device."
            )


def check_class_weight(class_weight: Any, model: keras.Model, data: Data) -> None:
    """Refuse class weights that don't fit the model or its targets, of which `data` has one."""
    if class_weight is None:
        return
    if not isinstance(class_weight, Mapping) or not class_weight:
        raise UserError(
            f"class_weight={class_weight!r} must be a dict, such as {{0: 1.0, 1: 3.0}}."
        )
    for key, value in class_weight.items():
        number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
        if not isinstance(key, Integral) or key < 0 or not number or value < 0:
            raise UserError(
                f"class_weight has the entry {key!r}: {value!r}; it must give class indices, from"
                " 0 on, a weight each, not negative."
            )
    if len(data) == 3:
        raise UserError("class_weight and sample_weight can't be used together. Multiply them.")
    if len(data) < 2 or len(flatten(data[1])) != 1:
        raise UserError("class_weight needs one target; use sample_weight for several outputs.")
    (label,) = map(np.asarray, flatten(data[1]))
    if label.ndim > 1 or label.dtype.kind not in "biuf" or (label != np.floor(label)).any():
        raise UserError(
            "class_weight needs a class index or a one-hot vector as each example's target, but the"
            f" first one is {reprlib.repr(label)}. Use sample_weight instead."
        )
    outputs = getattr(model, "outputs", None)
    size = outputs[0].shape[-1] if outputs else None
    classes = size if size and size > 1 else 2**24
    if max(class_weight) >= classes:
        raise UserError(
            f"class_weight has a weight for class {max(class_weight)}, but the model has {classes}"
            f" classes: 0 to {classes - 1}."
        )


def check_batch_size(batches: ExampleBatches | DatasetBatches, replicas: int) -> None:
    """Refuse batches that can't be filled, or not be shared by the devices."""
    size = batches.batch_size
    if batches.examples is not None and size > len(batches.examples):
        count = len(batches.examples)
        raise UserError(
            f"batch_size={size} is more than the {count} examples; it must be at most {count}."
        )
    if replicas > 1 and size is None:
        raise UserError(
            f"The data set's batches have no fixed size, so {replicas} devices can't share them."
            " Give it one: .batch(size, drop_remainder=True)."
        )
    if replicas > 1 and size % replicas:
        raise UserError(
            f"Batches of {size} can't be shared by {replicas} devices; take a multiple of"
            f" {replicas}, such as {max(replicas, size - size % replicas)}."
        )


def build(model: keras.Model, specs: Data, part: str, step: str = "test_step") -> None:
    """Create what `compile` and the data leave open: weights, metrics, the optimizer's variables.

    A model without a `call`, such as a GAN, gets them where its own `step` is traced.

    If the model, its loss or a metric doesn't fit the data, that is a UserError, in which the data
    are called by their `part`: x or validation_data.
    """
    x, y, weight = part_names(part)
    if not 1 <= len(specs) <= 3:
        raise UserError(f"{part} has {len(specs)} parts; it must be (x, y) or (x, y, weights).")
    inputs, count = getattr(model, "inputs", None), len(flatten(specs[0]))
    if inputs and not isinstance(specs[0], dict) and count > len(inputs):
        raise UserError(
            f"{x} has {count} arrays, but the model takes {len(inputs)}. Give one array for each"
            f" input, with a row for each example, such as np.stack(list); targets are {y}."
        )
    loss = model._compile_config.config.get("loss")
    if len(specs) == 1 and loss and not overridden(model, "train_step", "compute_loss"):
        raise UserError(f"{y} is missing: the loss that the model is compiled with needs targets.")
    if len(specs) == 3 and isinstance(specs[2], dict | list | tuple):
        of_y, of_weight = ([path for path, _ in walk(each)] for each in specs[1:])
        alike = type(specs[1]) is not type(specs[2]) or of_y == of_weight
        if len(of_y) != len(of_weight) or not alike:
            raise UserError(
                f"{weight} has {', '.join(of_weight)}, but {y} {', '.join(of_y)}. Give weights for"
                " each target, or one array for all of them."
            )
    with misfits_told(model, specs, part), model.distribute_strategy.scope():
        if overridden(model, "call"):
            model._symbolic_build(data_batch=specs)  # what Keras' own `fit` does first
            return

        def call(*data: Any) -> None:
            given = keras.utils.pack_x_y_sample_weight(*data)
            model.distribute_strategy.run(getattr(model, step), args=(given,))

        tf.function(call, autograph=False).get_concrete_function(*specs)


def check_trainable(model: keras.Model) -> None:
    """Refuse a model, once it is built, in which nothing would change."""
    if not model.trainable_variables and not overridden(model, "train_step"):
        raise UserError(
            "The model has no trainable weights, so there is nothing to train. Add a layer that has"
            " some, or set trainable = True and compile again; exactrun.evaluate only measures."
        )


def check_evaluation(
    model: keras.Model, devices: Devices, batches: EvaluationBatches, part: str
) -> Callable[[], dict[str, Any]]:
    """Refuse what the model can't measure, by building the graph; return what measures it."""
    build(model, batches.specs(), part)
    check_values(model, batches, part)
    loop = Loop(model, devices, training=False)
    with misfits_told(model, batches.specs(), part):
        try:
            batches.first(1)
        except StopIteration:
            raise UserError(f"{part} is empty: there is nothing to measure.") from None
        loop.trace(batches.stream(devices))

    def measure() -> dict[str, Any]:
        with reading_told(batches, part):
            return loop.evaluate(batches)

    return measure
