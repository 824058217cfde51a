"""Threads, tasks, pools and child processes that the notebook began, and that failed.

Python prints and forgets what a thread died of; nobody learns how a future or a child process
ended unless they ask. Asking is left to the notebook until its end: nothing is reaped here.
"""

from __future__ import annotations

import asyncio
import concurrent.futures as pools
import gc
import logging
import os
import subprocess
import sys
import threading
from multiprocessing import pool as process_pools
from multiprocessing import process as processes
from typing import Any

from .commands import is_answer
from .noted import (
    after,
    before,
    begun_by_notebook,
    faults,
    last,
    named,
    own,
    pending,
    through_notebook,
)

ENDED_BY_SOMEBODY = (-1, -2, -9, -13, -15)
"""Signals that are no failure: hang-up, Ctrl-C, kill, a pipe that nobody reads, terminate."""

failed_futures: list[list[str]] = []
"""Of each future of a pool that failed, how; emptied when somebody asks."""

children: dict[int, str] = {}
"""Child processes that nobody asked yet: by their ids, what runs."""

ended: dict[int, int] = {}
"""Exit statuses of those that Python itself asked, as it deleted their objects."""

workers: list[Any] = []
"""Processes of multiprocessing that nobody asked yet."""

died, unraisable = threading.excepthook, sys.unraisablehook
exitcode = processes.BaseProcess.exitcode.fget  # type: ignore[attr-defined]


def excepthook(args: threading.ExceptHookArgs) -> None:
    """Note a thread that died."""
    if args.exc_type is not SystemExit:
        name = args.thread.name if args.thread else "unknown"
        faults.append(f"thread {name} died of {named(args.exc_value)}")
    died(args)


def unraisablehook(args: sys.UnraisableHookArgs) -> None:
    """Note a thread of the module `_thread` that died, and an exit handler that failed."""
    said = args.err_msg or ""
    if "in thread" in said:
        faults.append(f"a thread died of {named(args.exc_value)}")
    elif "atexit callback" in said and through_notebook(args.exc_traceback):
        faults.append(f"a function that atexit called died of {named(args.exc_value)}")
    unraisable(args)


def exception_handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Note a task that died, and nobody waited for it."""
    if error := context.get("exception"):
        faults.append(f"a task of asyncio died of {named(error)}")
    loop.default_exception_handler(context)


def logged(record: logging.LogRecord) -> bool:
    """Note a callback of tornado that died: tornado logs it, and goes on."""
    error = record.exc_info[1] if record.exc_info else None
    if error and through_notebook(error.__traceback__):
        faults.append(f"a callback of tornado died of {named(error)}")
    return True


def submitted(pool: Any, future: Any) -> None:
    """Watch a future, or a pool's result, that the notebook's own code asked a pool for."""
    if begun_by_notebook() and not getattr(future, "_error_callback", None):
        future.exactrun = []
        failed(future, None)  # it may have been faster


def failed(future: Any, _: Any) -> None:
    """Note a future that has failed."""
    if getattr(future, "exactrun", None) == [] and (error := error_of(future)):
        future.exactrun[:] = [f"a pool's future died of {named(error)}"]
        failed_futures.append(future.exactrun)


def error_of(future: Any) -> BaseException | None:
    """Return the exception of a future that has failed, without asking it."""
    if isinstance(future, pools.Future):
        return future._exception
    failed = future.ready() and not future._success
    error: BaseException | None = future._value if failed else None
    return error


def asked(future: Any) -> None:
    """Forget a future that somebody asks, now or when it has ended."""
    if getattr(future, "exactrun", None) is not None:
        future.exactrun.clear()
        future.exactrun = None


def unasked_futures() -> list[str]:
    """Return what futures and tasks died of that nobody asked."""
    kinds = (asyncio.Task, getattr(asyncio.tasks, "_GatheringFuture", asyncio.Task))
    futures = [each for each in gc.get_objects() if issubclass(type(each), asyncio.Future)]
    dead = [
        each for each in futures if each.done() and not each.cancelled() and each._log_traceback
    ]
    found = [
        f"a task of asyncio died of {named(each._exception)}"
        for each in dead
        # Others may be of the kernel's own.
        if isinstance(each, kinds) or through_notebook(each._exception.__traceback__)
    ]
    found += [text for texts in failed_futures for text in texts]
    return [f"{text}, and nobody asked it" for text in dict.fromkeys(found)]


def started(child: Any, _: Any) -> None:
    """Watch a child process of the notebook's own code."""
    if begun_by_notebook():
        single = isinstance(child.args, str | bytes | os.PathLike)
        children[child.pid] = " ".join(map(str, [child.args] if single else child.args))


def reaped(child: Any, _: Any) -> None:
    """Note how a child ended whose object was deleted."""
    ended[child.pid] = child.returncode


def forget(child: Any) -> None:
    """Forget a child that somebody asks, or ends."""
    children.pop(getattr(child, "pid", 0), None)


def started_worker(worker: Any, _: Any) -> None:
    """Watch a process of multiprocessing, likewise."""
    if begun_by_notebook():
        workers.append(worker)


def forget_worker(worker: Any) -> None:
    """Forget one that somebody asks, or ends."""
    workers[:] = [each for each in workers if each is not worker]


def ask_worker(worker: Any) -> Any:
    """Return an exit status, and forget who it is of."""
    forget_worker(worker)
    return exitcode(worker)


def ended_with(pid: int) -> int | None:
    """Return how a child process ended, and leave it to whoever asks; None if it runs.

    Windows, and macOS before Python 3.13, don't tell that without asking: 0 then.
    """
    if sys.platform == "win32" or not hasattr(os, "waitid"):
        return 0
    try:
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return ended.get(pid, 0)
    if found is None:
        return None
    status: int = found.si_status
    return status if found.si_code == os.CLD_EXITED else -status


def statuses() -> list[tuple[str, int | None]]:
    """Return how the children ended that nobody asked; None of one that runs."""
    found = list[tuple[str, int | None]]()
    for pid, command in children.items():
        status = ended_with(pid)
        found.append((f"`{command[:200]}`", 0 if status and is_answer(status, command) else status))
    for worker in workers:
        status = worker._popen.returncode  # who joins it, has it asked
        found.append((worker.name, ended_with(worker.pid) if status is None else status))
    return found


def unasked_children() -> list[str]:
    """Return which children failed, and nobody asked."""
    return [
        f"the child process {what} ended with exit status {status}, and nobody asked it"
        for what, status in statuses()
        if status and status not in ENDED_BY_SOMEBODY
    ]


def runs() -> bool:
    """Tell whether a thread, task or child that the notebook began still runs."""
    for thread in threading.enumerate():
        target = getattr(thread, "_target", None) or type(thread).run
        if own(getattr(getattr(target, "__func__", target), "__code__", None)):
            return True
    for task in asyncio.all_tasks():
        if own(getattr(task.get_coro(), "cr_code", None)):
            return True
    return any(status is None for _, status in statuses())


def watch(shell: Any) -> None:
    """Begin."""
    threading.excepthook, sys.unraisablehook = excepthook, unraisablehook
    asyncio.get_running_loop().set_exception_handler(exception_handler)
    logging.getLogger("tornado.application").addFilter(logged)
    for pool in (pools.ThreadPoolExecutor, pools.ProcessPoolExecutor):
        after(pool, "submit", submitted)
    after(pools.Future, "set_exception", failed)
    # `cancel` is what `map` calls for the rest of its futures, once whoever took one got its error.
    for name in ("result", "exception", "add_done_callback", "cancel"):
        before(pools.Future, name, asked)
    for name in ("apply_async", "map_async", "starmap_async"):
        after(process_pools.Pool, name, submitted)
    for kind in (process_pools.AsyncResult, process_pools.MapResult):
        after(kind, "_set", failed)
    for name in ("get", "successful"):
        before(process_pools.AsyncResult, name, asked)
    after(subprocess.Popen, "__init__", started)
    after(subprocess.Popen, "_handle_exitstatus", reaped)
    for name in ("poll", "wait", "communicate", "send_signal"):
        before(subprocess.Popen, name, forget)
    worker = processes.BaseProcess
    after(worker, "start", started_worker)
    for name in ("terminate", "kill", "close"):
        before(worker, name, forget_worker)
    worker.exitcode = property(ask_worker)  # type: ignore[assignment,method-assign]
    last.extend((unasked_futures, unasked_children))
    pending.append(runs)
