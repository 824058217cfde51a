"""The GPU: whether there is one, whether TensorFlow sees it, whether it works."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..errors import UserError
from . import driver
from .environment import NO_TENSORFLOW, where

CHANGE_RUNTIME = "Runtime → Change runtime type → T4 GPU → Save, then Runtime → Run all"
NEW_MACHINE = "Runtime → Disconnect and delete runtime, then Runtime → Run all"

TOLERANCE = 0.01
"""Allowed difference from the CPU's numbers, as a share of the largest of them.

TensorFloat-32, which an A100 or L4 uses, has a mantissa of 10 bits and stays far below.
"""


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """What the training runs on.

    Attributes:
        kind: gpu or cpu.
        name: The device's own name, such as Tesla T4.
        count: How many GPUs are used; 0 without one.
        precisions: The precisions that it computes fast, as Keras names their policies.
        status: What came of the check: failed, if the machine has a GPU that TensorFlow can't use.
        checked: What was verified, or why nothing was, in words.
    """

    kind: Literal["gpu", "cpu"]
    name: str
    count: int
    precisions: tuple[str, ...]
    status: Literal["passed", "failed", "skipped"]
    checked: str


def choose(wanted: str = "auto", *, gpu: int = -1, memory_limit: int = 0) -> Accelerator:
    """Choose the accelerator; call it before anything else uses TensorFlow.

    Nothing is computed here, because TensorFlow joins several workers only before its first
    operation; `verify` does that.

    Args:
        wanted: gpu, cpu or auto, which takes a GPU if there is one.
        gpu: Which of several GPUs, counted from 0; -1 takes all.
        memory_limit: Memory in MiB to take of each GPU; 0 lets it grow with the need, so that a
            second process finds some left.

    Raises:
        UserError: If a GPU was demanded and there is none, if there is no GPU of that number, or
            if TensorFlow was already used with another choice.
    """
    tf = _import_tensorflow()
    gpus = tf.config.list_physical_devices("GPU")
    if wanted == "cpu" and not gpus:
        return _cpu("accelerator=cpu asks for it")
    if not gpus:
        why, fallen_back = _why_there_is_no_gpu(tf)
        if wanted == "gpu":
            raise UserError(
                f"accelerator=gpu, but TensorFlow sees no GPU: {why}. To train on the CPU, set"
                " accelerator=auto."
            )
        return _cpu(why, status="failed" if fallen_back else "skipped")
    if wanted != "cpu" and gpu >= len(gpus):
        raise UserError(
            f"gpu={gpu}, but TensorFlow sees {len(gpus)} GPU{'s' * (len(gpus) > 1)}, counted from"
            f" 0: set gpu to at most {len(gpus) - 1}, or to -1 for all."
        )
    used = gpus if gpu < 0 else gpus[gpu : gpu + 1]
    try:
        if wanted == "cpu":
            tf.config.set_visible_devices([], "GPU")
            return _cpu("accelerator=cpu leaves a GPU alone that is there")
        tf.config.set_visible_devices(used, "GPU")
        if memory_limit:
            limited = tf.config.LogicalDeviceConfiguration(memory_limit=memory_limit)
            for device in used:
                tf.config.set_logical_device_configuration(device, [limited])
        else:
            _let_memory_grow(tf, used)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"accelerator={wanted}, gpu={gpu} and gpu_memory_limit={memory_limit} come too late:"
            f" {error}. Choose them before anything uses TensorFlow: Runtime → Restart session,"
            " then Runtime → Run all."
        ) from error
    details = [tf.config.experimental.get_device_details(device) for device in used]
    return Accelerator(
        kind="gpu",
        name=details[0].get("device_name", used[0].name),
        count=len(used),
        precisions=precisions(min(each.get("compute_capability", (0, 0)) for each in details)),
        status="skipped",
        checked="not yet verified",
    )


def _let_memory_grow(tf: Any, used: list[Any]) -> None:
    """Take the GPUs' memory as it is needed, so that a second process finds some left."""
    try:
        for device in used:
            tf.config.experimental.set_memory_growth(device, True)
    except RuntimeError:  # it works as well without, and nobody has asked for it
        print("TensorFlow was in use before: it may hold all of the GPU's memory.")


def _import_tensorflow() -> Any:
    # TensorFlow greets with pages about the processor; errors still come through.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"google\.")
    try:
        import tensorflow as tf
    except ImportError as error:
        if where() == "colab":
            raise UserError(f"{NO_TENSORFLOW} (Python says: {error}.)") from error
        raise UserError(
            f"TensorFlow can't be imported: {error}. Install the pinned packages:"
            " python -m pip install -r requirements.txt"
        ) from error
    return tf


def _cpu(why: str, *, status: Literal["failed", "skipped"] = "skipped") -> Accelerator:
    fast = precisions(None)
    return Accelerator(kind="cpu", name="CPU", count=0, precisions=fast, status=status, checked=why)


def _why_there_is_no_gpu(tf: Any) -> tuple[str, bool]:
    """Say why TensorFlow sees no GPU, and what to do.

    Returns:
        The reason, and whether the driver sees a GPU: TensorFlow falls back to the CPU without a
        word when a CUDA library is missing.
    """
    found = driver.inventory()
    if found is None or not found.gpus:
        return (
            f"this machine has no GPU. To get one in Colab: {CHANGE_RUNTIME}. On Kaggle:"
            " Settings → Accelerator → GPU T4 x2"
        ), False
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in ("", "-1"):
        return f"CUDA_VISIBLE_DEVICES={hidden!r} hides {found.gpus[0]}; unset it", False
    build = tf.sysconfig.get_build_info()
    if not build.get("is_cuda_build"):
        reason = f"this TensorFlow {tf.__version__} was built without CUDA"
    else:
        needed = build["cuda_version"]
        reason = (
            f"this TensorFlow {tf.__version__} was built for CUDA {needed} and cuDNN"
            f" {build['cudnn_version']}, and "
        )
        supported = re.match(r"\d+", found.cuda)
        # A driver runs every CUDA of its own major version, and of those before.
        if supported and int(needed.split(".")[0]) > int(supported[0]):
            reason += "this driver is too old for it"
        else:
            reason += "their libraries are not found"
    mend = f'update the driver, or: python -m pip install "tensorflow[and-cuda]=={tf.__version__}"'
    if where() in ("colab", "kaggle"):
        mend = (
            "something has replaced the machine's own TensorFlow; get a new machine, in Colab by"
            f" {NEW_MACHINE}, on Kaggle by stopping the session and starting another"
        )
    return f"{found}, but {reason}. To mend: {mend}", True


def precisions(compute_capability: tuple[int, int] | None) -> tuple[str, ...]:
    """Return the precisions that a device computes fast, as Keras names their policies.

    Tensor cores take float16 from compute capability 7.0 (V100, T4) and bfloat16 from 8.0 (A100,
    L4): CUDA C++ Programming Guide, "Compute Capabilities".

    Args:
        compute_capability: Of a GPU, such as (7, 5); None for a CPU.
    """
    fast = ["float32"]
    if compute_capability and compute_capability >= (7, 0):
        fast.append("mixed_float16")
    if compute_capability and compute_capability >= (8, 0):
        fast.append("mixed_bfloat16")
    return tuple(fast)


def make_deterministic() -> None:
    """Have TensorFlow use only kernels that give the same bits every time.

    Some kernels of a GPU are much slower for it, and an operation that has none raises an error.
    A CPU gives the same bits anyway, on the same machine.
    """
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()


def verify(found: Accelerator) -> Accelerator:
    """Have every GPU in use work, and return the accelerator with what came of it.

    Raises:
        UserError: If something fails, is computed elsewhere or is wrong.
    """
    if found.kind != "gpu":
        return found
    results = [verify_device(f"/GPU:{index}") for index in range(found.count)]
    fast = f"fast in {', '.join(found.precisions)}"
    return replace(found, status="passed", checked="; ".join([*results, fast]))


def verify_device(device: str) -> str:
    """Have a device multiply, convolve and run a compiled function, and compare with the CPU.

    Args:
        device: A device of TensorFlow's, such as `/GPU:0`.

    Returns:
        What was found, in words.

    Raises:
        UserError: If something fails, is computed elsewhere or is wrong.
    """
    import numpy as np
    import tensorflow as tf

    random = np.random.default_rng(0)
    left, right = random.standard_normal((2, 512, 512), np.float32)
    pictures = random.standard_normal((8, 32, 32, 3), np.float32)
    filters = random.standard_normal((7, 7, 3, 32), np.float32)

    def convolve(pictures: Any, filters: Any) -> Any:
        return tf.nn.conv2d(pictures, filters, strides=1, padding="SAME")

    def chain(numbers: Any) -> Any:
        return tf.reduce_mean(tf.tanh(numbers) * tf.nn.softmax(numbers) + numbers, axis=1)

    compiled = tf.function(chain, jit_compile=True)
    # What the device runs, what the CPU runs, and on which numbers.
    works: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]] = {
        "matrix product": (tf.matmul, tf.matmul, (left, right)),
        "convolution": (convolve, convolve, (pictures, filters)),
        "XLA": (compiled, chain, (left,)),
    }
    kind, worst = device.strip("/"), 0.0
    for name, (work, reference, numbers) in works.items():
        try:
            with tf.device(device):
                result = work(*(tf.constant(each) for each in numbers))
                answer = result.numpy()
        except tf.errors.OpError as error:
            raise UserError(
                f"The {name} failed on {kind}: {error.message}\nGet another machine:"
                f" {NEW_MACHINE}. To train on the CPU, set accelerator=cpu."
            ) from error
        if not result.device.endswith(f"device:{kind}"):
            raise UserError(
                f"The {name} for {kind} was computed on {result.device}. Get another machine:"
                f" {NEW_MACHINE}."
            )
        with tf.device("/CPU:0"):
            expected = reference(*(tf.constant(each) for each in numbers)).numpy()
        apart = float(np.max(np.abs(answer - expected)) / np.max(np.abs(expected)))
        if not apart < TOLERANCE:  # written so that NaN is refused as well
            raise UserError(
                f"The {name} on {kind} differs from the CPU's by {apart:.2g} of the largest number."
                f" The device is faulty: get another machine by {NEW_MACHINE}."
            )
        worst = max(worst, apart)
    return f"{', '.join(works)} on {kind} agree with the CPU to {worst:.1g}"
