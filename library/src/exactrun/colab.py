"""Google's side of Colab: Drive, secrets, the account and the machine itself.

Drive is Drive only if the mount table says so. Google's client asks its page one question at a
time, so all that asks does so under one lock.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import environment
from .console import say
from .environment import where
from .errors import UserError
from .files import discard, explain
from .mounts import LOST, belongs_on_drive, drive_mountpoint, is_drive, require_mounted

BACK_OFF = (1.0, 5.0, 20.0)
"""Seconds before each new attempt to mount a Drive whose connection was lost."""

TO_ANSWER = 300.0
"""Seconds that a person has for choosing an account in the browser."""

WITHOUT = (
    " To go on without Drive, set persistent_dir to a directory such as /content/results and"
    " download it before the session ends."
)
NO_PAGE = (
    "this process is not a notebook's kernel, such as that of `!python -m …`, and no page of Colab"
    " answers it"
)
GIVE_UP = "Runtime → Disconnect and delete runtime"

MEANING = {
    "credential propagation was unsuccessful": (
        "the question in the browser was refused or closed. Run this cell again and choose"
        " 'Connect to Google Drive' with the account that this page uses"
    ),
    "must not already contain files": (
        "something has written to MOUNTPOINT while Drive was not there. Move that away, and run"
        " this cell again: !mv MOUNTPOINT MOUNTPOINT-before"
    ),
    "must not contain a space": "MOUNTPOINT has a space in it. Use /content/drive",
    "must be in a directory that exists": (
        "the directory above MOUNTPOINT does not exist. Use /content/drive"
    ),
    "must not be a symlink": (
        "MOUNTPOINT is a link. Remove it, and run this cell again: !rm MOUNTPOINT"
    ),
    "must either be a directory": (
        "MOUNTPOINT is a file. Remove it, and run this cell again: !rm MOUNTPOINT"
    ),
    "initial read of root folder": (
        "the top directory of My Drive took too long to list. Move what lies there loosely into"
        " directories, on https://drive.google.com, and run this cell again"
    ),
    "domain policy has disabled": (
        "the administrators of this Google account do not allow it. Use a private account, or"
        " ask them to allow 'Drive for desktop'"
    ),
    "TIMEOUT": (
        "neither the browser nor Drive answered in time. Look for a question that hides behind"
        " this page, and run this cell again"
    ),
    "ValueError mount failed": f"Drive did not start. Run this cell again, or else {GIVE_UP}",
    "NotebookAccessError": (
        "this notebook may not read it. Click the key on the left, switch on 'Notebook access' for"
        " it, and run this cell again"
    ),
    "TimeoutException": "the page does not answer. Reload it, and run this cell again",
}
"""What to make of the errors of Google's client, by a part of their class and words."""

_page = threading.RLock()
_mounts_made = 0


class _Silence(BaseException):
    """The page has not answered in time; Google's client would take an Exception for an answer."""


def mounts_made() -> int:
    """Return how often this process has mounted Drive: what was copied before may be lost."""
    return _mounts_made


def persistent_directory(
    chosen: str | Path = "", *, name: str, project_dir: str | Path | None = None
) -> tuple[Path, str]:
    """Return the directory that outlives the machine; mount Drive in Colab.

    Args:
        chosen: The directory that the user has chosen, which wins over everything.
        name: Of the project; its directory in My Drive.
        project_dir: What takes Drive's place on a machine of one's own; by default, the working
            directory.

    Returns:
        The directory; and why it is not on Drive, in words, or nothing if it is.

    Raises:
        UserError: If Drive can't be mounted.
    """
    directory, place = Path(chosen).expanduser().absolute(), where()
    if chosen and not (place == "colab" and belongs_on_drive(directory)):
        return directory, f"not needed: persistent_dir names another directory, {directory}"
    if place == "colab":
        my_drive = mount_drive()  # else a directory of this name would be made on Colab's own disk
        return directory if chosen else my_drive / name, ""
    if place == "kaggle":
        working = environment.MACHINE / "kaggle/working"
        return working, (
            f"there is no Google Drive on Kaggle; {working} takes its place, and is kept with the"
            " notebook's version"
        )
    return Path(project_dir or "").absolute(), (
        "there is no Google Drive outside Colab; the project's directory takes its place"
        " (persistent_dir may name a directory of a Drive that rclone has mounted)"
    )


def mount_drive(mountpoint: str | Path | None = None, *, timeout_secs: float = 120.0) -> Path:
    """Mount Google Drive in Colab unless it is mounted, and return its directory My Drive.

    The mount table is looked at first: Colab's own `mount` asks the browser before it looks, and
    takes a directory `My Drive` on the machine's own disk for Drive. A Drive whose connection was
    lost (Errno 107) is freed and mounted again, several times if need be. Threads that call this
    at the same time wait for each other.

    Args:
        mountpoint: By default where Drive is mounted already, or else `/content/drive`.
        timeout_secs: How long the browser and Drive have to answer, each; Colab adds 30 seconds.

    Raises:
        UserError: If Drive can't be mounted, with the reason and what to do.

    Example:
        >>> my_drive = exactrun.mount_drive()  # doctest: +SKIP
    """
    global _mounts_made
    place = Path(mountpoint or drive_mountpoint()).expanduser().absolute()
    lost, pauses = False, iter(BACK_OFF)
    with _asking("Drive was not mounted", patience=2 * timeout_secs + 60):
        while True:
            try:
                if lost or not is_drive(place):
                    _ask_for_drive(place, timeout_secs, lost=lost)
                    _mounts_made += 1
                shutil.disk_usage(place)  # never answered from a cache, as `stat` is
                (place / "My Drive").stat()
                return place / "My Drive"
            except OSError as error:
                lost = error.errno in LOST
                pause = next(pauses, None)
                if not lost or pause is None:
                    raise UserError(
                        f"Drive was mounted, but {place / 'My Drive'} can't be used:"
                        f" {explain(error)}. Run this cell again, or {GIVE_UP}.{WITHOUT}"
                    ) from error
                say(f"The connection to Drive was lost; it is mounted again in {pause:g} s.")
                time.sleep(pause)


def prove_writable(directory: str | Path) -> str:
    """Prove that a directory keeps what is written to it: write, read back, compare, delete.

    Returns:
        What was found, in words.

    Raises:
        UserError: If it can't be written, gives back something else, or lies where Drive should
            be mounted and isn't.
    """
    directory, started = Path(directory), time.monotonic()
    wanted = secrets.token_bytes(1 << 16)
    try:
        require_mounted(directory)
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / f".probe-{os.getpid()}-{secrets.token_hex(4)}"
        probe.write_bytes(wanted)
        found = probe.read_bytes()
        discard(probe)
        require_mounted(directory)
    except OSError as error:
        raise UserError(
            f"{directory} can't be written: {explain(error)}. Set persistent_dir to a directory"
            " that can, or free space in it."
        ) from error
    if found != wanted:
        raise UserError(
            f"{directory} gave back other bytes than were written to it. Don't trust it: set"
            " persistent_dir to another directory."
        )
    return f"64 KiB written and read back in {time.monotonic() - started:.2f} s"


def get_secret(name: str) -> str:
    """Return a secret: of the environment, of Colab's page or of Kaggle's.

    White space around it, such as a newline that was pasted with it, is stripped.

    Raises:
        UserError: If there is none of this name, if this notebook may not read it, or if the page
            does not answer.

    Example:
        >>> token = exactrun.get_secret("GITHUB_TOKEN")  # doctest: +SKIP
    """
    if found := os.environ.get(name, "").strip():
        return found
    place, what = where(), f"The secret {name} was not read"
    add = f"Set it as a variable of the environment: export {name}=…"
    if place == "colab":
        add = "Click the key on the left, add it there, and allow notebook access."
        if not _has_page():
            raise UserError(
                f"{what}: {NO_PAGE}. In a cell, pass it on first: import os, exactrun;"
                f" os.environ[{name!r}] = exactrun.get_secret({name!r})"
            )
        with _asking(what):
            try:
                found = _google("userdata").get(name)
            except Exception as error:
                if type(error).__name__ != "SecretNotFoundError":
                    raise
    elif place == "kaggle":
        add = "Add it under Add-ons → Secrets, and attach it to this notebook."
        with _asking(what, advice=add):
            found = importlib.import_module("kaggle_secrets").UserSecretsClient().get_secret(name)
    found = str(found or "").strip()
    if not found:
        raise UserError(f"There is no secret {name}, or it is empty. {add}")
    return found


def authenticate() -> None:
    """Have Colab's page ask for the user's account, unless it was given already.

    Raises:
        UserError: If it was refused, or nobody answered within five minutes.
    """
    advice = "Run this in a cell, and allow the notebook to see your Drive when the browser asks."
    with _asking("The account was not given", advice=advice), _time_limit(TO_ANSWER):
        _google("auth").authenticate_user()


def disconnect(directory: str | Path) -> None:
    """Wait until Drive has uploaded everything, then give Colab's machine back, which ends it.

    Outside Colab there is nothing to give back, and it says so.

    Args:
        directory: What has to outlive the machine, such as a run's persistent directory.

    Raises:
        UserError: If the directory is not on Drive, or Drive did not take everything, or the
            machine can't be given back; it goes on then.
    """
    if where() != "colab":
        say("– disconnect: only a machine of Colab's can be given back; this one goes on.")
        return
    what = "The machine is not given back"
    if not is_drive(directory):
        raise UserError(
            f"{what}: {directory} is on its own disk, not on a mounted Drive, and would be deleted"
            f" with it. Download the directory, then {GIVE_UP}."
        )
    if not _has_page():
        raise UserError(f"{what}: {NO_PAGE}. Do it in a cell, or {GIVE_UP}.")
    say("Waiting until Drive has uploaded everything.")
    advice = (
        "Leave this page open for some minutes, and compare the directory on"
        f" https://drive.google.com with {directory} before the session ends."
    )
    with _asking(f"{what}, as Drive has not taken everything", advice=advice):
        # A lost connection uploads nothing, and Google's flush may not tell.
        shutil.disk_usage(directory)
        _google("drive").flush_and_unmount()
    say("All of it is on Drive. The machine is given back now.")
    with _asking(
        f"All of it is on Drive, but {what.lower()}", advice=f"Do it yourself: {GIVE_UP}."
    ):
        _google("runtime").unassign()


def _ask_for_drive(place: Path, timeout_secs: float, *, lost: bool) -> None:
    """Call Colab's own `mount`, unless it can't do what it says.

    Raises:
        OSError: If a lost Drive can't be looked at.
        UserError: If Drive was not mounted.
    """
    reason = ""
    if not (environment.MACHINE / "var/colab/hostname").exists():
        reason = (
            "no page of Colab is connected here. Open the notebook on"
            " https://colab.research.google.com"
        )
    elif os.environ.get("VERTEX_PRODUCT") == "COLAB_ENTERPRISE":
        reason = "Colab Enterprise has no Drive; a mounted Cloud Storage bucket can take its place"
    elif not _has_page():
        reason = (
            f"{NO_PAGE}. Mount it in a cell first, then run this again: import exactrun;"
            " exactrun.mount_drive()"
        )
    elif lost and (refused := _free(place)):
        reason = f"its connection was lost, and it can't be freed: {refused}. {GIVE_UP}"
    elif not is_drive(place) and place.is_symlink():  # what Google's own may take for Drive
        reason = MEANING["must not be a symlink"]
    elif not is_drive(place) and place.is_dir() and any(place.iterdir()):
        reason = MEANING["must not already contain files"]
    else:
        with _asking("Drive was not mounted", place=place, after=WITHOUT):
            _google("drive").mount(str(place), timeout_ms=int(timeout_secs * 1000))
        if not is_drive(place):
            reason = "Colab said that it was, but the mount table has no Drive at MOUNTPOINT"
    if reason:
        told = reason.replace("MOUNTPOINT", str(place))
        raise UserError(f"Drive was not mounted: {told}.{WITHOUT}")


def _free(place: Path) -> str:
    """Unmount a Drive whose connection was lost, though files in it are open; or say why not.

    Colab's own way, `umount -f`, fails while a file or a working directory is open there.
    """
    while is_drive(place):  # of several mounts at one point, each hides the one before
        done = subprocess.run(["umount", "-l", str(place)], capture_output=True, text=True)
        if done.returncode:
            return done.stderr.strip()
    return ""


def _google(name: str) -> Any:
    """Import a module of Google's client, which is in Colab only."""
    return importlib.import_module(f"google.colab.{name}")


def _has_page() -> bool:
    """Tell whether this process is a kernel, whose page can be asked."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None


@contextlib.contextmanager
def _asking(
    what: str,
    *,
    advice: str = "Run this cell again.",
    after: str = "",
    place: Path | None = None,
    patience: float = TO_ANSWER,
) -> Iterator[None]:
    """Ask Colab while no other thread does, as its page mixes up answers; put errors into words.

    Args:
        what: What an error means.
        advice: What to do if `MEANING` has none.
        after: What else to say.
        place: The mountpoint.
        patience: Seconds to wait for other threads.

    Raises:
        UserError: Instead of Google's errors, which have no common base.
    """
    if not _page.acquire(timeout=patience):
        raise UserError(
            f"{what}: another question to this page is still open. Answer it, or Runtime → Restart"
            " session, and run this again."
        )
    try:
        yield
    except UserError:
        raise
    except _Silence:
        raise UserError(
            f"{what}: the page has not answered for {TO_ANSWER:.0f} s. Look for a question that"
            f" hides behind it. {advice}"
        ) from None
    except Exception as error:
        said = explain(error).rstrip(". ")
        whole = f"{type(error).__name__} {said}"
        if "'kernel'" in said and not _has_page():
            said = NO_PAGE
        meaning = next((MEANING[part] for part in MEANING if part in whole), None)
        told = f"{meaning}." if meaning else f"{said or type(error).__name__}. {advice}"
        raise UserError(f"{what}: {told.replace('MOUNTPOINT', str(place))}{after}") from error
    finally:
        _page.release()


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Give up what takes longer, with `_Silence`; in the main thread, where cells run."""
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return

    def give_up(*_: object) -> None:
        raise _Silence

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
