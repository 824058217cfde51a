"""What is kept of a training: which checkpoints are trusted, and what may not go on from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import pytest
from small import small_data
from trainings import CONFIG, STEPS_PER_EPOCH, after, folders_in, interrupt, run

from {{ cookiecutter.__package }}.colab import publishing
from {{ cookiecutter.__package }}.errors import UserError
from {{ cookiecutter.__package }}.training import checkpoints
from {{ cookiecutter.__package }}.training.loop import train


def flip_a_bit(arrays: Path) -> None:
    content = bytearray(arrays.read_bytes())
    content[len(content) // 2] ^= 1
    arrays.write_bytes(content)


def truncate(arrays: Path) -> None:
    arrays.write_bytes(arrays.read_bytes()[:-100])


def garble_the_manifest(arrays: Path) -> None:
    arrays.with_suffix(".json").write_text('{"format": 2, "step"')


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flip_a_bit, "does not have the recorded SHA-256"),
        (truncate, "bytes instead of"),
        (garble_the_manifest, "is passed over"),
        (Path.unlink, "No such file"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path,
    damage: Callable[[Path], None],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    unbroken, whole = run(tmp_path)
    for folder in folders_in(tmp_path).checkpoints:
        damage(max(folder.glob("step-*.npz")))
    resumed, rest = run(tmp_path)
    assert said in capsys.readouterr().out
    assert 0 < rest.resumed_from < whole.step
    assert resumed == unbroken


def test_a_lost_machine_goes_on_from_the_persistent_folder_alone(tmp_path: Path) -> None:
    unbroken, _ = run(tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "lost", callbacks=after(2, interrupt))
    (tmp_path / "lost" / "scratch").rename(tmp_path / "gone")
    resumed, rest = run(tmp_path / "lost")
    assert resumed == unbroken
    assert rest.resumed_from > 0


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"config": replace(CONFIG, dropout=0.0)}, r"dropout: 0\.\d+ then, 0\.0 now"),
        ({"data": small_data(test=16)}, "data_sha256: '.*' then, '.*' now"),
        ({"precision": "mixed_float16"}, "precision: 'float32' then, 'mixed_float16' now"),
    ],
)
def test_what_a_run_was_not_begun_with_is_not_mixed_into_it(
    changed: dict[str, Any], said: str, tmp_path: Path
) -> None:
    run(tmp_path)
    with pytest.raises(UserError, match=said):
        run(tmp_path, **changed)


def test_another_model_is_not_mixed_into_a_run(tmp_path: Path) -> None:
    run(tmp_path)
    data = small_data()
    layers = [keras.layers.Rescaling(0.01), keras.layers.Flatten(), keras.layers.Dense(4)]
    other = keras.Sequential([keras.Input(data.x_train.shape[1:]), *layers])
    with pytest.raises(UserError, match="The model has changed since the run began"):
        train(other, data, CONFIG, folders=folders_in(tmp_path))


def test_a_run_may_become_longer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path)
    _, training = run(tmp_path, replace(CONFIG, epochs=5))
    assert training.resumed_from == 3 * STEPS_PER_EPOCH
    assert [record["epoch"] for record in training.history] == [1, 2, 3, 4, 5]
    assert "epochs was 3 and is 5 now" in capsys.readouterr().out


def test_a_run_can_not_become_shorter_than_it_is(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(UserError, match=r"epochs=2 is less than .* Set epochs to more than 3"):
        run(tmp_path, replace(CONFIG, epochs=2))


def test_a_local_folder_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "scratch").touch()  # a file where the folder should be
    with pytest.raises(UserError, match=r"scratch.* can't be written"):
        folders_in(tmp_path)


def test_a_deleted_run_begins_afresh(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "kept" / "runs" / "test").rename(tmp_path / "deleted")
    assert run(tmp_path)[1].resumed_from == 0


def test_a_checkpoint_that_can_not_be_kept_does_not_stop_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(source: Path, folder: Path, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    unbroken, _ = run(tmp_path / "unbroken")
    monkeypatch.setattr(publishing, "publish", full)
    assert run(tmp_path / "full")[0] == unbroken
    assert "No space left on device" in capsys.readouterr().out


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    run(tmp_path)
    for folder in folders_in(tmp_path).checkpoints:
        assert len(list(folder.glob("*.npz"))) == checkpoints.KEPT
