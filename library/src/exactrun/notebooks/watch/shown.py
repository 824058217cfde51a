"""Exceptions that are shown and go no further, as IPython does with those of `%run`.

The result of a cell tells its own exception; one that the notebook handles and shows is no fault.
"""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import Any

from IPython.core import interactiveshell
from IPython.core.magics import ExecutionMagics

from .noted import after, faults, last, named, own, swallowed

SWALLOWING = ("IPython", "ipykernel", "ipywidgets")
RUNNING = ("run_code", "run_ast_nodes", "run_cell_async", "run_cell", "_run_cell")

nested: list[Any] = []
"""Results of nested cells that failed."""

reloaded: set[str] = set()
"""Modules that %autoreload could not load again, as far as they were noted."""

profile = ExecutionMagics._run_with_profiler
breaks = sys.breakpointhook


def is_swallowed() -> bool:
    """Tell whether who has an exception shown is IPython or a widget, and not the notebook."""
    frame: FrameType | None = sys._getframe(2)
    showing = ("show", "_show", "excepthook")
    while frame and frame.f_code.co_name.startswith(showing) and not own(frame.f_code):
        frame = frame.f_back
    package = frame.f_globals.get("__name__", "").partition(".")[0] if frame else ""
    return frame is not None and package in SWALLOWING and frame.f_code.co_name not in RUNNING


class Result(interactiveshell.ExecutionResult):
    """The failed result of a nested cell, which knows whether somebody asked how it ended."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("success", "error_in_exec", "error_before_exec", "raise_error"):
            object.__getattribute__(self, "__dict__")["asked"] = True
        return super().__getattribute__(name)

    def __repr__(self) -> str:
        asked = vars(self)["asked"]
        text = str(super().__repr__())
        self.asked = asked  # to be shown is not to be asked
        return text


def ran(shell: Any, result: Any) -> None:
    """Note a nested cell that failed; of each cell itself the kernel asks the result."""
    if result is not None and not result.success:
        error = result.error_before_exec or result.error_in_exec
        by_notebook = own(sys._getframe(2).f_code)  # which may ask later, in another cell
        result.__class__ = Result
        vars(result).update(asked=False, text=named(error), later=by_notebook)
        nested.append(result)


def unasked(*, later: bool = True) -> list[str]:
    """Return how nested cells failed whose results nobody asked."""
    nested[:] = [each for each in nested if not vars(each)["asked"]]
    return [
        f"a nested cell failed, and nobody asked its result: {vars(each)['text']}"
        for each in nested
        if later or not vars(each)["later"]
    ]


def run_with_profiler(self: Any, *args: Any) -> Any:
    """Do what %prun does, and note a sys.exit(1), which %prun takes for a good end."""
    import cProfile  # here, since few notebooks need it

    run = cProfile.Profile.runctx

    def runctx(self: Any, *args: Any) -> Any:
        try:
            return run(self, *args)
        except SystemExit as end:
            if end.code:
                swallowed.append(named(end))
            raise

    setattr(cProfile.Profile, "runctx", runctx)  # noqa: B010
    try:
        return profile(self, *args)
    finally:
        setattr(cProfile.Profile, "runctx", run)  # noqa: B010


def breakpointhook(*args: Any, **options: Any) -> Any:
    """Note a breakpoint() instead of waiting for somebody to type."""
    if os.environ.get("PYTHONBREAKPOINT"):
        return breaks(*args, **options)
    faults.append("breakpoint() was called, and nobody is here to debug. Delete it")
    return None


def look_at_autoreload(shell: Any) -> None:
    """Note modules that %autoreload could not load again: it prints that, and goes on."""
    hook = getattr(shell.magics_manager.registry.get("AutoreloadMagics"), "_reloader", None)
    if hook is not None:
        new = hook.failed.keys() - reloaded
        reloaded.update(new)
        swallowed.extend(f"%autoreload could not load {name}: the old code goes on" for name in new)


def watch(shell: Any) -> None:
    """Begin."""
    show = shell._showtraceback

    def showtraceback(kind: type, error: BaseException, lines: Any) -> None:
        if is_swallowed():
            swallowed.append(named(error))
        show(kind, error, lines)

    shell._showtraceback = showtraceback
    after(type(shell), "run_cell", ran)
    ExecutionMagics._run_with_profiler = run_with_profiler
    sys.breakpointhook = breakpointhook
    last.append(unasked)
