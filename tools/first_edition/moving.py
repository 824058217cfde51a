"""What is the user's goes from the old project into the new one, or onto a list for the user."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tempfile
import tomllib
from collections.abc import Collection
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import cached_property
from pathlib import Path
from typing import Any

from .history import read, run
from .sources import adapt, changed, form_in, settings_in, why_not_adapted, with_setting, with_value

NOTEBOOK, TOML = "notebooks/setup.ipynb", "pyproject.toml"
APART = (".cruft.json", "requirements.txt", "requirements-dev.txt")
"""Files that the new project has its own of."""
SHOWN = 6
"""Lines of a change that are shown; the old project has the rest."""


@dataclass(kw_only=True)
class Move:
    """A move, and what is told of it.

    Attributes:
        old, first, new: The user's project, as the first edition had made it, and as this one does.
        package: The name of its package.
        moved: What the new project has now.
        by_hand: What it hasn't, with the lines in question.
        dropped: How many files of the first edition the user had left as they were.
    """

    old: Path
    first: Path
    new: Path
    package: str
    moved: list[str] = field(default_factory=list)
    by_hand: list[str] = field(default_factory=list)
    dropped: int = 0

    @cached_property
    def names(self) -> list[str]:
        """The user's files: those that git has, or would take."""
        listed = run(
            "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=self.old
        )
        return sorted({name for name in listed.split("\0") if name} - {*APART})

    def all(self) -> None:
        """Move everything."""
        config, data, model = (f"src/{self.package}/{n}.py" for n in ("config", "data", "model"))
        added, touched = [], []
        for name in self.names:
            old, first = self.old / name, self.first / name
            if old.is_file() and not first.exists():
                added.append(name)
            elif old.is_file() and _bytes(old) != _bytes(first):
                touched.append(name)
            elif old.is_file():
                self.dropped += 1
            elif old.exists():
                self.by_hand.append(f"{name}: no plain file; it was not copied")
            elif (self.new / name).exists():
                self.by_hand.append(f"{name}: you had deleted it; the new project has it again")
        brought = [name for name in added if self._add(name)]
        if data in touched or model in touched:
            brought += self._adapt(data, model)
        self._settings(config, brought)
        self._notebook_cells()
        self._dependencies()
        for name in touched:
            if name not in (config, data, model, NOTEBOOK):
                self._merge(name)
        modules = [self._modules(project) for project in (self.first, self.new)]
        gone = modules[0] - modules[1] | (set() if data in brought else {"data", "model"})
        for name in brought:
            if name.endswith((".py", ".ipynb")):
                self._imports(name, gone)

    def _modules(self, project: Path) -> set[str]:
        """Return the names of what can be imported: in the project, its package and its tests."""
        places = (project, project / "src" / self.package, project / "tests")
        return {path.stem for place in places for path in place.iterdir()}

    def _left(
        self, name: str, why: str, *, has: Collection[str] = (), but: Collection[int] = ()
    ) -> None:
        """List what the user changed in a file, but for lines that the new one `has`, and `but`."""
        files = [place / name for place in (self.first, self.old)]
        before, now = (read(file).splitlines() if file.exists() else [] for file in files)
        lines = []
        matcher = SequenceMatcher(a=before, b=now, autojunk=False)
        for kind, i, i_end, j, j_end in matcher.get_opcodes():
            if kind != "equal":
                fresh = [n for n in range(j, j_end) if now[n].strip() and n + 1 not in but]
                lines += [f"{n + 1}: + {now[n]}" for n in fresh if now[n] not in has]
            if kind == "delete":
                gone = [line for line in before[i:i_end] if line.strip()]
                lines += [f"{j + 1}: - {line}" for line in gone if not has or line in has]
        if lines:
            more = [f"and {len(lines) - SHOWN} lines more"] if len(lines) > SHOWN else []
            self.by_hand.append("\n".join([f"{name}: {why}", *lines[:SHOWN], *more]))

    def _add(self, name: str) -> bool:
        """Copy a file that the first edition didn't have; a notebook gets this edition's setup."""
        target = self.new / name
        if target.exists():
            self.by_hand.append(f"{name}: the new project has a file of this name; unite the two")
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(self.old / name, target)
        self.moved.append(f"{name}: copied")
        if name.endswith(".ipynb"):
            notebook = read(target, json.loads)
            for number, cell in enumerate(notebook["cells"]):
                if "install_missing(" in "".join(cell["source"]):
                    ids = {c.get("id"): c for c in read(self.new / NOTEBOOK, notebook_in)["cells"]}
                    notebook["cells"][number] = ids["setup"]
                    self.moved[-1] += ", its cell that fetches the project replaced by today's"
                    _write(target, _dumped(notebook))
        return True

    def _adapt(self, *names: str) -> list[str]:
        """Bring data and model, which fit each other; return what was brought."""
        files = {name: self.old / name for name in names}
        sources = {n: read(file) if file.exists() else "" for n, file in files.items()}
        faults = {name: why_not_adapted(Path(name).name, text) for name, text in sources.items()}
        if why := "; ".join(f"{name}: {fault}" for name, fault in faults.items() if fault):
            for name in names:
                self._left(name, f"write it anew by the old one, which can't be adapted ({why})")
            return []
        task = "text" if "export_model" in read(self.new / names[1]) else "image"
        for name, text in sources.items():
            _write(self.new / name, adapt(Path(name).name, text, task=task))
            self.moved.append(f"{name}: adapted; what this edition calls is at its end")
        docstrings = f"src/{self.package}/docstrings.py"
        if "docstrings" not in sources[names[0]] or not (self.old / docstrings).is_file():
            return [*names]
        shutil.copy2(self.old / docstrings, self.new / docstrings)
        return [*names, docstrings]

    def _settings(self, name: str, brought: Collection[str]) -> None:
        """Give config.py and the form the user's values, and the settings that `brought` reads."""
        now, before = (read(place / name, settings_in) for place in (self.old, self.first))
        code = "".join(read(self.new / path) for path in brought if path.endswith(".py"))
        config, own = read(self.new / name), set()
        for setting, (value, words, _) in now.items():
            used = setting not in before or re.search(rf"\bconfig\.{setting}\b", code)
            if used and setting not in settings_in(config):
                config = with_setting(config, setting, value, words)
                self.moved.append(f"{name}: the setting {setting} = {value!r}")
                own.add(setting)
        notebooks = [read(p / NOTEBOOK, notebook_in) for p in (self.old, self.first, self.new)]
        *forms, form = ("".join(_parameters(notebook)["source"]) for notebook in notebooks)
        values = changed(*map(form_in, forms))
        values |= changed(*({n: s[0] for n, s in found.items()} for found in (now, before)))
        for setting, value in values.items():
            in_config, in_form = (with_value(text, setting, value) for text in (config, form))
            config, form = in_config or config, in_form or form
            if not (in_config or in_form):
                self.by_hand.append(f"{name}: this edition has no setting {setting} = {value!r}")
            elif setting not in own:
                self.moved.append(f"{name if in_config else NOTEBOOK}: {setting} = {value!r}")
        _write(self.new / name, config)
        _parameters(notebooks[2])["source"] = form.splitlines(keepends=True)
        _write(self.new / NOTEBOOK, _dumped(notebooks[2]))
        lines = [number for _, _, lines in now.values() for number in lines]
        self._left(name, "more than values was changed; do it again", but=lines)

    def _notebook_cells(self) -> None:
        """List the cells of setup.ipynb that are the user's."""
        notebooks = [read(p / NOTEBOOK, notebook_in) for p in (self.old, self.first)]
        now, before = (["".join(cell["source"]) for cell in each["cells"]] for each in notebooks)
        form = "".join(_parameters(notebooks[0])["source"])
        for number, source in enumerate(now, start=1):
            if source.strip() and source not in [*before, form]:
                first = source.strip().splitlines()[0]
                self.by_hand.append(f"{NOTEBOOK}, cell {number}: put it into the new one\n{first}")

    def _dependencies(self) -> None:
        """Name the commands that pin what the user added, and take out what they removed."""
        files = [read(p / TOML, tomllib.loads) for p in (self.old, self.first, self.new)]
        old, first, new = ({*each.get("project", {}).get("dependencies", ())} for each in files)
        dev, dev_first = ({*each.get("dependency-groups", {}).get("dev", ())} for each in files[:2])
        for command, names in (("add", old - first - new), ("remove", (first - old) & new)):
            if names:
                self.by_hand.append(f"{TOML}: run nox -s {command} -- {shlex.join(sorted(names))}")
        if tools := sorted(dev - dev_first):
            text = f"{TOML}: add {', '.join(tools)} to `dev`; nox -s add -- keras pins them"
            self.by_hand.append(text)

    def _merge(self, name: str) -> None:
        """Merge the user's changes into the new file; where both changed a line, the new stays."""
        if not (self.new / name).is_file():
            return self._left(name, "it is gone; exactrun does its work. You had changed:")
        with tempfile.TemporaryDirectory() as place:
            sides = [Path(place, side) for side in ("new", "first", "old")]
            for side in sides:
                side.write_bytes(_bytes(getattr(self, side.name) / name))
            merged = run("git", "merge-file", "-p", "--ours", *map(str, sides), cwd=self.new)
        try:
            tomllib.loads(merged if name == TOML else "")
        except tomllib.TOMLDecodeError:  # half of a change can be no TOML
            merged = read(self.new / name)
        if merged != read(self.new / name):
            _write(self.new / name, merged)
            self.moved.append(f"{name}: your changes, merged")
        self._left(name, "both were changed here; do it again", has=merged.splitlines())

    def _imports(self, name: str, gone: Collection[str]) -> None:
        """Import UserError from exactrun, and list what else a file imports that is gone."""
        path, package = self.new / name, self.package
        errors = rf"^(\W*)from (?:\.|{package}\.)errors import"
        text = re.sub(errors, r"\1from exactrun import", read(path), flags=re.M)
        _write(path, text)
        pattern = rf"\W*(?:from|import) (?:{package}\.|\.)?({'|'.join(map(re.escape, gone))})\b"
        for number, line in enumerate(text.splitlines(), start=1):
            if found := re.match(pattern, line):
                text = f"{name}: {found[1]} is gone, or another one\n{number}: {line.strip()}"
                self.by_hand.append(text)


def notebook_in(text: str) -> dict[str, Any]:
    """Return a notebook that has its parameters.

    Raises:
        ValueError: It has none.
    """
    notebook: dict[str, Any] = json.loads(text)
    _parameters(notebook)
    return notebook


def _parameters(notebook: dict[str, Any]) -> dict[str, Any]:
    for cell in notebook["cells"]:
        if "parameters" in cell["metadata"].get("tags", ()):
            return cell
    raise ValueError("it has no cell tagged `parameters`")


def _dumped(notebook: dict[str, Any]) -> str:
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _bytes(path: Path) -> bytes:
    return path.read_bytes().replace(b"\r\n", b"\n")
