"""Where the code runs."""

from __future__ import annotations

import os
from pathlib import Path

MACHINE = Path(os.environ.get("EXACTRUN_SIMULATED_MACHINE", "/"))
"""Where /content, /var/colab and /kaggle are; the simulated Colab has a directory of its own."""


def where() -> str:
    """Tell colab, kaggle, ci and local apart.

    Kaggle is asked for first: its images derive from Colab's and set Colab's variables, too.
    """
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE"):
        return "kaggle"
    if os.environ.get("COLAB_RELEASE_TAG"):
        return "colab"
    return "ci" if os.environ.get("CI", "").lower() not in ("", "0", "false") else "local"
