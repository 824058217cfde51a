"""The saved model: class names inside, any inputs and outputs, and the same predictions."""

from __future__ import annotations

import time
import warnings
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from exactrun import UserError, load_metadata, save_model, saving
from exactrun.sources import as_examples

X = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)


def dense(**options: Any) -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, **options)])


def two_inputs() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = {"table": keras.Input((4,), name="table"), "name": keras.Input((), name="name")}
    named = keras.layers.Reshape((1,))(inputs["name"])
    joined = keras.layers.Concatenate()([inputs["table"], named])
    outputs = {"price": keras.layers.Dense(1)(joined), "kinds": [keras.layers.Dense(2)(joined)]}
    return keras.Model(inputs, outputs)


def texts() -> tuple[keras.Model, np.ndarray[Any, Any]]:
    words = np.array(["a red fox", "the blue sea", "ein Mond", ""] * 5)
    vectorize = keras.layers.TextVectorization(output_sequence_length=4)
    vectorize.adapt(words)
    keras.utils.set_random_seed(0)
    layers = [vectorize, keras.layers.Embedding(20, 3), keras.layers.Flatten()]
    return keras.Sequential([keras.Input((), dtype="string"), *layers]), words


def compare(model: keras.Model, examples: Any, path: Path) -> str:
    loaded = saving.load_model(save_model(model, path))
    return saving.require_same_predictions(model, loaded, examples, path=path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.keras"


def test_class_names_travel_in_the_file_and_keras_loads_it_as_ever(path: Path) -> None:
    model = dense()
    save_model(model, path, class_names=np.array(["Katze", "犬"]))
    assert load_metadata(path)["class_names"] == ["Katze", "犬"]
    assert load_metadata(path)["library"]
    np.testing.assert_array_equal(keras.saving.load_model(path)(X), model(X))


def test_a_file_of_kerass_own_has_no_class_names(path: Path) -> None:
    dense().save(path)
    assert load_metadata(path) == {"library": "", "class_names": []}


@pytest.mark.parametrize("content", [None, b"", b"no zip"])
def test_a_file_that_is_none_is_refused(content: bytes | None, path: Path) -> None:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.keras can't be read as a \.keras file"):
        load_metadata(path)


@pytest.mark.parametrize("fail", [True, False])
def test_nothing_half_is_left_and_the_optimizer_stays(
    fail: bool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = dense()
    model.compile("adam", "mse")
    optimizer = model.optimizer
    save_model(model, path)
    before = path.read_bytes()
    if fail:
        broken = OSError(28, "No space left on device")
        monkeypatch.setattr(zipfile.ZipFile, "writestr", lambda *_: (_ for _ in ()).throw(broken))
        with pytest.raises(UserError, match="it is full"):
            save_model(model, path)
        assert path.read_bytes() == before
    assert model.optimizer is optimizer
    assert [each.name for each in path.parent.iterdir()] == ["model.keras"]


def test_an_optimizer_is_left_out_wherever_it_is(tmp_path: Path) -> None:
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2000)])
    plain = save_model(inner, tmp_path / "plain.keras").stat().st_size
    inner.compile("adam", "mse")
    inner.optimizer.build(inner.trainable_variables)
    outer = keras.Sequential([keras.Input((4,)), keras.layers.Rescaling(2.0), inner])
    for model in (inner, outer):
        size = save_model(model, tmp_path / "model.keras").stat().st_size
        assert size < plain * 1.2
        assert inner.optimizer is not None
        assert inner.compiled
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as of an optimizer whose variables are skipped
        saving.load_model(tmp_path / "model.keras")


class Source:
    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> Any:
        return X[index], 0


@pytest.mark.parametrize("kind", ["array", "many", "examples", "data set", "source"])
def test_inputs_come_in_any_form(kind: str, path: Path) -> None:
    given: Any = {
        "array": X,
        "many": np.concatenate([X] * 10),
        "examples": as_examples((X, np.zeros(40))),
        "data set": tf.data.Dataset.from_tensor_slices((X, X)).batch(40),
        "source": Source(),
    }[kind]
    said = compare(dense(), given, path)
    assert f"for {256 if kind == 'many' else 40} examples" in said


def test_outputs_come_in_any_structure(path: Path) -> None:
    inputs = {"table": X, "name": np.ones(40, np.float32)}
    assert "same for 40 examples, to the bit" in compare(two_inputs(), inputs, path)


def test_texts_are_compared_too(path: Path) -> None:
    model, words = texts()
    assert "for 20 examples" in compare(model, words, path)
    assert "for 20 examples" in compare(model, words.tolist(), path)
    assert "for 20 examples" in compare(model, words.astype(object), path)


def test_a_model_that_draws_at_random_is_compared_on_the_same_draws(path: Path) -> None:
    @keras.saving.register_keras_serializable("exactrun-tests")
    class Always(keras.layers.GaussianNoise):  # type: ignore[misc]
        def call(self, inputs: Any, training: bool = False) -> Any:
            return super().call(inputs, training=True)

    model = keras.Sequential([keras.Input((4,)), Always(1.0, seed=3)])
    state = [v.numpy().tolist() for v in model.non_trainable_variables]
    assert "to the bit" in compare(model, X, path)
    assert [v.numpy().tolist() for v in model.non_trainable_variables] == state


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_the_tolerance_fits_the_scale_and_the_precision(policy: str, path: Path) -> None:
    model = dense(dtype=policy, kernel_initializer=keras.initializers.RandomNormal(0.0, 1e4))
    loaded = saving.load_model(save_model(model, path))
    kernel = loaded.layers[0].kernel
    eps = {"float32": 1e-6}.get(policy, 1e-3 if "float16" in policy else 4e-3)
    eps = 1e-2 if "bfloat16" in policy else eps
    kernel.assign(kernel.numpy().astype(np.float32) * (1 + eps))
    said = saving.require_same_predictions(model, loaded, X, path=path)
    assert "of the largest value" in said
    kernel.assign(kernel.numpy().astype(np.float32) * (1 + 40 * eps))
    with pytest.raises(UserError, match=r"by up to .*, where values reach"):
        saving.require_same_predictions(model, loaded, X, path=path)


@pytest.mark.parametrize("wrong", [np.nan, 1e-3])
def test_a_model_that_is_loaded_as_another_one_is_refused(wrong: float, path: Path) -> None:
    model = dense()
    loaded = saving.load_model(save_model(model, path))
    loaded.layers[0].bias.assign([wrong, 0, 0])
    with pytest.raises(UserError, match="predicts differently from the trained model: by up to"):
        saving.require_same_predictions(model, loaded, X, path=path)
    loaded.layers[0].bias.assign([0, 0, 0])
    model.layers[0].bias.assign([np.inf, 0, 0])
    with pytest.raises(UserError, match="predicts differently"):
        saving.require_same_predictions(model, loaded, X, path=path)
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(UserError, match=r"of shape \(40, 2\) instead of"):
        saving.require_same_predictions(model, other, X, path=path)


def test_predictions_that_are_nan_in_both_are_the_same(path: Path) -> None:
    model = dense()
    model.layers[0].bias.assign([np.nan, np.inf, 0])
    assert "to the bit" in compare(model, X, path)


def test_whole_numbers_have_to_be_equal(path: Path) -> None:
    def rounds(shift: int) -> keras.Model:
        inputs = keras.Input((4,))
        return keras.Model(inputs, keras.ops.cast(inputs * 10, "int32") + shift)

    saving.require_same_predictions(rounds(0), rounds(0), X, path=path)
    with pytest.raises(UserError, match="which has no fractions"):
        saving.require_same_predictions(rounds(0), rounds(1), X, path=path)


def test_examples_have_to_be_there(path: Path) -> None:
    with pytest.raises(UserError, match="check_on is empty"):
        compare(dense(), X[:0], path)
    with pytest.raises(UserError, match="check_on does not fit the model: .*without targets"):
        compare(dense(), X[:, :3], path)


class Scale(keras.layers.Layer):  # type: ignore[misc]
    def __init__(self, factor: Any, **options: Any) -> None:
        super().__init__(**options)
        self.factor = factor

    def call(self, inputs: Any) -> Any:
        return inputs * self.factor


def test_a_class_that_is_not_registered_gets_the_sentence(path: Path) -> None:
    class Local(Scale):
        pass

    model = keras.Sequential([keras.Input((4,)), Local(2.0)])
    with pytest.raises(UserError, match=r"Could not locate class 'Local'.*register_keras_ser"):
        compare(model, X, path)


def test_a_layer_without_get_config_gets_the_sentence(path: Path) -> None:
    class Table:
        value = 2.0

    class Held(Scale):
        def call(self, inputs: Any) -> Any:
            return inputs * self.factor.value

    model = keras.Sequential([keras.Input((4,)), Held(Table())])
    with pytest.raises(UserError, match=r"(?s)can't be saved.*get_config\(\) that returns them"):
        compare(model, X, path)


def test_a_get_config_that_leaves_something_out_gets_the_sentence(path: Path) -> None:
    @keras.saving.register_keras_serializable("exactrun-tests")
    class Forgets(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self, factor: float = 1.0, **options: Any) -> None:
            super().__init__(**options)
            self.factor = factor

        def call(self, inputs: Any) -> Any:
            return inputs * self.factor

        def get_config(self) -> dict[str, Any]:
            return dict(super().get_config())

    model = keras.Sequential([keras.Input((4,)), Forgets(3.0)])
    with pytest.raises(UserError, match=r"predicts differently.*all arguments of its __init__"):
        compare(model, X, path)


def test_a_lambda_layer_of_ones_own_file_is_loaded(path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2.0)])
    assert "to the bit" in compare(model, X, path)


@pytest.mark.thorough
def test_files_of_the_same_model_are_known_whenever_they_were_saved(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.keras" for name in ("one", "again", "names", "weights", "layers")]
    one, again, names, weights, layers = paths
    keras.backend.clear_session()
    save_model(dense(), one)
    time.sleep(1.1)  # Keras notes the second
    keras.backend.clear_session()  # as in another process, layers get the same names
    model = dense()
    save_model(model, again)
    assert one.read_bytes() != again.read_bytes()
    assert saving.same_content(one, again)
    save_model(model, names, class_names=["a"])
    model.layers[0].bias.assign([0, 0, 1e-7])
    save_model(model, weights)
    save_model(dense(activation="relu"), layers)
    assert not any(saving.same_content(one, other) for other in (names, weights, layers))
    assert not saving.same_content(one, tmp_path / "nowhere.keras")


def test_a_loaded_model_measures_as_the_trained_one(path: Path) -> None:
    import exactrun

    model = dense(activation="softmax")
    metrics = ["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2, name="two")]
    model.compile("adam", lambda y, p: keras.losses.sparse_categorical_crossentropy(y, p) * 2)
    model.compile("adam", model.loss, metrics=metrics, loss_weights=[0.5])
    y = np.arange(40) % 3
    loaded = saving.load_model(save_model(model, path))
    saving.compile_like(loaded, model)
    assert exactrun.evaluate(loaded, X, y) == exactrun.evaluate(model, X, y)
    assert loaded.optimizer is None


def test_the_digest_of_the_weights_tells_every_bit() -> None:
    model = dense()
    before = saving.weights_sha256(model)
    assert saving.weights_sha256(dense()) == before
    bias = model.layers[0].bias
    bias.assign(np.nextafter(bias.numpy(), 1))
    assert saving.weights_sha256(model) != before
