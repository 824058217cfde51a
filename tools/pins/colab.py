"""What Colab offers, as Google publishes it: past runtimes by name, and today's, which has none."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.request import Request, urlopen

from exactrun.errors import UserError
from exactrun.pins.freeze import address_of

from .questions import LATEST

API = "https://api.github.com/repos/googlecolab/backend-info"


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A runtime to compile: its name, the address of its freeze and, of `latest`, its day."""

    name: str
    source: str
    date: str | None = None


def runtimes_to_compile(choices: Sequence[str]) -> tuple[list[Runtime], list[str]]:
    """Ask what Colab offers.

    Args:
        choices: The runtimes that users of the template can choose.

    Returns:
        What to compile: the newest past runtime, if it is no choice yet, and `latest`; and the
        choices that Colab does not offer any more.

    Raises:
        UserError: It can't be asked.
    """
    listed = _ask(f"{API}/contents/past")
    past = [each["name"] for each in listed if re.fullmatch(r"20\d\d\.\d\d", each["name"])]
    if not past:
        raise UserError(
            f"{API}/contents/past lists no runtime. Look at it, and name one: --runtime"
        )
    (commit,) = _ask(f"{API}/commits?path=pip-freeze.gpu.txt&per_page=1")
    date = commit["commit"]["committer"]["date"][:10]
    found = [Runtime(name=LATEST, source=address_of(LATEST), date=date)]
    if (newest := max(past)) not in choices:
        found.insert(0, Runtime(name=newest, source=address_of(newest)))
    return found, [name for name in choices if name not in (*past, LATEST)]


def _ask(address: str) -> list[dict[str, Any]]:
    # Without a token GitHub answers 60 times an hour, to all machines of one address together.
    token = os.environ.get("GITHUB_TOKEN", "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urlopen(Request(address, headers=headers), timeout=60) as response:
            answer = json.load(response)
    except (OSError, HTTPException, ValueError) as error:
        raise UserError(f"{address} can't be read: {error}. Try again later.") from error
    if not isinstance(answer, list):
        raise UserError(f"{address} answered with something else than a list: {str(answer)[:80]}")
    return answer
