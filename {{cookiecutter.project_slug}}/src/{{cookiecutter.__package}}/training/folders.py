"""The two places of a run: a fast one that dies with the machine, and one that lasts."""

from __future__ import annotations

import hashlib
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from ..colab.files import discard, explain
from ..colab.publishing import Job, Publisher, publisher
from ..errors import UserError
from . import checkpoints
from .checkpoints import Checkpoint

NEWEST = "The newest checkpoint"


class RunFolders:
    """Where a run's files are written, and where they are kept.

    The training writes to the local disk only; what is finished is published in the background, so
    that a slow or failing Drive never holds up a step.

    Args:
        name: The run's name.
        scratch: A folder on the machine's own disk.
        persistent: A folder that outlives the machine, such as Drive.
        writes: Whether this process writes to the persistent folder; of several workers that train
            together, only the chief does.

    Attributes:
        work: The run's folder on the local disk.
        kept: The run's folder in the persistent place.

    Raises:
        UserError: If another session is writing this run, or if the folder can't be written.
    """

    def __init__(self, name: str, *, scratch: Path, persistent: Path, writes: bool = True) -> None:
        self.kept = persistent / "runs" / name
        # The same name in two persistent places is two runs, on the local disk as well.
        place = hashlib.sha256(str(persistent.resolve()).encode()).hexdigest()[:8]
        self.work = scratch / "runs" / place / name
        try:
            # Not `exists`, which takes a lost connection for a missing folder.
            self.kept.stat()
        except FileNotFoundError:  # new, or deleted by its owner: begin afresh
            shutil.rmtree(self.work, ignore_errors=True)
        except OSError as error:
            raise UserError(f"{self.kept} can't be read: {explain(error)}. Try again.") from error
        try:
            self.work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{self.work} can't be written: {explain(error)}. The project's folder has to be"
                " on a disk that can: copy the project to another place."
            ) from error
        # Writing to the local disk never waits for a copy to a slow Drive.
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._written: Future[None] | None = None
        self._failure = ""
        self._publisher: Publisher | None = None
        if writes:
            self._open_publisher()

    @property
    def checkpoints(self) -> tuple[Path, Path]:
        """The folders that may hold checkpoints of this run."""
        return self.work / "checkpoints", self.kept / "checkpoints"

    def keep(self, checkpoint: Checkpoint, *, wait: bool) -> None:
        """Have a checkpoint written to the local disk and copied to the persistent place.

        Args:
            checkpoint: The state; its arrays must not change any more.
            wait: Whether to wait until it is written locally. Otherwise, if the disk is still
                busy with the one before, this one is left out: another one follows soon.
        """
        if self._written is not None and not self._written.done() and not wait:
            return
        self._written = self._writer.submit(self._write, checkpoint)
        if wait:
            self._written.result()

    def wait(self) -> str:
        """Wait for what is under way; return why the newest checkpoint is not kept, or nothing."""
        return self.unsafe().get(NEWEST, "")

    def unsafe(self) -> dict[str, str]:
        """Wait for what is under way; return what is not kept, by its name, and why."""
        if self._written is not None:
            self._written.result()
        unsafe = {} if self._publisher is None else self._publisher.flush().unsafe
        return unsafe | ({NEWEST: self._failure} if self._failure else {})

    def publish(self, file: Path) -> Path:
        """Copy a finished file to the run's persistent folder, and wait for it.

        Raises:
            UserError: If it can't be copied; the file itself stays where it is.
        """
        self.publish_later(file)
        if reason := self._open_publisher().flush().unsafe.get(file.name):
            raise UserError(
                f"{file.name} was not copied to {self.kept}: {reason}. It is complete in"
                f" {file.parent}, and goes on being tried. If that is Drive, empty its trash or"
                " mount it again by running the cell that opens the folders; then run this again."
            )
        return self.kept / file.name

    def publish_later(self, file: Path, *, within: Path = Path()) -> None:
        """Have a file copied in the background, as it is by then.

        Args:
            file: A file on the local disk. One that is only ever added to may still be open.
            within: The folder inside the run's folder to copy it to.
        """
        job = Job(name=str(within / file.name), files=(file,), folder=self.kept / within)
        self._open_publisher().submit(job)

    def _open_publisher(self) -> Publisher:
        """Return the run's publisher; the first time, with what a dead session left unpublished."""
        if self._publisher is None:
            try:
                self.kept.mkdir(parents=True, exist_ok=True)
                self._publisher = publisher(self.kept)
                local, kept = self.checkpoints
                newest = max(local.glob("step-*.json"), default=None)
                if newest is not None and not (kept / newest.name).exists():
                    self._submit((newest.with_suffix(".npz"), newest))
            except OSError as error:
                raise UserError(
                    f"{self.kept} can't be written: {explain(error)}. Set persistent to a folder"
                    " that can, or free space in it."
                ) from error
        return self._publisher

    def _write(self, checkpoint: Checkpoint) -> None:
        local = self.checkpoints[0]
        try:
            self._submit(checkpoints.save(local, checkpoint))
            checkpoints.prune(local, emptied=False)
            self._failure = ""
        except OSError as error:
            self._failure = str(error)
            print(f"A checkpoint was not written to {local}: {error}. The ones before are kept.")

    def _submit(self, files: tuple[Path, Path]) -> None:
        """Have a checkpoint's files published, the manifest last, in place of one that waits."""
        kept = self.checkpoints[1]

        def tidy() -> None:
            checkpoints.prune(kept, emptied=True)
            for arrays in kept.glob("step-*.npz"):  # of a session that died before the manifest
                if not arrays.with_suffix(".json").exists():
                    discard(arrays)

        self._open_publisher().submit(Job(name=NEWEST, files=files, folder=kept, then=tidy))
