"""The kernel that this process is; there is none in a subprocess."""

from __future__ import annotations

from typing import Any

import IPython


def get_ipython() -> Any:
    """Return IPython's shell; None outside of it."""
    return IPython.get_ipython()


def get_kernel() -> Any:
    """Return the kernel.

    Raises:
        AttributeError: In a process that is none.
    """
    return get_ipython().kernel
