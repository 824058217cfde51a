"""A package index, a Colab runtime and a template, all small, to compile pins from."""

import hashlib
import json
import os
import re
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from baking import PROJECT_FOLDER
from jinja2 import Environment

from tools.pins.__main__ import main

FILES = ("requirements.txt", "requirements-dev.txt", "python.txt")
PACKAGES: dict[str, dict[str, list[str]]] = {
    "tensorflow": {"2.20.0": ["numpy", "h5py", "winlib; sys_platform == 'win32'"], "2.21.0": []},
    "numpy": {"2.0.2": [], "2.1.3": [], "2.4.0": []},
    "h5py": {
        "3.16.0": ["lib314; python_version >= '3.14'", "pypylib; implementation_name == 'pypy'"],
        "3.17.0": ["numpy>=2.4"],
    },
    "lib314": {"1.0": []},
    "pypylib": {"1.0": []},
    "winlib": {"1.0": []},
    "mlxtend": {"0.23.4": ["joblib"]},
    "joblib": {"1.5.3": []},
    "papermill": {"2.7.0": ["tenacity", "oldlib; python_version == '3.12.*'"]},
    "tenacity": {"9.0.0": []},
    "oldlib": {"1.0": []},
    "parallel-tool": {"1.0": ["joblib"]},
    "wrong-tool": {"1.0": ["tensorflow-cpu"]},
    "tensorflow-cpu": {"2.20.0": []},
}
FREEZE = """\
# Made by a runtime that is three packages small
tensorflow==2.20.0
numpy==2.1.3
h5py==3.16.0
Joblib==1.5.3
mlxtend==0.23.4
cudf-cu12 @ https://example.invalid/cudf_cu12-26.2.1-cp313-cp313-manylinux_2_28_x86_64.whl
"""
HEAD = "# The library.\n--find-links ./wheels\nexactrun==0.1.0 --hash=sha256:00\n"
NEEDS = {
    "image": ["tensorflow", "numpy", "mlxtend"],
    "text": ["tensorflow", "numpy"],
    "dev": ["papermill", "parallel-tool"],
}


def add_package(
    index: Path,
    name: str,
    version: str,
    needs: Sequence[str],
    *,
    tag: str = "py3-none-any",
    python: str = ">=3.9",
) -> None:
    """Add a wheel without any code to an index that is a folder."""
    stem = f"{name.replace('-', '_')}-{version}"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Python: {python}"]
    lines += [f"Requires-Dist: {need}" for need in needs]
    page = index / name / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    wheel = page.parent / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{stem}.dist-info/METADATA", "\n".join(lines) + "\n")
        archive.writestr(
            f"{stem}.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\n"
            f"Root-Is-Purelib: {str(tag.endswith('any')).lower()}\nTag: {tag}\n",
        )
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    links = [
        f'<a href="{file.name}#sha256={hashlib.sha256(file.read_bytes()).hexdigest()}">'
        f"{file.name}</a>"
        for file in sorted(page.parent.glob("*.whl"))
    ]
    page.write_text("<!DOCTYPE html><html><body>" + "\n".join(links) + "</body></html>")


def write_template(root: Path, *, needs: Mapping[str, Sequence[str]]) -> None:
    """Write a template that asks for the task and the runtime, and has the runtime 2026.07."""
    project = root / PROJECT_FOLDER
    (root / "templates" / "pins" / "2026.07").mkdir(parents=True, exist_ok=True)
    project.mkdir(exist_ok=True)
    for name in FILES:
        (root / "templates" / "pins" / "2026.07" / name).write_text("# the old pins\n")
    questions = {
        "project_slug": "small",
        "task": ["image", "text"],
        "colab_runtime": ["2026.08", "2026.07", "latest"],
        "__prompts__": {
            "colab_runtime": {
                "__prompt__": "Which?",
                "2026.08": "2026.08: Python 3.13",
                "2026.07": "2026.07: Python 3.12",
                "latest": "latest: Python 3.13",
            }
        },
    }
    (root / "cookiecutter.json").write_text(json.dumps(questions, indent=2))
    (root / "hooks").mkdir(exist_ok=True)
    (root / "hooks" / "pre_gen_project.py").write_text(
        'CHOICES = {"task": ("image", "text"), "colab_runtime": ("2026.08", "2026.07", "latest")}\n'
    )
    (project / "requirements.txt").write_text(
        '{% include "pins/" ~ cookiecutter.colab_runtime ~ "/requirements.txt" %}'
    )
    (project / "pyproject.toml").write_text(
        f'[project]\nname = "small"\n'
        f'{{% if cookiecutter.task == "image" %}}\ndependencies = {json.dumps(needs["image"])}\n'
        f"{{% else %}}\ndependencies = {json.dumps(needs['text'])}\n{{% endif %}}\n"
        f"[dependency-groups]\ndev = {json.dumps(needs['dev'])}\n"
    )


@contextmanager
def answering(answer: Callable[[str, str | None], str | None]) -> Iterator[str]:
    """Serve what a function of the path and of the header Authorization returns; None is 404.

    Yields:
        The server's address.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = answer(self.path, self.headers["Authorization"])
            self.send_response(404 if text is None else 200)
            self.end_headers()
            self.wfile.write((text or "").encode())

        def log_message(self, format: str, *args: object) -> None:
            """Keep the tests' output free of requests."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Github:
    """What a server answers as GitHub does for Google's repository.

    Attributes:
        past: Names of the past runtimes.
        day: Of the newest commit that changed the freeze.
        freeze: The freeze, of all of them.
        asked: Paths that were asked for, each with its header `Authorization`.
    """

    def __init__(self) -> None:
        self.past = ["2026.08", "2026.07"]
        self.day = "2026-11-02"
        self.freeze = FREEZE
        self.asked: list[tuple[str, str | None]] = []

    def answer(self, path: str) -> str | None:
        if path == "/api/contents/past":
            return json.dumps([{"name": name} for name in ["README.md", *self.past]])
        if path == "/api/commits?path=pip-freeze.gpu.txt&per_page=1":
            return json.dumps([{"commit": {"committer": {"date": f"{self.day}T08:00:00Z"}}}])
        places = ["/files", *(f"/files/past/{name}" for name in self.past)]
        return self.freeze if path in [f"{p}/pip-freeze.gpu.txt" for p in places] else None


def use_index(patch: pytest.MonkeyPatch, index: Path, cache: Path) -> None:
    """Let uv know that index and nothing else of this machine."""
    for name in [name for name in os.environ if name.startswith("UV_")]:
        patch.delenv(name)
    patch.setenv("XDG_CONFIG_HOME", str(cache))
    patch.setenv("XDG_CONFIG_DIRS", str(cache))
    patch.setenv("UV_DEFAULT_INDEX", index.as_uri())
    patch.setenv("UV_CACHE_DIR", str(cache))


def run(root: Path, freeze: str | Path = "", *arguments: str, runtime: str = "2026.08") -> int:
    """Run the tool on a template; the freeze defaults to the one that lies beside it."""
    source = str(freeze) or str(root.parent / "freeze.txt")
    return main(["--runtime", runtime, "--freeze", source, *arguments], root=root)


def pins_of(root: Path, name: str, *, runtime: str = "2026.08") -> str:
    return (root / "templates" / "pins" / runtime / name).read_text(encoding="utf-8")


def rendered(text: str, task: str) -> str:
    """The pins as a generated project has them."""
    environment = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return environment.from_string(text).render(cookiecutter={"task": task})


def versions_in(text: str) -> list[tuple[str, str]]:
    """Every name and version in pins, in their order."""
    return re.findall(r"^([a-z0-9-]+)==(\S+)", text, flags=re.MULTILINE)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def freeze_of(project: Path) -> str:
    """The path of the freeze that lies beside a project."""
    return str(project.parent / "freeze.txt")
