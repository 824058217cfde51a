"""What a training looks like, each figure with its alt text."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def curves(history: Sequence[dict[str, Any]]) -> tuple[Figure, str]:
    """Draw loss and accuracy by epoch, for the training and the test data.

    Returns:
        The figure and its alt text.
    """
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    epochs = [record["epoch"] for record in history]
    for index, (name, unit) in enumerate((("loss", "nats"), ("accuracy", "share"))):
        axes = figure.add_subplot(1, 2, index + 1)
        for key, label in ((name, "training"), (f"test_{name}", "test")):
            axes.plot(epochs, [record[key] for record in history], marker="o", label=label)
        axes.set(xlabel="epoch", ylabel=f"{name} ({unit})", title=name.capitalize())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    last = history[-1]
    alt = (
        f"Loss and accuracy over {len(history)} epochs. At the end: training loss"
        f" {last['loss']:.3f}, test loss {last['test_loss']:.3f}, training accuracy"
        f" {last['accuracy']:.1%}, test accuracy {last['test_accuracy']:.1%}."
    )
    return figure, alt


def show(figure: Figure, alt: str) -> None:
    """Display a figure in a notebook, with an alt text for those who can't see it."""
    from IPython.display import HTML, display

    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    data = base64.b64encode(picture.getvalue()).decode()
    style = "max-width:100%;height:auto;background:white"
    display(
        HTML(
            f'<img alt="{html.escape(alt, quote=True)}" style="{style}"'
            f' src="data:image/png;base64,{data}">'
        )
    )
