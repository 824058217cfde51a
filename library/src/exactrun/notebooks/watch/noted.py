"""What was noted in the kernel, and whose code it came of."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
from collections.abc import Callable
from types import CodeType, FrameType, TracebackType
from typing import Any

faults: list[str] = []
"""What failed since the engine asked last."""

swallowed: list[str] = []
"""Exceptions that went no further, likewise; a cell tagged `raises-exception` may have them."""

last: list[Callable[[], list[str]]] = []
"""Functions to ask when the last cell has ended: what failed, and nobody asked about it."""

pending: list[Callable[[], bool]] = []
"""Functions that tell whether something that the notebook began still runs."""

BEGINNING = (__package__, "asyncio", "concurrent", "multiprocessing", "subprocess", "threading")
LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platlib", "purelib")})


def own(code: CodeType | None) -> bool:
    """Tell whether code is the notebook's own, or of a module beside it."""
    name = code.co_filename if code else ""
    library = name.startswith((*LIBRARIES, "<frozen")) or f"{os.sep}dist-packages" in name
    return bool(name) and not library


def begun_by_notebook() -> bool:
    """Tell whether who begins a thread, task or child is the notebook's own code."""
    frame: FrameType | None = sys._getframe(1)
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] in BEGINNING:
        frame = frame.f_back
    return own(frame and frame.f_code)


def through_notebook(trace: TracebackType | None) -> bool:
    """Tell whether an exception came through the notebook's own code, or no Python code at all."""
    codes = []
    while trace:
        codes.append(trace.tb_frame.f_code)
        trace = trace.tb_next
    return not codes or any(map(own, codes))


def named(error: BaseException | None) -> str:
    """Return an exception in one line; its own text may fail, too."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


def before(owner: Any, name: str, action: Callable[[Any], object]) -> None:
    """Have a method's object given to an action each time before the method is called."""
    method = getattr(owner, name)

    @functools.wraps(method)
    def called(self: Any, *args: Any, **options: Any) -> Any:
        action(self)
        return method(self, *args, **options)

    setattr(owner, name, called)


def after(owner: Any, name: str, action: Callable[[Any, Any], object]) -> None:
    """Have a method's object and result given to an action each time the method has returned."""
    method = getattr(owner, name)

    @functools.wraps(method)
    def called(self: Any, *args: Any, **options: Any) -> Any:
        result = method(self, *args, **options)
        action(self, result)
        return result

    setattr(owner, name, called)
