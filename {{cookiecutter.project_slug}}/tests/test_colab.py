"""The machine: where the code runs, what is installed there, and when it is given back."""

from __future__ import annotations

import importlib.metadata
import sys
import types
from pathlib import Path

import pytest

from {{ cookiecutter.__package }}.colab import (
    drive,
    driver,
    environment,
    machine,
)
from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.errors import UserError
from {{ cookiecutter.__package }}.training.run import Run


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({}, "local"),
        ({"CI": "true"}, "ci"),
        ({"CI": "false"}, "local"),
        ({"COLAB_RELEASE_TAG": "release-colab"}, "colab"),
        ({"COLAB_RELEASE_TAG": "release-colab", "KAGGLE_KERNEL_RUN_TYPE": "Batch"}, "kaggle"),
    ],
)
def test_places_are_told_apart(
    variables: dict[str, str], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CI", "COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert environment.where() == place


def requirements_in(folder: Path, *lines: str) -> Path:
    file = folder / "requirements.txt"
    file.write_text("# Colab runtime 2026.08\n" + "".join(f"{line}\n" for line in lines))
    return file


def test_only_differences_from_the_pins_are_reported(tmp_path: Path) -> None:
    numpy = importlib.metadata.version("numpy")
    file = requirements_in(
        tmp_path,
        f"numpy=={numpy} \\\n    --hash=sha256:aa",
        "pytest==0.1 \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc",
        "no-such-package==1.0 --hash=sha256:dd",
        "for-another-system==1.0 ; sys_platform == 'beos' --hash=sha256:ee",
    )
    found = {d.name: (d.pinned, d.installed) for d in environment.pin_differences(file)}
    assert found == {
        "pytest": ("0.1", importlib.metadata.version("pytest")),
        "no-such-package": ("1.0", None),
    }


def test_nothing_is_installed_unasked_on_a_machine_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "where", lambda: "local")
    file = requirements_in(tmp_path, "no-such-package==1.0 --hash=sha256:dd")
    with pytest.raises(UserError, match="no-such-package among them"):
        environment.install_missing(file)


def test_a_runtime_without_tensorflow_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    difference = environment.PinDifference(name="tensorflow", pinned="2.20.0", installed=None)
    monkeypatch.setattr(environment, "where", lambda: "colab")
    monkeypatch.setattr(environment, "pin_differences", lambda file: [difference])
    with pytest.raises(UserError, match="TPU"):
        environment.install_missing(requirements_in(tmp_path))


def test_an_installation_that_fails_is_loud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "where", lambda: "colab")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    file = requirements_in(tmp_path, f"no-such-package==1.0 --hash=sha256:{'d' * 64}")
    with pytest.raises(UserError, match="no-such-package could not be installed"):
        environment.install_missing(file)


def test_what_is_named_is_found_in_kaggles_data_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "KAGGLE_INPUT", tmp_path)
    monkeypatch.setattr(environment, "where", lambda: "kaggle")
    pack = tmp_path / "datasets/somebody/birds/pack"
    pack.mkdir(parents=True)
    assert environment.locate("pack") == pack
    assert environment.locate(str(tmp_path / "datasets")) == tmp_path / "datasets"
    assert environment.locate("nothing") == Path("nothing")
    (tmp_path / "another/pack").mkdir(parents=True)
    with pytest.raises(UserError, match="Several attached data sets hold pack"):
        environment.locate("pack")
    monkeypatch.setattr(environment, "where", lambda: "local")
    assert environment.locate("pack") == Path("pack")


def test_the_drivers_gpus_belong_to_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = (driver.Gpu(name="Tesla T4", memory="15360 MiB"),)
    found = driver.Driver(source="NVML", version="570.1", cuda="12.8", gpus=gpus)
    monkeypatch.setattr(environment, "inventory", lambda: found)
    machine = environment.detect()
    assert "Tesla T4 with 15360 MiB" in str(machine)
    assert "CUDA up to 12.8" in machine.facts()["NVIDIA"]


class Colab:
    """A machine of Colab's, which notes in which order Drive is flushed and it is given back."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[str] = []
        self.drive = folder / "drive"
        monkeypatch.setattr(machine, "where", lambda: "colab")
        monkeypatch.setattr(drive, "MOUNTPOINT", self.drive)
        monkeypatch.setattr(drive, "unmount", lambda: self.events.append("flushed"))
        module = types.ModuleType("google.colab")
        unassign = types.SimpleNamespace(unassign=lambda: self.events.append("given back"))
        module.runtime = unassign  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "google.colab", module)


@pytest.fixture
def colab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Colab:
    return Colab(tmp_path, monkeypatch)


def test_a_machine_is_given_back_after_drive_has_everything(colab: Colab) -> None:
    machine.give_back(colab.drive / "My Drive/project/runs/first")
    assert colab.events == ["flushed", "given back"]


def test_a_machine_that_holds_the_results_is_not_given_back(colab: Colab, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="would be deleted with it"):
        machine.give_back(tmp_path / "runs/first")
    assert colab.events == []


def test_a_machine_whose_drive_is_not_flushed_stays(
    colab: Colab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise UserError("Drive has not taken everything")

    monkeypatch.setattr(drive, "unmount", fail)
    with pytest.raises(UserError, match="not taken everything"):
        machine.give_back(colab.drive / "My Drive/project/runs/first")
    assert colab.events == []


def test_only_colabs_machines_are_given_back(
    colab: Colab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "where", lambda: "local")
    machine.give_back(colab.drive / "My Drive/project/runs/first")
    assert "only a machine of Colab's" in capsys.readouterr().out
    assert colab.events == []


@pytest.mark.parametrize(
    ("unsaved", "checks", "reason"),
    [
        ({"run.json": "Errno 5"}, ("checkpoints", "model"), "run.json: Errno 5"),
        ({}, ("checkpoints",), "model"),
        ({}, ("model",), "checkpoints"),
    ],
)
def test_a_run_that_is_not_kept_keeps_its_machine(
    colab: Colab, unsaved: dict[str, str], checks: tuple[str, ...], reason: str
) -> None:
    run = Run(Config())
    run.folders = types.SimpleNamespace(  # type: ignore[assignment]
        unsafe=lambda: unsaved, kept=colab.drive / "My Drive/project/runs/first"
    )
    for name in ("checkpoints", "model"):
        run.record.check(name, "passed" if name in checks else "failed", "")
    with pytest.raises(UserError, match=f"not everything is kept: {reason}"):
        run.disconnect()
    assert colab.events == []
