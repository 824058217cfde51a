"""A further notebook of a project, which begins as its first one does."""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import UserError
from ..files import require_portable
from .checks import source_of, tags_of
from .files import find_notebooks, read_notebook, write_notebook
from .lint import mended
from .rules import MENDABLE


def new_notebook(name: Path, *, like: Path | None = None) -> Path:
    """Write a notebook that begins with another one's setup and parameters.

    All cells of the other one are taken over up to its first cell of code and its parameters; of
    the text above them, the title and the badges' addresses change.

    Args:
        name: Of the new notebook; without a directory, it goes into `notebooks/` if there is one.
        like: The other notebook; None for `setup.ipynb` beside the new one, or the first there.

    Returns:
        Its path.

    Raises:
        UserError: If there is one of this name already, or none to begin like, or if Windows
            can't hold a file of this name.
    """
    default = Path("notebooks") if Path("notebooks").is_dir() else Path()
    directory = name.parent if name.parent != Path() else default
    target = directory / f"{name.name.removesuffix('.ipynb')}.ipynb"
    require_portable(target.name)
    if target.exists():
        raise UserError(f"{target} exists already. Choose another name, or delete it.")
    if like is None:
        beside = [path for path in find_notebooks(directory) if path.parent == directory]
        if not beside:
            raise UserError(f"There is no notebook in {directory} to begin like. Give one: --like.")
        like = next((path for path in beside if path.stem == "setup"), beside[0])
    read_notebook(like)  # or its refusal
    notebook = json.loads(mended(like, MENDABLE)) | {"nbformat_minor": 5}  # with ids
    code = [index for index, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code"]
    tagged = [index for index in code if "parameters" in tags_of(notebook["cells"][index])]
    setup = [index for index in code if index not in tagged]
    if not setup:
        raise UserError(f"{like} has no cell of code to begin with. Give another: --like.")
    kept = notebook["cells"][: max(setup[0], *tagged[:1], 0) + 1]
    for number, cell in enumerate(kept):
        if cell["cell_type"] == "markdown":
            text = source_of(cell).replace(f"/{like.name}", f"/{target.name}")
            cell["source"] = (_titled(text, target) if number == 0 else text).splitlines(True)
        cell.setdefault("id", f"cell-{number + 1}")
    ids = {cell["id"] for cell in kept}
    work = next(each for each in ("work", "first-work", "own-work") if each not in ids)
    notebook["cells"] = [
        *kept,
        {"cell_type": "code", "execution_count": None, "id": work, "metadata": {}, "outputs": []}
        | {"source": []},
    ]
    write_notebook(target, notebook)
    return target


def _titled(text: str, target: Path) -> str:
    """Return a title's cell with another title, and of the rest its badges."""
    badges = [line for line in text.splitlines() if line.startswith("[![")]
    title = target.stem.replace("_", " ").replace("-", " ").capitalize()
    return "\n".join([f"# {title}", *([""] if badges else []), *badges])
