"""The runtimes that Colab offers, as Google publishes them: past ones by name, and today's."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.request import Request, urlopen

from ..environment import MADE_FOR
from ..errors import UserError
from .freeze import address_of

API = "https://api.github.com/repos/googlecolab/backend-info"

LATEST = "latest"
"""Our word for the runtime that Colab starts unasked: it has no name, and Colab moves it."""

PAST = re.compile(r"20\d\d\.\d\d")
"""A past runtime's name."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A runtime of Colab.

    Attributes:
        name: Such as 2026.07, or `latest`.
        source: Path or address of its freeze.
        date: The day of the freeze, of `latest`.
    """

    name: str
    source: str
    date: str = ""

    def comment(self, python: str) -> str:
        """Return the comment of a requirements file that is for this runtime with its Python."""
        day = f", as of {self.date}" if self.date else ""
        return (
            f"{MADE_FOR}{self.name} (Python {python}): Colab's own versions{day}.\n"
            f"# To another runtime, or to a newer {LATEST}: nox -s move -- NAME\n"
        )


def past_runtimes() -> list[str]:
    """Return the names of the past runtimes that Colab offers, the newest first.

    Raises:
        UserError: If GitHub can't be asked.
    """
    listed = _ask(f"{API}/contents/past")
    past = [each["name"] for each in listed if PAST.fullmatch(each["name"])]
    if not past:
        raise UserError(f"{API}/contents/past lists no runtime. Give the freeze of one: --freeze")
    return sorted(past, reverse=True)


def runtime_named(name: str) -> Runtime:
    """Return one of the runtimes that Colab offers.

    Raises:
        UserError: If Colab offers none of this name, or GitHub can't be asked.
    """
    if name == LATEST:
        (commit,) = _ask(f"{API}/commits?path=pip-freeze.gpu.txt&per_page=1")
        date = commit["commit"]["committer"]["date"][:10]
        return Runtime(name=LATEST, source=address_of(LATEST), date=date)
    past = past_runtimes()
    if name not in past:
        raise UserError(
            f"Colab offers no runtime {name!r}. It offers {', '.join(past)}, and {LATEST}."
        )
    return Runtime(name=name, source=address_of(name))


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
