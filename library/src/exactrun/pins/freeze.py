"""The freeze of a runtime: reading it, and what it tells."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from ..errors import UserError

OLDEST_PYTHON = "3.11"  # what every generated project supports, beside the runtime's own Python
FREEZES = "https://raw.githubusercontent.com/googlecolab/backend-info/main/{}pip-freeze.gpu.txt"
"""Where Google publishes them; `past/2026.07/` stands in the braces of a runtime with a name."""


@dataclass(frozen=True, kw_only=True)
class Freeze:
    """What is installed on a Colab runtime.

    Attributes:
        versions: Version by canonical package name, of the `name==version` lines.
        by_address: Canonical names of the `name @ address` lines: present, at a version that no
            package index can be asked for.
        pythons: Python versions, such as 3.13, that the wheels installed by address are built for:
            one, if the freeze tells its Python at all.
    """

    versions: Mapping[str, str]
    by_address: frozenset[str]
    pythons: frozenset[str]

    def __contains__(self, name: str) -> bool:
        return name in self.versions or name in self.by_address


def address_of(runtime: str) -> str:
    """Return where Google publishes the freeze of a runtime, such as 2026.07 or `latest`."""
    return FREEZES.format("" if runtime == "latest" else f"past/{runtime}/")


def read_freeze(source: str) -> str:
    """Return the text of a freeze, from a path or an http(s) address.

    Raises:
        UserError: It can't be fetched or read, or is a page for browsers.
    """
    fix = f"Give a file, or an address that answers with plain text such as {address_of('latest')}"
    try:
        if source.lower().startswith(("http://", "https://")):
            with urlopen(source, timeout=60) as response:
                data: bytes = response.read()
        else:
            data = Path(source).read_bytes()
        text = data.decode("utf-8-sig")
    except (OSError, HTTPException, ValueError) as error:
        raise UserError(f"The freeze {source} can't be read: {error}.\n{fix}") from error
    if text.lstrip().startswith("<"):
        raise UserError(f"The freeze {source} is a web page, not the output of pip.\n{fix}")
    return text


def parse_freeze(text: str) -> Freeze:
    """Parse the output of `pip freeze`.

    Raises:
        UserError: A line is neither a version, an address nor a comment, a package has two
            versions, or there is no version at all.
    """
    versions: dict[str, str] = {}
    addresses: dict[str, str] = {}
    strange: list[str] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = re.split(r"(?:^|\s)#", raw, maxsplit=1)[0].strip()
        if not line:
            continue
        try:
            requirement = Requirement(line)
            name = canonicalize_name(requirement.name)
            if requirement.url:
                addresses[name] = requirement.url
                continue
            (specifier,) = requirement.specifier
            version = str(Version(specifier.version))
            if specifier.operator != "==" or versions.setdefault(name, version) != version:
                raise ValueError(line)
        except ValueError:  # packaging's errors are ValueErrors, too
            strange.append(f"  line {number}: {line}")
    if strange:
        raise UserError(
            "The freeze must have one `name==version` or `name @ address` for each package, and "
            "these lines are otherwise:\n" + "\n".join(strange[:10]) + "\n"
            "Take the output of pip freeze on the runtime as it is."
        )
    if not versions:
        raise UserError(
            "The freeze is empty: it has no `name==version` line.\n"
            f"Take the output of pip freeze on the runtime, such as {address_of('latest')}"
        )
    pythons = frozenset(python for url in addresses.values() for python in _wheel_pythons(url))
    return Freeze(versions=versions, by_address=frozenset(addresses), pythons=pythons)


def _wheel_pythons(url: str) -> set[str]:
    """Return the one Python, such as 3.13, that a wheel's name asks for; none, if it's open."""
    try:
        tags = parse_wheel_filename(urlsplit(url).path.rpartition("/")[2])[-1]
    except InvalidWheelFilename:
        return set()
    # The ABI tells, not the interpreter: a cp39-abi3 wheel runs on 3.9 and everything later.
    matches = (re.fullmatch(r"cp3(\d+)", tag.abi) for tag in tags)
    return {f"3.{match[1]}" for match in matches if match}


def runtime_python(freeze: Freeze, given: str | None) -> str:
    """Return the runtime's Python, such as 3.13: the given one, else what the freeze tells.

    Raises:
        UserError: The freeze tells none or several, or the Python is too old for the projects.
    """
    if given is None and len(freeze.pythons) != 1:
        found = ", ".join(sorted(freeze.pythons)) or "none"
        raise UserError(
            "The freeze doesn't tell the runtime's Python: the wheels that it installs by address "
            f"should be built for one Python, and are for: {found}.\n"
            "Say it yourself, for example: --python 3.13"
        )
    python = given or min(freeze.pythons)
    if minor(python) < minor(OLDEST_PYTHON):
        raise UserError(
            f"The runtime has Python {python}, and the projects need {OLDEST_PYTHON} or newer.\n"
            "Take the freeze of a newer runtime."
        )
    return python


def minor(python: str) -> int:
    """Return the 13 of a Python 3.13."""
    return int(python.partition(".")[2])
