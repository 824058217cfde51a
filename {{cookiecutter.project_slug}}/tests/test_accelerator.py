"""The accelerator: driver, choice, silent fall-back and verification, also without a GPU."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from {{ cookiecutter.__package }}.colab import accelerator, driver
from {{ cookiecutter.__package }}.errors import UserError

T4 = driver.Gpu(name="Tesla T4", memory="15360 MiB")

NVIDIA_SMI = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
    <driver_version>550.54.15</driver_version>
    <cuda_version>12.4</cuda_version>
    <attached_gpus>1</attached_gpus>
    <gpu id="00000000:00:04.0">
        <product_name>Tesla T4</product_name>
        <fb_memory_usage><total>15360 MiB</total><free>15095 MiB</free></fb_memory_usage>
    </gpu>
</nvidia_smi_log>
"""


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program nvidia-smi that prints a log of one T4; NVML is not there."""
    if sys.platform == "win32":
        pytest.skip("the program that stands in for nvidia-smi is a Unix script")
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!{sys.executable}\nprint({NVIDIA_SMI!r})\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return program


class FakeGpus:
    """GPUs of compute capability 8.0 and 7.5 in TensorFlow's list, and what is set for them."""

    def __init__(self, count: int) -> None:
        self.devices = [types.SimpleNamespace(name=f"GPU {index}") for index in range(count)]
        self.visible: list[Any] = []
        self.growing: list[Any] = []
        self.limits: dict[str, int] = {}

    def list_physical_devices(self, kind: str) -> list[Any]:
        return self.devices

    def set_visible_devices(self, devices: list[Any], kind: str) -> None:
        self.visible = devices

    def set_memory_growth(self, device: Any, enable: bool) -> None:
        self.growing.append(device)

    def set_logical_device_configuration(self, device: Any, parts: list[Any]) -> None:
        self.limits[device.name] = parts[0].memory_limit

    def get_device_details(self, device: Any) -> dict[str, Any]:
        if device is self.devices[0]:
            return {"device_name": "A100", "compute_capability": (8, 0)}
        return {"device_name": "T4", "compute_capability": (7, 5)}


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> FakeGpus:
    """Two GPUs, as TensorFlow would list them."""
    import tensorflow as tf

    fake = FakeGpus(2)
    set_logical = "set_logical_device_configuration"
    for name in ("list_physical_devices", "set_visible_devices", set_logical):
        monkeypatch.setattr(tf.config, name, getattr(fake, name))
    for name in ("set_memory_growth", "get_device_details"):
        monkeypatch.setattr(tf.config.experimental, name, getattr(fake, name))
    return fake


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow sees no GPU."""
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])


def test_nvidia_smi_tells_driver_and_memory(nvidia_smi: Path) -> None:
    found = driver.inventory()
    assert found == driver.Driver(source="nvidia-smi", version="550.54.15", cuda="12.4", gpus=(T4,))
    assert "Tesla T4 with 15360 MiB; driver 550.54.15" in str(found)


@pytest.mark.parametrize("answer", ["raise SystemExit(9)", "print('No devices were found')"])
def test_a_driver_that_does_not_answer_is_none(nvidia_smi: Path, answer: str) -> None:
    nvidia_smi.write_text(f"#!{sys.executable}\n{answer}\n")
    assert driver.inventory() is None


def test_nvml_is_asked_first(nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = types.SimpleNamespace(
        NVMLError=OSError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlSystemGetCudaDriverVersion=lambda: 12080,
        nvmlSystemGetDriverVersion=lambda: "570.1",
        nvmlDeviceGetName=lambda handle: "Tesla T4",
        nvmlDeviceGetMemoryInfo=lambda handle: types.SimpleNamespace(total=15360 << 20),
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert driver.inventory() == driver.Driver(
        source="NVML", version="570.1", cuda="12.8", gpus=(T4,)
    )

    def no_driver() -> None:
        raise OSError("Driver Not Loaded")

    nvml.nvmlInit = no_driver
    found = driver.inventory()
    assert found is not None
    assert found.source == "nvidia-smi"


def test_a_demanded_gpu_that_is_not_there_stops_with_the_menu_path(
    no_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "inventory", lambda: None)
    with pytest.raises(UserError, match="Runtime → Change runtime type → T4 GPU → Save"):
        accelerator.choose("gpu")
    assert accelerator.choose("auto").status == "skipped"


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        ({"is_cuda_build": False}, "was built without CUDA"),
        (
            {"is_cuda_build": True, "cuda_version": "12.5.1", "cudnn_version": "9"},
            "was built for CUDA 12.5.1 and cuDNN 9, and their libraries are not found",
        ),
        (
            {"is_cuda_build": True, "cuda_version": "13.0", "cudnn_version": "9"},
            "was built for CUDA 13.0 and cuDNN 9, and this driver is too old for it",
        ),
    ],
)
def test_a_silent_fall_back_to_the_cpu_is_explained(
    nvidia_smi: Path,
    no_gpu: None,
    monkeypatch: pytest.MonkeyPatch,
    build: dict[str, Any],
    reason: str,
) -> None:
    import tensorflow as tf

    monkeypatch.setattr(tf.sysconfig, "get_build_info", lambda: build)
    found = accelerator.choose("auto")
    assert (found.kind, found.status) == ("cpu", "failed")
    assert reason in found.checked
    assert "driver 550.54.15, CUDA up to 12.4" in found.checked
    assert "tensorflow[and-cuda]" in found.checked
    with pytest.raises(UserError, match="Tesla T4"):
        accelerator.choose("gpu")
    monkeypatch.setattr(accelerator, "where", lambda: "colab")
    assert "Disconnect and delete runtime" in accelerator.choose("auto").checked


def test_a_gpu_that_is_hidden_on_purpose_is_no_fault(
    nvidia_smi: Path, no_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    found = accelerator.choose("auto")
    assert found.status == "skipped"
    assert "CUDA_VISIBLE_DEVICES='-1' hides Tesla T4" in found.checked


def test_all_gpus_are_taken_and_their_memory_grows(gpus: FakeGpus) -> None:
    found = accelerator.choose("auto")
    assert gpus.visible == gpus.growing == gpus.devices
    assert (found.kind, found.name, found.count, found.status) == ("gpu", "A100", 2, "skipped")
    # What both compute fast, and the second is the older one.
    assert found.precisions == ("float32", "mixed_float16")


def test_one_of_several_gpus_is_chosen_with_a_limit_to_its_memory(gpus: FakeGpus) -> None:
    found = accelerator.choose("gpu", gpu=1, memory_limit=2048)
    assert gpus.visible == [gpus.devices[1]]
    assert (gpus.limits, gpus.growing) == ({"GPU 1": 2048}, [])
    assert (found.name, found.count) == ("T4", 1)


def test_a_gpu_that_is_not_there_is_named(gpus: FakeGpus) -> None:
    with pytest.raises(UserError, match="gpu=2, but TensorFlow sees 2 GPUs"):
        accelerator.choose("auto", gpu=2)


def test_a_gpu_can_be_left_alone(gpus: FakeGpus) -> None:
    gpus.visible = gpus.devices
    assert accelerator.choose("cpu", gpu=7).kind == "cpu"
    assert gpus.visible == []


def test_a_choice_that_comes_too_late_says_so(
    gpus: FakeGpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    def too_late(devices: list[Any], kind: str) -> None:
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", too_late)
    with pytest.raises(UserError, match="Restart session"):
        accelerator.choose("cpu")


def test_memory_that_was_taken_before_is_no_fault(
    gpus: FakeGpus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tensorflow as tf

    def too_late(device: Any, enable: bool) -> None:
        raise RuntimeError("Physical devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", too_late)
    assert accelerator.choose("auto").count == 2
    assert "TensorFlow was in use before" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["colab", "local"])
def test_a_missing_tensorflow_is_explained(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setattr(accelerator, "where", lambda: place)
    reason = "TPU runtimes hold none" if place == "colab" else "pip install -r requirements.txt"
    with pytest.raises(UserError, match=reason):
        accelerator.choose("auto")


@pytest.mark.parametrize(
    ("capability", "fast"),
    [
        (None, ("float32",)),
        ((6, 0), ("float32",)),
        ((7, 5), ("float32", "mixed_float16")),
        ((8, 0), ("float32", "mixed_float16", "mixed_bfloat16")),
    ],
)
def test_a_device_names_the_precisions_it_computes_fast(
    capability: tuple[int, int] | None, fast: tuple[str, ...]
) -> None:
    assert accelerator.precisions(capability) == fast


def test_choosing_computes_nothing() -> None:
    # Several workers can be joined only before TensorFlow's first operation.
    code = (
        "from {{ cookiecutter.__package }}.colab import accelerator\n"
        "import tensorflow as tf\n"
        "accelerator.choose('auto')\n"
        "tf.config.threading.set_inter_op_parallelism_threads(3)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_device_is_verified_by_work() -> None:
    found = accelerator.verify_device("/CPU:0")
    assert "matrix product, convolution, XLA on CPU:0 agree with the CPU" in found


def test_every_gpu_in_use_is_verified(gpus: FakeGpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "verify_device", lambda device: f"{device} works")
    found = accelerator.verify(accelerator.choose("auto"))
    assert found.status == "passed"
    assert found.checked == "/GPU:0 works; /GPU:1 works; fast in float32, mixed_float16"


def test_work_done_elsewhere_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    # Another context, which leaves the choice of the device to TensorFlow.
    monkeypatch.setattr(tf, "device", lambda name: tf.init_scope())
    with pytest.raises(UserError, match="was computed on"):
        accelerator.verify_device("/TPU:0")


def test_work_that_fails_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    def fail(*args: Any, **kwargs: Any) -> None:
        raise tf.errors.UnimplementedError(None, None, "DNN library is not found.")

    monkeypatch.setattr(tf.nn, "conv2d", fail)
    with pytest.raises(UserError, match="convolution failed on CPU:0: DNN library is not found"):
        accelerator.verify_device("/CPU:0")


@pytest.mark.parametrize("wrong", [1.5, float("nan")])
def test_a_wrong_product_is_noticed(monkeypatch: pytest.MonkeyPatch, wrong: float) -> None:
    import tensorflow as tf

    products = [tf.matmul, lambda left, right: wrong * (left @ right)]
    monkeypatch.setattr(tf, "matmul", lambda left, right: products.pop()(left, right))
    works = "The matrix product on CPU:0 differs from the CPU's by"
    with pytest.raises(UserError, match=works):
        accelerator.verify_device("/CPU:0")


@pytest.mark.skipif(
    "not __import__('tensorflow').config.list_physical_devices('GPU')", reason="needs a GPU"
)
def test_the_gpu_works() -> None:
    found = accelerator.verify(accelerator.choose("gpu"))
    assert (found.kind, found.status) == ("gpu", "passed")
    assert "matrix product, convolution, XLA on GPU:0 agree with the CPU" in found.checked
