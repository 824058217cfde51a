"""What the run of a notebook may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a run may take; None is without limit.

    Attributes:
        cell: Seconds for one cell.
        notebook: Seconds for everything, start-up included: what hangs is ended.
        start: Seconds for the kernel to start.
        memory: Bytes for the kernel and its children together, looked at every second.
    """

    cell: float | None = None
    notebook: float | None = 3600.0
    start: float = 60.0
    memory: float | None = None


DEFAULT_LIMITS = Limits()
