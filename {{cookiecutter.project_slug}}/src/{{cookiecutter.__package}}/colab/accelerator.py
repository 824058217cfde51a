"""The GPU: whether there is one, whether TensorFlow sees it, whether it works."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass

from ..errors import UserError

CHANGE_RUNTIME = "Runtime → Change runtime type → T4 GPU → Save, then Runtime → Run all"


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """What the training runs on.

    Attributes:
        kind: gpu or cpu.
        name: The device's own name, such as Tesla T4.
        checked: What was verified, or why nothing was, in words.
    """

    kind: str
    name: str
    checked: str


def choose(wanted: str = "auto") -> Accelerator:
    """Choose and verify the accelerator; call it before anything else uses TensorFlow.

    Memory growth is switched on, so that a second process finds memory left on the GPU.

    Args:
        wanted: gpu, cpu or auto, which takes a GPU if there is one.

    Raises:
        UserError: If a GPU was demanded and there is none, if TensorFlow was already used with
            another choice, or if the GPU calculates wrongly.
    """
    # TensorFlow greets with pages about the processor; errors still come through.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"google\.")
    try:
        import tensorflow as tf
    except ImportError as error:
        raise UserError(
            f"TensorFlow can't be imported: {error}. In Colab, choose a GPU or CPU runtime (TPU"
            f" runtimes hold none): {CHANGE_RUNTIME}. Elsewhere:"
            " python -m pip install -r requirements.txt"
        ) from error

    gpus = tf.config.list_physical_devices("GPU")
    if wanted == "gpu" and not gpus:
        raise UserError(
            "accelerator=gpu, but TensorFlow sees no GPU. In Colab: " + CHANGE_RUNTIME + "."
            " On Kaggle: Settings → Accelerator. To train on the CPU, set accelerator=auto."
        )
    if not gpus:
        return Accelerator(kind="cpu", name="CPU", checked="TensorFlow sees no GPU")
    try:
        if wanted == "cpu":
            tf.config.set_visible_devices([], "GPU")
            return Accelerator(kind="cpu", name="CPU", checked="a GPU is there and is left alone")
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError as error:
        raise UserError(
            f"accelerator={wanted} comes too late: {error}. Choose it before anything uses"
            " TensorFlow: Runtime → Restart session, then Runtime → Run all."
        ) from error
    details = tf.config.experimental.get_device_details(gpus[0])
    checked = verify("/GPU:0")
    return Accelerator(kind="gpu", name=details.get("device_name", gpus[0].name), checked=checked)


def make_deterministic() -> None:
    """Have TensorFlow use only kernels that give the same bits every time.

    Some kernels of a GPU are much slower for it, and an operation that has none raises an error.
    A CPU gives the same bits anyway, on the same machine.
    """
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()


def verify(device: str) -> str:
    """Multiply two matrices on a device and compare the product with NumPy's.

    Args:
        device: A device of TensorFlow's, such as `/GPU:0`.

    Returns:
        What was found, in words.

    Raises:
        UserError: If the product was computed elsewhere or is wrong.
    """
    import numpy as np
    import tensorflow as tf

    random = np.random.default_rng(0)
    left, right = (random.standard_normal((512, 512)).astype(np.float32) for _ in range(2))
    with tf.device(device):
        product = tf.matmul(tf.constant(left), tf.constant(right))
    kind = device.strip("/").split(":")[0]
    if f"device:{kind}:" not in product.device:
        raise UserError(
            f"A matrix product for {device} was computed on {product.device}. Restart the runtime:"
            " Runtime → Disconnect and delete runtime, then Runtime → Run all."
        )
    # Float32 sums of 512 products, with TensorFloat-32's 10-bit mantissa on an A100 or L4.
    error = float(np.max(np.abs(product.numpy() - left @ right)))
    if not error < 0.5:
        raise UserError(
            f"A matrix product on {device} is off by {error:.3g}. The device is faulty: get another"
            " machine by Runtime → Disconnect and delete runtime, then Runtime → Run all."
        )
    return f"a 512×512 product on {kind} agrees with NumPy to {error:.1g}"
