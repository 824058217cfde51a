"""A simulated machine of Colab for tests that run in their own process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.colab import PACKAGES, Machine, new_machine


@contextmanager
def on_a_machine(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Give this process a machine's variables and `google.colab`."""
    machine = new_machine(place)
    for name, value in machine.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(PACKAGES)
    yield machine
    for name in [name for name in sys.modules if name.startswith("google.colab")]:
        del sys.modules[name]
