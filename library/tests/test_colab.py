"""Drive, secrets and the machine, of a simulated Colab that fails in each way that users meet."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import IPython
import pytest
from machines import on_colab

from exactrun import UserError, colab, mounts
from exactrun.notebooks import simulated_colab


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with on_colab(tmp_path, monkeypatch) as machine:
        yield machine


@pytest.fixture
def point(machine: Path) -> Path:
    """Where Drive is mounted."""
    return machine / "content/drive"


def fake_drive(point: Path) -> Path:
    """Leave what a mkdir under the mountpoint leaves: My Drive, on the machine's own disk."""
    (point / "My Drive/runs").mkdir(parents=True)
    return point / "My Drive"


def lose_connection(monkeypatch: pytest.MonkeyPatch, *, times: int, code: int) -> list[int]:
    """Let the next looks at Drive fail as they do when its process has died."""
    failures: list[int] = []
    statvfs = os.statvfs

    def fail(path: Path) -> Any:
        if len(failures) < times:
            failures.append(code)
            raise OSError(code, os.strerror(code))
        return statvfs(path)

    monkeypatch.setattr(os, "statvfs", fail)
    return failures


# --- The mount table ----------------------------------------------------------------------------


def test_only_the_mount_table_makes_a_directory_drives(machine: Path, point: Path) -> None:
    assert not mounts.is_drive(fake_drive(point))
    table = machine / "proc/mounts"
    table.write_text(
        "overlay / overlay rw 0 0\n"
        f"drive {point}\\040two fuse.drive rw 0 0\n"
        f"rclone {point} fuse.rclone rw 0 0\n"
    )
    assert not mounts.is_drive(point / "My Drive")
    assert mounts.is_drive(f"{point} two/My Drive/a")
    assert not mounts.is_drive(f"{point} twofold")
    with table.open("a") as file:
        file.write(f"drive {point} fuse.drive rw 0 0\n")
    assert mounts.is_drive(point / "My Drive/not/there")
    assert not mounts.is_drive(point / "../elsewhere")
    (machine / "content/link").symlink_to(point / "My Drive")
    assert mounts.is_drive(machine / "content/link/runs")
    with table.open("a") as file:  # mounted over it
        file.write(f"tmpfs {point} tmpfs rw 0 0\n")
    assert not mounts.is_drive(point)


def test_a_system_without_a_mount_table_has_no_drive(machine: Path, point: Path) -> None:
    (machine / "proc/mounts").unlink()
    assert not mounts.is_drive(point)


# --- Mounting -----------------------------------------------------------------------------------


def test_a_mounted_drive_is_used_without_a_question(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    my_drive = colab.mount_drive()
    (my_drive / "kept").touch()
    monkeypatch.setenv("EXACTRUN_SIMULATED_PAGE", "refuses")
    assert colab.mount_drive() == my_drive == machine / "content/drive/My Drive"
    assert [path.name for path in (machine.parent / "drive").iterdir()] == ["kept"]


@pytest.mark.parametrize(
    ("failure", "advice"),
    [
        ("failed", "Disconnect and delete runtime"),
        ("root folder", "Move what lies there loosely into directories"),
        ("domain policy", "Use a private account"),
        ("timeout", "Look for a question that hides behind this page"),
        ("braces", r'"details": \{0\}, "\{reason\}": "\{!r\}"'),
    ],
)
def test_each_failure_of_mount_says_what_to_do(
    machine: Path, monkeypatch: pytest.MonkeyPatch, failure: str, advice: str
) -> None:
    monkeypatch.setenv("EXACTRUN_SIMULATED_FAILURE", failure)
    with pytest.raises(UserError, match=f"Drive was not mounted: .*{advice}.*set persistent_dir"):
        colab.mount_drive()


def test_a_refusal_says_what_to_do(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXACTRUN_SIMULATED_PAGE", "refuses")
    with pytest.raises(UserError, match="choose 'Connect to Google Drive'"):
        colab.mount_drive()


def test_a_silent_page_is_waited_for_only_so_long(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXACTRUN_SIMULATED_PAGE", "silent")
    started = time.monotonic()
    with pytest.raises(UserError, match="neither the browser nor Drive answered in time"):
        colab.mount_drive(timeout_secs=0.3)
    assert 0.3 <= time.monotonic() - started < 3


def test_a_local_directory_of_that_name_is_never_mounted(
    machine: Path, point: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_drive(point)
    drive = colab._google("drive")
    drive.mount(str(point))
    assert "already mounted" in capsys.readouterr().out  # as Google's own takes it for Drive
    with pytest.raises(UserError, match=f"!mv {point} {point}-before"):
        colab.mount_drive()
    point.rename(f"{point}-before")
    assert mounts.is_drive(colab.mount_drive())


def test_a_drive_that_is_mounted_elsewhere_stays_there(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = machine / "content/gdrive"
    colab._google("drive").mount(str(elsewhere))
    monkeypatch.setenv("EXACTRUN_SIMULATED_PAGE", "refuses")
    assert colab.mount_drive() == elsewhere / "My Drive"
    assert colab.persistent_directory(name="birds")[0] == elsewhere / "My Drive/birds"
    colab._google("drive").flush_and_unmount()
    monkeypatch.setenv("EXACTRUN_SIMULATED_PAGE", "answers")
    for place in ("gdrive", "drive"):
        with pytest.raises(UserError, match="Drive is not mounted at .*gdrive"):
            colab.prove_writable(machine / "content" / place / "My Drive/birds")
    assert colab.mount_drive() == elsewhere / "My Drive"


def test_what_google_says_is_not_believed(
    machine: Path, monkeypatch: pytest.MonkeyPatch, point: Path
) -> None:
    monkeypatch.setattr(colab._google("drive"), "mount", lambda *_, **__: None)
    with pytest.raises(UserError, match=f"mount table has no Drive at {point}"):
        colab.mount_drive()


def test_what_stands_in_the_mountpoints_way_is_named(machine: Path, point: Path) -> None:
    point.touch()
    with pytest.raises(UserError, match=f"is a file.*!rm {point}"):
        colab.mount_drive()
    point.unlink()
    point.symlink_to(fake_drive(machine / "content/elsewhere").parent)
    with pytest.raises(UserError, match=f"is a link.*!rm {point}"):
        colab.mount_drive()
    with pytest.raises(UserError, match="has a space in it"):
        colab.mount_drive(machine / "content/my drive")
    with pytest.raises(UserError, match="above .* does not exist"):
        colab.mount_drive(machine / "content/no/drive")


def test_where_there_is_no_drive_it_says_so_at_once(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXACTRUN_SIMULATED_PAGE", "silent")
    monkeypatch.setenv("VERTEX_PRODUCT", "COLAB_ENTERPRISE")
    with pytest.raises(UserError, match="Colab Enterprise has no Drive"):
        colab.mount_drive()
    (machine / "var/colab/hostname").unlink()
    with pytest.raises(UserError, match="no page of Colab is connected"):
        colab.mount_drive()


def test_a_lost_connection_is_mounted_again(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    colab.mount_drive()
    drive = colab._google("drive")
    freed: list[list[str]] = []

    def umount(command: list[str], **_: Any) -> Any:
        freed.append(command)
        drive._unmount(Path(command[-1]))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(colab.subprocess, "run", umount)
    failures = lose_connection(monkeypatch, times=2, code=errno.ENOTCONN)
    before = colab.mounts_made()
    colab.mount_drive()
    assert len(failures) == 2
    assert freed == [["umount", "-l", str(mounts.drive_mountpoint())]] * 2
    assert capsys.readouterr().out.count("Mounted at") == 3
    assert colab.mounts_made() - before == 2


def test_a_connection_that_stays_lost_is_told(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    colab.mount_drive()
    monkeypatch.setattr(colab, "_free", lambda place: "")
    lose_connection(monkeypatch, times=99, code=errno.ENOTCONN)
    with pytest.raises(UserError, match=r"the connection to Drive was lost.*Run this cell again"):
        colab.mount_drive()


def test_a_drive_that_can_not_be_freed_is_told(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    colab.mount_drive()
    refused = SimpleNamespace(returncode=1, stderr="umount: {no} permission\n")
    monkeypatch.setattr(colab.subprocess, "run", lambda *_, **__: refused)
    lose_connection(monkeypatch, times=99, code=errno.ENOTCONN)
    with pytest.raises(UserError, match=r"can't be freed: umount: \{no\} permission\."):
        colab.mount_drive()


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
    machine: Path, monkeypatch: pytest.MonkeyPatch, code: int, meaning: str
) -> None:
    lose_connection(monkeypatch, times=1, code=code)
    with pytest.raises(UserError, match=f"can't be used: .*{meaning}"):
        colab.mount_drive()


def test_threads_mount_one_after_the_other(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (machine / "secrets.json").write_text('{"TOKEN": "t"}')
    monkeypatch.setattr(colab._google("_message"), "TO_ANSWER", 0.2)
    monkeypatch.setattr(colab._google("userdata"), "TIMEOUT", 0.5)
    found: list[object] = []

    def ask(what: Any, *options: Any) -> None:
        try:
            found.append(what(*options))
        except UserError as error:
            found.append(error)

    jobs = [(colab.mount_drive,), (colab.mount_drive,), (colab.get_secret, "TOKEN")]
    threads = [threading.Thread(target=ask, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    my_drive = mounts.drive_mountpoint() / "My Drive"
    assert sorted(map(str, found)) == sorted(map(str, [my_drive, my_drive, "t"]))
    assert capsys.readouterr().out.count("Mounted at") == 1


def test_google_itself_loses_an_answer_when_two_ask_at_once(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(colab._google("_message"), "TO_ANSWER", 0.3)
    drive, failed = colab._google("drive"), []

    def mount() -> None:
        try:
            drive.mount(str(mounts.drive_mountpoint()), timeout_ms=100)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=mount) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failed) == 1


def test_a_question_that_stays_open_is_not_waited_for_without_end(machine: Path) -> None:
    told: list[str] = []

    def ask() -> None:
        try:
            colab.mount_drive(timeout_secs=-29.9)
        except UserError as error:
            told.append(str(error))

    with colab._asking("Something"):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert "Drive was not mounted: another question to this page is still open" in told[0]


# --- In a subprocess ----------------------------------------------------------------------------


def test_a_subprocess_uses_a_mounted_drive_and_asks_for_nothing(machine: Path) -> None:
    ask = (
        "import sys, exactrun.colab as colab\n"
        "for what in (colab.mount_drive, lambda: colab.get_secret('TOKEN'), colab.authenticate,\n"
        "             lambda: colab.disconnect(sys.argv[1])):\n"
        "    try:\n"
        "        print(what())\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__, error)\n"
    )
    path = [str(simulated_colab.PACKAGES), *sys.path]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(path)}

    def in_subprocess() -> list[str]:
        command = [sys.executable, "-c", ask, str(mounts.drive_mountpoint())]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    before = in_subprocess()
    assert all(line.startswith("UserError") for line in before)
    assert "NoneType" not in "".join(before)
    assert "Mount it in a cell first" in before[0]
    assert "os.environ['TOKEN'] = exactrun.get_secret('TOKEN')" in before[1]
    assert "not a notebook's kernel" in before[2]
    my_drive = colab.mount_drive()
    after = in_subprocess()
    assert after[0] == str(my_drive)
    assert "Do it in a cell, or Runtime → Disconnect" in after[3]


# --- Secrets and the account --------------------------------------------------------------------


def test_a_secret_is_stripped(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "secrets.json").write_text('{"TOKEN": "\\t abc\\n", "EMPTY": " \\n"}')
    assert colab.get_secret("TOKEN") == "abc"
    with pytest.raises(UserError, match="no secret EMPTY, or it is empty. Click the key"):
        colab.get_secret("EMPTY")
    monkeypatch.setenv("TOKEN", "of the environment\n")
    assert colab.get_secret("TOKEN") == "of the environment"


def test_a_secret_that_is_not_given_says_why(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine / "secrets.json").write_text('{"MINE": null}')
    with pytest.raises(UserError, match="switch on 'Notebook access'"):
        colab.get_secret("MINE")
    with pytest.raises(UserError, match="no secret OTHER.*Click the key on the left"):
        colab.get_secret("OTHER")
    with pytest.raises(UserError, match="MY TOKEN was not read: Secret name cannot contain"):
        colab.get_secret("MY TOKEN")
    monkeypatch.setenv("EXACTRUN_SIMULATED_PAGE", "silent")
    monkeypatch.setattr(colab._google("userdata"), "TIMEOUT", 0.1)
    with pytest.raises(UserError, match="the page does not answer. Reload it"):
        colab.get_secret("OTHER")
    userdata = SimpleNamespace(get=lambda name: (_ for _ in ()).throw(ConnectionError("{403}")))
    monkeypatch.setitem(sys.modules, "google.colab.userdata", userdata)
    with pytest.raises(UserError, match=r"TOKEN was not read: \{403\}"):
        colab.get_secret("TOKEN")


def test_kaggles_secrets_are_read_with_kaggles_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colab, "where", lambda: "kaggle")

    def get_secret(client: Any, name: str) -> str:
        if name != "TOKEN":
            raise RuntimeError("No user secrets exist for kernel id 1 and label " + name)
        return "abc\n"

    client = type("UserSecretsClient", (), {"get_secret": get_secret})
    monkeypatch.setitem(sys.modules, "kaggle_secrets", SimpleNamespace(UserSecretsClient=client))
    assert colab.get_secret("TOKEN") == "abc"
    with pytest.raises(UserError, match="No user secrets exist.*Add-ons → Secrets"):
        colab.get_secret("OTHER")


def test_elsewhere_secrets_are_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colab, "where", lambda: "local")
    monkeypatch.setenv("TOKEN", " abc\n")
    assert colab.get_secret("TOKEN") == "abc"
    with pytest.raises(UserError, match="export NONE_SUCH=…"):
        colab.get_secret("NONE_SUCH")


def test_an_account_is_asked_for_once_and_not_without_end(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(colab, "TO_ANSWER", 0.3)
    monkeypatch.setenv("EXACTRUN_SIMULATED_PAGE", "silent")
    started = time.monotonic()
    with pytest.raises(UserError, match="has not answered for 0 s"):
        colab.authenticate()
    assert time.monotonic() - started < 3
    monkeypatch.setenv("EXACTRUN_SIMULATED_PAGE", "refuses")
    with pytest.raises(
        UserError, match="The account was not given: the question in the browser was refused"
    ):
        colab.authenticate()
    monkeypatch.setenv("EXACTRUN_SIMULATED_PAGE", "answers")
    monkeypatch.setenv("EXACTRUN_SIMULATED_ACCOUNT", "")
    colab.authenticate()
    monkeypatch.setenv("EXACTRUN_SIMULATED_PAGE", "silent")
    colab.authenticate()


# --- The persistent directory -------------------------------------------------------------------


def test_a_directory_on_drive_is_mounted_before_it_is_made(machine: Path) -> None:
    directory, why = colab.persistent_directory(name="birds")
    assert (directory, why) == (mounts.drive_mountpoint() / "My Drive/birds", "")
    mine = mounts.drive_mountpoint() / "My Drive/mine"
    assert colab.persistent_directory(str(mine), name="birds") == (mine, "")
    assert "64 KiB" in colab.prove_writable(mine)
    assert list((machine.parent / "drive/mine").iterdir()) == []


@pytest.mark.parametrize("place", ["local", "ci", "kaggle", "colab"])
def test_another_directory_takes_the_place_of_drive_and_says_why(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(colab, "where", lambda: place)
    if place != "colab":
        directory, why = colab.persistent_directory(name="birds", project_dir=tmp_path)
        assert directory == (machine / "kaggle/working" if place == "kaggle" else tmp_path)
        assert "there is no Google Drive" in why
    directory, why = colab.persistent_directory(tmp_path / "mine", name="birds")
    assert directory == tmp_path / "mine"
    assert "names another directory" in why


def test_a_directory_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file can't be written"):
        colab.prove_writable(tmp_path / "file")


def test_other_bytes_than_were_written_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_bytes", lambda path: b"something else")
    with pytest.raises(UserError, match="gave back other bytes"):
        colab.prove_writable(tmp_path)


def test_nothing_is_made_where_drive_belongs_and_is_not(machine: Path, point: Path) -> None:
    with pytest.raises(UserError, match=f"Drive is not mounted at {point}"):
        colab.prove_writable(point / "My Drive/birds")
    assert not point.exists()


# --- Giving the machine back --------------------------------------------------------------------


def test_a_machine_is_given_back_after_drive_has_everything(machine: Path) -> None:
    my_drive = colab.mount_drive()
    (my_drive / "birds").mkdir()
    colab.disconnect(my_drive / "birds")
    assert (machine / "unassigned").exists()
    assert not mounts.is_drive(my_drive)


def test_a_machine_whose_results_are_its_own_is_kept(machine: Path, point: Path) -> None:
    for directory in (machine / "content/results", fake_drive(point) / "runs"):
        with pytest.raises(UserError, match="would be deleted with it"):
            colab.disconnect(directory)
    assert not (machine / "unassigned").exists()


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        ("flush", "Drive has not taken everything: flush_and_unmount failed"),
        ("lost", "Drive has not taken everything: .* .the connection to Drive was lost"),
        (
            "unassign",
            "All of it is on Drive, but the machine is not given back: Unable .* Do it yourself",
        ),
    ],
)
def test_a_machine_that_is_not_given_back_says_why(
    machine: Path, monkeypatch: pytest.MonkeyPatch, failure: str, reason: str
) -> None:
    my_drive = colab.mount_drive()
    monkeypatch.setenv("EXACTRUN_SIMULATED_FAILURE", failure)
    if failure == "lost":
        lose_connection(monkeypatch, times=1, code=errno.ENOTCONN)
    with pytest.raises(UserError, match=reason):
        colab.disconnect(my_drive)
    assert not (machine / "unassigned").exists()


def test_only_colabs_machines_are_given_back(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(colab, "where", lambda: "local")
    colab.disconnect(machine)
    assert "only a machine of Colab's" in capsys.readouterr().out
    assert not (machine / "unassigned").exists()


def test_a_kernel_is_what_has_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace())  # a terminal's
    assert not colab._has_page()
