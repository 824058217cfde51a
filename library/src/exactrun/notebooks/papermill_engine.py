"""The engine of `papermill --engine exactrun`, by papermill's own options and errors."""

from __future__ import annotations

from typing import Any

import nbformat
from papermill.engines import NBClientEngine, NotebookExecutionManager
from papermill.log import logger

from . import Limits
from .engine import Failed, execute
from .parameters import nearest


class Engine(NBClientEngine):
    """The engine of `papermill --engine exactrun`: what papermill's own does, and a verdict."""

    OPTIONS = (
        *("output_path", "progress_bar", "autosave_cell_every", "input_path"),
        *("log_output", "stdout_file", "stderr_file"),
        *("start_timeout", "execution_timeout", "timeout"),
    )

    @classmethod
    def execute_notebook(
        cls, nb: nbformat.NotebookNode, kernel_name: str, **options: Any
    ) -> nbformat.NotebookNode:
        """Execute a notebook in place, with papermill's options; return it.

        Raises:
            TypeError: If an option is unknown; nothing is written then.
        """
        for name in options.keys() - set(cls.OPTIONS):
            raise TypeError(
                f"The engine exactrun has no option {name}.{nearest(name, cls.OPTIONS)}"
            )
        return super().execute_notebook(nb, kernel_name, **options)

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: NotebookExecutionManager,
        kernel_name: str,
        *,
        start_timeout: float = 60,
        execution_timeout: float | None = None,
        timeout: float | None = None,
        input_path: str = "",
        **options: Any,
    ) -> None:
        """Execute a notebook in place; what failed is shown by a cell, and raised by papermill."""
        limits = Limits(cell=execution_timeout or timeout, notebook=None, start=start_timeout)
        try:
            execute(nb_man, kernel_name, limits=limits, log=logger, **options)
            nb_man.complete_pbar()
        except Failed:
            pass  # papermill finds the output of the cell that failed, marks it, and raises
        finally:
            _leave_one_error(nb_man.nb)


def _leave_one_error(notebook: nbformat.NotebookNode) -> None:
    """Show as printed what a notebook raised, and went on: papermill takes any error for a failure.

    Of the cell that failed, the last error stays.
    """
    for cell in notebook.cells:
        failed = cell.metadata.papermill.exception
        for index, output in reversed(list(enumerate(cell.get("outputs", [])))):
            if output.output_type != "error":
                continue
            if not failed:
                text = "\n".join(output.traceback) + "\n"
                cell.outputs[index] = nbformat.v4.new_output("stream", name="stderr", text=text)
            failed = False
