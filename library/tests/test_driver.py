"""What NVIDIA's driver says: no driver, a broken one, GPUs and their instances; without a GPU."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from exactrun import driver
from exactrun.driver import BrokenDriver, Driver, Gpu, inventory

T4 = Gpu(name="Tesla T4", memory="15360 MiB")
LOST, MISMATCH = 15, 18


class FakeNvml:
    """NVML's functions, called as ctypes calls them.

    Args:
        codes: Return codes by function, where they are not 0.
        mig: Names of the instances of the one GPU, None where a place is empty; () if it has none.
    """

    def __init__(self, codes: dict[str, int], mig: tuple[str | None, ...] | None = None) -> None:
        self.codes, self.mig, self.called = codes, mig, []

        class ErrorString:
            restype: Any = None

            def __call__(self, code: int) -> bytes:
                assert self.restype is ctypes.c_char_p
                return {LOST: b"GPU is lost"}.get(code, f"error {code}".encode())

        self.nvmlErrorString = ErrorString()

    def __getattr__(self, name: str) -> Any:
        # A driver from before there was MIG doesn't have its functions.
        if name.startswith("_") or (name == "nvmlDeviceGetMigMode" and self.mig is None):
            raise AttributeError(name)

        def function(*arguments: Any) -> int:
            self.called.append(name)
            code = self.codes.get(name, 0)
            return code or getattr(self, f"_{name}", lambda *_: 0)(*arguments) or 0

        return function

    def _nvmlSystemGetCudaDriverVersion_v2(self, found: Any) -> None:
        found._obj.value = 12040

    def _nvmlSystemGetDriverVersion(self, found: Any, length: Any) -> None:
        found.value = b"550.54.15"

    def _nvmlDeviceGetCount_v2(self, found: Any) -> None:
        found._obj.value = 1

    def _nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> None:
        handle._obj.value = 1 + index.value

    def _nvmlDeviceGetMigMode(self, handle: Any, mode: Any, pending: Any) -> None:
        mode._obj.value = 1

    def _nvmlDeviceGetMaxMigDeviceCount(self, handle: Any, found: Any) -> None:
        found._obj.value = len(self.mig or ())

    def _nvmlDeviceGetMigDeviceHandleByIndex(self, gpu: Any, index: Any, handle: Any) -> int:
        handle._obj.value = 100 + index.value
        return 0 if (self.mig or ())[index.value] else driver.NOT_FOUND

    def _nvmlDeviceGetName(self, handle: Any, found: Any, length: Any) -> None:
        if handle.value >= 100:
            found.value = (self.mig or ())[handle.value - 100].encode()
        else:
            found.value = b"Tesla T4" if self.mig is None else b"NVIDIA A100-SXM4-40GB"

    def _nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> None:
        memory._obj.total = (4864 if handle.value >= 100 else 15360) << 20


def load(monkeypatch: pytest.MonkeyPatch, **fake: Any) -> FakeNvml:
    library = FakeNvml(fake.pop("codes", {}), **fake)
    monkeypatch.setattr(driver, "_load", lambda: library)
    return library


def test_the_driver_tells_its_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    library = load(monkeypatch)
    assert inventory() == Driver(version="550.54.15", cuda="12.4", gpus=(T4,))
    assert str(inventory()) == "Tesla T4 with 15360 MiB; driver 550.54.15, CUDA up to 12.4"
    assert library.called[-1] == "nvmlShutdown"


def test_no_library_and_no_loaded_driver_are_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    load(monkeypatch, codes={"nvmlInit_v2": driver.DRIVER_NOT_LOADED})
    assert inventory() is None
    monkeypatch.setattr(driver, "_load", lambda: None)
    assert inventory() is None


@pytest.mark.parametrize("content", [None, b""])
def test_a_library_that_is_not_there_or_empty_is_none(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, load_library = tmp_path / "nvml.so", ctypes.CDLL
    if content is not None:
        library.write_bytes(content)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: load_library(str(library)))
    assert inventory() is None


@pytest.mark.skipif(sys.platform != "linux", reason="the words are those of Linux")
def test_a_library_that_can_not_be_loaded_is_a_broken_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, load_library = tmp_path / "nvml.so", ctypes.CDLL
    library.write_bytes(b"no library, but not empty either" * 100)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: load_library(str(library)))
    with pytest.raises(BrokenDriver, match="its library can't be loaded: .*invalid ELF header"):
        inventory()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (MISMATCH, "the driver's version and that of its library differ"),
        (LOST, "fallen off the bus - NVML says 'GPU is lost' (code 15)"),
        (16, "has to be reset"),
        (driver.NO_PERMISSION, "this user may not use the GPU"),
        (999, "NVML says 'error 999' (code 999)"),
    ],
)
@pytest.mark.parametrize("function", ["nvmlInit_v2", "nvmlDeviceGetHandleByIndex_v2"])
def test_a_broken_driver_says_how(
    function: str, code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = load(monkeypatch, codes={function: code})
    with pytest.raises(BrokenDriver) as broken:
        inventory()
    assert said in str(broken.value)
    assert ("nvmlShutdown" in library.called) == (function != "nvmlInit_v2")


def test_a_gpu_that_breaks_while_it_is_asked_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    load(monkeypatch, codes={"nvmlDeviceGetMemoryInfo": LOST})
    with pytest.raises(BrokenDriver, match="the GPU is lost"):
        inventory()


def test_memory_that_may_not_be_seen_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    load(monkeypatch, codes={"nvmlDeviceGetMemoryInfo": driver.NO_PERMISSION})
    assert "Tesla T4 with unknown memory" in str(inventory())


def test_an_instance_of_a_divided_gpu_has_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
    load(monkeypatch, mig=(None, name))
    assert str(inventory()).startswith(f"{name} with 4864 MiB; driver")


def test_a_divided_gpu_without_instances_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    load(monkeypatch, mig=())
    assert "NVIDIA A100-SXM4-40GB in MIG mode without instances" in str(inventory())


LIBRARY = r"""
#include <string.h>
typedef struct { unsigned long long total, free, used; } memory;
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return "in C"; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) {
    strncpy(text, "570.1", size); return 0;
}
int nvmlSystemGetCudaDriverVersion_v2(int *found) { *found = 12080; return 0; }
int nvmlDeviceGetCount_v2(unsigned *found) { *found = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    *handle = (void *)0x7fffffffffff; return index;
}
int nvmlDeviceGetMigMode(void *handle, unsigned *now, unsigned *next) { return 3; }
int nvmlDeviceGetName(void *handle, char *text, unsigned size) {
    if (handle != (void *)0x7fffffffffff) return 15;
    strncpy(text, "Tesla T4", size); return 0;
}
int nvmlDeviceGetMemoryInfo(void *handle, memory *found) {
    found->total = 15360ull << 20; return 0;
}
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not shutil.which("cc"), reason="needs Linux and a C compiler"
)
def test_a_library_in_c_is_called_as_its_header_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nvml.c").write_text(LIBRARY)
    built = tmp_path / "libnvidia-ml.so.1"
    command = ["cc", "-shared", "-fPIC", "-o", str(built), str(tmp_path / "nvml.c")]
    subprocess.run(command, check=True)
    found = ctypes.CDLL(str(built))
    monkeypatch.setattr(driver, "_load", lambda: found)
    assert inventory() == Driver(version="570.1", cuda="12.8", gpus=(T4,))
