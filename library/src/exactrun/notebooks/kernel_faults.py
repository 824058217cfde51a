"""Kernels that a notebook asks for, and can't have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager


def kernel_fault(kernels: KernelSpecManager, name: str, metadata: Mapping[str, Any]) -> str:
    """Say why a notebook can't be executed by a kernel; empty if it can.

    Args:
        kernels: Those that are installed.
        name: The kernel's.
        metadata: The notebook's, which names a language, too.
    """
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
