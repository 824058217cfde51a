"""A progress bar that looks right in a notebook, in a terminal and in a log."""

from __future__ import annotations

import sys
import time
from typing import Any

from tqdm import tqdm


class Progress:
    """Shows how far a training is: a bar that moves where it can, and a line per epoch.

    A notebook gets one output that is replaced in place, which is also what is stored in the
    file and in its HTML report; a terminal gets a bar; a log only gets the lines.

    Args:
        total: Steps of the whole run.
        done: Steps that an earlier session made.
    """

    REFRESH_SECONDS = 0.2

    def __init__(self, *, total: int, done: int) -> None:
        self._total, self._first, self._started, self._shown = total, done, time.monotonic(), 0.0
        self._handle: Any = None
        self._bar: tqdm | None = None
        if _in_notebook():
            from IPython.display import display

            self._handle = display(self._text(done), raw=True, display_id=True)
        elif sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=done, unit="step", leave=False)

    def at(self, step: int) -> None:
        """Move the bar to a step; drawn a few times a second at most."""
        if self._bar is not None:
            self._bar.update(step - self._bar.n)
        elif self._handle is not None:
            now = time.monotonic()
            if step == self._total or now - self._shown > self.REFRESH_SECONDS:
                self._shown = now
                self._handle.update(self._text(step), raw=True)

    def line(self, text: str) -> None:
        """Print a line that stays, clear of the bar."""
        with tqdm.external_write_mode(file=sys.stdout):
            print(text, flush=True)

    def close(self) -> None:
        """Take a terminal's bar away; a notebook's stays as it is."""
        if self._bar is not None:
            self._bar.close()

    def _text(self, step: int) -> dict[str, str]:
        elapsed = time.monotonic() - self._started
        made = step - self._first
        meter = tqdm.format_meter(
            step,
            self._total,
            elapsed,
            ncols=76,
            unit="step",
            rate=made / elapsed if made and elapsed else None,
        )
        return {"text/plain": meter}


def epoch_line(record: dict[str, Any], *, epochs: int) -> str:
    """Put an epoch's record into a line of equal columns."""
    width = len(str(epochs))
    return (
        f"epoch {record['epoch']:>{width}}/{epochs}"
        f"  loss {record['loss']:.4f}  accuracy {record['accuracy']:.4f}"
        f"  val loss {record['val_loss']:.4f}  val accuracy {record['val_accuracy']:.4f}"
        f"  {record['seconds']:5.1f} s"
    )


def _in_notebook() -> bool:
    """Tell whether this process is a Jupyter kernel (Colab's and Kaggle's are, too)."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return hasattr(get_ipython(), "kernel")
