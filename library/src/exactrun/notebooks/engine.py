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
from collections import defaultdict
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

from ..files import patiently
from . import Limits
from .kernels import WATCH, end, end_tasks, in_words, kernel_fault, started, told_at_end
from .outputs import Outputs
from .processes import MARK, end_all, guarded, memory_of, processes_of
from .progress import LINE_LIMIT, Progress, cells, shorten
from .stopping import STOPPED

TAKE = "__import__('IPython').get_ipython().exactrun_take(end={end})"
LAST_WAIT = 3.0
"""Seconds that what the notebook began, and still runs after the last cell, is given to fail."""

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
    with guarded(client.mark, client.files), closing(client):
        try:
            client.execute(cwd=cwd, env=env)
            verdict["passed"] = True
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                end_tasks()
            known = isinstance(error, Failed | KeyboardInterrupt)
            told = (str(error) or STOPPED) if known else f"{type(error).__name__}: {error}"
            verdict |= {"failure": told, "cell": client.cell}
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
        self._progress, self._outputs, self.mark = Progress(), Outputs(), uuid.uuid4().hex
        self._known = set[psutil.Process]()  # processes, before their parents end
        self.files = Path(tempfile.gettempdir(), f"exactrun-{self.mark}")
        self.cell: str | None = None  # id of the one that runs, or ran last
        self.timeout_func, self.on_cell_executed = self._seconds_left, self._note_exit
        self.startup_timeout = math.ceil(min(limits.start, limits.notebook or math.inf))
        self.shell_timeout_interval = 1
        self.iopub_timeout = 600  # from the end of a cell: it may have printed 10,000 pictures
        self.shutdown_kernel = "immediate"  # what fails; what passes has ended before

    def close(self) -> None:
        """End the kernel and every process that came of it."""
        self._known |= processes_of(self.mark)  # while it can be seen whose child each is
        if self.km is not None:
            self._cleanup_kernel()
        patiently(self.files.with_suffix(".json").unlink, missing_ok=True)
        for process in end_all(self._known | processes_of(self.mark)):
            cells.info("Ended a process that the notebook left: %s", process)

    def _start(self, cwd: str | None, env: dict[str, str]) -> None:
        env |= {MARK: self.mark, "EXACTRUN_ENDING": f"{self.files}.json"}
        if fault := kernel_fault(self.kernel_name, self.nb.metadata):
            raise Failed(f"the notebook {fault}")
        found = defaultdict[str, list[str]](list)
        try:
            info = started(self, cwd, env, sockets=self.files)
            self._ask(None, found, WATCH)
        except (OSError, RuntimeError) as error:
            raise Failed(f"the kernel {self.kernel_name!r} did not start: {error}") from error
        if found["faults"]:
            raise Failed("; ".join(found["faults"]))
        self.nb.metadata["language_info"] = info["language_info"]

    def execute(self, *, cwd: str | None, env: Mapping[str, str] | None) -> None:
        """Execute the cells, and have the kernel end."""
        heading, todo = "", []
        for index, cell in enumerate(self.nb.cells):
            if cell.cell_type == "markdown":
                heading = (re.findall(r"^#+ +(.+?)[ #]*$", cell.source, re.M) or [heading])[-1]
            elif cell.cell_type == "code" and cell.source.strip():
                todo.append((index, cell, heading))
        for number, (index, cell, heading) in enumerate(todo, start=1):
            place = f"cell {number} of {len(todo)}"
            cells.info(f"{place}: {heading}" if heading else place)
            place += f" ({heading})" if heading else ""
            self.nb_man.cell_start(cell, index)
            self.cell = cell.get("id")
            self._progress = Progress()
            self._outputs.begin_cell()
            try:
                if number == 1:
                    self._start(cwd, dict(os.environ) | dict(env or {}))
                self._execute_one(cell, index, last=number == len(todo))
            except (Failed, KeyboardInterrupt) as error:
                self._raise(error, cell, index, place)
            finally:
                self._progress.end()
                self._join_outputs(cell, index)
                self.nb_man.cell_complete(cell, index)
        if todo:
            self.set_widgets_metadata()
            try:
                self._end_kernel()
            except Failed as error:
                self._raise(error, cell, index, place)

    def _raise(
        self, error: Failed | KeyboardInterrupt, cell: nbformat.NotebookNode, index: int, place: str
    ) -> None:
        self.nb_man.cell_exception(cell, index)
        reason = str(error) or STOPPED
        cause = error.__cause__
        told = isinstance(cause, CellExecutionError) and cause.ename != "SystemExit"
        if not told or "error" not in [each.output_type for each in cell.outputs]:
            # Of others the cell shows a traceback; papermill passes over a SystemExit.
            shown = {"ename": "Failed", "evalue": reason, "traceback": [f"Failed: {reason}"]}
            cell.outputs.append(nbformat.v4.new_output("error", **shown))
        raise type(error)(f"{place}: {reason}") from error

    def _execute_one(self, cell: nbformat.NotebookNode, index: int, *, last: bool) -> None:
        self._cell_ends = min(self._ends, time.monotonic() + (self._limits.cell or math.inf))
        found = defaultdict[str, list[str]](list)
        try:
            self.execute_cell(cell, index)
            runs, ends = self._ask(cell, found), time.monotonic() + LAST_WAIT
            while last and runs and not found["faults"] and time.monotonic() < ends:
                time.sleep(0.1)
                runs = self._ask(cell, found)
            if last:
                self._ask(cell, found, end=True)
        except CellExecutionError as error:
            shown = [each for each in cell.outputs if each.output_type == "error"]
            # ipykernel 7 names no exception of an object that could not be shown.
            raised = shown[-1] if error.ename == "NoneType" and shown else error
            raise Failed(f"{raised.ename}: {shorten(raised.evalue, LINE_LIMIT)}") from error
        except (CellTimeoutError, DeadKernelError) as error:
            raise Failed(self._end()) from error
        faults = found["faults"]
        if "raises-exception" not in cell.metadata.get("tags", []):
            faults = found["swallowed"] + faults
        if self._fault:
            faults.append(self._fault)
        if cell.execution_count is None:
            faults.append("it was not executed; is it tagged to be skipped?")
        if faults:
            raise Failed(shorten("; ".join(faults), LINE_LIMIT))

    def _ask(
        self,
        cell: nbformat.NotebookNode | None,
        found: dict[str, list[str]],
        code: str = "",
        *,
        end: bool = False,
    ) -> bool:
        """Add what went wrong in the kernel since it was asked last; return whether it works on."""
        expressions = {"faults": TAKE.format(end=end)}
        message = self.kc.execute(code, silent=True, user_expressions=expressions)
        content = self.wait_for_reply(message, cell)["content"]
        answer = content.get("user_expressions", {}).get("faults", {})
        if answer.get("status") != "ok":
            found["faults"].append(f"the kernel can't say what happened in it: {answer or content}")
            return False
        told = ast.literal_eval(answer["data"]["text/plain"])
        for kind in ("faults", "swallowed"):
            found[kind] += told[kind]
        return bool(told["runs"])

    def _end_kernel(self) -> None:
        """Have the kernel end, as a program does after its last line."""
        self._known = processes_of(self.mark)
        wait = min(END_WAIT, max(self._ends - time.monotonic(), 0))
        status = run_sync(end)(self.km, self.kc, wait)
        if faults := told_at_end(self.files.with_suffix(".json")):
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
        whole = copy.copy(made)  # what papermill writes to its files and its log
        if made is not None:
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
