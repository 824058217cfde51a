"""The two places of a run: a fast one that dies with the machine, and one that lasts."""

from __future__ import annotations

import hashlib
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from ..colab.files import publish
from ..errors import UserError
from . import checkpoints
from .checkpoints import Checkpoint


class RunFolders:
    """Where a run's files are written, and where they are kept.

    The training writes to the local disk only; one thread copies what is finished to the
    persistent folder, so that a slow or failing Drive never holds up a step.

    Args:
        name: The run's name.
        scratch: A folder on the machine's own disk.
        persistent: A folder that outlives the machine, such as Drive.

    Attributes:
        work: The run's folder on the local disk.
        kept: The run's folder in the persistent place.
    """

    def __init__(self, name: str, *, scratch: Path, persistent: Path) -> None:
        self.kept = persistent / "runs" / name
        # The same name in two persistent places is two runs, on the local disk as well.
        place = hashlib.sha256(str(persistent.resolve()).encode()).hexdigest()[:8]
        self.work = scratch / "runs" / place / name
        if not self.kept.exists():  # new, or deleted by its owner: begin afresh
            shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True, exist_ok=True)
        self.kept.mkdir(parents=True, exist_ok=True)
        # Writing to the local disk never waits for a copy to a slow Drive.
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._copier = ThreadPoolExecutor(max_workers=1, thread_name_prefix="publish")
        self._newest: tuple[Path, Path] | None = None
        self._written: Future[None] | None = None
        self._failure = ""

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
        if self._written is not None:
            self._written.result()
        self._copier.submit(lambda: None).result()  # it works in order: all before it is done
        return self._failure

    def publish(self, file: Path) -> Path:
        """Copy a finished file to the run's persistent folder, and wait for it.

        Raises:
            UserError: If it can't be copied; the file itself stays where it is.
        """
        try:
            return publish(file, self.kept)
        except OSError as error:
            raise UserError(
                f"{file.name} was not copied to {self.kept}: {error}. It is complete in"
                f" {file.parent}. If that is Drive, empty its trash or mount it again by running"
                " the cell that opens the folders; then run this step again."
            ) from error

    def _write(self, checkpoint: Checkpoint) -> None:
        local, kept = self.checkpoints
        try:
            self._newest = files = checkpoints.save(local, checkpoint)
            checkpoints.prune(local, emptied=False)
        except OSError as error:
            self._failure = str(error)
            print(f"A checkpoint was not written to {local}: {error}. The ones before are kept.")
            return
        self._copier.submit(self._copy, files, kept)

    def _copy(self, files: tuple[Path, Path], kept: Path) -> None:
        """Copy a checkpoint, its manifest last; the next one is the retry of one that failed."""
        if files != self._newest:  # Drive is slow, and a newer one is waiting
            return
        try:
            for file in files:
                publish(file, kept)
            checkpoints.prune(kept, emptied=True)
            self._failure = ""
        except OSError as error:
            self._failure = str(error)
            print(f"A checkpoint was not copied to {kept}: {error}. Training goes on.")
