"""The machine, the accelerator and Drive, with Colab's parts replaced by small ones."""

from __future__ import annotations

import importlib.metadata
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from {{ cookiecutter.__package }}.colab import accelerator, drive, environment
from {{ cookiecutter.__package }}.colab.files import publish
from {{ cookiecutter.__package }}.errors import UserError


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
def test_places_are_told_apart(variables: dict[str, str], place: str) -> None:
    assert environment.where(variables) == place


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


def test_a_demanded_gpu_that_is_not_there_stops_with_the_menu_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    with pytest.raises(UserError, match="Runtime → Change runtime type"):
        accelerator.choose("gpu")


def test_a_choice_that_comes_too_late_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    def too_late(devices: list[Any], kind: str) -> None:
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a GPU"])
    monkeypatch.setattr(tf.config, "set_visible_devices", too_late)
    with pytest.raises(UserError, match="Restart session"):
        accelerator.choose("cpu")


def test_a_device_is_verified_by_work() -> None:
    assert "agrees with NumPy" in accelerator.verify("/CPU:0")


def test_work_done_elsewhere_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    # Another context, which leaves the choice of the device to TensorFlow.
    monkeypatch.setattr(tf, "device", lambda name: tf.init_scope())
    with pytest.raises(UserError, match="was computed on"):
        accelerator.verify("/TPU:0")


def test_a_wrong_product_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    monkeypatch.setattr(tf, "matmul", lambda a, b: a + b)
    with pytest.raises(UserError, match="is off by"):
        accelerator.verify("/CPU:0")


@pytest.mark.skipif("not __import__('tensorflow').config.list_physical_devices('GPU')")
def test_the_gpu_works() -> None:
    assert accelerator.choose("gpu").kind == "gpu"


def colab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mount: Any) -> Path:
    """Make this process look like Colab, with `mount` as its `drive.mount`."""
    module = types.ModuleType("google.colab")
    module.drive = types.SimpleNamespace(mount=mount)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google.colab", module)
    hostname = tmp_path / "hostname"
    hostname.touch()
    monkeypatch.setattr(drive, "HOSTNAME_FILE", hostname)
    return tmp_path / "drive"


def test_drive_is_mounted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted: list[str] = []

    def mount(point: str) -> None:
        mounted.append(point)
        (Path(point) / "My Drive").mkdir(parents=True)

    point = colab(monkeypatch, tmp_path, mount)
    assert drive.mount(point) == drive.mount(point) == point / "My Drive"
    assert mounted == [str(point)]


def test_a_refused_drive_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(point: str) -> None:
        raise ValueError("mount failed")

    point = colab(monkeypatch, tmp_path, refuse)
    with pytest.raises(UserError, match=r"mount failed\. Run this cell again"):
        drive.mount(point)


def test_without_a_page_of_colab_nothing_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive, "HOSTNAME_FILE", tmp_path / "missing")
    with pytest.raises(UserError, match="no page of Colab"):
        drive.mount(tmp_path / "drive")


def test_results_stay_with_the_project_where_there_is_no_drive(tmp_path: Path) -> None:
    here = environment.detect()
    assert drive.places(here, root=tmp_path).persistent in (tmp_path, drive.KAGGLE_WORKING)
    chosen = drive.places(here, root=tmp_path, persistent=str(tmp_path / "mine"))
    assert chosen.persistent == tmp_path / "mine"


def test_a_folder_proves_that_it_keeps_files(tmp_path: Path) -> None:
    assert "64 KiB" in drive.round_trip(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file can't be written"):
        drive.round_trip(tmp_path / "file")


def test_a_published_file_is_the_same_and_alone(tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(bytes(range(256)))
    copy = publish(source, tmp_path / "kept")
    assert copy.read_bytes() == source.read_bytes()
    assert list((tmp_path / "kept").iterdir()) == [copy]
