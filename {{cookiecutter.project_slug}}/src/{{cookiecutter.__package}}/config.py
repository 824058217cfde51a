"""Every knob, once: the command line's flags and the run's record follow from it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .errors import UserError


def knob(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] = (),
    fixed: bool = True,
) -> Any:
    """Declare a setting.

    Args:
        default: Its value when nothing is said; its type is the setting's type.
        help: One sentence for `--help` and for whoever reads this file.
        low, high: Smallest and largest allowed value, both included.
        choices: The allowed values, where there are only a few.
        fixed: Whether a run has to keep it from its beginning to its end, because what it learns
            depends on it. A run refuses to go on under another value.
    """
    limits = {"low": low, "high": high, "choices": tuple(choices)}
    return field(default=default, metadata={"help": help, "fixed": fixed, **limits})


@dataclass(frozen=True, kw_only=True)
class Config:
    """The settings of one run; wrong values are refused together, before any time is spent.

    Raises:
        UserError: Naming each wrong setting, its value and what would work.
    """

    run_name: str = knob(
        "first",
        "name of the run: a known name goes on where it stopped, a new one starts afresh",
        fixed=False,
    )
    data: str = knob(
        "",
        "folder of packed examples (see the command pack); empty: what load in data.py returns",
        fixed=False,  # their fingerprint is fixed
    )
    persistent: str = knob(
        "",
        "folder that outlives the machine; empty: Drive in Colab, /kaggle/working on Kaggle,"
        " the project's own folder elsewhere",
        fixed=False,
    )
    accelerator: str = knob(
        "auto",
        "gpu: stop at once if there is none; cpu: leave a GPU alone; auto: take what is there",
        choices=("auto", "gpu", "cpu"),
        fixed=False,
    )
    gpu: int = knob(-1, "which of several GPUs, counted from 0; -1: all", low=-1, fixed=False)
    gpu_memory_limit: int = knob(
        0, "MiB to take of each GPU; 0: as much as is needed, when it is", low=0, fixed=False
    )
    checkpoint_seconds: float = knob(
        60.0, "time between checkpoints, where an interrupted run goes on", low=0.0, fixed=False
    )
    max_hours: float = knob(
        0.0, "save and stop after this time; 0: no limit", low=0.0, high=10_000.0, fixed=False
    )
    stop_after_steps: int = knob(
        0, "save and stop after this step of the run, for a try; 0: no limit", low=0, fixed=False
    )
    early_stopping: int = knob(
        0, "stop after so many epochs without a better one; 0: never", low=0, fixed=False
    )
    best_by: str = knob(
        "val_accuracy",
        "what makes an epoch better than another",
        choices=("val_accuracy", "val_loss"),
    )
    deliver: str = knob(
        "best",
        "whose weights model.keras has: the best epoch's, or those of the last step",
        choices=("best", "last"),
        fixed=False,
    )
    tensorboard: bool = knob(False, "write logs for TensorBoard into the run's folder", fixed=False)
    precision: str = knob(
        "float32",
        "what the layers compute in; auto: the fastest that the accelerator is made for",
        choices=("auto", "float32", "mixed_float16", "mixed_bfloat16"),
        fixed=False,  # what it comes to is fixed: see training/precision.py
    )
    xla: str = knob(
        "auto",
        "compile the model's computation; auto: on a GPU, if every layer can be compiled",
        choices=("auto", "on", "off"),
        fixed=False,  # as above
    )
    deterministic: bool = knob(
        False, "the same weights from a GPU every time, at the price of slower kernels"
    )
    warmup: float = knob(
        0.0, "share of the run in which the learning rate rises from zero", low=0.0, high=0.9
    )
    clip_norm: float = knob(
        0.0, "largest norm of all gradients together, in one step; 0: no limit", low=0.0
    )
    seed: int = knob(
        0, "fixes the split, the order of the data and every random number", low=0, high=2**31 - 1
    )
{% if cookiecutter.task == "image" %}
    epochs: int = knob(15, "passes over the training data", low=1, fixed=False)
    batch_size: int = knob(32, "examples per step", low=1)
    learning_rate: float = knob(
        2e-3, "highest learning rate; it falls to zero along a cosine", low=1e-8, high=10.0
    )
    dropout: float = knob(0.3, "share of units dropped while training", low=0.0, high=0.95)
    shift: float = knob(
        0.08, "largest random shift while training, as a share of the side", low=0.0, high=0.5
    )
    rotation: float = knob(
        0.03, "largest random rotation while training, in full turns", low=0.0, high=0.5
    )
{% else %}
    dataset: str = knob(
        "docstrings",
        "docstrings: which library does a docstring come from; reuters: the Reuters newswires",
        choices=("docstrings", "reuters"),
    )
    epochs: int = knob(5, "passes over the training data", low=1, fixed=False)
    batch_size: int = knob(32, "examples per step", low=1)
    learning_rate: float = knob(
        5e-3, "highest learning rate; it falls to zero along a cosine", low=1e-8, high=10.0
    )
    dropout: float = knob(0.25, "share of units dropped while training", low=0.0, high=0.95)
    vocabulary_size: int = knob(20_000, "how many words the model knows", low=100)
    sequence_length: int = knob(300, "words of a text that the model sees", low=20)
{% endif %}

    def __post_init__(self) -> None:
        wrong = [text for setting in fields(self) for text in self._faults(setting)]
        if wrong:
            raise UserError("Wrong settings:\n" + "\n".join(f"  {text}" for text in wrong))

    def fixed(self) -> dict[str, Any]:
        """Return the settings that a run has to keep, by name."""
        return {s.name: getattr(self, s.name) for s in fields(self) if s.metadata["fixed"]}

    def as_dict(self) -> dict[str, Any]:
        """Return all settings by name, as `run.json` records them."""
        return asdict(self)

    def _faults(self, setting: Any) -> list[str]:
        """Say what is wrong with one setting; an empty list if nothing is."""
        name, value = setting.name, getattr(self, setting.name)
        kind, limits = type(setting.default), setting.metadata
        if kind is float and type(value) is int:
            object.__setattr__(self, name, value := float(value))
        if type(value) is not kind:
            return [f"{name}={value!r} is not of type {kind.__name__}, as {setting.default!r} is."]
        if limits["choices"] and value not in limits["choices"]:
            return [f"{name}={value!r} is unknown; choose one of {', '.join(limits['choices'])}."]
        # Written so that NaN, which compares as false with everything, is refused as well.
        if limits["low"] is not None and not value >= limits["low"]:
            return [f"{name}={value!r} is too small; it must be at least {limits['low']}."]
        if limits["high"] is not None and not value <= limits["high"]:
            return [f"{name}={value!r} is too large; it must be at most {limits['high']}."]
        if name == "run_name" and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}", value):
            return [
                f"run_name={value!r} can't name a folder everywhere; use letters, digits,"
                " '-', '_' and '.', beginning with a letter or digit."
            ]
        return []
