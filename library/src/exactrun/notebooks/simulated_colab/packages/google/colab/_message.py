"""Questions to Colab's page, which can be asked one at a time only."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from google.colab import _ipython, errors

TO_ANSWER = 0.1
"""Seconds that the page takes."""

_under_way = threading.Lock()


class MessageError(errors.Error):
    """The page answered with an error."""


def blocking_request(
    request_type: str, request: Any = "", timeout_sec: float | None = 5, parent: Any = None
) -> Any:
    """Ask the page, and wait for its answer.

    Whoever asks while another question is open never gets an answer, as whoever waits reads, and
    throws away, the answers to others.

    Returns:
        The answer; None if none came in time.

    Raises:
        MessageError: If the page answered with an error.
    """
    _ipython.get_kernel()
    page = os.environ.get("EXACTRUN_SIMULATED_PAGE", "answers")
    alone = _under_way.acquire(blocking=False)
    try:
        if page == "silent" or not alone:
            ends = None if timeout_sec is None else time.monotonic() + timeout_sec
            while ends is None or time.monotonic() < ends:
                time.sleep(0.025)
            return None
        time.sleep(TO_ANSWER)
        if page == "refuses":
            raise MessageError("Error: credential propagation was unsuccessful")
        return _secret(request["key"]) if request_type == "GetSecret" else {}
    finally:
        if alone:
            _under_way.release()


def _secret(key: str) -> dict[str, Any]:
    """Answer with a secret of the machine's file `secrets.json`; null is one without access."""
    file = Path(os.environ["EXACTRUN_SIMULATED_MACHINE"], "secrets.json")
    secrets = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    value = secrets.get(key)
    return {"exists": key in secrets, "access": value is not None, "payload": value}
