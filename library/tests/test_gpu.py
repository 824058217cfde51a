"""The GPU: choice, silent fall-back, what TensorFlow was built for, verification; without one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from exactrun import UserError, driver, gpu
from exactrun.driver import Driver, Gpu

SOURCE = Path(__file__).parent.parent / "src"
T4 = Driver(version="550.54.15", cuda="12.4", gpus=(Gpu(name="Tesla T4", memory="15360 MiB"),))
A100_AND_T4 = ((8, 0), (7, 5))


class Device(NamedTuple):
    """As TensorFlow's physical devices: a tuple, which is hashable."""

    name: str


class FakeGpus:
    """GPUs in TensorFlow's list, and what is set for them."""

    def __init__(self, capabilities: tuple[tuple[int, int], ...]) -> None:
        self.devices = [Device(f"GPU {index}") for index in range(len(capabilities))]
        self.capabilities = dict(zip((d.name for d in self.devices), capabilities, strict=True))
        self.visible: list[Any] = self.devices
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
        capability = self.capabilities[device.name]
        name = {(8, 0): "A100", (7, 5): "T4"}.get(capability, f"GPU of {capability}")
        return {"device_name": name, "compute_capability": capability}


def see(monkeypatch: pytest.MonkeyPatch, *capabilities: tuple[int, int]) -> FakeGpus:
    """Have TensorFlow list GPUs of these compute capabilities."""
    import tensorflow as tf

    fake = FakeGpus(capabilities)
    set_logical = "set_logical_device_configuration"
    for name in ("list_physical_devices", "set_visible_devices", set_logical):
        monkeypatch.setattr(tf.config, name, getattr(fake, name))
    for name in ("set_memory_growth", "get_device_details"):
        monkeypatch.setattr(tf.config.experimental, name, getattr(fake, name))
    return fake


def drive(monkeypatch: pytest.MonkeyPatch, found: Driver | Exception | None) -> None:
    """Have the driver say this, and TensorFlow see no GPU."""

    def inventory() -> Driver | None:
        if isinstance(found, Exception):
            raise found
        return found

    see(monkeypatch)
    monkeypatch.setattr(driver, "inventory", inventory)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_demanded_gpu_that_is_not_there_stops_with_the_clicks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drive(monkeypatch, None)
    with pytest.raises(UserError, match="Runtime → Change runtime type → T4 GPU → Save"):
        gpu.setup("gpu")
    found = gpu.setup("auto")
    assert (found.kind, found.status) == ("cpu", "skipped")
    assert "this machine has no GPU" in found.checked


def test_a_broken_driver_is_a_failed_check_and_never_no_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drive(monkeypatch, driver.BrokenDriver("NVIDIA's driver is broken: the GPU is lost"))
    found = gpu.setup("auto")
    assert (found.kind, found.status) == ("cpu", "failed")
    assert "the GPU is lost. To fix: restart the machine" in found.checked
    assert "no GPU" not in found.checked
    with pytest.raises(UserError, match="the GPU is lost"):
        gpu.setup("gpu")
    monkeypatch.setattr(gpu, "where", lambda: "colab")
    assert "Disconnect and delete runtime" in gpu.setup("auto").checked


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
    monkeypatch: pytest.MonkeyPatch, build: dict[str, Any], reason: str
) -> None:
    import tensorflow as tf

    drive(monkeypatch, T4)
    monkeypatch.setattr(tf.sysconfig, "get_build_info", lambda: build)
    found = gpu.setup("auto")
    assert (found.kind, found.status) == ("cpu", "failed")
    assert reason in found.checked
    assert "driver 550.54.15, CUDA up to 12.4" in found.checked
    assert "tensorflow[and-cuda]" in found.checked
    with pytest.raises(UserError, match="Tesla T4"):
        gpu.setup("gpu")
    monkeypatch.setattr(gpu, "where", lambda: "colab")
    assert "replaced the machine's own TensorFlow" in gpu.setup("auto").checked


def test_a_gpu_that_is_hidden_on_purpose_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    drive(monkeypatch, T4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    found = gpu.setup("auto")
    assert found.status == "skipped"
    assert "CUDA_VISIBLE_DEVICES='-1' hides Tesla T4" in found.checked


def test_a_divided_gpu_without_instances_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Gpu(name="NVIDIA A100", memory="40960 MiB", instances=())
    drive(monkeypatch, Driver(version="550.54.15", cuda="12.4", gpus=(whole,)))
    found = gpu.setup("auto")
    assert found.status == "failed"
    assert "NVIDIA A100 in MIG mode without instances" in found.checked
    assert "nvidia-smi mig -lgip" in found.checked


def test_all_gpus_are_taken_and_their_memory_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = see(monkeypatch, *A100_AND_T4)
    found = gpu.setup("auto")
    assert gpus.visible == gpus.growing == gpus.devices
    assert (found.kind, found.name, found.count, found.status) == ("gpu", "A100", 2, "skipped")
    # What both compute fast, and the second is the older one.
    assert found.precisions == ("float32", "mixed_float16")
    assert not found.untried


def test_memory_can_be_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = see(monkeypatch, (7, 5))
    gpu.setup("gpu", memory_limit_mb=2048)
    assert (gpus.limits, gpus.growing) == ({"GPU 0": 2048}, [])


def test_a_gpu_can_be_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = see(monkeypatch, (7, 5))
    assert gpu.setup("cpu").kind == "cpu"
    assert gpus.visible == []


@pytest.mark.parametrize(("setting", "said"), [("tpu", "choose one of auto, gpu, cpu")])
def test_a_wrong_setting_is_refused(setting: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        gpu.setup(setting)
    with pytest.raises(UserError, match="memory_limit_mb=0 must be at least 1"):
        gpu.setup(memory_limit_mb=0)


@pytest.mark.parametrize(
    ("capability", "served"),
    [
        ((3, 7), ""),  # K80
        ((5, 2), ""),
        ((6, 1), "built"),  # sm_60 runs on all of 6.x
        ((7, 5), "built"),  # T4, by sm_70
        ((8, 0), "built"),
        ((8, 6), "built"),
        ((8, 9), "built"),
        ((9, 0), "built"),  # H100, by compute_90
        ((10, 0), "untried"),
        ((12, 0), "untried"),  # Blackwell, by compute_90 of a generation before
        (None, "built"),
    ],
)
def test_a_gpu_is_served_by_a_binary_or_by_what_is_compiled_for_it(
    capability: tuple[int, int] | None, served: str
) -> None:
    built_for = ["sm_60", "sm_70", "sm_80", "sm_89", "compute_90"]
    assert gpu.serves(built_for, capability) == served


def test_a_binary_serves_no_other_generation_and_no_older_minor_version() -> None:
    assert gpu.serves(["sm_89"], (8, 6)) == ""
    assert gpu.serves(["sm_80"], (9, 0)) == ""
    assert gpu.serves(["sm_120a"], (12, 0)) == "built"
    assert gpu.serves([], (3, 7)) == "built"  # not known


def test_a_gpu_that_tensorflow_was_not_built_for_is_told_and_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpus = see(monkeypatch, (3, 7))
    found = gpu.setup("auto")
    assert (found.kind, found.status, gpus.visible) == ("cpu", "failed", [])
    assert "has the compute capability 3.7, and this TensorFlow" in found.checked
    assert "was built for sm_60, sm_70, sm_80, sm_89, compute_90" in found.checked
    with pytest.raises(UserError, match=r"compute capability 3\.7"):
        gpu.setup("gpu")


def test_of_several_gpus_the_one_that_is_not_served_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpus = see(monkeypatch, (3, 7), (7, 5))
    found = gpu.setup("auto")
    assert gpus.visible == gpus.growing == gpus.devices[1:]
    assert (found.name, found.count) == ("T4", 1)
    assert "left out: GPU of (3, 7) has the compute capability 3.7" in capsys.readouterr().out


@pytest.mark.parametrize("code", ["import os; os.abort()", "raise SystemExit(3)"])
def test_a_gpu_that_is_too_new_is_tried_in_a_process_of_its_own(
    code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    see(monkeypatch, (12, 0))
    found = gpu.setup("auto")
    assert found.untried
    run = subprocess.run

    def abort(command: list[str], **options: Any) -> Any:
        assert "verify_device('/GPU:0')" in command[-1]
        assert "newer than this TensorFlow" in capsys.readouterr().out  # before it begins
        return run([sys.executable, "-c", code], **options)

    monkeypatch.setattr(subprocess, "run", abort)
    said = "SIGABRT" if "abort" in code else "exit code 3"
    with pytest.raises(UserError, match=f"TensorFlow dies on .* was not built.*{said}"):
        gpu.verify(found)


def test_a_choice_that_comes_too_late_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    def too_late(devices: list[Any], kind: str) -> None:
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    see(monkeypatch, (7, 5))
    monkeypatch.setattr(tf.config, "set_visible_devices", too_late)
    with pytest.raises(UserError, match="Restart session"):
        gpu.setup("cpu")


def test_memory_that_was_taken_before_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tensorflow as tf

    def too_late(device: Any, enable: bool) -> None:
        raise RuntimeError("Physical devices cannot be modified after being initialized")

    see(monkeypatch, *A100_AND_T4)
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", too_late)
    assert gpu.setup("auto").count == 2
    assert "TensorFlow was in use before" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["colab", "local"])
def test_a_missing_tensorflow_is_explained(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setattr(gpu, "where", lambda: place)
    reason = "TPU runtimes hold none" if place == "colab" else "pip install -r requirements.txt"
    with pytest.raises(UserError, match=reason):
        gpu.setup("auto")


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
    assert gpu.precisions(capability) == fast


def run_alone(code: str, **variables: str) -> str:
    env = os.environ | {"PYTHONPATH": str(SOURCE), "TF_CPP_MIN_LOG_LEVEL": "3"} | variables
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.thorough
def test_choosing_computes_nothing() -> None:
    # Several workers can be joined only before TensorFlow's first operation.
    run_alone(
        "from exactrun import gpu; import tensorflow as tf\n"
        "gpu.setup('auto')\n"
        "tf.config.threading.set_inter_op_parallelism_threads(3)\n"
    )


def test_several_gpus_are_mirrored_and_one_device_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert gpu.strategy() is tf.distribute.get_strategy()
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["one", "two"])
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda: "mirrored")
    assert gpu.strategy() == "mirrored"


def test_tf_config_makes_a_strategy_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    cluster = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}'
    monkeypatch.setenv("TF_CONFIG", cluster)
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", lambda: "workers")
    assert gpu.strategy() == "workers"


def test_a_device_is_verified_by_work() -> None:
    found = gpu.verify_device("/CPU:0")
    assert "matrix product, convolution, XLA on CPU:0 agree with the CPU" in found


def test_every_gpu_in_use_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    see(monkeypatch, *A100_AND_T4)
    monkeypatch.setattr(gpu, "verify_device", lambda device: f"{device} works")
    found = gpu.verify(gpu.setup("auto"))
    assert found.status == "passed"
    assert found.checked == "/GPU:0 works; /GPU:1 works; fast in float32, mixed_float16"


def test_work_done_elsewhere_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    # Another context, which leaves the choice of the device to TensorFlow.
    monkeypatch.setattr(tf, "device", lambda name: tf.init_scope())
    with pytest.raises(UserError, match="was computed on"):
        gpu.verify_device("/TPU:0")


def test_work_that_fails_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    def fail(*args: Any, **kwargs: Any) -> None:
        raise tf.errors.UnimplementedError(None, None, "DNN library is not found.")

    monkeypatch.setattr(tf.nn, "conv2d", fail)
    with pytest.raises(UserError, match="convolution failed on CPU:0: DNN library is not found"):
        gpu.verify_device("/CPU:0")


@pytest.mark.parametrize("wrong", [1.5, float("nan")])
def test_a_wrong_product_is_noticed(monkeypatch: pytest.MonkeyPatch, wrong: float) -> None:
    import tensorflow as tf

    products = [tf.matmul, lambda left, right: wrong * (left @ right)]
    monkeypatch.setattr(tf, "matmul", lambda left, right: products.pop()(left, right))
    with pytest.raises(UserError, match="The matrix product on CPU:0 differs from the CPU's by"):
        gpu.verify_device("/CPU:0")


@pytest.mark.thorough
def test_determinism_gives_the_same_bits_or_an_error() -> None:
    printed = run_alone(
        "from exactrun import gpu; import tensorflow as tf\n"
        "from tensorflow.python.framework import config\n"
        "gpu.setup('auto'); gpu.make_deterministic()\n"
        "print(config.is_op_determinism_enabled())\n"
    )
    assert printed == "True\n"


@pytest.mark.skipif(
    "not __import__('tensorflow').config.list_physical_devices('GPU')", reason="needs a GPU"
)
def test_the_gpu_works() -> None:
    found = gpu.verify(gpu.setup("gpu"))
    assert (found.kind, found.status) == ("gpu", "passed")
    assert "matrix product, convolution, XLA on GPU:0 agree with the CPU" in found.checked
