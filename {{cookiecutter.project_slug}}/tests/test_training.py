"""Training: what is promised of order, checkpoints and resumption, on the project's own model.

These are the tests to keep when data.py and model.py become your own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import small_data

from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.errors import UserError
from {{ cookiecutter.__package }}.model import build_model
from {{ cookiecutter.__package }}.training import checkpoints
from {{ cookiecutter.__package }}.training import folders as folders_module
from {{ cookiecutter.__package }}.training.batches import training_batches
from {{ cookiecutter.__package }}.training.delivery import deliver_model
from {{ cookiecutter.__package }}.training.folders import RunFolders
from {{ cookiecutter.__package }}.training.loop import (
    Training,
    train,
    weights_sha256,
)
from {{ cookiecutter.__package }}.training.progress import Progress

CONFIG = Config(epochs=3, batch_size=16)


def folders_in(place: Path) -> RunFolders:
    return RunFolders("test", scratch=place / "scratch", persistent=place / "kept")


def run(place: Path, config: Config = CONFIG, **options: Any) -> tuple[str, Training]:
    """Train in a place; return the SHA-256 of the weights, and what the training did."""
    data = options.pop("data", small_data())
    model = build_model(data, config)
    training = train(model, data, config, folders=folders_in(place), **options)
    return weights_sha256(model), training


def interrupt_after(epoch: int) -> Callable[[dict[str, Any]], None]:
    return lambda record: interrupt() if record["epoch"] == epoch else None


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def order_of(*, seed: int, start: int = 0, stop: int = 8) -> list[list[int]]:
    """Return which of 33 examples each step sees, 8 at a time."""
    rows = np.arange(33)
    stream = training_batches(rows, rows, batch_size=8, seed=seed, start=start, stop=stop)
    return [x.tolist() for x, _ in stream.as_numpy_iterator()]


def test_an_epoch_sees_no_example_twice() -> None:
    seen = [row for batch in order_of(seed=1, stop=4) for row in batch]
    assert len(set(seen)) == 32


def test_every_epoch_and_every_seed_has_an_order_of_its_own() -> None:
    first = order_of(seed=1)
    assert first[:4] != first[4:]
    assert first != order_of(seed=2)


def test_the_order_is_the_same_from_any_step_on() -> None:
    assert order_of(seed=1, start=3) == order_of(seed=1)[3:]


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    weights, _ = run(tmp_path / "one")
    assert run(tmp_path / "two")[0] == weights
    assert run(tmp_path / "three", Config(epochs=3, batch_size=16, seed=1))[0] != weights


def test_an_interrupted_training_ends_with_the_weights_of_an_unbroken_one(tmp_path: Path) -> None:
    unbroken, whole = run(tmp_path / "unbroken")
    for epoch in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "broken", on_epoch=interrupt_after(epoch))
    resumed, rest = run(tmp_path / "broken")
    assert resumed == unbroken
    assert rest.resumed_from == 2 * len(small_data().x_train) // 16
    without_seconds = [{**record, "seconds": None} for record in rest.history]
    assert without_seconds == [{**record, "seconds": None} for record in whole.history]


def test_a_cell_stopped_in_its_first_epoch_can_be_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken, _ = run(tmp_path / "unbroken")
    data, folders = small_data(), folders_in(tmp_path / "stopped")
    model = build_model(data, CONFIG)
    monkeypatch.setattr(Progress, "at", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(model, data, CONFIG, folders=folders)
    monkeypatch.undo()
    train(model, data, CONFIG, folders=folders)
    assert weights_sha256(model) == unbroken


def test_a_lost_machine_goes_on_from_the_persistent_folder_alone(tmp_path: Path) -> None:
    unbroken, _ = run(tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "lost", on_epoch=interrupt_after(2))
    (tmp_path / "lost" / "scratch").rename(tmp_path / "gone")
    resumed, rest = run(tmp_path / "lost")
    assert resumed == unbroken
    assert rest.resumed_from > 0


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unbroken, whole = run(tmp_path)
    for folder in folders_in(tmp_path).checkpoints:
        newest = max(folder.glob("step-*.npz"))
        content = bytearray(newest.read_bytes())
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)
    resumed, rest = run(tmp_path)
    assert "does not have the recorded SHA-256" in capsys.readouterr().out
    assert 0 < rest.resumed_from < whole.step
    assert resumed == unbroken


def test_other_settings_are_not_mixed_into_a_run(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(UserError, match=r"dropout: 0\.\d+ then, 0\.0 now"):
        run(tmp_path, Config(epochs=3, batch_size=16, dropout=0.0))


def test_other_data_is_not_mixed_into_a_run(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(UserError, match="data_sha256"):
        run(tmp_path, data=small_data(test=16))


def test_a_batch_larger_than_the_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch_size=65 is more than the 64"):
        run(tmp_path, Config(batch_size=65))


def test_a_loss_that_is_no_number_stops_the_training(tmp_path: Path) -> None:
    data, folders = small_data(), folders_in(tmp_path)
    model = build_model(data, CONFIG)
    model.weights[-1].assign(np.full(model.weights[-1].shape, np.nan))
    with pytest.raises(UserError, match="The loss is nan after epoch 1"):
        train(model, data, CONFIG, folders=folders)
    kept = {path.stem for folder in folders.checkpoints for path in folder.glob("step-*")}
    assert kept == {"step-00000000"}


def test_a_deleted_run_begins_afresh(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "kept" / "runs" / "test").rename(tmp_path / "deleted")
    assert run(tmp_path)[1].resumed_from == 0


def test_a_file_that_can_not_be_kept_is_named_with_where_it_is(tmp_path: Path) -> None:
    folders = folders_in(tmp_path)
    file = folders.work / "model.keras"
    file.write_bytes(b"model")
    folders.kept.rmdir()
    folders.kept.touch()  # no folder any more, as when Drive is gone
    with pytest.raises(UserError, match=r"model\.keras was not copied .* is complete in"):
        folders.publish(file)


def test_a_checkpoint_that_can_not_be_kept_does_not_stop_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(source: Path, folder: Path) -> None:
        raise OSError(28, "No space left on device")

    unbroken, _ = run(tmp_path / "unbroken")
    monkeypatch.setattr(folders_module, "publish", full)
    assert run(tmp_path / "full")[0] == unbroken
    assert "No space left on device" in capsys.readouterr().out


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    run(tmp_path)
    for folder in folders_in(tmp_path).checkpoints:
        assert len(list(folder.glob("*.npz"))) == checkpoints.KEPT


def test_the_delivered_model_answers_as_the_trained_one(tmp_path: Path) -> None:
    data = small_data()
    path, compared = deliver_model(build_model(data, CONFIG), data, folders_in(tmp_path))
    assert path.exists()
    assert "equal on 32 test examples" in compared
