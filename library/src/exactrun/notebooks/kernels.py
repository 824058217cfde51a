"""Kernels: which there are, which a notebook can have, how one is heard, and how one ends."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any

import zmq
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_core.paths import jupyter_path
from nbclient.util import run_sync
from traitlets import default

POLL_SECONDS = 1.0

STARTS = 3
"""Attempts to start a kernel that dies before it answers."""

LONGEST_SOCKET = 100
"""Bytes of a socket's path: a little less than macOS takes, with 104, and Linux, with 108."""

_PACKAGE = Path(__file__).with_name("watch")
WATCH = f"""exec('''
import importlib.util, sys
spec = importlib.util.spec_from_file_location(
    "exactrun_watch", {str(_PACKAGE / "__init__.py")!r},
    submodule_search_locations=[{str(_PACKAGE)!r}])
sys.modules["exactrun_watch"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["exactrun_watch"])
sys.modules["exactrun_watch"].watch()
''', {{}})"""
"""What a kernel is asked to do first: to import `watch`, also where exactrun is not installed."""


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


def kernel_fault(name: str, metadata: Mapping[str, Any]) -> str:
    """Say why a notebook can't be executed by a kernel; empty if it can.

    Args:
        name: The kernel's.
        metadata: The notebook's, which names a language, too.
    """
    kernels = Kernels()
    known = kernels.find_kernel_specs()
    named = metadata.get("kernelspec", {}).get("language")
    language = named or metadata.get("language_info", {}).get("name")
    if name in known:
        language = kernels.get_kernel_spec(name).language
    if language and language.lower() != "python":
        return (
            f"asks for the kernel {name}, of {language}; exactrun executes notebooks in Python"
            " only. Papermill's own engine takes others."
        )
    if name not in known:
        return (
            f"asks for the kernel {name}, which is not installed. Install it, or set the name in"
            " the kernelspec of the notebook's metadata to one that is:"
            f" {', '.join(sorted(known)) or 'there is none'}."
        )
    return ""


class StartFailed(RuntimeError):
    """A kernel died before it answered: it may start another time."""


def started(
    client: Any, cwd: str | None, env: Mapping[str, str], *, sockets: Path
) -> dict[str, Any]:
    """Start a client's kernel, again if it may have been bad luck; return what it says of itself.

    Args:
        client: Of nbclient.
        cwd: The kernel's working directory.
        env: Its environment variables, besides those of this process.
        sockets: How the paths of its sockets begin. A port, which Windows and a long path need, is
            free when it is chosen; if another program takes it before the kernel does, ipykernel
            raises, and hangs as it ends.

    Raises:
        RuntimeError: If it does not answer.
    """
    env = {**env, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}  # no debugger's warnings
    env.pop("MPLBACKEND", None)  # plots go into the notebook: there may be no display
    attempt = 1
    while True:
        client.create_kernel_manager().kernel_spec_manager = Kernels()
        if sys.platform != "win32" and len(os.fsencode(sockets)) < LONGEST_SOCKET:
            client.km.transport, client.km.ip = "ipc", str(sockets)
        if client.km.has_trait("transport_encryption"):  # or ipykernel 7.4 warns in each run
            client.km.transport_encryption = "auto"
        client.start_new_kernel(cwd=cwd, env=dict(env))
        try:
            client.kc, info = run_sync(connect)(client.km, client.startup_timeout)
            return dict(info)
        except StartFailed:
            if attempt == STARTS:
                raise
            attempt += 1
            client._cleanup_kernel()


async def connect(manager: Any, seconds: float) -> tuple[Any, dict[str, Any]]:
    """Wait until a kernel answers and is heard; return its client, and what it says of itself.

    jupyter_client goes on until nothing more is heard, 0.3 s longer; whoever looks at whose
    answer a message is, as nbclient does, has no need of that.

    Raises:
        StartFailed: If it dies.
        RuntimeError: If it does not answer in time.
    """
    client = manager.client()
    # Of a thousand messages that wait, which is ZeroMQ's limit, the next one would be lost, and
    # with it the one that says that the cell has ended.
    client.context.setsockopt(zmq.RCVHWM, 0)
    client.start_channels()
    client.allow_stdin = False
    ends = time.monotonic() + seconds
    try:
        while time.monotonic() < ends:
            client.kernel_info()
            with suppress(Empty):
                answer = await client.shell_channel.get_msg(timeout=1)
                await client.iopub_channel.get_msg(timeout=0.2)
                for channel in (client.shell_channel, client.iopub_channel):
                    channel.get_msg = polled(channel.get_msg)
                connected, client = client, None
                return connected, dict(answer["content"])
            if not await manager.is_alive():
                raise StartFailed("it died before it answered")
        raise RuntimeError(f"it did not answer within {seconds:g} s")
    finally:
        if client is not None:
            client.stop_channels()


def polled(get_msg: Callable[..., Any]) -> Callable[..., Any]:
    """Have a channel asked for messages every second.

    Who sends on a channel's socket, as nbclient does for an output widget, can take away the sign
    that wakes who waits for a message on it, for ever (nbclient #312).
    """

    async def get(timeout: float | None = None) -> Any:
        ends = time.monotonic() + (math.inf if timeout is None else timeout)
        while True:
            left = max(ends - time.monotonic(), 0)
            try:
                return await get_msg(timeout=min(left, POLL_SECONDS))
            except Empty:
                if left <= POLL_SECONDS:
                    raise

    return get


async def _end_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def end_tasks() -> None:
    """End the tasks in whose midst an interrupt came."""
    run_sync(_end_tasks)()


async def end(manager: Any, client: Any, seconds: float) -> int | None:
    """Have a kernel end by itself; return its exit status, None if it still runs."""
    client.shutdown()
    ends = time.monotonic() + seconds
    process = manager.provisioner.process
    while (status := process.poll()) is None and time.monotonic() < ends:
        await asyncio.sleep(0.01)
    return None if status is None else int(status)


def told_at_end(path: Path) -> list[str]:
    """Return what a kernel wrote down that failed while it ended; nothing if it came to nothing."""
    try:
        return [str(each) for each in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError):
        return []


def in_words(status: int) -> str:
    """Say how a kernel ended that should not have."""
    if status < 0:
        # Real-time signals have no name.
        name = next((s.name for s in signal.Signals if s == -status), f"signal {-status}")
        hint = ", which the system sends when memory runs out" if name == "SIGKILL" else ""
        return f"was ended by {name}{hint}"
    return f"exited with status {status}"
