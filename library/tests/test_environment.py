"""The machine, the pins and Kaggle's data."""

from __future__ import annotations

from pathlib import Path

import pytest

from exactrun import UserError, environment, find_data
from exactrun.environment import PinDifference, find_runtime, pin_differences, pinned_runtime

HEADER = "# Made for the Google Colab runtime 2026.07 (Python 3.12): Colab's own versions.\n"


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    return tmp_path / "requirements.txt"


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({}, "local"),
        ({"CI": "true"}, "ci"),
        ({"CI": "false"}, "local"),
        ({"COLAB_RELEASE_TAG": "release-colab_x", "CI": "true"}, "colab"),
        ({"COLAB_RELEASE_TAG": "release-colab_x", "KAGGLE_KERNEL_RUN_TYPE": "Batch"}, "kaggle"),
    ],
)
def test_the_place_is_told_by_its_variables(
    variables: dict[str, str], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CI", "COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = environment.detect()
    assert (environment.where(), found.where) == (place, place)
    assert found.release == variables.get("COLAB_RELEASE_TAG", "")
    assert found.cpus >= 1
    assert f"place: {place}" in str(found)


def test_the_versions_that_decide_the_bits_are_named() -> None:
    import numpy as np

    found = environment.package_versions()
    assert found["numpy"] == np.__version__
    assert set(found) == {"tensorflow", "keras", "numpy"}


def test_pins_are_compared_as_pip_compares_them(
    requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = {"certifi": "2026.7.22", "tensorflow": "2.20.0+cu12", "numpy": "2.1.3"}

    def version(name: str) -> str:
        if name not in installed:
            raise environment.importlib.metadata.PackageNotFoundError
        return installed[name]

    monkeypatch.setattr(environment.importlib.metadata, "version", version)
    requirements.write_text(
        HEADER + "--find-links ./wheels\n"
        "certifi==2026.07.22 --hash=sha256:00\n"
        "tensorflow==2.20.0 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n"
        'keras==3.13.2 ; python_version >= "3.0"   # of Colab\n'
        'nothing==1.0 ; sys_platform == "nowhere"\n'
        "    # via somebody\n"
        "numpy==2.0.2 --hash=sha256:00\n"
    )
    assert pin_differences(requirements) == [
        PinDifference(name="keras", pinned="3.13.2", installed=None),
        PinDifference(name="numpy", pinned="2.0.2", installed="2.1.3"),
    ]
    assert str(PinDifference(name="a", pinned="1", installed=None)) == "a missing (pinned 1)"


def test_the_runtime_of_the_pins_is_read_from_their_header(requirements: Path) -> None:
    requirements.write_text(HEADER)
    assert pinned_runtime(requirements) == "2026.07"
    requirements.write_text(HEADER.replace("2026.07", "latest"))
    assert pinned_runtime(requirements) == "latest"
    assert find_runtime(requirements) == "latest"
    requirements.write_text("# Not for the Colab runtime 2026.07\nnumpy==2.0.2\n")
    assert find_runtime(requirements) == find_runtime(requirements.with_name("other.txt")) == ""
    with pytest.raises(UserError, match="does not say which Colab runtime"):
        pinned_runtime(requirements)
    with pytest.raises(UserError, match="is not there"):
        pinned_runtime(requirements.with_name("other.txt"))


def test_data_are_found_by_their_path_or_among_those_attached_on_kaggle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "pictures"
    here.mkdir()
    assert find_data(str(here)) == here
    with pytest.raises(UserError, match="birds is not there"):
        find_data(tmp_path / "birds")
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    monkeypatch.setattr(environment, "MACHINE", tmp_path)
    with pytest.raises(UserError, match="Attach it by Add Input"):
        find_data("birds")
    one = tmp_path / "kaggle/input" / "some-set" / "birds"
    one.mkdir(parents=True)
    assert find_data("data/birds") == one
    (tmp_path / "kaggle/input" / "other-set" / "birds").mkdir(parents=True)
    with pytest.raises(UserError, match=r"Several attached data sets hold birds:\n.*other-set"):
        find_data("birds")
