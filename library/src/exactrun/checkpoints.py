"""Checkpoints of a run: written by a thread, verified when read, deleted only for better ones.

A checkpoint is one file, `step-00000250.npz` (see `archive`). What changes rarely, such as the best
weights that `EarlyStopping` holds, lies in a second file, named by its content, which is written
when it changes: `best-3fa94c01d27b6e58.npz`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from .archive import Damaged, read_archive, read_facts, verify_archive, write_archive
from .background import Background
from .errors import UserError
from .files import digest, discard, explain, names_in
from .lock import Lock
from .mounts import require_mounted
from .upload import copy_verified

FORMAT = 1
"""Raised when a checkpoint of today could not be read by a program of before."""

PATIENCE = 120.0
"""Seconds without progress after which a copy to the persistent directory is taken for stalled."""

REST = 0.25
"""Seconds before a checkpoint is written: the next step has enough to do with writing to new
buffers, since TensorFlow's own are held here."""

STEP = re.compile(r"step-(\d{8,})\.npz")
LASTING = re.compile(r"best-[0-9a-f]{16}\.npz")
PARTIAL = re.compile(r"\..*\.npz\.partial")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state of a run after a whole number of steps.

    Attributes:
        step: Optimizer steps made so far.
        arrays: What changes with every step, by name.
        lasting: What changes rarely, by name.
        facts: The rest, as JSON can hold it.
    """

    step: int
    arrays: Mapping[str, np.ndarray]
    lasting: Mapping[str, np.ndarray]
    facts: dict[str, Any]


class Checkpoints:
    """Keep the checkpoints of a run in a directory and, if one is given, in a persistent one, too.

    Training writes to the first, on the machine's own disk; from there a thread copies to the
    second, such as a directory on Drive, so that a slow or lost Drive never holds up a step.

    Args:
        directory: On the local disk.
        persistent: What outlives the machine; the same as `directory` if that does.
        max_to_keep: How many checkpoints stay in each.
        lock: Of the persistent directory: when another session has taken it over, no more is
            written there, nor deleted.

    Example:
        >>> exactrun.fit(model, x, y, checkpoint_dir=Checkpoints("run", persistent="drive/run"))
        ... # doctest: +SKIP
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        persistent: str | Path | None = None,
        max_to_keep: int = 2,
        lock: Lock | None = None,
    ) -> None:
        if isinstance(max_to_keep, bool) or not isinstance(max_to_keep, int) or max_to_keep < 1:
            raise UserError(f"max_to_keep={max_to_keep!r} must be a whole number from 1 on.")
        self.directory = Path(directory)
        places = [self.directory, *([Path(persistent)] if persistent is not None else [])]
        self.places = list(dict.fromkeys(places))
        self._max_to_keep, self._lock = max_to_keep, lock
        self._verified: set[Path] = set()
        self._writer = Background("exactrun-checkpoint")
        self._copier = Background("exactrun-upload")
        self._damaged: list[tuple[Path, str]] = []
        self._uncopied: tuple[Path, str] | None = None
        self._faults: dict[Path, str] = {}

    @property
    def unsaved(self) -> str:
        """Why the newest state is not in every place; an empty text if it is."""
        return "; ".join(self._faults.values())

    # --- Reading -----------------------------------------------------------------------------

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint of all places that verifies; None if there is none at all.

        Nothing on disk is changed; see `set_damaged_aside`.

        Raises:
            UserError: If a place can't be read, or if there are checkpoints and none verifies.
        """
        found = [(name, place) for place in self.places for name in _steps(place)]
        # The local one first: of two places with the same step, it is read faster.
        found.sort(key=lambda each: _step(each[0]), reverse=True)
        self._damaged.clear()
        self._uncopied = None
        for name, place in found:
            try:
                arrays, facts = read_archive(place / name)
                if facts["format"] > FORMAT:
                    raise UserError(
                        f"{place / name} is of format {facts['format']}; exactrun here reads"
                        f" {FORMAT}. Install the release that wrote it, {facts['library']}."
                    )
                lasting: dict[str, np.ndarray] = {}
                if facts["lasting"]:
                    lasting = self._read_lasting(facts["lasting"], near=place)
            except FileNotFoundError:  # deleted meanwhile, by a session that has a newer one
                continue
            except OSError as error:
                raise _unreadable(place, error) from error
            except Damaged as error:
                self._damaged.append((place / name, str(error)))
                continue
            self._verified.add(place / name)
            if place == self.directory and (name, self.places[-1]) not in found:
                self._uncopied = (place / name, facts["lasting"])
            return Checkpoint(step=facts["step"], arrays=arrays, lasting=lasting, facts=facts)
        if self._damaged:
            listed = "\n".join(f"  {path}: {why}" for path, why in self._damaged)
            raise UserError(
                f"There are checkpoints of this run, and none can be used:\n{listed}\nThe run does"
                " not start over by itself. If there is a good copy elsewhere, put it there. To"
                f" begin again from step 0, delete {' and '.join(map(str, self.places))}, or choose"
                " another checkpoint_dir."
            )
        return None

    def set_damaged_aside(self) -> None:
        """Rename what `newest` found damaged, with a message, and delete half-written files."""
        for path, why in self._damaged:
            aside = path.with_name(f"{path.name}.damaged")
            print(f"A checkpoint is damaged and set aside as {aside.name}: {why}.", flush=True)
            try:
                path.replace(aside)
            except OSError as error:
                raise _unwritable(path.parent, error) from error
        self._damaged.clear()
        for place in self.places:
            try:
                for name in filter(PARTIAL.fullmatch, names_in(place)):
                    discard(place / name)
            except OSError as error:
                raise _unwritable(place, error) from error

    def catch_up(self) -> None:
        """Have what `newest` found copied to the persistent place, if its session died before."""
        if self._uncopied is not None:
            path, lasting = self._uncopied
            self._copier.submit(lambda: self._copy(path, lasting))

    def require_writable(self) -> None:
        """Refuse places that can't be written to, and leave no directory behind."""
        made: list[Path] = []
        for place in self.places:
            trial = place / ".trial.npz.partial"
            made = [p for p in (place, *place.parents) if not p.exists()] + made
            try:
                require_mounted(place)
                place.mkdir(parents=True, exist_ok=True)
                trial.write_bytes(b"exactrun")
                discard(trial)
            except OSError as error:
                with contextlib.suppress(OSError):
                    trial.unlink()
                for directory in made:
                    with contextlib.suppress(OSError):
                        directory.rmdir()
                raise _unwritable(place, error) from error

    # --- Writing -----------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is still being written to the local disk."""
        return self._writer.busy

    def save(self, checkpoint: Checkpoint, *, wait: bool = False) -> None:
        """Have a checkpoint written, and copied to the persistent place.

        Failures of the disk are told and tried again with the next checkpoint: they never end a
        training.

        Args:
            checkpoint: The state; its arrays must not change any more.
            wait: Whether to wait until it is on the local disk.

        Raises:
            Exception: What else went wrong in the thread, here or in an earlier call.
        """
        self._raise_unexpected()
        self._writer.submit(lambda: self._write(checkpoint))
        if wait:
            self._writer.wait()
            self._raise_unexpected()

    def wait(self) -> str:
        """Wait for what is under way; return why the newest state is not in every place, or ''."""
        self._writer.wait()
        self._raise_unexpected()
        if not self._copier.wait(patience=PATIENCE):
            place = self.places[-1]
            self._faults[place] = f"{place} has not answered for {PATIENCE:.0f} s"
        self._raise_unexpected()
        return self.unsaved

    def _raise_unexpected(self) -> None:
        for thread in (self._writer, self._copier):
            if thread.error is not None:
                raise thread.error

    def _write(self, checkpoint: Checkpoint) -> None:
        self._writer.pause(REST)
        lasting, pause = "", self._writer.pause
        facts = checkpoint.facts | {"format": FORMAT, "step": checkpoint.step}
        try:
            if checkpoint.lasting:
                lasting = _name_of(checkpoint.lasting)
                if not self._holds(self.directory, lasting):
                    write_archive(self.directory / lasting, checkpoint.lasting, {}, pause=pause)
            path = self.directory / f"step-{checkpoint.step:08}.npz"
            write_archive(path, checkpoint.arrays, facts | {"lasting": lasting}, pause=pause)
        except OSError as error:
            self._tell(self.directory, f"Step {checkpoint.step} was not saved", error)
            return
        self._saved(self.directory, path.name)
        if len(self.places) > 1:
            self._copier.submit(lambda: self._copy(path, lasting))

    def _copy(self, path: Path, lasting: str) -> None:
        """Copy a checkpoint to the persistent place, what it refers to first."""
        place = self.places[1]
        try:
            if self._lock is not None:
                self._lock.hold()
            if lasting and not self._holds(place, lasting):
                copy_verified(self.directory / lasting, place, moved=self._copier.pause)
                self._verified.add(place / lasting)
            copy_verified(path, place, moved=self._copier.pause)
        except OSError as error:
            # If it was deleted here, since a newer one is written, that one is copied next.
            if path.exists() or not isinstance(error, FileNotFoundError):
                self._tell(place, f"{path.name} was not copied", error)
            return
        self._saved(place, path.name)

    def _saved(self, place: Path, name: str) -> None:
        self._verified.discard(place / name)
        try:
            verify_archive(place / name)
            self._verified.add(place / name)
            self._prune(place)
        except Damaged as error:
            print(f"{error}. Older checkpoints in {place} are not deleted.", flush=True)
            return
        except OSError as error:
            self._tell(place, "Old checkpoints were not deleted", error)
            return
        if self._faults.pop(place, ""):
            print(f"{name} is in {place} now.", flush=True)

    def _tell(self, place: Path, what: str, error: OSError) -> None:
        fault = self._faults[place] = f"{place}: {explain(error)}"
        print(f"{what} to {fault}. The checkpoints before it stay; it is tried again.", flush=True)

    def _prune(self, place: Path) -> None:
        """Delete what is older than the newest checkpoints that verify, as many as are to be kept.

        Damaged files don't count: they never push out good ones.
        """
        names = names_in(place)
        steps = sorted(filter(STEP.fullmatch, names), key=_step, reverse=True)
        usable = (name for name in steps if self._is_good(place, name))
        kept = list(islice(usable, self._max_to_keep))
        if len(kept) < self._max_to_keep:
            return
        for name in steps[steps.index(kept[-1]) + 1 :]:
            self._delete(place / name)
        if any(map(LASTING.fullmatch, names)):
            # Newer ones that this session has not verified may refer to something, too.
            used = {_lasting_of(place / name) for name in _steps(place)}
            for name in filter(LASTING.fullmatch, names):
                if name not in used:
                    self._delete(place / name)

    def _delete(self, path: Path) -> None:
        """Delete a file, and leave its content to a copy that is being made of it."""
        self._verified.discard(path)
        if path.parent == self.places[-1]:
            discard(path)
        else:
            path.unlink(missing_ok=True)

    def _is_good(self, place: Path, name: str) -> bool:
        """Tell whether a checkpoint can be used; one of an earlier session is read, once."""
        if not self._holds(place, name):
            return False
        lasting = _lasting_of(place / name)
        return not lasting or self._holds(place, lasting)

    def _holds(self, place: Path, name: str) -> bool:
        """Tell whether a file is there and whole; one that isn't is to be written again."""
        path = place / name
        if name not in names_in(place):
            return False
        if path not in self._verified:
            try:
                verify_archive(path)
            except Damaged:
                return False
            self._verified.add(path)
        return True

    def _read_lasting(self, name: str, *, near: Path) -> dict[str, np.ndarray]:
        """Read what a checkpoint refers to, from its own place or from another one."""
        why = Damaged(f"{name}, to which it refers, is missing")
        for place in [near, *(p for p in self.places if p != near)]:
            if name in names_in(place):
                try:
                    return read_archive(place / name)[0]
                except Damaged as error:
                    why = error
        raise why


def _steps(place: Path) -> list[str]:
    try:
        require_mounted(place)
        return [name for name in names_in(place) if STEP.fullmatch(name)]
    except OSError as error:
        raise _unreadable(place, error) from error


def _step(name: str) -> int:
    matched = STEP.fullmatch(name)
    assert matched is not None
    return int(matched[1])


def _lasting_of(path: Path) -> str:
    try:
        return str(read_facts(path)["lasting"])
    except Damaged:  # it can't be used, so nothing that it refers to is needed for it
        return ""


def _name_of(arrays: Mapping[str, np.ndarray]) -> str:
    parts: list[bytes | memoryview] = []
    for name, array in arrays.items():
        parts.append(f"{name} {array.dtype.name} {array.shape}".encode())
        parts.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return f"best-{digest(*parts)[:16]}.npz"


def _unreadable(place: Path, error: OSError) -> UserError:
    return UserError(
        f"{place} can't be read: {explain(error)}. Whether it holds checkpoints of this run can't"
        " be told, so nothing is started. Make it readable, then run the same again."
    )


def _unwritable(place: Path, error: OSError) -> UserError:
    return UserError(
        f"{place} can't be written: {explain(error)}. Choose a checkpoint_dir that can, or free"
        " space on its disk."
    )
