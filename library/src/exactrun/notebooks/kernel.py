"""Starting a kernel without the waits that jupyter_client puts into it."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.client import KernelClient
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.paths import jupyter_path
from traitlets import default


class Kernels(KernelSpecManager):
    """The kernels that are installed, found without loading all of IPython, which takes 0.2 s."""

    @default("kernel_dirs")
    def _places(self) -> list[str]:
        return list(jupyter_path("kernels"))

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return how a kernel is started."""
        folder = Path(self.find_kernel_specs()[kernel_name])
        if (folder / "kernel.json").exists():
            return KernelSpec.from_resource_dir(str(folder))
        return super().get_kernel_spec(kernel_name)


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
