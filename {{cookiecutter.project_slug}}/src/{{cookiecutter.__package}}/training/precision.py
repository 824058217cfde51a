"""What the layers compute in, and whether XLA compiles them: settled once, kept by the run."""

from __future__ import annotations

import keras

from ..colab.accelerator import Accelerator
from ..config import Config
from ..errors import UserError


def settle_precision(config: Config, accelerator: Accelerator) -> str:
    """Return the precision that `config.precision` comes to on this accelerator.

    Raises:
        UserError: If a GPU is not made for the one that was asked for. A CPU takes any, slowly.
    """
    made_for = accelerator.precisions
    if config.precision == "auto":
        return made_for[-1]
    if accelerator.kind == "gpu" and config.precision not in made_for:
        raise UserError(
            f"precision={config.precision} is not what {accelerator.name} is made for; choose one"
            f" of {', '.join(made_for)}, or auto."
        )
    return config.precision


def settle_xla(config: Config, accelerator: Accelerator, model: keras.Model) -> bool:
    """Return whether XLA compiles the model's computation, as `config.xla` says.

    Raises:
        UserError: If it was asked for and a layer can't be compiled, naming it.
    """
    without = layers_without_xla(model)
    if config.xla == "on" and without:
        raise UserError(
            f"xla=on, but XLA can't compile the layers {', '.join(without)}. Set xla to auto, or"
            " leave these layers out."
        )
    if config.xla == "auto":
        # Under determinism, XLA refuses operations that TensorFlow itself can do.
        return accelerator.kind == "gpu" and not without and not config.deterministic
    return config.xla == "on"


def layers_without_xla(model: keras.Model) -> list[str]:
    """Return the names of the layers that XLA can't compile, such as random rotations."""
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += layers_without_xla(layer)
        elif not layer.supports_jit:
            found.append(layer.name)
    return found
