"""Executing a notebook through papermill, without papermill's ways to miss a failure."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from papermill.engines import NotebookExecutionManager
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from ..errors import UserError
from ..files import patiently, write_whole
from . import DEFAULT_LIMITS, Limits, simulated_colab
from .engine import Failed, execute
from .files import load_notebook
from .kernels import kernel_fault
from .parameters import check_parameters
from .record import read_record
from .stopping import STOPPED, sigterm_as_interrupt


@dataclass(frozen=True, kw_only=True)
class Executed:
    """An executed notebook, as far as it came.

    Attributes:
        notebook: Its cells, with what they put out.
        path: Its file.
        report: The same as a web page that needs nothing else.
        record: What the notebook recorded; empty if nothing was asked for, or left.
        seconds: What the run took, the kernel's start included.
    """

    notebook: nbformat.NotebookNode
    path: Path
    report: Path
    record: Mapping[str, Any]
    seconds: float

    def outputs(self, cell: str) -> list[nbformat.NotebookNode]:
        """Return the outputs of the cells with an id or a tag.

        Raises:
            UserError: If there is no such cell.
        """
        found = [
            each
            for each in self.notebook.cells
            if each.cell_type == "code" and cell in (each.id, *each.metadata.get("tags", []))
        ]
        if not found:
            raise UserError(f"{self.path} has no cell of code with the id or tag {cell!r}.")
        return [output for each in found for output in each.outputs]

    def text(self, cell: str) -> str:
        """Return what the cells with an id or a tag printed and showed as text."""
        outputs = self.outputs(cell)
        return "".join(
            output.get("text", "") or output.get("data", {}).get("text/plain", "")
            for output in outputs
        )

    def check(self, name: str) -> dict[str, str]:
        """Return one of the recorded checks: its name, status and detail.

        Raises:
            UserError: If the notebook recorded none of that name.
        """
        checks: dict[str, dict[str, str]] = {c["name"]: c for c in self.record.get("checks", [])}
        if name not in checks:
            there = ", ".join(checks) or "none"
            raise UserError(f"{self.path} recorded no check {name!r}. It recorded: {there}.")
        return checks[name]


class NotebookFailed(UserError):
    """A notebook that did not pass; the message says what failed.

    Attributes:
        executed: The notebook as far as it came.
    """

    def __init__(self, message: str, executed: Executed) -> None:
        super().__init__(message)
        self.executed = executed


@sigterm_as_interrupt()
def run_notebook(
    notebook: str | Path,
    *,
    output: str | Path = "build",
    parameters: Mapping[str, Any] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    record: str | Path | None = None,
    colab: bool | str | Path = False,
) -> Executed:
    """Execute a notebook from top to bottom and write its report, also if it fails.

    It passes if every code cell ran, in order, none raised (unless tagged `raises-exception`), no
    `!` or `%pip` line failed, no thread died, the kernel lived, within the limits, and no check
    that it recorded failed.

    Args:
        notebook: The notebook; it is not changed.
        output: Directory for the executed notebook and its report.
        parameters: Values for some of the notebook's parameters.
        limits: What it may take.
        record: The JSON file of checks that the notebook writes.
        colab: Whether to run it as in Colab: on a new simulated machine in this directory, beside
            its `drive/`; True for `colab/` in the output directory.

    What an earlier run left in the output directory goes first, so nobody takes it for this one's.

    Raises:
        UserError: If the notebook or a parameter can't be taken, or another run writes there.
        NotebookFailed: If the run did not pass.
        KeyboardInterrupt: If it was stopped, by Ctrl-C or SIGTERM; its report is written.
    """
    notebook, output, started = Path(notebook), Path(output), time.monotonic()
    path = output / notebook.name
    page = path.with_suffix(".html")
    with _only_run_into(path, notebook):
        values = check_parameters(notebook, parameters or {})
        prepared, kernel = _prepared(notebook, values)
        env, cwd = {}, notebook.parent
        if colab:
            place = output / "colab" if colab is True else Path(colab)
            env = simulated_colab.environment(place.resolve())
            cwd = Path(env["EXACTRUN_SIMULATED_MACHINE"]) / "content"
        output.mkdir(parents=True, exist_ok=True)
        record = Path(record) if record is not None else None
        before = _stamp(record)
        manager = _AtomicManager(prepared, str(path), progress_bar=False)
        found: dict[str, Any] = {}
        problems: list[str] = []
        written: list[Path] = []

        def done() -> None:
            passed = prepared.metadata["exactrun"]["passed"]
            if record is not None and (passed or _stamp(record) != before):
                try:
                    found.update(read_record(record))
                except UserError as error:
                    problems.append(f"it left no record: {error}")
            problems.extend(
                f"the check {check['name']!r} failed: {check['detail']}"
                for check in found.get("checks", [])
                if check["status"] == "failed"
            )
            problem = "; ".join(problems)
            if passed and problem:  # for whoever reads the notebook's file and not its page
                prepared.metadata["exactrun"].update(passed=False, problem=problem)
            manager.notebook_complete()
            from .report import write_report  # loaded by now, while the kernel started

            written.append(
                write_report(path, page, beside=notebook.parent, record=found, problem=problem)
            )

        def executed() -> Executed:
            seconds = time.monotonic() - started
            return Executed(
                notebook=prepared, path=path, report=written[0], record=found, seconds=seconds
            )

        threading.Thread(target=_load_report, daemon=True).start()
        try:
            manager.notebook_start()
            execute(manager, kernel, limits=limits, cwd=str(cwd), env=env, done=done)
        except Failed as failure:
            message = f"{notebook} failed in {failure}\nUp to there: {page}"
            raise NotebookFailed(message, executed()) from failure
        except KeyboardInterrupt as stop:
            there = f"\nUp to there: {page}" if written else ""
            message = f"{notebook} was not finished: {str(stop) or STOPPED}{there}"
            raise KeyboardInterrupt(message) from stop
        if problems:
            message = f"{notebook} ran to its end, but {'; '.join(problems)}\nReport: {page}"
            raise NotebookFailed(message, executed())
        return executed()


def forget(notebook: Path, output: Path) -> None:
    """Delete an executed notebook and its page: they tell of the run before.

    Raises:
        UserError: If another run is writing them at this time.
    """
    with _only_run_into(output / notebook.name, notebook):
        pass


def _prepared(notebook: Path, values: Mapping[str, Any]) -> tuple[nbformat.NotebookNode, str]:
    """Return a notebook with its parameters' values, and the name of its kernel."""
    prepared = load_notebook(notebook)
    for each in (prepared, *prepared.cells):  # of an earlier run: papermill builds on them
        each.metadata.pop("papermill", None)
    prepared.metadata.pop("exactrun", None)
    prepared = load_notebook_node(prepared)
    kernel = prepared.metadata.get("kernelspec", {}).get("name", "python3")
    if fault := kernel_fault(kernel, prepared.metadata):
        raise UserError(f"{notebook} {fault}")
    if values:
        prepared = parameterize_notebook(prepared, values, kernel_name=kernel, language="python")
    return prepared, kernel


@contextmanager
def _only_run_into(path: Path, notebook: Path) -> Iterator[None]:
    """Hold a place for one run, and delete what the run before left there.

    Raises:
        UserError: If that is the notebook itself, or another run is writing there.
    """
    if path.resolve() == notebook.resolve():
        other = f"Choose another directory than {path.parent}."
        raise UserError(f"{notebook} would be overwritten. {other}")
    with _locked(path):
        for earlier in (path.with_suffix(".html"), path):
            patiently(earlier.unlink, missing_ok=True)
        yield


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock for who writes to a path on this machine.

    Raises:
        UserError: If another run holds it.
    """
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]
    file = Path(tempfile.gettempdir(), f"exactrun-{name}.lock")
    while True:
        with file.open("a") as lock:
            try:
                _lock(lock.fileno())
            except (BlockingIOError, PermissionError) as error:
                raise UserError(
                    f"{path} is being written by another run. Wait for its end, or choose another"
                    " directory."
                ) from error
            try:
                if not os.path.samestat(os.fstat(lock.fileno()), file.stat()):
                    continue
            except FileNotFoundError:  # who held it deleted it after it was opened here
                continue
            try:
                yield
            finally:
                if sys.platform != "win32":  # which can't delete what is open
                    file.unlink(missing_ok=True)
            return


def _lock(file: int) -> None:
    """Lock an open file until it is closed; BlockingIOError or PermissionError if another has."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _load_report() -> None:
    """Load what writes the report: half a second in which the kernel starts."""
    from . import report  # noqa: F401


class _AtomicManager(NotebookExecutionManager):
    """Keeps papermill's record of a run; who reads the file never sees half of it."""

    _next_save = 0.0

    def save(self, **_: Any) -> None:
        """Write the file; one that takes long, of large outputs, a tenth of the time."""
        if (begun := time.monotonic()) >= self._next_save:
            write_whole(Path(self.output_path), nbformat.writes(self.nb) + "\n")
            took = time.monotonic() - begun
            self._next_save = begun + (10 * took if took > 0.5 else 0)
        self.last_save_time = self.now()

    def notebook_complete(self, **options: Any) -> None:
        """Write the file for the last time."""
        self._next_save = 0.0
        super().notebook_complete(**options)


def _stamp(path: Path | None) -> int | None:
    """Return when a file was written; None if there is none."""
    return path.stat().st_mtime_ns if path is not None and path.exists() else None
