"""Commands that failed: `!` lines, what they assign, `%cd`, `%%bash`.

IPython keeps the exit status of the last command only. Of a pipeline, and of commands in a row,
the shell itself tells the last one's; the others' are told here by traps of bash, which change
nothing of what the line does, prints or returns.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ipykernel import zmqshell
from IPython.core import interactiveshell
from IPython.core.magics import osm, script
from IPython.utils._process_common import process_handler

from .noted import faults, last, pending

HINT = "If that is no failure, write `command || true`"

TRAPS = r"""
__exactrun_notes=$EXACTRUN_NOTES
unset EXACTRUN_NOTES BASH_ENV
if [ -n "$EXACTRUN_BASH_ENV" ]; then
  export BASH_ENV="$EXACTRUN_BASH_ENV"
  . "$BASH_ENV"
fi
unset EXACTRUN_BASH_ENV
__exactrun_pipe() { case "$1" in *[1-9]*" "*) printf '%s\n' "| $1" >> "$__exactrun_notes";; esac; }
__exactrun_part() { printf '%s\n' "$1 ${2//$'\n'/ }" >> "$__exactrun_notes"; }
trap '__exactrun_part "$?" "$BASH_COMMAND" "$_"' ERR
trap '__exactrun_pipe "${PIPESTATUS[*]}"' EXIT
trap '__exactrun_pipe "${PIPESTATUS[*]}" "$_"' DEBUG
"""
"""What bash reads before a line: note what fails in it. `$_` stays what it was."""

SEVERAL = re.compile(r"[|;&\n]")
HANDLED = re.compile(r"\|\||\$\?|PIPESTATUS|\bset \+e\b|(\btrue|\bexit 0|[;\s]:)\s*$")
CONDITION = re.compile(r"\b(if|while|until)\b|(^|\s)! ")
ANSWERS = {
    *("grep", "egrep", "fgrep", "zgrep", "rg", "diff", "cmp", "test", "[", "[[", "((", "let"),
    *("expr", "read", "which", "command", "type", "hash", "find", "du", "ls", "pgrep", "pidof"),
    *("pkill", "killall", "kill", "mkdir", "rmdir", "rm", "ln", "unlink", "umount", "timeout"),
    *("dpkg", "getent", "id", "lsof", "nc", "ping", "yes"),
}
"""Commands that by a low status give an answer, such as `none`, or that all is as it should be."""

ASSIGNED = re.compile(r"(\w+=(\$\(\s*|`\s*|\S*\s+))*")
"""What stands before a command: `n=$(` where its output is assigned, `LANG=C ` for it alone."""

UNHEARD = re.compile(r"(2|&)>\s*/dev/null|>\s*/dev/null\s+2>&1")
"""Whoever throws a command's errors away knows that it may fail."""

STOPS_EARLY = re.compile(r"\|\s*(head|grep\s+-\w*[qm]\w*|sed|awk|less|more|read)\b")
SIGPIPE, NOT_FOUND, TIMED_OUT = 141, 127, 124

run, calls = interactiveshell.system, subprocess.call
jobs: list[tuple[Any, Any]] = []
"""Background scripts: the shell, and the process."""


def is_answer(status: int, command: str) -> bool:
    """Tell whether a part's status is none of a failure."""
    command = ASSIGNED.sub("", command, count=1)
    word = (command.split() or [""])[0].removeprefix("((") or "(("
    answers = status in (1, 2, TIMED_OUT) and os.path.basename(word) in ANSWERS
    return status == SIGPIPE or answers or UNHEARD.search(command) is not None


def fault_of(command: str, notes: list[str]) -> str:
    """Say what failed in a line that ended well; nothing if it may be meant.

    Args:
        command: The line.
        notes: What the traps wrote: `| 1 0` for a pipeline's statuses, `1 cd none` for a command's.
    """
    if HANDLED.search(command):
        return ""
    parts = [part.strip() for part in command.split("|")]
    for note in notes:
        if not note.startswith("| "):
            first, _, part = note.partition(" ")
            if not is_answer(int(first), part) and not part.startswith(("((", "[[")):
                return f"`{part}` ended with exit status {first}"
            continue
        found = [int(each) for each in note[2:].split()]
        known = parts if len(parts) == len(found) else []
        for number, status in enumerate(found[:-1]):
            of_it = [*re.split(r"[|;&]+", command), command]
            if known:
                of_it = [re.split(r";|&&|\n", known[number])[-1].strip()]
            meant = any(is_answer(status, each) for each in of_it) or CONDITION.search(command)
            broken = STOPS_EARLY.search(command) and status < NOT_FOUND - 1
            if status and not (meant or broken):
                what = f"`{of_it[0]}`" if known else f"command {number + 1} of a pipeline"
                return f"{what} ended with exit status {status}"
    return ""


def note(command: str, status: int | None, notes: list[str]) -> None:
    """Remember a command that failed."""
    if status:
        faults.append(f"the command {command!r} ended with exit status {status}. {HINT}")
    elif fault := fault_of(command, notes):
        faults.append(f"in the command {command!r}, {fault}. {HINT}")


def watched(command: str, run: Callable[[str], Any], status_of: Callable[[Any], Any]) -> Any:
    """Run a command by the user's shell, with the traps if it has several parts."""
    shell = os.path.basename(os.environ.get("SHELL") or "sh")
    bash = shutil.which("bash") if shell in ("bash", "sh", "dash") else None
    if sys.platform == "win32":  # cmd.exe runs the line, also where Git has brought a bash
        bash = None
    if not (SEVERAL.search(command) and bash):
        result = run(command)
        note(command, status_of(result), [])
        return result
    given = os.environ.get("BASH_ENV", "")
    with tempfile.TemporaryDirectory(prefix="exactrun-") as name:
        traps, notes = Path(name, "traps"), Path(name, "notes")
        traps.write_text(TRAPS, encoding="utf-8")
        os.environ |= {"BASH_ENV": str(traps), "EXACTRUN_NOTES": str(notes)}
        os.environ["EXACTRUN_BASH_ENV"] = given
        try:
            # The plain sh of Debian tells nothing of a pipeline; its echo reads escapes.
            by = command if shell == "bash" else f"exec bash -O xpg_echo -c {shlex.quote(command)}"
            result = run(by)
        finally:
            for variable in ("EXACTRUN_NOTES", "EXACTRUN_BASH_ENV", "BASH_ENV"):
                os.environ.pop(variable, None)
            if given:
                os.environ["BASH_ENV"] = given
        lines = (
            notes.read_text(encoding="utf-8", errors="replace").splitlines()
            if (notes.exists())
            else []
        )
    note(command, status_of(result), lines)
    return result


def system(command: str) -> int:
    """Do what `!command` and `%pip` call."""
    status: int = watched(command, run, lambda status: status)
    return status


def getoutput(command: str) -> str:
    """Do what `lines = !command` calls."""

    def finish(process: subprocess.Popen[bytes]) -> tuple[bytes, int]:
        return process.communicate()[0], process.returncode

    def once(command: str) -> tuple[bytes, int | None]:
        return process_handler(command, finish, subprocess.STDOUT) or (b"", None)

    output, _ = watched(command, once, lambda result: result[1])
    return str(output, errors="replace")


def call(command: Any, *args: Any, **options: Any) -> int:
    """Do what subprocess.call does; remember a command of `system_raw`, which calls that."""
    if sys._getframe(1).f_code.co_name == "system_raw":
        status: int = watched(command, lambda line: calls(line, *args, **options), lambda s: s)
        return status
    return calls(command, *args, **options)


class Os:
    """The module os, as `%cd` sees it: it prints that there is no such directory, and goes on."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def chdir(self, path: str) -> None:
        """Change the directory, and remember if that fails."""
        try:
            os.chdir(path)
        except OSError as error:
            faults.append(f"%cd failed: {error}")
            raise


def watch_magics(shell: Any) -> None:
    """Note `%cd` of no directory, `%%script` of no program, and what fails under `--bg`."""
    change = osm.OSMagics.cd
    parser = script.ScriptMagics.shebang.parser
    execute, begin = script.ScriptMagics.shebang, script.ScriptMagics._run_script

    def cd(self: Any, line: str = "") -> Any:
        osm.os = Os()  # here only: %rehashx tries directories, too
        try:
            return change(self, line)
        finally:
            osm.os = os

    def shebang(self: Any, line: str, cell: str) -> Any:
        _, words = parser.parse_known_args(script.arg_split(line, posix=os.name == "posix"))
        if words and shutil.which(words[0]) is None:
            faults.append(f"%%script: there is no program {words[0]!r}")
        return execute(self, line, cell)

    def run_script(self: Any, process: Any, *args: Any) -> Any:
        jobs.append((self.shell, process))
        return begin(self, process, *args)

    shebang.parser = parser  # type: ignore[attr-defined]
    osm.OSMagics.cd, script.ScriptMagics.shebang = cd, shebang
    script.ScriptMagics._run_script = run_script
    magics = shell.magics_manager
    magics.magics["line"]["cd"] = cd.__get__(magics.registry["OSMagics"])
    magics.magics["cell"]["script"] = shebang.__get__(magics.registry["ScriptMagics"])


def failed_jobs() -> list[str]:
    """Return how background scripts failed, but for those that the notebook can ask by a name."""
    found = []
    for shell, process in jobs:
        named = list(shell.user_ns.values())
        held = [
            vars(each)["_obj"] if type(each).__name__ == "_AsyncIOProxy" else each for each in named
        ]
        if process.returncode and not any(each is process for each in held):
            found.append(f"a script under --bg ended with exit status {process.returncode}")
    return found


def jobs_run() -> bool:
    """Tell whether a script still runs in the background."""
    return any(process.returncode is None for _, process in jobs)


def watch(shell: Any) -> None:
    """Begin."""
    interactiveshell.system = zmqshell.system = system
    interactiveshell.getoutput = getoutput
    setattr(subprocess, "call", functools.wraps(calls)(call))  # noqa: B010
    watch_magics(shell)
    last.append(failed_jobs)
    pending.append(jobs_run)
