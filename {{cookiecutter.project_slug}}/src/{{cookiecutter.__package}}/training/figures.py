"""What a training looks like, each figure with its alt text."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def curves(history: Sequence[dict[str, Any]]) -> tuple[Figure, str]:
    """Draw loss and accuracy by epoch, for the training and the validation data.

    Returns:
        The figure and its alt text.
    """
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    epochs = [record["epoch"] for record in history]
    for index, (name, unit) in enumerate((("loss", "nats"), ("accuracy", "share"))):
        axes = figure.add_subplot(1, 2, index + 1)
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            axes.plot(epochs, [record[key] for record in history], marker="o", label=label)
        axes.set(xlabel="epoch", ylabel=f"{name} ({unit})", title=name.capitalize())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    if not history:
        return figure, "Loss and accuracy by epoch: no epoch is finished yet."
    last = history[-1]
    alt = (
        f"Loss and accuracy over {len(history)} epochs. At the end: training loss"
        f" {last['loss']:.3f}, validation loss {last['val_loss']:.3f}, training accuracy"
        f" {last['accuracy']:.1%}, validation accuracy {last['val_accuracy']:.1%}."
    )
    return figure, alt


def confusion(
    truth: np.ndarray, answers: np.ndarray, class_names: Sequence[str]
) -> tuple[Figure, str]:
    """Draw how often each class is taken for each other.

    Args:
        truth: Class indices, shape (examples,).
        answers: The model's probabilities, shape (examples, classes), or (examples, 1) for a yes
            or no.
        class_names: The name of each class, by its index.

    Returns:
        The figure and its alt text.
    """
    given = answers[:, 0] > 0.5 if answers.shape[1] == 1 else answers.argmax(axis=1)
    classes = max(2, answers.shape[1])
    names = class_names if len(class_names) == classes else ("no", "yes")
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (truth, given.astype(int)), 1)

    side = min(10.0, 2.5 + 0.4 * classes)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(counts, cmap="Blues", norm="symlog")
    size = 9 if classes <= 20 else 5
    turn = 90 if max(map(len, names)) > 3 else 0
    axes.set_xticks(range(classes), names, fontsize=size, rotation=turn)
    axes.set_yticks(range(classes), names, fontsize=size)
    axes.set(xlabel="answered", ylabel="true", title=f"{len(truth):,} test examples")
    if classes <= 20:  # numbers that still can be read
        for (row, column), count in np.ndenumerate(counts):
            color = "white" if count > counts.max() / 4 else "black"
            axes.text(column, row, count or "", ha="center", va="center", color=color, fontsize=8)

    wrong = counts - np.diag(np.diag(counts))
    worst = np.argsort(-wrong, axis=None, kind="stable")[:3]
    pairs = [np.unravel_index(index, wrong.shape) for index in worst if wrong.flat[index]]
    mistakes = "; ".join(f"{names[t]} taken for {names[g]} ({wrong[t, g]}×)" for t, g in pairs)
    right = int(np.trace(counts))
    return figure, (
        f"Confusion matrix: {right} of {len(truth)} test examples are right."
        f" Most frequent mistakes: {mistakes or 'none'}."
    )


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
