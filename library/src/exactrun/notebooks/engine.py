"""Executing a notebook's cells, and asking the kernel whether anything in them failed."""

from __future__ import annotations

import ast
import asyncio
import copy
import logging
import math
import os
import re
import signal
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from queue import Empty
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_core.paths import jupyter_path
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbclient.util import run_sync
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NotebookExecutionManager
from traitlets import default

from .kernel_faults import kernel_fault
from .limits import Limits
from .processes import MARK, end_all, guarded, memory_of, processes_of
from .progress import LINE_LIMIT, Progress, cells, collapse, shorten

TEXT_LIMIT = 100_000
"""Characters kept of one output: what a page can still show."""

WATCH = f"exec({Path(__file__).with_name('watch.py').read_text(encoding='utf-8')!r}, dict())"
TAKE = "__import__('IPython').get_ipython().exactrun_take({seconds})"
LAST_WAIT = 1.0
"""Seconds that threads which still run after the last cell are given, to end or to fail."""


class Kernels(KernelSpecManager):
    """The kernels that are installed, found without loading ipykernel, which takes 0.2 s."""

    @default("kernel_dirs")
    def _places(self) -> list[str]:
        return list(jupyter_path("kernels"))

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return how a kernel is started."""
        directory = Path(self.find_kernel_specs()[kernel_name])
        if (directory / "kernel.json").exists():
            return KernelSpec.from_resource_dir(str(directory))
        return super().get_kernel_spec(kernel_name)


class Failed(Exception):
    """A notebook did not pass; the message names the cell and says why."""


def execute(
    manager: NotebookExecutionManager,
    kernel_name: str,
    *,
    limits: Limits,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    done: Callable[[], object] = lambda: None,
    **options: Any,
) -> None:
    """Execute a notebook in place, and note in its metadata whether it passed.

    Args:
        manager: Papermill's, which holds the notebook and saves it after each cell.
        kernel_name: Of the kernel to start.
        limits: What the run may take.
        cwd: The kernel's working directory.
        env: The kernel's environment variables, besides those of this process.
        done: Called when the verdict is noted, before the kernel ends: a second, with TensorFlow.
        options: Papermill's own, for its client.

    Raises:
        Failed: If it did not pass.
        KeyboardInterrupt: If it was stopped.
    """
    client = _StrictClient(manager, kernel_name=kernel_name, limits=limits, **options)
    verdict = manager.nb.metadata["exactrun"] = nbformat.from_dict({"passed": False})
    with guarded(client.mark), closing(client):
        try:
            client.execute(cwd=cwd, env=env)
            verdict["passed"] = True
        except BaseException as error:
            known = isinstance(error, Failed | KeyboardInterrupt)
            verdict["failure"] = str(error) if known else f"{type(error).__name__}: {error}"
            verdict["cell"] = client.cell
            raise
        finally:
            done()


class _StrictClient(PapermillNotebookClient):
    """Runs the cells one by one and asks the kernel after each what papermill does not see."""

    def __init__(
        self, manager: NotebookExecutionManager, *, limits: Limits, **options: Any
    ) -> None:
        silent = logging.Logger("nbclient", level=logging.CRITICAL)  # failures are told once, here
        super().__init__(manager, **{"log": silent} | options)
        now = time.monotonic()
        self._limits, self._ends = limits, now + (limits.notebook or math.inf)
        self._cell_ends, self._count, self._fault = self._ends, 0, ""
        self._progress, self._errors = Progress(), list[str]()
        self.mark = uuid.uuid4().hex  # of its processes
        self.cell: str | None = None  # id of the one that runs, or ran last
        self.timeout_func, self.on_cell_executed = self._seconds_left, self._note_exit
        self.startup_timeout = math.ceil(min(limits.start, limits.notebook or math.inf))
        self.shell_timeout_interval = 1
        self.iopub_timeout = 60
        self.shutdown_kernel = "immediate"

    def execute(self, *, cwd: str | None, env: Mapping[str, str] | None) -> None:
        """Execute the cells."""
        try:
            self._execute_cells(cwd, dict(os.environ) | dict(env or {}))
            self.set_widgets_metadata()
            self.shutdown_kernel = "graceful"
        except KeyboardInterrupt:
            self._forget()
            raise

    def close(self) -> None:
        """End the kernel and every process that came of it."""
        known = processes_of(self.mark)  # while it can be seen whose child each is
        if self.km is not None:
            self._cleanup_kernel()
        for process in end_all(known | processes_of(self.mark)):
            cells.info("Ended a process that the notebook left: %s", process)

    def _start(self, cwd: str | None, env: dict[str, str]) -> None:
        env |= {MARK: self.mark, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}  # no debugger's warnings
        env.pop("MPLBACKEND", None)  # plots go into the notebook: there may be no display
        if fault := kernel_fault(Kernels(), self.kernel_name, self.nb.metadata):
            raise Failed(f"the notebook {fault}")
        try:
            self.create_kernel_manager().kernel_spec_manager = Kernels()
            if self.km.has_trait("transport_encryption"):  # or ipykernel 7.4 warns in each run
                self.km.transport_encryption = "auto"
            self.start_new_kernel(cwd=cwd, env=env)
            info = self._connect()
            faults = self._ask(None, WATCH)
        except (OSError, RuntimeError) as error:
            raise Failed(f"the kernel {self.kernel_name!r} did not start: {error}") from error
        if faults:
            raise Failed("; ".join(faults))
        self.nb.metadata["language_info"] = info["language_info"]

    async def _async_connect(self) -> dict[str, Any]:
        """Wait until the kernel answers and is heard; return what it says of itself.

        jupyter_client goes on until nothing more is heard, 0.3 s longer; whoever looks at whose
        answer a message is, as nbclient does, has no need of that.
        """
        self.kc = self.km.client()
        self.kc.start_channels()
        self.kc.allow_stdin = False
        ends = time.monotonic() + self.startup_timeout
        while time.monotonic() < ends:
            self.kc.kernel_info()
            with suppress(Empty):
                answer = await self.kc.shell_channel.get_msg(timeout=1)
                await self.kc.iopub_channel.get_msg(timeout=0.2)
                return dict(answer["content"])
            if not await self.km.is_alive():
                raise RuntimeError("it died before it answered")
        raise RuntimeError(f"it did not answer within {self.startup_timeout:g} s")

    _connect = run_sync(_async_connect)

    async def _async_forget(self) -> None:
        """End the tasks in whose midst an interrupt came."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    _forget = run_sync(_async_forget)

    def _execute_cells(self, cwd: str | None, env: dict[str, str]) -> None:
        heading, todo = "", []
        for index, cell in enumerate(self.nb.cells):
            if cell.cell_type == "markdown":
                heading = (re.findall(r"^#+ +(.+?)[ #]*$", cell.source, re.M) or [heading])[-1]
            elif cell.cell_type == "code" and cell.source.strip():
                todo.append((index, cell, heading))
        for number, (index, cell, heading) in enumerate(todo, start=1):
            place = f"cell {number} of {len(todo)}"
            cells.info(f"{place}: {heading}" if heading else place)
            self.nb_man.cell_start(cell, index)
            self.cell = cell.get("id")
            self._progress, self._errors = Progress(), []
            try:
                if number == 1:
                    self._start(cwd, env)
                self._execute_one(cell, index, wait=LAST_WAIT if number == len(todo) else 0)
            except (Failed, KeyboardInterrupt) as error:
                self.nb_man.cell_exception(cell, index)
                reason = str(error) or "stopped by Ctrl-C"
                cause = error.__cause__
                if not isinstance(cause, CellExecutionError) or cause.ename == "SystemExit":
                    # Of others the cell shows a traceback; papermill passes over a SystemExit.
                    cell.outputs.append(_as_output(reason))
                under = f" ({heading})" if heading else ""
                raise type(error)(f"{place}{under}: {reason}") from error
            finally:
                self._progress.end()
                self.nb_man.cell_complete(cell, index)

    def _execute_one(self, cell: nbformat.NotebookNode, index: int, *, wait: float) -> None:
        self._cell_ends = min(self._ends, time.monotonic() + (self._limits.cell or math.inf))
        try:
            self.execute_cell(cell, index)
            faults = self._ask(cell, wait=wait)
        except CellExecutionError as error:
            raise Failed(_named(error.ename, error.evalue)) from error
        except (CellTimeoutError, DeadKernelError) as error:
            raise Failed(self._end()) from error
        if "raises-exception" not in cell.metadata.get("tags", []):
            faults = self._errors + faults
        if self._fault:
            faults.append(self._fault)
        if (cell.execution_count or 0) <= self._count:
            faults.append("it was not executed in its turn; is it tagged to be skipped?")
        self._count = cell.execution_count or 0
        if faults:
            raise Failed("; ".join(faults))

    def _ask(
        self, cell: nbformat.NotebookNode | None, code: str = "", *, wait: float = 0.0
    ) -> list[str]:
        """Return what went wrong in the kernel since it was asked last, besides exceptions."""
        message = self.kc.execute(
            code, silent=True, user_expressions={"faults": TAKE.format(seconds=wait)}
        )
        content = self.wait_for_reply(message, cell)["content"]
        answer = content.get("user_expressions", {}).get("faults", {})
        if answer.get("status") != "ok":
            return [f"the kernel can't say what happened in it: {answer or content}"]
        return list(ast.literal_eval(answer["data"]["text/plain"]))

    def _note_exit(self, execute_reply: dict[str, Any], **_: Any) -> None:
        payload = execute_reply["content"].get("payload", [])
        if any(item.get("source") == "ask_exit" for item in payload):
            self._fault = "it ended the kernel by exit() or quit()"

    def process_message(
        self, msg: dict[str, Any], cell: nbformat.NotebookNode, cell_index: int
    ) -> nbformat.NotebookNode | None:
        """Take a message of the running cell, as it comes."""
        if time.monotonic() > self._cell_ends:
            # A flood of messages would keep nbclient from ever looking at the clock.
            raise asyncio.CancelledError
        if msg["msg_type"] == "error":
            # %run and widgets swallow an exception that they show, and it may be cleared at once.
            self._errors.append(_named(msg["content"]["ename"], msg["content"]["evalue"]))
        output = super().process_message(msg, cell, cell_index)
        self._progress.message(msg["msg_type"], msg["content"])
        return output

    def output(
        self, outs: list[Any], msg: dict[str, Any], display_id: str | None, cell_index: int
    ) -> nbformat.NotebookNode | None:
        """Add an output; a stream goes on where it stopped, and is kept to a readable size."""
        made = super().output(outs, msg, display_id, cell_index)
        if made is None:
            return None
        whole = copy.copy(made)  # what papermill writes to its files and its log
        if made.output_type == "stream":
            if len(outs) > 1 and outs[-2].get("name") == made.name:
                outs.pop()
                outs[-1].text += made.text
            outs[-1].text = shorten(collapse(outs[-1].text), TEXT_LIMIT)
        elif made.output_type == "error":
            made.evalue = shorten(made.evalue, LINE_LIMIT)
            made.traceback = [shorten(part, TEXT_LIMIT) for part in made.traceback]
        elif "text/plain" in made.get("data", {}):
            made.data["text/plain"] = shorten(made.data["text/plain"], TEXT_LIMIT)
        return whole

    async def _async_check_alive(self) -> None:
        """Look after the kernel: nbclient does so every second while a cell runs."""
        await super()._async_check_alive()
        limit = self._limits.memory
        if limit and (used := memory_of(self.mark)) > limit:
            self._fault = f"it used {used / 1e9:.1f} GB of memory, over its {limit / 1e9:g} GB"
            raise DeadKernelError(self._fault)

    def _seconds_left(self, _: nbformat.NotebookNode) -> float | None:
        # nbclient takes nothing, and less than that, for no limit.
        left = max(self._cell_ends - time.monotonic(), 0.001)
        return None if left == math.inf else left

    def _end(self) -> str:
        """Say why the kernel, or the wait for it, ended."""
        now, limits, status = time.monotonic(), self._limits, self.km.provisioner.process.poll()
        if self._fault:
            return self._fault
        if now > self._ends:
            return f"the notebook took longer than its limit of {limits.notebook:g} s"
        if now > self._cell_ends:
            return f"it took longer than the limit of {limits.cell:g} s for a cell"
        if status is None:
            return f"what it printed did not arrive within {self.iopub_timeout} s"
        if status < 0:
            name = signal.Signals(-status).name
            hint = ", which the system sends when memory runs out" if name == "SIGKILL" else ""
            return f"the kernel was ended by {name}{hint}"
        return f"the kernel exited with status {status}, and what follows could not run"


def _named(name: str, message: str) -> str:
    return f"{name}: {shorten(message, LINE_LIMIT)}"


def _as_output(reason: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_output(
        "error", ename="Failed", evalue=reason, traceback=[f"Failed: {reason}"]
    )
