"""The GPU: whether there is one, whether TensorFlow can use it, and whether it computes right."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from . import driver
from .console import say
from .driver import Driver
from .environment import NO_TENSORFLOW, where
from .errors import UserError
from .record import Status
from .workers import place_in_cluster

CHANGE_RUNTIME = "Runtime → Change runtime type → T4 GPU → Save, then Runtime → Run all"
NEW_MACHINE = "Runtime → Disconnect and delete runtime, then Runtime → Run all"

TOLERANCE = 0.01
"""Allowed difference from the CPU's numbers, as a fraction of the largest of them.

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
        status: What came of the check: failed, if the machine has a GPU that can't be used.
        checked: What was verified, or why nothing was, in words.
        untried: Whether TensorFlow's program for this GPU was made for an older kind.
    """

    kind: Literal["gpu", "cpu"]
    name: str
    count: int
    precisions: tuple[str, ...]
    status: Status
    checked: str
    untried: bool = False


def setup(accelerator: str = "auto", *, memory_limit_mb: int | None = None) -> Accelerator:
    """Choose the accelerator; call it before anything else uses TensorFlow.

    Nothing is computed here, because TensorFlow joins several workers only before its first
    operation: `strategy` does that, and then `verify` has the GPUs work. Which of several GPUs are
    used, the environment variable CUDA_VISIBLE_DEVICES says.

    Args:
        accelerator: gpu, cpu (a GPU is hidden from TensorFlow) or auto, which takes what is there.
        memory_limit_mb: Memory in MiB to take of each GPU; None lets it grow with the need, so that
            a second process finds some left.

    Raises:
        UserError: If a GPU was demanded and none can be used, or if TensorFlow was already used
            with another choice.
    """
    if accelerator not in ("auto", "gpu", "cpu"):
        raise UserError(f"accelerator={accelerator!r} is unknown; choose one of auto, gpu, cpu.")
    if memory_limit_mb is not None and memory_limit_mb < 1:
        raise UserError(
            f"memory_limit_mb={memory_limit_mb} must be at least 1; None lets the memory grow."
        )
    tf = _import_tensorflow()
    gpus = tf.config.list_physical_devices("GPU")
    details = {gpu: tf.config.experimental.get_device_details(gpu) for gpu in gpus}
    built_for = tf.sysconfig.get_build_info().get("cuda_compute_capabilities") or ()
    served = {gpu: serves(built_for, details[gpu].get("compute_capability")) for gpu in gpus}
    used = [gpu for gpu in gpus if served[gpu] and accelerator != "cpu"]
    left_out = [_not_built_for(tf, details[gpu], built_for) for gpu in gpus if not served[gpu]]
    status: Status = "skipped"
    if accelerator == "cpu":
        why = f"accelerator=cpu {'hides the GPU that is there' if gpus else 'asks for it'}"
    elif left_out:
        why, status = "; ".join(left_out), "failed"
    elif not gpus:
        why, status = _why_there_is_no_gpu(tf)
    if accelerator == "gpu" and not used:
        raise UserError(
            f"accelerator=gpu, but TensorFlow can use no GPU: {why}. To train on the CPU, set"
            " accelerator=auto."
        )
    if used and left_out:
        say(f"A GPU is left out: {why}.")
    try:
        if gpus:
            tf.config.set_visible_devices(used, "GPU")
        for gpu in used if memory_limit_mb is not None else ():
            limited = tf.config.LogicalDeviceConfiguration(memory_limit=memory_limit_mb)
            tf.config.set_logical_device_configuration(gpu, [limited])
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"accelerator={accelerator} and memory_limit_mb={memory_limit_mb} come too late:"
            f" {error}. Set up the devices before anything uses TensorFlow: Runtime → Restart"
            " session, then Runtime → Run all."
        ) from error
    try:
        for gpu in used if memory_limit_mb is None else ():
            tf.config.experimental.set_memory_growth(gpu, True)
    except (RuntimeError, ValueError):  # it works as well without, and nobody has asked for it
        say("TensorFlow was in use before: it may hold all of the GPU's memory.")
    if not used:
        return Accelerator(
            kind="cpu", name="CPU", count=0, precisions=precisions(None), status=status, checked=why
        )
    capabilities = [details[gpu].get("compute_capability", (0, 0)) for gpu in used]
    return Accelerator(
        kind="gpu",
        name=details[used[0]].get("device_name", used[0].name),
        count=len(used),
        precisions=precisions(min(capabilities)),
        status="skipped",
        checked="not yet verified",
        untried=any(served[gpu] == "untried" for gpu in used),
    )


def strategy() -> Any:
    """Return the `tf.distribute` strategy: of the workers in `TF_CONFIG`, of all GPUs, or of one.

    Call it after `setup` and before anything is computed: workers have to find each other first.

    Raises:
        UserError: If `TF_CONFIG` can't be understood.
    """
    tf = _import_tensorflow()
    workers, worker = place_in_cluster()
    if workers > 1:
        say(f"Worker {worker} waits until all {workers} workers are there.")
        return tf.distribute.MultiWorkerMirroredStrategy()
    if len(tf.config.get_visible_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def verify(found: Accelerator) -> Accelerator:
    """Have every GPU in use work, and return the accelerator with what came of it.

    Raises:
        UserError: If something fails, is computed elsewhere or is wrong.
    """
    if found.kind != "gpu":
        return found
    if found.untried:
        _verify_apart(found)
    results = [verify_device(f"/GPU:{index}") for index in range(found.count)]
    fast = f"fast in {', '.join(found.precisions)}"
    return replace(found, status="passed", checked="; ".join([*results, fast]))


def verify_device(device: str) -> str:
    """Have a device multiply, convolve and run a compiled function, and compare with the CPU.

    Args:
        device: A device of TensorFlow's, such as `/GPU:0`.

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


def serves(
    built_for: Sequence[str], capability: tuple[int, int] | None
) -> Literal["", "untried", "built"]:
    """Tell whether a TensorFlow was built for a GPU.

    CUDA C++ Programming Guide, "Binary Compatibility" and "PTX Compatibility": a binary for sm_80
    runs on 8.0 and later 8.x; compute_90 is compiled when it is loaded, by 9.0 and all later ones.
    For a later major version nobody has tried it: such a GPU can abort the process (tensorflow
    #101746, #103531, #111958).

    Args:
        built_for: Such as `["sm_80", "compute_90"]`; empty if that isn't known.
        capability: The GPU's compute capability, such as (7, 5); None if it isn't known.

    Returns:
        An empty text if it was not built for it at all.
    """
    if capability is None or not built_for:
        return "built"
    major, minor = capability
    found = [re.match(r"(sm|compute)_(\d+)(\d)", target) for target in built_for]
    targets = [(each[1], int(each[2]), int(each[3])) for each in found if each]
    if any(of_major == major and of_minor <= minor for _, of_major, of_minor in targets):
        return "built"
    newer = any(kind == "compute" and of_major < major for kind, of_major, _ in targets)
    return "untried" if newer else ""


def precisions(compute_capability: tuple[int, int] | None) -> tuple[str, ...]:
    """Return the precisions that a device computes fast, as Keras names their policies.

    Tensor cores take float16 from compute capability 7.0 (V100, T4) and bfloat16 from 8.0 (A100,
    L4): CUDA C++ Programming Guide, "Compute Capabilities".

    Args:
        compute_capability: Of a GPU, such as (7, 5); None for a CPU.
    """
    since = {"float32": (0, 0), "mixed_float16": (7, 0), "mixed_bfloat16": (8, 0)}
    return tuple(name for name, first in since.items() if (compute_capability or (0, 0)) >= first)


def make_deterministic() -> None:
    """Have TensorFlow use only kernels that give the same bits every time.

    Some kernels of a GPU are much slower for it, and an operation that has none raises an error.
    A CPU gives the same bits anyway, on the same machine.
    """
    _import_tensorflow().config.experimental.enable_op_determinism()


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


def _not_built_for(tf: Any, detail: dict[str, Any], built_for: Sequence[str]) -> str:
    major, minor = detail["compute_capability"]
    return (
        f"{detail.get('device_name', 'this GPU')} has the compute capability {major}.{minor}, and"
        f" this TensorFlow {tf.__version__} was built for {', '.join(built_for)}. Choose another"
        f" GPU; in Colab: {CHANGE_RUNTIME}"
    )


def _why_there_is_no_gpu(tf: Any) -> tuple[str, Status]:
    """Say why TensorFlow sees no GPU, what to do, and whether something is broken.

    TensorFlow falls back to the CPU without a word when the driver is broken or a CUDA library is
    missing.
    """
    try:
        found = driver.inventory()
    except driver.BrokenDriver as error:
        return f"{error}. {_another_machine('restart the machine, or install the driver anew')}", (
            "failed"
        )
    if found is None or not found.gpus:
        return (
            f"this machine has no GPU. To get one in Colab: {CHANGE_RUNTIME}. On Kaggle:"
            " Settings → Accelerator → GPU T4 x2"
        ), "skipped"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in ("", "-1"):
        return f"CUDA_VISIBLE_DEVICES={hidden!r} hides {found.gpus[0]}; unset it", "skipped"
    return f"{found}, but {_why_it_falls_back(tf, found)}", "failed"


def _why_it_falls_back(tf: Any, found: Driver) -> str:
    if all(gpu.instances == () for gpu in found.gpus):
        return (
            "it is in MIG mode and has no instance to compute on. Make one; what it can be divided"
            " into says: nvidia-smi mig -lgip"
        )
    build = tf.sysconfig.get_build_info()
    if not build.get("is_cuda_build"):
        reason = f"this TensorFlow {tf.__version__} was built without CUDA"
    else:
        needed = build["cuda_version"]
        reason = (
            f"this TensorFlow {tf.__version__} was built for CUDA {needed} and cuDNN"
            f" {build['cudnn_version']}, and "
        )
        # A driver runs every CUDA of its own major version, and of those before.
        if int(needed.split(".")[0]) > int(found.cuda.split(".")[0]):
            reason += "this driver is too old for it"
        else:
            reason += "their libraries are not found"
    own = f'update the driver, or: python -m pip install "tensorflow[and-cuda]=={tf.__version__}"'
    if where() in ("colab", "kaggle"):
        reason += "; something has replaced the machine's own TensorFlow"
    return f"{reason}. {_another_machine(own)}"


def _another_machine(otherwise: str) -> str:
    if where() in ("colab", "kaggle"):
        return (
            f"To fix: get a new machine, in Colab by {NEW_MACHINE}, on Kaggle by stopping the"
            " session and starting another"
        )
    return f"To fix: {otherwise}"


def _verify_apart(found: Accelerator) -> None:
    """Try a GPU in a process of its own first: it may end the process that uses it.

    Raises:
        UserError: If that process ends otherwise than well.
    """
    say(
        f"{found.name} is newer than this TensorFlow: its program is compiled at the first start,"
        " which takes minutes. It is tried in a process of its own first."
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", "from exactrun import gpu; gpu.verify_device('/GPU:0')"],
        env=os.environ | {"PYTHONPATH": paths, "TF_FORCE_GPU_ALLOW_GROWTH": "true"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        code = done.returncode
        how = f"exit code {code}" if code > 0 else signal.Signals(-code).name
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise UserError(
            f"TensorFlow dies on {found.name}, for which it was not built ({how}; it said: {last})."
            f" Choose another GPU; in Colab: {CHANGE_RUNTIME}. To train on the CPU, set"
            " accelerator=cpu."
        )
