"""What every test of the template shares."""

import importlib.util
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import baking
import pytest
from hypothesis import settings

COMBINATIONS = [
    dict(zip(baking.CHOICES, values, strict=True))
    for values in itertools.product(*baking.CHOICES.values())
]

# A bake takes as long as the machine needs; examples kept on disk would be of one machine only.
settings.register_profile("template", deadline=None, database=None)
settings.load_profile("template")


@pytest.fixture(scope="session", autouse=True)
def _nobodys_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the settings, replays and environment of whoever runs the tests out of them."""
    home = tmp_path_factory.mktemp("cookiecutter")
    config = home / "config.yaml"
    config.write_text(f"replay_dir: {home.as_posix()}\ncookiecutters_dir: {home.as_posix()}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COOKIECUTTER_CONFIG", str(config))
        patch.delenv("VIRTUAL_ENV", raising=False)
        yield


@pytest.fixture(scope="session")
def bake(tmp_path_factory: pytest.TempPathFactory) -> baking.Bake:
    """Generate a project, once for the same answers: for tests that only read it."""
    baked: dict[tuple[tuple[str, str], ...], baking.Project] = {}

    def bake(**answers: Any) -> baking.Project:
        key = tuple(sorted(answers.items()))
        if key not in baked:
            baked[key] = baking.bake(tmp_path_factory.mktemp("bake"), **answers)
        return baked[key]

    return bake


@pytest.fixture(params=COMBINATIONS, ids=lambda choices: "-".join(choices.values()))
def project(request: pytest.FixtureRequest, bake: baking.Bake) -> baking.Project:
    """A project of each combination of choices, all other answers the defaults."""
    return bake(**request.param)


@pytest.fixture(scope="session")
def answers() -> dict[str, Any]:
    """The answers of someone who only presses Enter."""
    return baking.defaults()


@pytest.fixture(scope="session")
def small_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The questions, hooks and macros of this template around two files: quick to generate."""
    template = tmp_path_factory.mktemp("template") / "small"
    (template / baking.PROJECT_FOLDER).mkdir(parents=True)
    (template / "templates").mkdir()
    for name in ("cookiecutter.json", "templates/macros.jinja"):
        shutil.copyfile(baking.TEMPLATE / name, template / name)
    shutil.copytree(
        baking.TEMPLATE / "hooks", template / "hooks", ignore=shutil.ignore_patterns("__pycache__")
    )
    project = template / baking.PROJECT_FOLDER
    (project / "answers.json").write_text("{{ cookiecutter | tojson }}\n", encoding="utf-8")
    (project / "texts.toml").write_text(
        '{% from "macros.jinja" import line, quoted %}\n'
        "{% for name in ('project_name', 'description', 'author_name') %}\n"
        "{{ name }} = {{ quoted(line(cookiecutter['__' ~ name])) }}\n"
        "{% endfor %}\n",
        encoding="utf-8",
    )
    return template


@pytest.fixture(scope="session")
def pre_gen() -> ModuleType:
    """``hooks/pre_gen_project.py``, imported and not run."""
    path = baking.TEMPLATE / "hooks" / "pre_gen_project.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
