"""This process, on a machine of a simulated Colab."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import IPython
import pytest

from exactrun import colab, environment, upload
from exactrun.notebooks import simulated_colab


@contextlib.contextmanager
def on_colab(place: Path, monkeypatch: pytest.MonkeyPatch, **settings: str) -> Iterator[Path]:
    """Be the kernel of a new machine; yield what Colab has at `/`, beside which is `drive`."""
    variables = simulated_colab.environment(place, **settings)
    del variables["PYTHONPATH"]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(simulated_colab.PACKAGES)
    machine = Path(variables["EXACTRUN_SIMULATED_MACHINE"])
    monkeypatch.setattr(environment, "MACHINE", machine)
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setattr(colab, "BACK_OFF", (0.0, 0.0))
    monkeypatch.setattr(upload, "BACK_OFF", (0.05,))
    _forget_google()
    monkeypatch.setattr(importlib.import_module("google.colab._message"), "TO_ANSWER", 0.01)
    try:
        yield machine
    finally:
        for uploader in list(upload.Uploader._open.values()):
            uploader.close(0.2)
        _forget_google()


def _forget_google() -> None:
    """Have Google's client of the next machine imported anew: it knows where it is."""
    for name in [name for name in sys.modules if name.startswith("google.colab")]:
        del sys.modules[name]
    if hasattr(sys.modules.get("google"), "colab"):
        del sys.modules["google"].colab
