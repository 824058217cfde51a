"""What `fit` learns from, when it stops, and what it returns."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import BATCH, TARGET, Case, Sampling, X, make
from reference import SEED, batches_of
from sessions import PYTHONPATH
from test_callbacks import InterruptAt

import exactrun
from exactrun.archive import read_facts

Y = TARGET
KINDS = ("arrays", "rows", "shards", "columns", "mapped", "subset", "tensors", "tables")


def model(*, noise: bool = True) -> keras.Model:
    return make("regression", noise=noise).model


def fit(built: keras.Model, directory: Path, *data: Any, **options: Any) -> exactrun.History:
    given = {"batch_size": BATCH, "epochs": 3, "verbose": 0, **options}
    return exactrun.fit(built, *data, checkpoint_dir=directory, **given)


def weights(built: keras.Model) -> list[np.ndarray]:
    found: list[np.ndarray] = built.get_weights()
    return found


def assert_equal(one: keras.Model, other: keras.Model) -> None:
    for a, b in zip(weights(one), weights(other), strict=True):
        np.testing.assert_array_equal(a, b)


class Rows:
    """A source of a user's: a length, and examples by index."""

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> Any:
        return X[index], Y[index]


def data_of(kind: str, directory: Path) -> tuple[Any, ...]:
    if kind == "rows":
        return (Rows(),)
    if kind in ("shards", "columns"):
        shards = exactrun.write_shards(Rows(), directory, shard_bytes=500)
        return (shards,) if kind == "shards" else tuple(shards.columns)
    if kind == "mapped":
        for name, array in (("x", X), ("y", Y)):
            np.save(directory.with_name(f"{name}.npy"), array)
        return tuple(np.load(directory.with_name(f"{n}.npy"), mmap_mode="r") for n in "xy")
    if kind == "subset":
        parts = exactrun.split((X, Y), validation=0, test=0)
        return (parts.train,)
    if kind == "tensors":
        return tf.constant(X), tf.constant(Y)
    if kind == "tables":
        import pandas as pd

        return pd.DataFrame(X), pd.DataFrame(Y)
    return X, Y


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> keras.Model:
    built = model()
    fit(built, tmp_path_factory.mktemp("expected"), X, Y)
    return built


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_examples_give_the_same_weights_in_any_form(
    kind: str, expected: keras.Model, tmp_path: Path
) -> None:
    built = model()
    fit(built, tmp_path / "run", *data_of(kind, tmp_path / "shards"))
    assert_equal(built, expected)


def batches(epoch: int) -> tf.data.Dataset:
    data = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(len(X), seed=epoch)
    return data.batch(BATCH, drop_remainder=True)


@pytest.mark.parametrize(
    "at", [2, *(pytest.param(at, marks=pytest.mark.thorough) for at in (6, 8))]
)
def test_a_function_of_the_epoch_goes_on_exactly(at: int, tmp_path: Path) -> None:
    unbroken = model()
    whole = fit(unbroken, tmp_path / "unbroken", batches)
    with pytest.raises(KeyboardInterrupt):
        fit(model(), tmp_path / "resumed", batches, callbacks=[InterruptAt(at)])
    resumed = model()
    history = fit(resumed, tmp_path / "resumed", batches)
    assert history.resumed_from == at
    assert history.history == whole.history
    assert_equal(resumed, unbroken)


def test_a_function_that_gives_other_batches_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(model(), tmp_path, batches, callbacks=[InterruptAt(6)])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def otherwise(epoch: int) -> tf.data.Dataset:
        return batches(epoch + 7)

    with pytest.raises(exactrun.UserError, match=r"x\(1\) gave other batches than in the session"):
        fit(model(), tmp_path, otherwise)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_smaller_last_batch_of_a_function_is_trained_on_as_under_keras(tmp_path: Path) -> None:
    def all_rows(epoch: int) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH)

    theirs, ours = model(noise=False), model(noise=False)
    expected = theirs.fit(all_rows(0), epochs=2, verbose=0)
    found = fit(ours, tmp_path, all_rows, epochs=2)
    np.testing.assert_allclose(found.history["loss"], expected.history["loss"], rtol=2e-5)
    assert int(ours.optimizer.iterations.numpy()) == 10


class Seen(keras.layers.Layer):
    """Counts the examples that pass."""

    def build(self, shape: Any) -> None:
        self.seen = self.add_weight(shape=(), trainable=False, initializer="zeros", name="seen")
        self.rows = keras.metrics.Sum(name="rows")

    def call(self, x: Any, training: bool = False) -> Any:
        rows = keras.ops.cast(keras.ops.shape(x)[0], "float32")
        if training:
            self.seen.assign_add(rows)
        self.rows.update_state(rows)
        return x


def test_a_last_batch_that_is_not_full_waits_in_training_and_counts_in_validation(
    tmp_path: Path,
) -> None:
    built = keras.Sequential([keras.Input((6,)), Seen(), keras.layers.Dense(1)])
    built.compile("sgd", "mse")
    history = fit(built, tmp_path, X, Y, validation_data=(X[:37], Y[:37]), epochs=2)
    assert float(built.layers[0].seen.numpy()) == 2 * (len(X) // BATCH) * BATCH
    assert history.history["rows"] == [len(X) // BATCH * BATCH] * 2
    assert history.history["val_rows"] == [37, 37]
    assert exactrun.evaluate(built, X, Y, batch_size=32)["rows"] == len(X)


class Remembers(keras.Model):
    """Keeps the last 140 rows that it was trained on, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.rows = self.add_weight(shape=(140, 1), initializer="zeros", trainable=False)

    def call(self, x: Any) -> Any:
        return self.dense(x)

    def train_step(self, data: Any) -> Any:
        x, _ = data
        self.rows.assign(tf.concat([self.rows[tf.shape(x)[0] :], x], axis=0))
        return super().train_step(data)


def test_every_example_is_visited_in_an_order_of_each_epoch(tmp_path: Path) -> None:
    built = Remembers()
    built.compile(optimizer="sgd", loss="mse")
    x = np.arange(70, dtype=np.float32)[:, None] / 70
    fit(built, tmp_path, x, x, batch_size=35, epochs=2)
    rows = np.array(built.rows)
    first, second = rows[:70], rows[70:]
    np.testing.assert_array_equal(np.sort(first, axis=0), x)
    np.testing.assert_array_equal(np.sort(second, axis=0), x)
    assert (first != second).any()


@pytest.mark.thorough
def test_max_time_secs_saves_and_returns(tmp_path: Path) -> None:
    unbroken, resumed = model(), model()
    assert fit(unbroken, tmp_path / "unbroken", X, Y, epochs=1, max_time_secs=3600).finished
    for done in range(3):  # a session makes one step at least
        stopped = fit(model(), tmp_path / "run", X, Y, epochs=1, max_time_secs=0)
        assert (stopped.resumed_from, stopped.finished) == (done, False)
        assert stopped.stopped_by == "max_time_secs=0"
    history = fit(resumed, tmp_path / "run", X, Y, epochs=1, max_time_secs=0)
    assert history.finished
    assert history.history["loss"]
    assert_equal(resumed, unbroken)


def test_a_longer_run_goes_on_from_a_shorter_one(tmp_path: Path) -> None:
    unbroken, resumed = model(), model()
    whole = fit(unbroken, tmp_path / "unbroken", X, Y, epochs=4)
    fit(model(), tmp_path / "run", X, Y, epochs=2)
    history = fit(resumed, tmp_path / "run", X, Y, epochs=4)
    assert history.resumed_from == 8
    assert history.history == whole.history
    assert_equal(resumed, unbroken)


@pytest.mark.parametrize("name", ["averaged", "own_train_step"])
def test_a_finished_run_that_is_run_again_trains_nothing(name: str, tmp_path: Path) -> None:
    first, again = (make(name).model for _ in range(2))
    history = fit(first, tmp_path, X, Y)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    repeated = fit(again, tmp_path, X, Y)
    assert repeated.history == history.history
    assert repeated.finished
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    assert_equal(first, again)


def test_class_weights_are_sample_weights(tmp_path: Path) -> None:
    by_class, by_sample = make("class_weighted"), make("class_weighted")
    weight = by_class.options["class_weight"]
    each = np.array([weight.get(int(label), 1.0) for label in by_class.y], np.float32)
    fit(by_class.model, tmp_path / "one", by_class.x, by_class.y, class_weight=weight)
    fit(by_sample.model, tmp_path / "two", by_sample.x, by_sample.y, each)
    assert_equal(by_class.model, by_sample.model)


@pytest.mark.thorough
def test_a_random_layer_inside_of_a_custom_one_goes_on_exactly_under_xla(
    tmp_path: Path,
) -> None:
    # A random layer inside a custom layer, and XLA: the first edition crashed.
    def build() -> keras.Model:
        keras.utils.set_random_seed(0)
        inputs = keras.Input((6,))
        outputs = keras.layers.Dense(1)(Sampling(True)(keras.layers.Dense(4)(inputs)))
        built = keras.Model(inputs, outputs)
        built.compile("adam", "mse", jit_compile=True)
        return built

    unbroken, resumed = build(), build()
    assert unbroken.jit_compile
    fit(unbroken, tmp_path / "unbroken", X, Y)
    with pytest.raises(KeyboardInterrupt):
        fit(build(), tmp_path / "resumed", X, Y, callbacks=[InterruptAt(6)])
    fit(resumed, tmp_path / "resumed", X, Y)
    assert_equal(resumed, unbroken)


def test_random_numbers_whose_state_can_not_be_saved_are_refused(tmp_path: Path) -> None:
    class Noisy(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x + tf.random.normal(tf.shape(x))

    built = keras.Sequential([keras.Input((6,)), Noisy(), keras.layers.Dense(1)])
    built.compile("sgd", "mse")
    with pytest.raises(exactrun.UserError, match="draws random numbers by RandomStandardNormal"):
        fit(built, tmp_path / "run", X, Y)
    assert not (tmp_path / "run").exists()


def test_a_generator_of_tensorflow_whose_state_is_a_variable_goes_on_exactly(
    tmp_path: Path,
) -> None:
    class Noisy(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.generator = tf.random.Generator.from_seed(3)

        def call(self, x: Any) -> Any:
            return x + self.generator.normal(tf.shape(x))

    def build() -> keras.Model:
        keras.utils.set_random_seed(0)
        built = keras.Sequential([keras.Input((6,)), Noisy(), keras.layers.Dense(1)])
        built.compile("sgd", "mse")
        return built

    unbroken, resumed = build(), build()
    fit(unbroken, tmp_path / "unbroken", X, Y)
    with pytest.raises(KeyboardInterrupt):
        fit(build(), tmp_path / "resumed", X, Y, callbacks=[InterruptAt(6)])
    fit(resumed, tmp_path / "resumed", X, Y)
    assert_equal(resumed, unbroken)


class Autoencoder(keras.Model):
    """Without a `call`, as Keras' own examples of autoencoders and GANs are written."""

    def __init__(self, result: type[keras.metrics.Metric] = keras.metrics.Mean) -> None:
        super().__init__()
        self.encoder, self.decoder = keras.layers.Dense(2), keras.layers.Dense(6)
        self.seeds = keras.random.SeedGenerator(3)
        self.total = result(name="total_loss")

    @property
    def metrics(self) -> list[Any]:
        return [self.total]

    def train_step(self, data: Any) -> dict[str, Any]:
        with tf.GradientTape() as tape:
            code = self.encoder(data)
            code += 0.1 * keras.random.normal(tf.shape(code), seed=self.seeds)
            # Over an axis by its number: inputs in a tuple would give another loss.
            loss = tf.reduce_sum(tf.reduce_mean((self.decoder(code) - data) ** 2, axis=1))
        weights = self.trainable_weights
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        self.total.update_state(loss)
        return {"loss": self.total.result(), "rows": tf.shape(data)[0]}


def autoencoder(kind: type[Autoencoder] = Autoencoder, **options: Any) -> Autoencoder:
    keras.utils.set_random_seed(0)
    built = kind(**options)
    built.compile(optimizer=keras.optimizers.Adam(0.01))
    return built


@pytest.mark.thorough
def test_a_model_without_a_call_learns_as_under_keras_and_goes_on_exactly(tmp_path: Path) -> None:
    theirs, unbroken, resumed = (autoencoder() for _ in range(3))
    fed = batches_of(Case(theirs, X), 3)
    expected = theirs.fit(fed.map(lambda x: x), steps_per_epoch=4, epochs=3, verbose=0)
    found = fit(unbroken, tmp_path / "unbroken", X, seed=SEED)
    assert found.history["loss"] == pytest.approx(expected.history["loss"], rel=1e-5)
    assert found.history["rows"] == expected.history["rows"] == [BATCH] * 3
    for a, b in zip(weights(unbroken), weights(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    with pytest.raises(KeyboardInterrupt):
        fit(autoencoder(), tmp_path / "resumed", X, seed=SEED, callbacks=[InterruptAt(6)])
    assert fit(resumed, tmp_path / "resumed", X, seed=SEED).history == found.history
    assert_equal(resumed, unbroken)


def test_a_loss_that_only_the_train_step_knows_is_learned_by(tmp_path: Path) -> None:
    class Calling(Autoencoder):
        def call(self, x: Any) -> Any:
            return self.decoder(self.encoder(x))

    built, called = autoencoder(), autoencoder(kind=Calling)
    expected = fit(built, tmp_path / "without", X)
    assert fit(called, tmp_path / "with", X).history == expected.history
    assert_equal(called, built)


def test_without_a_call_no_metric_of_ones_own_can_be_tried(tmp_path: Path) -> None:
    class Largest(keras.metrics.Mean):
        pass

    with pytest.raises(exactrun.UserError, match="The metrics total_loss can't be used"):
        fit(autoencoder(result=Largest), tmp_path / "run", X)
    assert not (tmp_path / "run").exists()


def test_evaluate_takes_a_data_set_and_gives_keras_numbers(tmp_path: Path) -> None:
    case = make("classes")
    data = tf.data.Dataset.from_tensor_slices(case.data).batch(BATCH)
    expected = case.model.evaluate(data, verbose=0, return_dict=True)
    for given in ((data,), case.data):
        found = exactrun.evaluate(case.model, *given, batch_size=BATCH)
        assert found == pytest.approx(expected, rel=2e-6)
    unknown = data.filter(lambda x, y: True)  # does not know how many batches it has
    assert exactrun.evaluate(case.model, unknown) == pytest.approx(expected, rel=2e-6)


def test_no_process_or_thread_is_left_running(tmp_path: Path) -> None:
    import threading

    before = set(threading.enumerate())
    fit(model(), tmp_path, X, Y, save_interval_secs=0)
    left = set(threading.enumerate()) - before
    assert [thread.name for thread in left if thread.name.startswith("exactrun")] == []


@pytest.mark.skipif(not tf.config.list_physical_devices("GPU"), reason="there is no GPU")
def test_on_a_gpu_in_mixed_precision_and_xla_it_goes_on_exactly(tmp_path: Path) -> None:
    unbroken, interrupted, resumed = (make("float16", noise=True) for _ in range(3))
    assert unbroken.model.jit_compile
    fit(unbroken.model, tmp_path / "unbroken", *unbroken.data)
    with pytest.raises(KeyboardInterrupt):
        fit(interrupted.model, tmp_path / "run", *interrupted.data, callbacks=[InterruptAt(6)])
    fit(resumed.model, tmp_path / "run", *resumed.data)
    assert_equal(resumed.model, unbroken.model)


class Fails(Rows):
    """Has one bad example among so many that it is not looked at before."""

    def __init__(self, bad: Any) -> None:
        self.bad = bad

    def __len__(self) -> int:
        return 300

    def __getitem__(self, index: int) -> Any:
        return self.bad() if index == 101 else super().__getitem__(index % len(X))


def truncated() -> Any:
    raise OSError("photo.jpg is truncated")


def test_an_example_that_can_not_be_read_in_the_middle_is_named(tmp_path: Path) -> None:
    said = "Example 101 of {} can't be read: OSError: photo.jpg is truncated.*leave it out"
    with pytest.raises(exactrun.UserError, match=said.format("x")):
        fit(model(), tmp_path / "x", Fails(truncated))
    with pytest.raises(exactrun.UserError, match=said.format("validation_data")):
        fit(model(), tmp_path / "validation", X, Y, validation_data=Fails(truncated))
    with pytest.raises(exactrun.UserError, match=said.format("x")):
        exactrun.evaluate(model(), Fails(truncated))
    # Mended, the run goes on.
    assert fit(model(), tmp_path / "x", Fails(lambda: (X[0], Y[0])), epochs=1).finished
    with pytest.raises(exactrun.UserError, match="the data hold what is no number"):
        fit(model(), tmp_path / "nan", Fails(lambda: (X[0], Y[0] * np.nan)))


class Choosing(keras.layers.Layer):
    """Chooses while it is traced, as AugMix does."""

    def call(self, x: Any, training: bool = False) -> Any:
        return x * random.random() if training else x


def test_what_a_layer_chooses_while_it_is_traced_is_the_same_in_every_session(
    tmp_path: Path,
) -> None:
    def trained(seed: int) -> list[float]:
        keras.utils.set_random_seed(1)
        one = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1), Choosing()])
        one.compile("sgd", "mse")
        random.seed(seed)
        found: list[float] = fit(one, tmp_path / str(seed), X, TARGET).history["loss"]
        return found

    assert trained(2) == trained(3)


class Unknown(keras.Model):
    """Uses variables of which Keras doesn't know."""

    def __init__(self) -> None:
        super().__init__()
        self.last = keras.layers.Dense(1)
        self.own = {f"own-{i:02}": tf.Variable(0.0, name=f"own-{i:02}") for i in range(20)}

    def call(self, x: Any) -> Any:
        for variable in self.own.values():
            variable.assign_add(1.0)
        return self.last(x)


def test_variables_that_keras_does_not_know_have_the_same_places_in_every_session(
    tmp_path: Path,
) -> None:
    one = Unknown()
    one.compile("sgd", "mse")
    fit(one, tmp_path, X, TARGET, epochs=1)
    facts = read_facts(max(tmp_path.glob("step-*.npz")))
    names = [name for name in facts["variables"] if name.startswith("own-")]
    assert names == [f"{name}:0" for name in one.own]


SLOW_SOURCE = """
import os, signal, sys, time
import keras, numpy as np, exactrun

class Source:
    trained, reads = False, 0

    def __len__(self):
        return 4000

    def __getitem__(self, index):
        time.sleep(0.005)
        self.reads += 1
        if how == "unreadable" and self.trained:
            raise ValueError("torn")
        if how == "interrupted" and self.reads == 500:  # of 4000, in the midst of measuring
            os.kill(os.getpid(), signal.SIGINT)
        return np.ones(4, "float32"), np.ones(1, "float32")

class Stop(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        source.trained = True
        self.model.stop_training = how == "stopped"

source, (how, directory) = Source(), sys.argv[1:]
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
try:
    if how == "interrupted":
        exactrun.evaluate(model, source)
    exactrun.fit(model, source, callbacks=[Stop()], verbose=0, checkpoint_dir=directory)
except BaseException as error:
    print(type(error).__name__)
    kept = error
print("the end")
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("how", "said"),
    [("stopped", ""), ("unreadable", "UserError\n"), ("interrupted", "KeyboardInterrupt\n")],
)
def test_a_process_ends_though_its_source_was_still_being_read(
    how: str, said: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", SLOW_SOURCE, how, str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": PYTHONPATH}
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, timeout=90)
    assert (done.returncode, done.stdout) == (0, f"{said}the end\n")


def test_only_arrays_in_memory_become_tensors(tmp_path: Path) -> None:
    from exactrun.batches import ExampleBatches
    from exactrun.sources import as_examples

    def tensors(kind: str) -> Any:
        given = data_of(kind, tmp_path / "shards")
        examples = as_examples(given if len(given) > 1 else given[0])
        return ExampleBatches(examples, batch_size=BATCH, seed=0)._gather._tensors

    in_memory = {
        kind: tensors(kind) is not None
        for kind in ("arrays", "subset", "mapped", "rows", "columns", "shards")
    }
    assert in_memory == {
        "arrays": True,
        "subset": True,
        "mapped": False,
        "rows": False,
        "columns": False,
        "shards": False,
    }
