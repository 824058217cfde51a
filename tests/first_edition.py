"""The template's first edition in small: the files by which a project's move can be seen."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from baking import PROJECT_FOLDER, QUESTIONS, TEMPLATE, bake_as_answered
from repositories import commit, commit_template, run

ANSWERS = {
    "project_name": 'My "birds" & Größe 🐦 {{ x }} {% if %}',
    "project_slug": "my-project",
    "description": "What sings?",
    "author_name": "Jane Doe",
    "github_owner": "jane",
    "accelerator": "L4",
    "colab_runtime": "2026.08",
    "license": "Apache-2.0",
}
DERIVED = {"__package": "my_project"}
CODE = "src/{{cookiecutter.__package}}"
FETCH = "import os\nfrom pkg.colab.environment import install_missing\n\ninstall_missing(root)"


def cell(identity: str, source: str, *tags: str) -> dict[str, Any]:
    """A cell of code."""
    lines = source.splitlines(keepends=True)
    empty: dict[str, Any] = {"execution_count": None, "outputs": []}
    about = {"id": identity, "metadata": {"tags": [*tags]} if tags else {}}
    return {"cell_type": "code", **about, **empty, "source": lines}


def notebook(*cells: dict[str, Any]) -> str:
    colab = {"accelerator": "GPU", "colab": {"gpuType": "L4"}}
    document = {"cells": [*cells], "metadata": colab, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(document, indent=1) + "\n"


FORM = """\
run_name = "first"  # @param {type:"string"}
epochs = 15  # @param {type:"integer"}
precision = "float32"  # @param ["auto", "float32"]
revision = "main"  # @param {type:"string"}"""

FILES = {
    "README.md": """
        # {{ cookiecutter.project_name }}

        [![CI](https://github.com/{{ cookiecutter.github_owner }}/x/actions/workflows/ci.yml)](x)

        {{ cookiecutter.description }}

        ## Three ways to run it

        By the harness.

        ## Licence

        {{ cookiecutter.license }}; see [LICENSE](LICENSE).
        """,
    "pyproject.toml": """
        [project]
        name = "{{ cookiecutter.project_slug }}"
        version = "0.1.0"
        description = "{{ cookiecutter.description }}"
        authors = [{ name = "{{ cookiecutter.author_name }}" }]
        readme = "README.md"
        license = "{{ cookiecutter.license }}"
        dependencies = [
            "keras",
            "mlxtend",
            "tqdm",
        ]

        [dependency-groups]
        dev = ["pytest"]

        [tool.harness.notebooks.setup]
        record = "runs/notebook/run.json"
        """,
    "requirements.txt": """
        # Made for the Google Colab runtime {{ cookiecutter.colab_runtime }} (Python 3.12): Colab's.
        keras==3.13.0
        """,
    ".gitignore": "/runs/\n",
    "docs/training.md": "How it trains.\n",
    "harness/__main__.py": '"""The harness."""\n',
    "notebooks/setup.ipynb": notebook(
        cell("parameters", FORM, "parameters"), cell("fetch", FETCH), cell("run", "run.train()")
    ),
    f"{CODE}/errors.py": "class UserError(Exception):\n    pass\n",
    f"{CODE}/training/loop.py": '"""The loop."""\n\nSTEPS = 1\n',
    f"{CODE}/config.py": '''
        """The settings."""

        from dataclasses import dataclass, field


        def knob(default, help, **limits):
            return field(default=default, metadata={"help": help, **limits})


        @dataclass(frozen=True, kw_only=True)
        class Config:
            """The settings of one run."""

            run_name: str = knob("first", "name of the run")
            persistent: str = knob("", "folder that outlives the machine")
            precision: str = knob("float32", "what the layers compute in")
            epochs: int = knob(15, "passes over the training data", low=1)
            batch_size: int = knob(
                32,
                "examples per step",
            )
            learning_rate: float = knob(2e-3, "highest learning rate")
            shift: float = knob(0.08, "largest random shift")
        ''',
    f"{CODE}/data.py": '''
        """What to learn from."""

        from __future__ import annotations

        from dataclasses import dataclass
        from pathlib import Path

        import numpy as np

        from .config import Config


        @dataclass(frozen=True, kw_only=True)
        class Data:
            """A labelled data set."""

            name: str
            x_train: np.ndarray
            y_train: np.ndarray
            x_validation: np.ndarray
            y_validation: np.ndarray
            x_test: np.ndarray
            y_test: np.ndarray
            class_names: tuple[str, ...]


        def load(config: Config, *, cache: Path) -> Data:
            """Load noisy pictures, whose brightness grows with their class."""
            random = np.random.default_rng(config.seed)
            y = np.arange(192, dtype=np.int32) % 3
            x = random.integers(0, 40, (192, 8, 8, 1)) + y.reshape(-1, 1, 1, 1) * 50
            parts = [part for each in (x.astype(np.uint8), y) for part in np.split(each, 3)]
            names = ("x_train", "x_validation", "x_test", "y_train", "y_validation", "y_test")
            arrays = dict(zip(names, parts, strict=True))
            return Data(**arrays, name="noise", class_names=("a", "b", "c"))
        ''',
    f"{CODE}/model.py": '''
        """What learns."""

        from __future__ import annotations

        from collections.abc import Callable

        import keras

        from .config import Config
        from .data import Data
        from .errors import UserError


        def build_model(data: Data, config: Config) -> keras.Model:
            """Build the network."""
            if not config.shift < 1:
                raise UserError("shift is too large")
            keras.utils.set_random_seed(config.seed)
            layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten()]
            last = keras.layers.Dense(len(data.class_names), activation="softmax")
            return keras.Sequential([keras.Input(data.x_train.shape[1:]), *layers, last])


        def build_loss(classes: int) -> keras.losses.Loss:
            return keras.losses.SparseCategoricalCrossentropy(reduction=None)


        def build_metric(classes: int) -> Callable:
            return keras.metrics.sparse_categorical_accuracy


        def build_optimizer(config: Config, *, steps: int) -> keras.optimizers.Optimizer:
            return keras.optimizers.Adam(config.learning_rate)
        ''',
    "tests/small.py": '"""Small data."""\n',
    "tests/test_data.py": '"""The data."""\n\n\ndef test_data() -> None:\n    pass\n',
}


def write_template(place: Path) -> None:
    """Write the template's first edition, whose questions were today's but for a choice."""
    questions = QUESTIONS | {"colab_runtime": ["2026.08", "2026.07"]}
    derived = {name for name in questions if name.startswith("_")}
    for name in derived - {"__package", "__year", "__prompts__", "_jinja2_env_vars", "_new_lines"}:
        del questions[name]
    place.mkdir()
    (place / "cookiecutter.json").write_text(json.dumps(questions), encoding="utf-8")
    for name, text in FILES.items():
        path = place / PROJECT_FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")


def make_template(place: Path) -> dict[str, str]:
    """Make the template's repository: two commits of the first edition, then what is here."""
    assert (TEMPLATE / "tools/first_edition").is_dir()
    write_template(place)
    loop = place / PROJECT_FOLDER / CODE / "training/loop.py"
    now = loop.read_text()
    loop.write_text('"""An earlier loop."""\n')
    commits = {"earlier": commit(place, "Earlier")}
    loop.write_text(now)
    return commits | {"first": commit(place, "First"), "now": commit_template(place, "Now")}


def make_project(
    template: Path, place: Path, *, at: str = "HEAD~1", task: str = "image", linked: bool = False
) -> Path:
    """Generate a project by a commit of the first edition, in a repository of its own."""
    source, answers = place / "source", ANSWERS | DERIVED | {"task": task}
    run(place, "git", "clone", "--quiet", template, source)
    run(source, "git", "checkout", "--quiet", at)
    made = bake_as_answered(place, template=source, answers=answers).path
    if linked:
        state = {"template": str(template), "commit": run(source, "git", "rev-parse", "HEAD")[:40]}
        context = {"cookiecutter": ANSWERS | {"task": task, "_template": "x"}}
        (made / ".cruft.json").write_text(json.dumps(state | {"context": context}))
    commit(made, "First")
    return made
