"""Drive, mounted by a simulated Colab, with each of the failures that Colab's users meet."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from machines import Machine, on_a_machine

from {{ cookiecutter.__package }}.colab import drive
from {{ cookiecutter.__package }}.errors import UserError


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A simulated machine of Colab, which this process takes itself to be on."""
    with on_a_machine(tmp_path, monkeypatch) as machine:
        monkeypatch.setattr(drive, "HOSTNAME_FILE", machine.root / "var/colab/hostname")
        monkeypatch.setattr(drive, "MOUNTPOINT", machine.root / "content/drive")
        monkeypatch.setattr(drive, "BACK_OFF", (0.0, 0.0))
        yield machine


def lose_connection(monkeypatch: pytest.MonkeyPatch, *, times: int) -> list[int]:
    """Let the next reads and writes of Drive fail as they do when its process has died."""
    failures: list[int] = []
    write_and_read = drive._write_and_read

    def fail(folder: Path) -> None:
        if len(failures) < times:
            failures.append(errno.ENOTCONN)
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        write_and_read(folder)

    monkeypatch.setattr(drive, "_write_and_read", fail)
    return failures


def test_a_mounted_drive_is_used_without_a_question_to_the_browser(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    my_drive = drive.mount()
    (my_drive / "kept").touch()
    monkeypatch.setenv("SIMULATED_FAILURE", "refused")  # before it looks whether Drive is there
    assert drive.mount() == my_drive
    assert [path.name for path in machine.drive.iterdir()] == ["kept"]


@pytest.mark.parametrize(
    ("failure", "advice"),
    [
        ("refused", "choose 'Connect to Google Drive'"),
        ("failed", "Disconnect and delete runtime"),
        ("root folder", "Move what lies there loosely into folders"),
        ("domain policy", "Use a private account"),
        ("timeout", "Look for a question that hides behind this page"),
    ],
)
def test_each_failure_of_mount_says_what_to_do(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, failure: str, advice: str
) -> None:
    monkeypatch.setenv("SIMULATED_FAILURE", failure)
    with pytest.raises(UserError, match=f"Drive was not mounted: .*{advice}.*set persistent"):
        drive.mount()


def test_what_stands_in_the_mountpoints_way_is_named(machine: Machine) -> None:
    point = drive.MOUNTPOINT
    (point / "model").mkdir(parents=True)
    with pytest.raises(UserError, match=f"!mv {point} {point}-before"):
        drive.mount()
    point.rename(point.with_name("elsewhere"))
    point.touch()
    with pytest.raises(UserError, match=f"is a file.*!rm {point}"):
        drive.mount()
    point.unlink()
    point.symlink_to(machine.drive)
    with pytest.raises(UserError, match=f"is a link.*!rm {point}"):
        drive.mount()


def test_colab_enterprise_has_no_drive(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERTEX_PRODUCT", "COLAB_ENTERPRISE")
    with pytest.raises(UserError, match="Colab Enterprise has no Drive"):
        drive.mount()


def test_without_a_page_of_colab_nothing_is_waited_for(machine: Machine) -> None:
    drive.HOSTNAME_FILE.unlink()
    with pytest.raises(UserError, match="no page of Colab is connected"):
        drive.mount()


def test_a_lost_connection_is_mended(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drive.mount()
    failures = lose_connection(monkeypatch, times=2)
    drive.mount()
    assert len(failures) == 2
    assert capsys.readouterr().out.count("Mounted at") == 3


def test_a_connection_that_stays_lost_is_told(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_connection(monkeypatch, times=99)
    with pytest.raises(UserError, match=r"the connection to Drive was lost.*Run this cell again"):
        drive.mount()


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (errno.EIO, "a quota of the account is used up"),
        (errno.EDQUOT, "storage is used up"),
        (errno.ENOSPC, "trash counts"),
        (errno.EROFS, "only be read"),
    ],
)
def test_a_full_drive_says_so(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, code: int, meaning: str
) -> None:
    def fail(folder: Path) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(drive, "_write_and_read", fail)
    with pytest.raises(UserError, match=f"can't be used: .*{meaning}"):
        drive.mount()


def test_other_bytes_than_were_written_are_noticed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_bytes", lambda path: b"something else")
    with pytest.raises(UserError, match="gave back other bytes"):
        drive.mount()


def test_drive_is_told_to_finish_before_the_machine_goes(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive.mount()
    drive.unmount()
    assert not (drive.MOUNTPOINT / "My Drive").exists()
    monkeypatch.setenv("SIMULATED_FAILURE", "flush")
    with pytest.raises(UserError, match="Drive has not taken everything: flush_and_unmount failed"):
        drive.unmount()


def test_a_folder_of_drive_that_is_named_by_its_path_is_on_drive(
    machine: Machine, tmp_path: Path
) -> None:
    mine = drive.MOUNTPOINT / "My Drive/mine"
    assert drive.persistent_folder(tmp_path, chosen=str(mine)) == (mine, "")
    drive.round_trip(mine)
    assert (machine.drive / "mine").is_dir()


@pytest.mark.parametrize("place", ["local", "ci", "kaggle"])
def test_another_folder_takes_the_place_of_drive_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(drive, "where", lambda: place)
    folder, why = drive.persistent_folder(tmp_path)
    assert folder == (drive.KAGGLE_WORKING if place == "kaggle" else tmp_path)
    assert "there is no Google Drive" in why
    mine, why = drive.persistent_folder(tmp_path, chosen=str(tmp_path / "mine"))
    assert mine == tmp_path / "mine"
    assert "names another folder" in why


def test_a_folder_proves_that_it_keeps_files(tmp_path: Path) -> None:
    assert "64 KiB" in drive.round_trip(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file can't be written"):
        drive.round_trip(tmp_path / "file")
