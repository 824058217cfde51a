"""Lines of several commands: which of them are told, and that nothing else of them changes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from exactrun.notebooks.watch import commands
from exactrun.notebooks.watch.noted import faults

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no bash")


@pytest.fixture(autouse=True, params=["/bin/bash", "/bin/sh"])
def shell(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[str]:
    monkeypatch.setenv("SHELL", request.param)
    monkeypatch.chdir(tmp_path)
    yield request.param
    faults.clear()


def run(command: str) -> tuple[str, int]:
    """Run a line as `!` does; return what it printed and its status."""

    def once(line: str) -> tuple[str, int]:
        program = "/bin/bash" if "bash" in commands.os.environ["SHELL"] else "/bin/sh"
        out = subprocess.run([program, "-c", line], capture_output=True, text=True)
        return out.stdout, out.returncode

    found: tuple[str, int] = commands.watched(command, once, lambda result: result[1])
    return found


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ("yes | head -1", "y\n"),
        ("seq 3 | tail -1; echo on", "3\non\n"),
        ("mkdir -p made; cd $_; basename $PWD", "made\n"),
        ("false || echo no", "no\n"),
        ("false | cat || true", ""),
        ("false && echo never; echo on", "on\n"),
        ("! grep x /dev/null; echo on", "on\n"),
        ("set +e; false; echo on", "on\n"),
        ("false; echo $?", "1\n"),
        ("if false | grep x; then echo a; fi; echo b", "b\n"),
        ("while read line; do echo $line; done < /dev/null; echo on", "on\n"),
        ("grep x /dev/null | wc -l", "0\n"),
        ("ls none 2>/dev/null | wc -l", "0\n"),
        ("test -f none; echo on", "on\n"),
        ("[ -f none ]; echo on", "on\n"),
        ("x=$(false); true", ""),
        ("(exit 3) | head -1", ""),
        ("sleep 0 & wait; echo on", "on\n"),
        ("trap 'echo bye' EXIT; echo on", "on\nbye\n"),
        ("echo 'a|b;c' | cut -d'|' -f1", "a\n"),
        ("n=$(grep x /dev/null); echo ${n:-none}", "none\n"),
        ("LANG=C grep x /dev/null; echo on", "on\n"),
        ("nvidia-none 2>/dev/null | cat; echo on", "on\n"),
        ("ls -Z none >/dev/null 2>&1; false &> /dev/null; echo on", "on\n"),
        ("/bin/grep x /dev/null; echo on", "on\n"),
        ("ln -s a b; ln -s a b; echo on", "on\n"),
        ("python3 -c 'import sys; print(1); sys.exit(1)' | grep -m1 1", "1\n"),
        ("cat <<END | tr a b\naaa\nEND", "bbb\n"),
        ("echo a  # b; false\necho c", "a\nc\n"),
        ("for i in 1 2; do\n  echo $i\ndone", "1\n2\n"),
        ("echo ${BASH_ENV:-none}; env | grep EXACTRUN_[BN]; true", "none\n"),
    ],
)
def test_a_line_that_is_right_is_no_fault(command: str, printed: str) -> None:
    assert run(command) == (printed, 0)
    assert faults == []


@pytest.mark.parametrize(
    ("command", "printed", "fault"),
    [
        ("false | cat", "", "`false` ended with exit status 1"),
        ("echo a | (cat; exit 3) | cat", "a\n", "exit status 3"),
        ("none-such | head -1", "", "exit status 127"),
        ("cat none | grep x; echo on", "on\n", "exit status 1"),
        ("false; echo on", "on\n", "`false` ended with exit status 1"),
        ("cd none; echo on", "on\n", "`cd none` ended with"),
        ("false\necho on", "on\n", "`false` ended with exit status 1"),
        ("for i in 1 2; do false; done; echo on", "on\n", "`false` ended"),
        ("cat none | tail -1; echo on", "on\n", "`cat none` ended with exit status 1"),
        ("mkdir -p b && cd b && cat none | tail -1", "", "`cat none` ended with exit status 1"),
        ("n=$(cat none); echo on", "on\n", "`n=$(cat none)` ended with exit status 1"),
    ],
)
def test_a_part_that_failed_is_told(command: str, printed: str, fault: str) -> None:
    assert run(command) == (printed, 0)
    (told,) = faults
    assert fault in told
    assert "write `command || true`" in told


@pytest.mark.parametrize("command", ["exit 3", "false; exit 3", "true | (exit 3)"])
def test_a_status_is_what_it_was(command: str) -> None:
    assert run(command) == ("", 3)
    assert faults == [f"the command {command!r} ended with exit status 3. {commands.HINT}"]


def test_a_file_that_bash_is_to_read_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    (tmp_path / "mine.sh").write_text("mine=read")
    monkeypatch.setenv("BASH_ENV", str(tmp_path / "mine.sh"))
    assert run("echo $mine; basename $BASH_ENV") == ("read\nmine.sh\n", 0)
    assert commands.os.environ["BASH_ENV"] == str(tmp_path / "mine.sh")


def test_a_shell_that_is_neither_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/zsh")
    assert run("false | cat") == ("", 0)
    assert faults == []
