"""What NVIDIA's driver says of the GPUs, whether or not TensorFlow sees them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from xml.etree import ElementTree


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU by its name and memory, such as 15360 MiB on a T4."""

    name: str
    memory: str

    def __str__(self) -> str:
        return f"{self.name} with {self.memory}"


@dataclass(frozen=True, kw_only=True)
class Driver:
    """NVIDIA's driver and its GPUs.

    Attributes:
        source: What was asked: NVML or nvidia-smi.
        version: The driver's version, such as 550.54.15.
        cuda: The newest CUDA that this driver runs, such as 12.4.
        gpus: The GPUs, in the driver's order.
    """

    source: str
    version: str
    cuda: str
    gpus: tuple[Gpu, ...]

    def __str__(self) -> str:
        gpus = ", ".join(str(gpu) for gpu in self.gpus) or "no GPU"
        return f"{gpus}; driver {self.version}, CUDA up to {self.cuda}, says {self.source}"


def inventory() -> Driver | None:
    """Ask the driver for its GPUs: by NVML where Python can, else by nvidia-smi.

    Returns:
        None where there is no driver that answers.
    """
    return _from_nvml() or _from_nvidia_smi()


def _from_nvml() -> Driver | None:
    """Ask NVML through the package nvidia-ml-py, which Colab's GPU runtimes hold."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # a machine without the driver
        return None
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        cuda = pynvml.nvmlSystemGetCudaDriverVersion()
        return Driver(
            source="NVML",
            version=pynvml.nvmlSystemGetDriverVersion(),
            cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
            gpus=tuple(
                Gpu(
                    name=pynvml.nvmlDeviceGetName(handle),
                    memory=f"{pynvml.nvmlDeviceGetMemoryInfo(handle).total >> 20} MiB",
                )
                for handle in handles
            ),
        )
    except pynvml.NVMLError:  # not all of it is there in every container: nvidia-smi may know more
        return None
    finally:
        pynvml.nvmlShutdown()


def _from_nvidia_smi() -> Driver | None:
    """Ask nvidia-smi, whose XML is the one format that also names CUDA's version."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "-q", "-x"], capture_output=True, text=True, check=True, timeout=60
        )
        log = ElementTree.fromstring(done.stdout)
    except (OSError, subprocess.SubprocessError, ElementTree.ParseError):
        return None
    return Driver(
        source="nvidia-smi",
        version=log.findtext("driver_version", "unknown"),
        cuda=log.findtext("cuda_version", "unknown"),
        gpus=tuple(
            Gpu(
                name=gpu.findtext("product_name", "unknown"),
                memory=gpu.findtext("fb_memory_usage/total", "unknown memory"),
            )
            for gpu in log.findall("gpu")
        ),
    )
