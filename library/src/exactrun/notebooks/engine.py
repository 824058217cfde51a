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
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbclient.util import run_sync
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NotebookExecutionManager

from .kernel_faults import kernel_fault
from .kernels import WATCH, Kernels, StartFailed, connect, end, in_words, told_at_end
from .limits import Limits
from .outputs import Outputs
from .processes import MARK, end_all, guarded, memory_of, processes_of
from .progress import LINE_LIMIT, Progress, cells, shorten

TAKE = "__import__('IPython').get_ipython().exactrun_take(end={end})"
LAST_WAIT = 3.0
"""Seconds that what the notebook began, and still runs after the last cell, is given to fail."""

STARTS = 3
"""Attempts to start a kernel that dies, or finds a port taken, before it answers."""

END_WAIT = 5.0
"""Seconds in which the kernel has to end by itself; what then still runs is no failure."""


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
        done: Called when the verdict is noted: of what passed, after the kernel ended.
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
        self._cell_ends, self._fault = self._ends, ""
        self._progress, self._outputs = Progress(), Outputs()
        self.mark = uuid.uuid4().hex  # of its processes
        self._known = set[psutil.Process]()  # processes, before their parents end
        self._ending = Path(tempfile.gettempdir(), f"exactrun-{self.mark}.json")
        self.cell: str | None = None  # id of the one that runs, or ran last
        self.timeout_func, self.on_cell_executed = self._seconds_left, self._note_exit
        self.startup_timeout = math.ceil(min(limits.start, limits.notebook or math.inf))
        self.shell_timeout_interval = 1
        self.iopub_timeout = 600  # from the end of a cell: it may have printed 10,000 pictures
        self.shutdown_kernel = "immediate"  # what fails; what passes has ended before

    def execute(self, *, cwd: str | None, env: Mapping[str, str] | None) -> None:
        """Execute the cells, and have the kernel end."""
        try:
            self._execute_cells(cwd, dict(os.environ) | dict(env or {}))
        except KeyboardInterrupt:
            self._forget()
            raise

    def close(self) -> None:
        """End the kernel and every process that came of it."""
        self._known |= processes_of(self.mark)  # while it can be seen whose child each is
        if self.km is not None:
            self._cleanup_kernel()
        self._ending.unlink(missing_ok=True)
        for process in end_all(self._known | processes_of(self.mark)):
            cells.info("Ended a process that the notebook left: %s", process)

    def _start(self, cwd: str | None, env: dict[str, str]) -> None:
        env |= {MARK: self.mark, "EXACTRUN_ENDING": str(self._ending)}
        env["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # no debugger's warnings
        env.pop("MPLBACKEND", None)  # plots go into the notebook: there may be no display
        if fault := kernel_fault(Kernels(), self.kernel_name, self.nb.metadata):
            raise Failed(f"the notebook {fault}")
        try:
            info = self._started(cwd, env)
            faults = self._ask(None, WATCH)["faults"]
        except (OSError, RuntimeError) as error:
            raise Failed(f"the kernel {self.kernel_name!r} did not start: {error}") from error
        if faults:
            raise Failed("; ".join(faults))
        self.nb.metadata["language_info"] = info["language_info"]

    def _started(self, cwd: str | None, env: dict[str, str]) -> dict[str, Any]:
        """Start the kernel, again if it may have been bad luck; return what it says of itself."""
        attempt = 1
        while True:
            self.create_kernel_manager().kernel_spec_manager = Kernels()
            if self.km.has_trait("transport_encryption"):  # or ipykernel 7.4 warns in each run
                self.km.transport_encryption = "auto"
            self.start_new_kernel(cwd=cwd, env=dict(env))
            try:
                self.kc, info = run_sync(connect)(self.km, self.startup_timeout)
                return dict(info)
            except StartFailed:
                if attempt == STARTS:
                    raise
                attempt += 1
                self._cleanup_kernel()

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
            self._progress = Progress()
            self._outputs.begin_cell()
            try:
                if number == 1:
                    self._start(cwd, env)
                self._execute_one(cell, index, last=number == len(todo))
            except (Failed, KeyboardInterrupt) as error:
                self._raise(error, cell, index, f"{place} ({heading})" if heading else place)
            finally:
                self._progress.end()
                self._join_outputs(cell, index)
                self.nb_man.cell_complete(cell, index)
        if todo:
            self.set_widgets_metadata()
            try:
                self._end_kernel()
            except Failed as error:
                self._raise(error, cell, index, f"{place} ({heading})" if heading else place)

    def _raise(
        self, error: Failed | KeyboardInterrupt, cell: nbformat.NotebookNode, index: int, place: str
    ) -> None:
        self.nb_man.cell_exception(cell, index)
        reason = str(error) or "stopped by Ctrl-C"
        cause = error.__cause__
        shown = isinstance(cause, CellExecutionError) and cause.ename != "SystemExit"
        if not shown or "error" not in [each.output_type for each in cell.outputs]:
            # Of others the cell shows a traceback; papermill passes over a SystemExit.
            cell.outputs.append(_as_output(reason))
        raise type(error)(f"{place}: {reason}") from error

    def _execute_one(self, cell: nbformat.NotebookNode, index: int, *, last: bool) -> None:
        self._cell_ends = min(self._ends, time.monotonic() + (self._limits.cell or math.inf))
        try:
            self.execute_cell(cell, index)
            answer = self._ask(cell)
            ends = time.monotonic() + LAST_WAIT
            while last and answer["runs"] and not answer["faults"] and time.monotonic() < ends:
                time.sleep(0.1)
                answer = self._ask(cell, earlier=answer)
            if last:
                answer = self._ask(cell, end=True, earlier=answer)
        except CellExecutionError as error:
            shown = [each for each in cell.outputs if each.output_type == "error"]
            if error.ename == "NoneType" and shown:  # ipykernel 7: what is shown could not be shown
                raise Failed(_named(shown[-1].ename, shown[-1].evalue)) from error
            raise Failed(_named(error.ename, error.evalue)) from error
        except (CellTimeoutError, DeadKernelError) as error:
            raise Failed(self._end()) from error
        faults = answer["faults"]
        if "raises-exception" not in cell.metadata.get("tags", []):
            faults = answer["swallowed"] + faults
        if self._fault:
            faults.append(self._fault)
        if cell.execution_count is None:
            faults.append("it was not executed; is it tagged to be skipped?")
        if faults:
            raise Failed(shorten("; ".join(faults), LINE_LIMIT))

    def _ask(
        self,
        cell: nbformat.NotebookNode | None,
        code: str = "",
        *,
        end: bool = False,
        earlier: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return what went wrong in the kernel since it was asked last, besides exceptions."""
        expressions = {"faults": TAKE.format(end=end)}
        message = self.kc.execute(code, silent=True, user_expressions=expressions)
        content = self.wait_for_reply(message, cell)["content"]
        answer = content.get("user_expressions", {}).get("faults", {})
        if answer.get("status") != "ok":
            fault = f"the kernel can't say what happened in it: {answer or content}"
            return {"faults": [fault], "swallowed": [], "runs": False}
        found = dict(ast.literal_eval(answer["data"]["text/plain"]))
        for kind in ("faults", "swallowed"):
            found[kind] = (earlier or {}).get(kind, []) + found[kind]
        return found

    def _end_kernel(self) -> None:
        """Have the kernel end, as a program does after its last line."""
        self._known = processes_of(self.mark)
        wait = min(END_WAIT, max(self._ends - time.monotonic(), 0))
        status = run_sync(end)(self.km, self.kc, wait)
        if faults := told_at_end(self._ending):
            raise Failed(f"after it, as the kernel ended: {'; '.join(faults)}")
        # ZeroMQ itself aborts one kernel in a hundred as it ends (signaler.cpp: pfd.revents).
        if status and status != -signal.SIGABRT:
            raise Failed(f"after it, as the kernel was to end, it {in_words(status)}")

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
        content = msg["content"]
        display = (content.get("transient") or {}).get("display_id")
        if display and msg["msg_type"] == "update_display_data":
            content["data"] = self._outputs.updated(display, content["data"])
        output = super().process_message(msg, cell, cell_index)
        self._progress.message(msg["msg_type"], msg["content"])
        return output

    def output(
        self, outs: list[Any], msg: dict[str, Any], display_id: str | None, cell_index: int
    ) -> nbformat.NotebookNode | None:
        """Add an output."""
        made = super().output(outs, msg, display_id, cell_index)
        if made is None:
            return None
        whole = copy.copy(made)  # what papermill writes to its files and its log
        self._outputs.added(outs, known=display_id is not None)
        return whole

    def _join_outputs(self, cell: nbformat.NotebookNode, index: int) -> None:
        places = self._outputs.end_cell(cell.outputs)
        for known in self._display_id_map.values():  # who updates a display finds it by its place
            known[index] = [places[place] for place in known.get(index, [])]

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
        return f"the kernel {in_words(status)}, and what follows could not run"


def _named(name: str, message: str) -> str:
    return f"{name}: {shorten(message, LINE_LIMIT)}"


def _as_output(reason: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_output(
        "error", ename="Failed", evalue=reason, traceback=[f"Failed: {reason}"]
    )
