"""What NVIDIA's driver says of the GPUs, whether or not TensorFlow sees them.

NVML, the driver's own library, is asked directly: it comes with every driver, and needs no package.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from ctypes import byref, c_uint, c_void_p
from dataclasses import dataclass
from typing import Any

NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, DRIVER_NOT_LOADED, FUNCTION_NOT_FOUND = 3, 4, 6, 9, 13
"""Return codes: NVML API Reference, "Device Enumeration and Error Codes" (`nvmlReturn_t`)."""

MEANINGS = {
    NO_PERMISSION: "this user may not use the GPU (/dev/nvidia*)",
    8: "a GPU's external power cable is not connected",
    10: "the GPU did not answer in time",
    14: "the GPU's information is corrupted",
    15: "the GPU is lost: it has fallen off the bus",
    16: "the GPU has to be reset before it can be used again",
    17: "the operating system or the container bars the GPU",
    18: "the driver's version and that of its library differ, as after an update without a restart",
}
"""What a return code means for who uses the machine; the others say it themselves."""

NAME_LENGTH = 96


class BrokenDriver(Exception):
    """There is a driver, and it does not work; the message says how."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU by its name and memory, such as 15360 MiB on a T4.

    Attributes:
        instances: The instances that it is divided into (MIG); None if it is not.
    """

    name: str
    memory: str
    instances: tuple[Gpu, ...] | None = None

    def __str__(self) -> str:
        if self.instances is None:
            return f"{self.name} with {self.memory}"
        return " + ".join(map(str, self.instances)) or f"{self.name} in MIG mode without instances"


@dataclass(frozen=True, kw_only=True)
class Driver:
    """NVIDIA's driver and its GPUs.

    Attributes:
        version: The driver's version, such as 550.54.15.
        cuda: The newest CUDA that this driver runs, such as 12.4.
        gpus: The GPUs, in the driver's order.
    """

    version: str
    cuda: str
    gpus: tuple[Gpu, ...]

    def __str__(self) -> str:
        gpus = ", ".join(str(gpu) for gpu in self.gpus) or "no GPU"
        return f"{gpus}; driver {self.version}, CUDA up to {self.cuda}"


def inventory() -> Driver | None:
    """Ask the driver for its GPUs.

    Returns:
        None where there is no driver: only a missing library and a driver that is not loaded mean
        that.

    Raises:
        BrokenDriver: If there is one that doesn't work.
    """
    library = _load()
    if library is None:
        return None
    nvml = _Nvml(library)
    if nvml.call("nvmlInit_v2", what="the driver does not start", allowed=(DRIVER_NOT_LOADED,)):
        return None
    try:
        cuda = nvml.number("nvmlSystemGetCudaDriverVersion_v2")
        return Driver(
            version=nvml.text("nvmlSystemGetDriverVersion"),
            cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
            gpus=tuple(nvml.gpu(index) for index in range(nvml.number("nvmlDeviceGetCount_v2"))),
        )
    finally:
        library.nvmlShutdown()


def describe() -> tuple[str, bool]:
    """Return what `inventory` finds, in words, and whether the driver is broken."""
    try:
        return str(inventory() or "no driver"), False
    except BrokenDriver as error:
        return str(error), True


class _Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


class _Nvml:
    """NVML's functions, whose return codes are looked at."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def call(self, name: str, *arguments: Any, what: str = "", allowed: Sequence[int] = ()) -> int:
        """Call a function and return its code: 0, or one of those that are allowed.

        Raises:
            BrokenDriver: If it is another one; `what` says then what was asked.
        """
        # An older driver lacks some functions.
        function = getattr(self._library, name, lambda *_: FUNCTION_NOT_FOUND)
        code = int(function(*arguments))
        if code and code not in allowed:
            self._library.nvmlErrorString.restype = ctypes.c_char_p
            said = self._library.nvmlErrorString(code) or b"no words"
            meaning = f"{MEANINGS[code]} - " if code in MEANINGS else ""
            raise BrokenDriver(
                f"NVIDIA's driver is broken: {what or name}: {meaning}NVML says {said.decode()!r}"
                f" (code {code})"
            )
        return code

    def number(self, name: str, *arguments: Any) -> int:
        found = c_uint()
        self.call(name, *arguments, byref(found))
        return found.value

    def text(self, name: str, *arguments: Any) -> str:
        found = ctypes.create_string_buffer(NAME_LENGTH)
        self.call(name, *arguments, found, c_uint(NAME_LENGTH))
        return found.value.decode()

    def gpu(self, index: int) -> Gpu:
        """Return a GPU with its instances.

        Raises:
            BrokenDriver: If it is lost, or needs a reset.
        """
        handle, what = c_void_p(), f"GPU {index}"
        self.call("nvmlDeviceGetHandleByIndex_v2", c_uint(index), byref(handle), what=what)
        mode, later = c_uint(), c_uint()
        no_mig = (NOT_SUPPORTED, FUNCTION_NOT_FOUND)
        name = "nvmlDeviceGetMigMode"
        self.call(name, handle, byref(mode), byref(later), what=what, allowed=no_mig)
        return self._described(handle, self._instances(handle) if mode.value else None)

    def _instances(self, gpu: Any) -> tuple[Gpu, ...]:
        found = []
        for index in range(self.number("nvmlDeviceGetMaxMigDeviceCount", gpu)):
            handle, name = c_void_p(), "nvmlDeviceGetMigDeviceHandleByIndex"
            place, what = (c_uint(index), byref(handle)), f"MIG instance {index}"
            absent = self.call(name, gpu, *place, what=what, allowed=(NOT_FOUND,))
            if not absent:
                found.append(self._described(handle, None))
        return tuple(found)

    def _described(self, handle: Any, instances: tuple[Gpu, ...] | None) -> Gpu:
        memory, name = _Memory(), "nvmlDeviceGetMemoryInfo"
        # Who may use one instance only may not see the memory of the whole.
        hidden = (NOT_SUPPORTED, NO_PERMISSION)
        code = self.call(name, handle, byref(memory), what="a GPU's memory", allowed=hidden)
        return Gpu(
            name=self.text("nvmlDeviceGetName", handle),
            memory="unknown memory" if code else f"{memory.total >> 20} MiB",
            instances=instances,
        )


def _load() -> Any:
    """Return the driver's library; None where there is none.

    Raises:
        BrokenDriver: If there is one that can't be loaded.
    """
    name = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        # Some images of containers hold an empty file in its place.
        absent = any(words in str(error) for words in ("No such file", "file too short"))
        if absent or sys.platform in ("win32", "darwin"):
            return None
        raise BrokenDriver(
            f"NVIDIA's driver is broken: its library can't be loaded: {error}"
        ) from error
