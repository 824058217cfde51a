"""A pytest plugin: with `--exactrun`, each notebook (*.ipynb) is a test.

pytest loads it wherever exactrun is installed, so what it needs is imported once it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .errors import INSTALL_NOTEBOOKS, UserError

if TYPE_CHECKING:
    from .notebooks.execution import Executed
    from .notebooks.settings import NotebookSettings

SETTINGS = pytest.StashKey[dict[Path, "NotebookSettings"]]()
OUTPUT = pytest.StashKey[Path]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("exactrun", "notebooks as tests, by exactrun")
    group.addoption(
        "--exactrun",
        action="store_true",
        help="execute notebooks (*.ipynb): one passes if all of it ran, and nothing in it failed",
    )
    group.addoption(
        "--exactrun-output",
        type=Path,
        default=Path("build"),
        metavar="DIRECTORY",
        help="directory for executed notebooks and their reports (default: %(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Read the project's settings, `[tool.exactrun.notebooks.NAME]` of its pyproject.toml.

    Raises:
        pytest.UsageError: If they can't be taken, or papermill is not installed.
    """
    if not config.option.exactrun:
        return
    if find_spec("papermill") is None:
        raise pytest.UsageError(f"--exactrun needs papermill: {INSTALL_NOTEBOOKS}")
    from .notebooks.settings import read_settings

    known: dict[str, NotebookSettings] = {}
    try:
        if (config.rootpath / "pyproject.toml").exists():
            known = read_settings(config.rootpath)
    except UserError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[SETTINGS] = {each.path.resolve(): each for each in known.values()}
    config.stash[OUTPUT] = config.option.exactrun_output.absolute()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a notebook, unless it is one that an earlier run wrote."""
    config = parent.config
    if not (config.option.exactrun and file_path.suffix == ".ipynb"):
        return None
    if ".ipynb_checkpoints" in file_path.parts or file_path.is_relative_to(config.stash[OUTPUT]):
        return None
    collector: NotebookFile = NotebookFile.from_parent(parent, path=file_path)
    return collector


class NotebookFile(pytest.File):
    """A notebook's file, which holds one test."""

    def collect(self) -> Iterator[pytest.Item]:
        """Return the test, by the notebook's name."""
        test = NotebookTest.from_parent(self, name=self.path.stem)
        # The notebook warns in its own process; here only Jupyter's packages would, of themselves.
        test.add_marker(pytest.mark.filterwarnings("ignore"))
        yield test


class NotebookTest(pytest.Item):
    """The execution of a notebook."""

    def runtest(self) -> None:
        """Execute the notebook; its report lies in the output as the notebook in the project."""
        from .notebooks.execution import NotebookFailed
        from .notebooks.settings import NotebookSettings

        known, root = self.config.stash[SETTINGS], self.config.rootpath
        settings = known.get(self.path.resolve(), NotebookSettings(path=self.path))
        within = root if self.path.is_relative_to(root) else self.path.anchor
        output = self.config.stash[OUTPUT] / self.path.relative_to(within).parent
        try:
            self._name_report(settings.run(output))
        except NotebookFailed as failure:
            self._name_report(failure.executed)
            for name in ("stdout", "stderr"):
                self.add_report_section("call", name, _printed(failure.executed, name))
            raise

    def _name_report(self, executed: Executed) -> None:
        """Have JUnit's XML name the report."""
        self.user_properties.append(("report", str(executed.report)))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Tell which cell failed, and why; of anything unforeseen pytest's own traceback."""
        from .notebooks.execution import NotebookFailed

        if not isinstance(excinfo.value, UserError):
            return super().repr_failure(excinfo, style)
        told = str(excinfo.value).removeprefix(f"{self.path} ")  # the heading names it
        if isinstance(excinfo.value, NotebookFailed):
            told += _shown(excinfo.value.executed)
        return told

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return where the test is, and its name in the summary."""
        return self.path, None, self.nodeid.partition("::")[0]


def _failed(executed: Executed) -> Any:
    """Return the cell that failed; None if all ran."""
    found = executed.notebook.metadata.get("exactrun", {}).get("cell")
    cells = executed.notebook.cells
    return next((cell for cell in cells if found and cell.get("id") == found), None)


def _shown(executed: Executed) -> str:
    """Return the source of the cell that failed, and the traceback of its exception."""
    from .notebooks.terminal import plain

    cell = _failed(executed)
    if cell is None:
        return ""
    errors = [each for each in cell.outputs if each.output_type == "error"]
    raised = "\n".join(errors[-1].traceback) if errors and errors[-1].ename != "Failed" else ""
    source = "\n".join(f"    {line}" for line in cell.source.splitlines())
    return f"\n\n{source}\n\n{plain(raised)}"


def _printed(executed: Executed, name: str) -> str:
    """Return the end of what the cell that failed printed."""
    from .notebooks.terminal import plain

    cell = _failed(executed)
    streams = [each.text for each in cell.outputs if each.get("name") == name] if cell else []
    return plain("".join(streams))[-4000:]
