"""A run: its story, what stays when an attempt is refused, and what happens when a place fails."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from machines import on_colab

import exactrun
from exactrun import Run, UserError, environment, gpu, saving
from exactrun.environment import MADE_FOR, PinDifference

SOURCE = Path(exactrun.__file__).parent.parent
X = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)
CHECKS = ["environment", "gpu", "drive", "persistent directory", "model", "training"]


@dataclass(frozen=True)
class Config:
    epochs: int = 2
    place: Path = Path("data")


@pytest.fixture(autouse=True)
def on_a_machine_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE", "TF_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def train(project: Path, *, epochs: int = 2, seed: int = 0, x: Any = X, **given: Any) -> Run:
    """Go through a run as a program does, in a process whose layers get the same names."""
    keras.utils.clear_session(free_memory=False)
    run = Run(Config(epochs), project_dir=project, **given)
    run.check_environment()
    strategy = run.setup_devices("cpu")
    run.setup_storage()
    keras.utils.set_random_seed(seed)
    with strategy.scope():
        layers = [keras.layers.Dense(8, "relu"), keras.layers.Dropout(0.2), keras.layers.Dense(2)]
        model = keras.Sequential([keras.Input((4,)), *layers])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, metrics=["accuracy"])
    history = exactrun.fit(
        model, x, Y, validation_data=(X, Y), epochs=epochs, seed=seed, verbose=0,
        checkpoint_dir=run.checkpoints,
    )  # fmt: skip
    model = run.save_model(model, check_on=X, class_names=["no", "yes"])
    run.log(history=history, test=exactrun.evaluate(model, X, Y), data={"examples": len(x)})
    return run


def files(directory: Path) -> dict[str, str]:
    names = ("run.json", "model.keras", "history.csv")
    return {n: hashlib.sha256((directory / n).read_bytes()).hexdigest() for n in names}


def read(run: Run) -> dict[str, Any]:
    text = (run.persistent_directory / "run.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_run_leaves_a_model_a_history_and_a_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path, name="first")
    assert run.persistent_directory == tmp_path / "runs" / "first"
    assert [check.name for check in run.record.checks] == CHECKS
    assert run.failed == []
    printed = capsys.readouterr().out
    assert "✔ model: " in printed
    assert "– gpu: CPU: accelerator=cpu asks for it" in printed
    assert "2 epochs, " in printed.splitlines()[-1]

    record = read(run)
    assert record["settings"] == {"epochs": 2, "place": "data"}
    assert [check["name"] for check in record["checks"]] == CHECKS
    assert (record["epochs"], record["resumed_from"], record["finished"]) == (2, 0, True)
    assert record["data"] == {"examples": 64}
    assert record["metrics"]["test_loss"] == record["metrics"]["val_loss"]
    assert record["packages"]["keras"] == keras.__version__

    path = run.persistent_directory / "model.keras"
    assert exactrun.load_metadata(path)["class_names"] == ["no", "yes"]
    assert record["weights_sha256"] == saving.weights_sha256(keras.saving.load_model(path))
    assert record["model"]["sha256"] == files(run.persistent_directory)["model.keras"]
    rows = (path.parent / "history.csv").read_text().splitlines()
    assert rows[0].split(",") == ["epoch", "accuracy", "loss", "val_accuracy", "val_loss"]
    assert [row.split(",")[0] for row in rows[1:]] == ["0", "1"]
    assert float(rows[2].split(",")[2]) == record["metrics"]["loss"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"x": X + 1}, "data"), ({"seed": 1}, "seed"), ({"epochs": 1}, "epochs=1")],
)
@pytest.mark.parametrize("machine", ["the same", "another"])
def test_a_refused_attempt_changes_nothing(
    changed: dict[str, Any], said: str, machine: str, tmp_path: Path
) -> None:
    run = train(tmp_path)
    before = files(run.persistent_directory)
    if machine == "another":
        shutil.rmtree(tmp_path / ".exactrun")
    with pytest.raises(UserError, match=said):
        train(tmp_path, **changed)
    assert files(run.persistent_directory) == before


def test_a_finished_run_is_run_again_to_the_same_files(tmp_path: Path) -> None:
    first = train(tmp_path)
    before, record = files(first.persistent_directory), read(first)
    shutil.rmtree(tmp_path / ".exactrun")
    again = train(tmp_path)
    assert again.failed == []
    after = files(again.persistent_directory)
    assert after["model.keras"] == before["model.keras"]
    assert after["history.csv"] == before["history.csv"]
    assert read(again) == record | {"resumed_from": 4, "checks": read(again)["checks"]} | {
        "environment": read(again)["environment"]
    }


def test_a_longer_run_replaces_the_files(tmp_path: Path) -> None:
    before = files(train(tmp_path).persistent_directory)
    after = files(train(tmp_path, epochs=3).persistent_directory)
    assert all(after[name] != before[name] for name in before)


def test_a_run_whose_directory_was_deleted_begins_afresh_and_loses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path)
    had = {path.name: path.read_bytes() for path in run.directory.rglob("*.npz")}
    run._uploader.close()
    shutil.rmtree(run.persistent_directory)
    assert read(train(tmp_path, seed=1))["resumed_from"] == 0
    aside = run.directory.with_name(f"{run.directory.name}.1")
    assert {path.name: path.read_bytes() for path in aside.rglob("*.npz")} == had
    assert f"had of it is in {aside}" in " ".join(capsys.readouterr().out.split())


def test_the_record_tells_other_data_and_shows_the_tests_figures(tmp_path: Path) -> None:
    first, same = read(train(tmp_path / "first")), read(train(tmp_path / "same"))
    assert first["data_sha256"] == same["data_sha256"]
    assert first["data_sha256"] != read(train(tmp_path / "other", x=X + 1))["data_sha256"]
    assert first["figures"]["test loss"] == f"{first['metrics']['test_loss']:.4g}"
    assert "loss" not in first["figures"]


def test_a_second_session_is_refused_at_once_by_its_process_id(tmp_path: Path) -> None:
    code = (
        "import sys, time; from exactrun import Run\n"
        "Run(project_dir=sys.argv[1]).setup_storage(); print('locked', flush=True)\n"
        "time.sleep(60)"
    )
    env = os.environ | {"PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        while "locked" not in other.stdout.readline():
            assert other.poll() is None
        began = time.monotonic()
        with pytest.raises(UserError, match=f"process {other.pid}"):
            Run(project_dir=tmp_path).setup_storage()
        assert time.monotonic() - began < 5
        other.kill()


def test_a_run_that_has_logged_is_free_for_another_session(tmp_path: Path) -> None:
    train(tmp_path)
    code = "import sys; from exactrun import Run; Run(project_dir=sys.argv[1]).setup_storage()"
    env = os.environ | {"PYTHONPATH": str(SOURCE)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=env, check=True)


def test_files_of_ones_own_are_uploaded(tmp_path: Path) -> None:
    run = Run(project_dir=tmp_path)
    run.setup_storage()
    (tmp_path / "curves.svg").write_text("<svg/>")
    run.upload(tmp_path / "curves.svg", within="figures")
    assert run._uploader.flush() == {}
    assert (run.persistent_directory / "figures" / "curves.svg").read_text() == "<svg/>"


def test_of_several_workers_only_the_chief_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    run = Run(project_dir=tmp_path)
    run.setup_storage()
    assert not run.chief
    assert run.directory.is_relative_to(tmp_path / ".exactrun" / "worker-1")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    loaded = run.save_model(model, check_on=X)
    np.testing.assert_array_equal(loaded(X), model(X))
    run.log(test={"loss": 1.0})
    run.disconnect()
    assert not run.persistent_directory.exists()


def test_machine_and_devices_are_looked_at_without_storage(tmp_path: Path) -> None:
    run = Run(project_dir=tmp_path)
    run.check_environment()
    run.setup_devices("cpu")
    for name in ("checkpoints", "directory", "persistent_directory"):
        with pytest.raises(UserError, match=r"call run\.setup_storage\(\) first"):
            getattr(run, name)
    run.log(test={"loss": 1.0})
    assert [check.name for check in run.record.checks] == ["environment", "gpu", "test"]
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_that_fails_is_a_failed_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(found: Any) -> Any:
        raise UserError("The convolution failed on GPU:0")

    monkeypatch.setattr(gpu, "verify", fail)
    run = Run(project_dir=tmp_path)
    with pytest.raises(UserError, match="convolution failed"):
        run.setup_devices()
    assert str(run.failed[0]) == "✖ gpu: The convolution failed on GPU:0"


def test_workers_find_each_other_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    monkeypatch.setattr(gpu, "make_deterministic", lambda: order.append("deterministic"))
    strategy, verify = gpu.strategy, gpu.verify
    monkeypatch.setattr(gpu, "strategy", lambda: order.append("strategy") or strategy())
    monkeypatch.setattr(gpu, "verify", lambda found: order.append("verify") or verify(found))
    run = Run(project_dir=tmp_path)
    run.setup_devices("cpu")
    run.setup_devices("cpu", deterministic=True)
    assert order == ["strategy", "verify", "deterministic", "strategy", "verify"]


@pytest.mark.parametrize(
    ("place", "runtime", "status", "said"),
    [
        (
            "local",
            "2026.07",
            "failed",
            "and 2 more; to fix: python -m pip install -r requirements.txt",
        ),
        ("colab", "2026.07", "failed", "this is not Colab's runtime 2026.07: numpy 1 (pinned 2)"),
        ("colab", "2026.07", "failed", "Command palette → Change runtime version → 2026.07, then"),
        ("colab", "latest", "skipped", "Colab's latest runtime has moved on"),
        ("kaggle", "2026.07", "skipped", "Kaggle has an image of its own"),
    ],
)
def test_what_differs_from_the_pins_is_named_with_what_helps(
    place: str,
    runtime: str,
    status: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "requirements.txt").write_text(f"{MADE_FOR}{runtime} (Python 3.12)\n")
    run = Run(project_dir=tmp_path)
    run.check_environment("requirements.txt")
    assert str(run.record.checks[-1]) == f"✔ pins: every package is that of Colab's {runtime}"

    differences = [PinDifference(name="numpy", pinned="2", installed="1")] * 12
    monkeypatch.setattr(environment, "pin_differences", lambda _: differences)
    monkeypatch.setattr(environment, "where", lambda: place)
    run.check_environment("requirements.txt")
    check = run.record.checks[-1]
    assert (check.name, check.status) == ("pins", status)
    assert said in check.detail
    assert "and 2 more" in check.detail
    assert run.record.facts["pins"]["differences"][0]["pinned"] == "2"


@pytest.mark.parametrize("name", ["", "a/b", "..", "-x", "a" * 81, "é"])
def test_a_name_that_is_no_directory_everywhere_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="can't be that of a run's directory"):
        Run(name=name)


def test_settings_have_to_have_names() -> None:
    assert Run({"a": 1}).record.facts["settings"] == {"a": 1}
    with pytest.raises(UserError, match="config is list"):
        Run([1])


def test_what_is_not_kept_is_a_failed_check_and_keeps_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(project_dir=tmp_path)
    run.setup_storage()
    monkeypatch.setattr(run._uploader, "upload", lambda file, wait: "Drive is full")
    monkeypatch.setattr(run._uploader, "flush", lambda: {"run.json": "Drive is full"})
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    loaded = run.save_model(model, check_on=X)
    np.testing.assert_array_equal(loaded(X), model(X))
    assert [check.name for check in run.failed] == ["model", "run.json"]
    assert "Drive is full. It is whole in" in run.failed[0].detail
    assert (run.directory / "model.keras").exists()
    with pytest.raises(UserError, match=r"run\.json: Drive is full; model did not pass; training"):
        run.disconnect()


def test_a_drive_that_is_lost_after_the_upload_costs_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(path: Path) -> Any:
        if path.is_relative_to(run.persistent_directory):
            raise OSError(107, "Transport endpoint is not connected")
        return load_model(path)

    run = Run(project_dir=tmp_path)
    run.setup_storage()
    load_model = saving.load_model
    monkeypatch.setattr(saving, "load_model", load)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    np.testing.assert_array_equal(run.save_model(model, check_on=X)(X), model(X))
    assert "the connection to Drive was lost" in run.failed[0].detail


def test_a_model_that_can_not_be_loaded_again_is_a_failed_check(tmp_path: Path) -> None:
    class Local(keras.layers.Layer):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            return inputs

    run = Run(project_dir=tmp_path)
    run.setup_storage()
    with pytest.raises(UserError, match="register_keras_serializable"):
        run.save_model(keras.Sequential([keras.Input((4,)), Local()]), check_on=X)
    assert read(run)["checks"][-1]["status"] == "failed"
    assert not (run.persistent_directory / "model.keras").exists()


def test_a_training_that_stopped_is_no_passed_check(tmp_path: Path) -> None:
    run = Run(project_dir=tmp_path)
    run.setup_storage()
    history = exactrun.History()
    history.epoch, history.history = [0], {"loss": [1.0], "val_loss": []}
    history.stopped_by = "max_time_secs=1"
    run.log(history=history)
    stopped = "– training: 1 epochs, loss 1; stopped by max_time_secs=1: run it again"
    assert str(run.record.checks[-1]) == stopped
    history.finished, history.unsaved = True, "Drive: it is full"
    run.log(history=history)
    assert [check.detail for check in run.failed] == [
        "1 epochs, loss 1; stopped by max_time_secs=1; not kept: Drive: it is full"
    ]


def test_a_full_local_disk_is_told_and_costs_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exactrun import run as module

    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    run = Run(project_dir=tmp_path)
    run.setup_storage()
    monkeypatch.setattr(module, "write_whole", full)
    run.log(test={"loss": 1.0})
    assert "it is full" in run.failed[0].detail


def test_a_machine_that_is_not_colabs_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path)
    run.disconnect()
    assert "only a machine of Colab's can be given back" in capsys.readouterr().out


def test_in_colab_a_run_is_on_drive_and_outlives_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with on_colab(tmp_path, monkeypatch) as machine:
        project = machine / "content" / "project"
        project.mkdir()
        run = train(project, epochs=1)
        assert run.persistent_directory == machine / "content/drive/My Drive/project/runs/first"
        assert "✔ drive: mounted" in map(str, run.record.checks)
        assert run.failed == []
        before = files(run.persistent_directory)
        run.disconnect()
        assert "All of it is on Drive" in capsys.readouterr().out
    with on_colab(tmp_path, monkeypatch) as machine:
        project.mkdir()
        with pytest.raises(UserError, match="seed"):
            train(project, seed=1)
        longer = train(project)
        assert read(longer)["resumed_from"] == 2
        after = files(longer.persistent_directory)
        assert all(after[name] != before[name] for name in before)


def test_a_drive_that_went_away_is_never_said_to_hold_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with on_colab(tmp_path, monkeypatch) as machine:
        project = machine / "content" / "project"
        project.mkdir()
        run = train(project, epochs=1)
        # Unmounted, a directory of Drive's name is on the machine's own disk.
        (machine / "proc/mounts").write_text("overlay / overlay rw 0 0\n")
        monkeypatch.setenv("EXACTRUN_SIMULATED_PAGE", "refuses")
        with pytest.raises(UserError, match="not everything is kept"):
            run.disconnect()
