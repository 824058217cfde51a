"""Connecting to a kernel that has just been launched."""

from __future__ import annotations

import time
from contextlib import suppress
from queue import Empty
from typing import Any

from jupyter_client.client import KernelClient
from jupyter_client.manager import AsyncKernelManager


async def connect(
    kernel: AsyncKernelManager, *, seconds: float
) -> tuple[KernelClient, dict[str, Any]]:
    """Wait until a kernel answers, and what it prints is heard.

    jupyter_client's `wait_for_ready` goes on until nothing more is heard, 0.2 to 0.4 s longer;
    whoever looks at whose answer a message is, as nbclient does, has no need of that.

    Returns:
        The connection, and what the kernel says of itself.

    Raises:
        RuntimeError: If it dies, or does not answer within so many seconds.
    """
    client = kernel.client()
    client.start_channels()
    client.allow_stdin = False
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        client.kernel_info()
        with suppress(Empty):
            answer = await client.shell_channel.get_msg(timeout=1)
            await client.iopub_channel.get_msg(timeout=0.2)
            return client, answer["content"]
        if not await kernel.is_alive():
            raise RuntimeError("it died before it answered")
    raise RuntimeError(f"it did not answer within {seconds:g} s")
