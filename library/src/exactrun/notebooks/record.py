"""The record that a notebook may leave: a JSON file with checks, and whatever else there is.

`{"checks": [{"name": "gpu", "status": "passed", "detail": "a Tesla T4 computes rightly"}]}`; the
status is passed, failed or skipped. `figures`, of names and texts, are shown large in the report.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..record import MARKS


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        UserError: If it can't be read, or holds none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}. Check the path.") from error
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}. Check the path.") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no JSON object. Check the path.")
    return found


def read_record(path: Path) -> dict[str, Any]:
    """Return the record that a notebook left.

    Raises:
        UserError: If it can't be read, or its checks or figures are not of their form.
    """
    record = read_json(path)
    checks, figures = record.get("checks"), record.setdefault("figures", {})
    if not (isinstance(checks, list) and all(map(_is_check, checks))):
        raise UserError(
            f"{path} has no checks of the form"
            ' [{"name": "gpu", "status": "passed", "detail": "what was found"}] with a status of'
            f" {', '.join(MARKS)}. Have the notebook write them so."
        )
    if not (isinstance(figures, dict) and all(isinstance(v, str) for v in figures.values())):
        raise UserError(f"{path} has figures that are not texts by name. Write them so.")
    return record


def _is_check(check: Any) -> bool:
    return (
        isinstance(check, dict)
        and check.keys() == {"name", "status", "detail"}
        and all(isinstance(value, str) for value in check.values())
        and check["status"] in MARKS
    )
