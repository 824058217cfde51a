"""The notebook's first cell fetches its project, also a private one, and keeps the token secret.

A git that notes what it is called with leads `https://github.com/` to a server of this test.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from baking import TEMPLATE, bake

PIN = (TEMPLATE / "templates" / "exactrun.txt").read_text(encoding="utf-8")
VERSION = PIN.split()[0].partition("==")[2]
GITHUB = "https://github.com/"
TOKEN = "a-token-that-nobody-may-see"
AUTHORIZED = "Basic " + base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()

COLAB_SECRETS = """
class SecretNotFoundError(Exception):
    def __init__(self, name): super().__init__(f"Secret {name} does not exist.")

def get(name):
    import os
    with open(os.environ["ASKED"], "a") as asked: asked.write(name + "\\n")
    if "SECRET" not in os.environ: raise SecretNotFoundError(name)
    return os.environ["SECRET"]
"""
KAGGLE_SECRETS = (
    COLAB_SECRETS
    + """
class UserSecretsClient:
    def get_secret(self, name): return get(name)
"""
)

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or shutil.which("git") is None, reason="needs git and a Unix shell"
)


class GitHandler(BaseHTTPRequestHandler):
    """Hands requests to git's own CGI program; those to /private need the token."""

    folder: Path

    def do_GET(self) -> None:
        if self.path.startswith("/private") and self.headers["Authorization"] != AUTHORIZED:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="private"')
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        variables = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers["Content-Type"] or "",
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers["Content-Encoding"] or "",
            "GIT_PROTOCOL": self.headers["Git-Protocol"] or "",
        }
        command = ["git", "http-backend"]
        done = subprocess.run(command, input=body, env=variables, capture_output=True, check=True)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET

    def log_message(self, *arguments: object) -> None:
        """Keep the test's output for the test."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What the cell left: its output, where the project is, and what git and secrets were asked."""

    code: int
    output: str
    folder: Path
    commands: str
    asked: list[str]

    def holds(self, text: str) -> bool:
        """Whether a text is in the output, in a command's arguments or in a file left behind."""
        files = [file for file in self.folder.rglob("*") if file.is_file()]
        found = [file for file in files if text.encode() in file.read_bytes()]
        return text in self.output or text in self.commands or bool(found)


class Machine:
    """A folder in which the cell runs, with the secrets of Colab or Kaggle and a git that tells."""

    def __init__(self, folder: Path, *, cell: str, server: str) -> None:
        self.folder, self.cell, self.server = folder, cell, server
        self.library = TEMPLATE / "library/src"  # where Python finds it
        program = folder / "programs" / "git"
        program.parent.mkdir(parents=True)
        git = shutil.which("git")
        # Git chooses a header by the address that it is led to.
        program.write_text(
            f"""#!/bin/sh
echo "$@" >> "$COMMANDS"
[ -z "$GIT_CONFIG_KEY_0" ] || echo "$GIT_CONFIG_KEY_0" >> "$COMMANDS"
[ "$GIT_CONFIG_KEY_0" != http.https://github.com/.extraHeader ] ||
    export GIT_CONFIG_KEY_0=http.{server}.extraHeader
exec {git} -c url.{server}.insteadOf=https://github.com/ "$@"
"""
        )
        program.chmod(0o755)
        self.module(
            f"exactrun-{VERSION}.dist-info/METADATA", f"Name: exactrun\nVersion: {VERSION}\n"
        )

    def without_library(self) -> Path:
        """Take the library away; return where pip puts it, and Python looks for it then."""
        shutil.rmtree(self.folder / "modules" / f"exactrun-{VERSION}.dist-info")
        self.library = self.folder / "site"
        return self.library

    def module(self, name: str, content: str) -> None:
        file = self.folder / "modules" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)

    def fetch(
        self, name: str, *, revision: str = "main", address: str = GITHUB, **variables: str
    ) -> Fetched:
        work, temporary = self.folder / "work", self.folder / "temporary"
        for folder in (work, temporary):
            folder.mkdir(exist_ok=True)
        asked, commands = self.folder / "asked", self.folder / "commands"
        for file in (asked, commands):
            file.touch()
        environment = {
            "PATH": os.pathsep.join([str(self.folder / "programs"), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join(map(str, [self.folder / "modules", self.library])),
            "HOME": str(self.folder),
            "TMPDIR": str(temporary),
            "ASKED": str(asked),
            "COMMANDS": str(commands),
            **variables,
        }
        parameters = f"repository = {address + name!r}\nrevision = {revision!r}\n"
        done = subprocess.run(
            # Without what is installed beside these tests, such as the library itself.
            [sys.executable, "-S", "-c", f"{parameters}{self.cell}\nprint(root)"],
            cwd=work,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        return Fetched(
            code=done.returncode,
            output=done.stdout + done.stderr,
            folder=self.folder,
            commands=commands.read_text(),
            asked=asked.read_text().split(),
        )


@pytest.fixture(scope="module")
def cell_and_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The cell's code up to the installation, and a server of the project's repository."""
    folder = tmp_path_factory.mktemp("server")
    project = bake(folder / "project")
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    for command in (
        ["init", "--quiet", "--initial-branch", "main"],
        ["add", "--all"],
        [*identity, "commit", "--quiet", "--message", "First version"],
    ):
        assert project.run("git", *command).returncode == 0
    for name in ("public", "private"):
        project.run("git", "clone", "--quiet", "--bare", ".", folder / "served" / name)
    for name in ("first", "second"):  # of which only the branch `moving` sees the second
        (project.path / "moved.txt").write_text(name)
        project.run("git", "add", "--all")
        project.run("git", *identity, "commit", "--quiet", "--message", name)
        project.run("git", "tag", name)
    project.run("git", "push", "--quiet", folder / "served" / "public", "HEAD:moving", "first")

    notebook = json.loads(project.read("notebooks/setup.ipynb"))
    (cell,) = (cell for cell in notebook["cells"] if cell["id"] == "setup")
    code = "".join(cell["source"])

    handler = type("Handler", (GitHandler,), {"folder": folder / "served"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield code, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def colab(tmp_path: Path, cell_and_server: tuple[str, str]) -> Machine:
    machine = Machine(tmp_path / "colab", cell=cell_and_server[0], server=cell_and_server[1])
    machine.module("google/colab/userdata.py", COLAB_SECRETS)
    return machine


@pytest.fixture
def kaggle(tmp_path: Path, cell_and_server: tuple[str, str]) -> Machine:
    machine = Machine(tmp_path / "kaggle", cell=cell_and_server[0], server=cell_and_server[1])
    machine.module("kaggle_secrets.py", KAGGLE_SECRETS)
    machine.module("google/colab/userdata.py", "raise AssertionError('this is Kaggle')")
    return machine


def test_a_public_repository_is_fetched_without_asking_for_a_secret(colab: Machine) -> None:
    fetched = colab.fetch("public", SECRET=TOKEN)
    assert fetched.output.split() == [str(colab.folder / "work/handwritten-digits")]
    assert (colab.folder / "work/handwritten-digits/README.md").exists()
    assert fetched.asked == []


def test_a_private_repository_is_fetched_with_the_secret_of_colab(colab: Machine) -> None:
    fetched = colab.fetch("private", SECRET=f" {TOKEN}\n")  # as it may have been pasted
    assert fetched.code == 0, fetched.output
    assert (colab.folder / "work/handwritten-digits/README.md").exists()
    assert fetched.asked == ["GITHUB_TOKEN"]


def test_a_private_repository_is_fetched_with_the_secret_of_kaggle(kaggle: Machine) -> None:
    fetched = kaggle.fetch("private", SECRET=TOKEN, KAGGLE_KERNEL_RUN_TYPE="Batch")
    assert fetched.code == 0, fetched.output
    # Kaggle keeps its working directory, which is for results.
    assert (kaggle.folder / "temporary/handwritten-digits/README.md").exists()
    assert list((kaggle.folder / "work").iterdir()) == []


@pytest.mark.parametrize("secret", [TOKEN, TOKEN + "-that-is-wrong"])
def test_the_token_is_left_nowhere(colab: Machine, secret: str) -> None:
    fetched = colab.fetch("private", SECRET=secret)
    assert fetched.commands.count("fetch") == 2
    assert fetched.holds("fetch -q")  # the search finds what is there
    login = base64.b64encode(f"x-access-token:{secret}".encode()).decode()
    assert not fetched.holds(secret)
    assert not fetched.holds(login)


def test_the_token_is_for_github_alone(colab: Machine) -> None:
    fetched = colab.fetch("private", SECRET=TOKEN)
    keys = [line for line in fetched.commands.splitlines() if line.startswith("http.")]
    assert keys == ["http.https://github.com/.extraHeader"]


@pytest.mark.parametrize("elsewhere", ["{server}", "https://github.com.evil.example/"])
def test_no_secret_is_asked_for_another_server(colab: Machine, elsewhere: str) -> None:
    address = elsewhere.format(server=colab.server)
    fetched = colab.fetch("private", address=address, SECRET=TOKEN)
    assert fetched.code == 1
    assert "git failed. It says: fatal: " in fetched.output
    assert fetched.asked == []


def test_without_a_token_git_and_colab_say_what_is_missing(colab: Machine) -> None:
    fetched = colab.fetch("private")
    assert fetched.code == 1
    assert fetched.output.startswith("git failed. It says: fatal: could not read Username")
    assert "SecretNotFoundError: Secret GITHUB_TOKEN does not exist." in fetched.output
    assert "the key at the left" in fetched.output


def test_a_wrong_token_is_refused_in_the_words_of_git(colab: Machine) -> None:
    fetched = colab.fetch("private", SECRET="wrong")
    assert fetched.code == 1
    assert "GITHUB_TOKEN (the key at the left)" in fetched.output
    assert "fatal: could not read Username" in fetched.output.splitlines()[-1]


def test_a_revision_that_is_not_there_is_named(colab: Machine) -> None:
    fetched = colab.fetch("public", revision="no-such-branch")
    assert fetched.code == 1
    assert "git failed. It says: " in fetched.output
    assert "no-such-branch" in fetched.output.splitlines()[-1]


def test_another_revision_is_fetched_again(colab: Machine) -> None:
    moved = colab.folder / "work/handwritten-digits/moved.txt"
    for revision, text in (("first", "first"), ("moving", "second"), ("first", "first")):
        assert colab.fetch("public", revision=revision).code == 0
        assert moved.read_text() == text
    assert colab.fetch("public", revision="main").code == 0
    assert not moved.exists()


def test_files_that_the_user_changed_are_not_overwritten(colab: Machine) -> None:
    assert colab.fetch("public", revision="first").code == 0
    moved = colab.folder / "work/handwritten-digits/moved.txt"
    moved.write_text("mine")
    fetched = colab.fetch("public", revision="moving")
    assert fetched.code == 1
    assert "moved.txt" in fetched.output
    assert moved.read_text() == "mine"


def test_a_notebook_in_its_project_fetches_nothing(colab: Machine) -> None:
    assert colab.fetch("public").code == 0
    project = colab.folder / "work/handwritten-digits"
    colab.cell = f"import os\nos.chdir({str(project / 'notebooks')!r})\n{colab.cell}"
    (colab.folder / "commands").unlink()
    fetched = colab.fetch("nowhere")
    assert (fetched.code, fetched.commands) == (0, "")
    assert fetched.output.split() == [str(project)]


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="needs pip, as Colab has it")
def test_the_library_is_installed_from_the_project_alone(colab: Machine) -> None:
    target = colab.without_library()
    nowhere = "http://127.0.0.1:9"
    fetched = colab.fetch("public", PIP_TARGET=str(target), HTTPS_PROXY=nowhere)
    assert fetched.code == 0, fetched.output
    assert sorted(path.name for path in target.iterdir() if path.name != "bin") == [
        "exactrun",
        f"exactrun-{VERSION}.dist-info",
    ]


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="needs pip, as Colab has it")
def test_another_library_takes_the_place_of_the_one_in_memory(colab: Machine) -> None:
    target = colab.without_library()
    earlier = "import sys, types\nsys.modules['exactrun'] = types.ModuleType('exactrun')\n"
    colab.cell = earlier + colab.cell
    fetched = colab.fetch("public", PIP_TARGET=str(target))
    assert fetched.code == 0, fetched.output


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="needs pip, as Colab has it")
def test_a_wheel_with_other_bytes_is_refused_in_the_words_of_pip(colab: Machine) -> None:
    target = colab.without_library()
    (colab.folder / "work").mkdir()
    assert colab.fetch("public", PIP_TARGET=str(target)).code == 0
    shutil.rmtree(target)
    project = colab.folder / "work/handwritten-digits"
    (wheel,) = (project / "wheels").iterdir()
    wheel.write_bytes(wheel.read_bytes() + b"more")
    colab.cell = f"import os\nos.chdir({str(project)!r})\n{colab.cell}"
    fetched = colab.fetch("public", PIP_TARGET=str(target))
    assert fetched.code == 1
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in fetched.output
