"""The harness's one error."""

from __future__ import annotations


class HarnessError(Exception):
    """A notebook can't be executed, or did not pass; the message says why."""
