"""Executing a notebook through papermill, without papermill's ways to miss a failure."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from .engine import Failed, StrictEngine
from .errors import HarnessError
from .files import load_notebook
from .kernel import Kernels
from .limits import NO_LIMITS, Limits
from .parameters import check_parameters, declared_parameters, parse_parameters

__all__ = [
    "Executed",
    "HarnessError",
    "Limits",
    "declared_parameters",
    "parse_parameters",
    "run",
]


@dataclass(frozen=True, kw_only=True)
class Executed:
    """What an execution leaves in its output folder.

    Attributes:
        notebook: The executed notebook, with its outputs.
        report: The same as a web page that needs nothing else.
    """

    notebook: Path
    report: Path


def run(
    notebook: Path,
    *,
    output: Path,
    parameters: Mapping[str, Any],
    limits: Limits = NO_LIMITS,
    record: Path | None = None,
) -> Executed:
    """Execute a notebook from top to bottom and write its report, also if it fails.

    It passes if every code cell ran, in order, none raised (unless tagged `raises-exception`), no
    `!` or `%pip` line failed, no thread died, and the kernel lived, within the limits.

    Args:
        notebook: The notebook; it is not changed.
        output: Folder for the executed notebook and its report.
        parameters: Values for some of the notebook's parameters.
        limits: What it may take.
        record: The `run.json` that the notebook writes, for the report's summary.

    Raises:
        HarnessError: If the notebook or a parameter can't be taken, or the run did not pass.
        KeyboardInterrupt: If it was stopped, by Ctrl-C or SIGTERM; its report is written.
    """
    values = check_parameters(notebook, parameters)
    executed = output / notebook.name
    page = executed.with_suffix(".html")
    if executed.resolve() == notebook.resolve():
        raise HarnessError(f"{notebook} would be overwritten. Choose another folder than {output}.")
    prepared = load_notebook_node(load_notebook(notebook))
    kernel = prepared.metadata.get("kernelspec", {}).get("name", "python3")
    if kernel not in Kernels().find_kernel_specs():
        raise HarnessError(
            f"{notebook} asks for the kernel {kernel}, which is not installed. Set the name in its"
            " metadata's kernelspec to python3."
        )
    if values:
        prepared = parameterize_notebook(prepared, values, kernel_name=kernel, language="python")

    def report() -> Path:
        from .report import write_report  # here, since loading it takes time, too

        return write_report(executed, page, beside=notebook.parent, record=record)

    written: list[Future[Path]] = []
    with _sigterm_as_interrupt(), ThreadPoolExecutor(max_workers=1) as beside:
        try:
            StrictEngine.execute_notebook(
                prepared,
                kernel,
                str(executed),
                limits=limits,
                cwd=str(notebook.parent),
                saved=lambda: written.append(beside.submit(report)),
            )
        except Failed as failure:
            raise HarnessError(
                f"{notebook} failed in {failure}\nUp to there: {written[0].result()}"
            ) from failure
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(
                f"{notebook} was not finished: {stop}\nUp to there: {written[0].result()}"
            ) from stop
        return Executed(notebook=executed, report=written[0].result())


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM, by which CI and batch systems stop a job, end a run as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is told of signals
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # once is enough: the rest is putting things away
        raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
