"""A project of the first edition moves to a new one, with what is its user's."""

from __future__ import annotations

import ast
import filecmp
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from baking import CHOICES, TEMPLATE, Project, bake_as_answered
from first_edition import ANSWERS, DERIVED, FETCH, cell, make_project, make_template, notebook
from repositories import commit, commit_template, run, tags

from tools.first_edition.__main__ import main, move
from tools.first_edition.history import Refused
from tools.first_edition.moving import Move
from tools.first_edition.sources import adapt

pytestmark = pytest.mark.slow  # cruft, and a project is generated two times

PACKAGE = "src/my_project"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("template") / "template"
    make_template(place)
    return place


def edit(path: Path, *texts: str) -> None:
    """Replace texts in a file: one and what comes in its place, and so on."""
    text = path.read_text(encoding="utf-8")
    for before, after in zip(texts[::2], texts[1::2], strict=True):
        assert before in text, f"{before} is not in {path}"
        text = text.replace(before, after, 1)
    path.write_text(text, encoding="utf-8")


def files_of(place: Path) -> dict[str, bytes]:
    paths = [path for path in place.rglob("*") if path.is_file() and ".git" not in path.parts]
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def untouched(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(template, tmp_path_factory.mktemp("untouched"))


@pytest.fixture
def old(untouched: Path, tmp_path: Path) -> Path:
    """A project that its user has not changed yet."""
    return Path(shutil.copytree(untouched, tmp_path / untouched.name))


@pytest.fixture(scope="module")
def changed(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of which its user has changed each kind of thing."""
    project = make_project(template, tmp_path_factory.mktemp("changed"))
    code = project / PACKAGE
    edit(code / "data.py", '("a", "b", "c")', '("owl", "tit", "jay")')
    edit(code / "model.py", "1 / 255", "1 / 256")
    edit(
        code / "config.py",
        *("knob(15,", "knob(3,"),
        *("        32,\n", "        64,\n"),
        *('knob("",', 'knob("/mnt/birds",'),
        *('knob("float32"', 'knob("mixed_float16"'),
        *("    shift:", '    wings: int = knob(2, "wings of a bird")\n    shift:'),
    )
    edit(code / "training/loop.py", "STEPS = 1", "STEPS = 2")
    edit(
        project / "notebooks/setup.ipynb",
        *("epochs = 15", "epochs = 3"),
        *('revision = \\"main\\"', 'revision = \\"dev\\"'),
        *("run.train()", "run.train(1)"),
    )
    edit(
        project / "README.md",
        *("(LICENSE).\n", "(LICENSE).\n\nThey are from the garden.\n"),
        *("By the harness.", "By my harness."),
    )
    edit(
        project / "pyproject.toml",
        *('version = "0.1.0"', 'version = "1.2.0"'),
        *('    "mlxtend",\n    "tqdm",', '    "tqdm",\n    "umap-learn<1",'),
        *('["pytest"]', '["pytest", "pytest-xdist"]'),
    )
    edit(project / "tests/test_data.py", "    pass\n", "    assert True\n")
    (code / "birds.py").write_text("from .errors import UserError\nfrom .training import loop\n")
    (project / "tests/test_birds.py").write_text("from my_project.birds import UserError\n")
    cells = cell("parameters", 'revision = "main"', "parameters"), cell("fetch", FETCH)
    mine = cell("mine", "from my_project.training.loop import STEPS\n!ls")
    (project / "notebooks/birds.ipynb").write_text(notebook(*cells, mine))
    (project / "notebooks/other.ipynb").write_text(notebook(mine))
    (project / "birds.bin").write_bytes(bytes(range(256)))
    (project / ".gitattributes").write_text("*.bin binary\n")
    (project / "runs").mkdir()
    (project / "runs/model.keras").write_text("large")
    commit(project, "Mine")
    (project / "notebooks/untracked.txt").write_text("not added yet")
    (project / ".gitignore").unlink()
    (project / ".git/info/exclude").write_text("/runs/\n")
    return project


@pytest.fixture(scope="module")
def moved(changed: Path, template: Path) -> Move:
    before = files_of(changed)
    done = move(changed, changed.with_name("my-project-2"), template=template)
    assert files_of(changed) == before
    done.new = changed.with_name("my-project-2")
    return done


def by_hand(moved: Move, start: str) -> list[str]:
    """The lines below the entry of the list that begins so."""
    (entry,) = (entry for entry in moved.by_hand if entry.startswith(start))
    return entry.splitlines()[1:]


@pytest.mark.parametrize("task", CHOICES["task"])
@pytest.mark.parametrize(
    "tag", tags("v1.*") or [pytest.param("", marks=pytest.mark.skip("no tag v1 yet, or shallow"))]
)
def test_a_project_of_each_tag_of_the_first_edition_moves(
    tag: str, task: str, tmp_path: Path
) -> None:
    template = tmp_path / "template"
    run(tmp_path, "git", "clone", "--quiet", TEMPLATE, template)
    commit_template(template, "What is here, committed or not")
    old = make_project(template, tmp_path, at=tag, task=task)
    done = move(old, tmp_path / "new", template=template)
    assert (done.moved, done.by_hand) == ([], [])
    assert done.dropped > 40


@pytest.mark.parametrize("linked", [True, False], ids=["with .cruft.json", "by its files"])
def test_an_unchanged_project_becomes_todays(linked: bool, template: Path, tmp_path: Path) -> None:
    old = make_project(template, tmp_path, linked=linked)
    done = move(old, tmp_path / "new", template=template)
    assert (done.moved, done.by_hand) == ([], [])
    answers = ANSWERS | DERIVED | {"colab_runtime": "latest"}
    fresh = bake_as_answered(tmp_path / "source", template=TEMPLATE, answers=answers)
    made = Project(tmp_path / "new")
    assert made.files() == sorted([".cruft.json", *fresh.files()])
    assert filecmp.cmpfiles(fresh.path, made.path, fresh.files(), shallow=False)[1:] == ([], [])
    assert done.dropped == len(files_of(old)) - 1 - linked  # but the pins, and .cruft.json


def test_the_project_is_linked_to_the_template(moved: Move, template: Path) -> None:
    commit(moved.new, "Moved")
    assert "up to date" in run(moved.new, "cruft", "check").lower()


def test_files_that_an_older_template_made_are_not_the_users(
    template: Path, tmp_path: Path
) -> None:
    old = make_project(template, tmp_path, at="HEAD~2")
    assert "earlier" in (old / PACKAGE / "training/loop.py").read_text()
    done = move(old, tmp_path / "new", template=template)
    assert (done.moved, done.by_hand) == ([], [])


def fields_of_splits(source: str) -> set[str]:
    nodes = {getattr(node, "name", ""): node for node in ast.parse(source).body}
    return {n.target.id for n in ast.walk(nodes["Splits"]) if isinstance(n, ast.AnnAssign)}


def test_data_and_model_are_kept_and_adapted(moved: Move, changed: Path) -> None:
    data, model = ((moved.new / PACKAGE / name).read_text() for name in ("data.py", "model.py"))
    assert data.startswith((changed / PACKAGE / "data.py").read_text())
    assert "def load_data(config: Config) -> Splits:" in data
    todays = (TEMPLATE / "templates/image/data.py").read_text(encoding="utf-8")
    assert fields_of_splits(todays) == fields_of_splits(data) - {"data"}
    assert "1 / 256" in model
    assert "def build_network(data: Data, config: Config)" in model
    assert "def build_model(splits: Splits, config: Config)" in model
    assert "from exactrun import UserError" in model
    assert "from .errors" not in model
    assert "def export_model(" not in model
    files = [moved.new / PACKAGE / name for name in ("data.py", "model.py", "config.py")]
    run(moved.new, sys.executable, "-m", "ruff", "check", "--no-cache", "--select", "F", *files)


def test_the_model_of_texts_has_what_is_exported(changed: Path) -> None:
    source = (changed / PACKAGE / "model.py").read_text()
    assert "def export_model(" in adapt("model.py", source, task="text")


def test_settings_and_form_have_the_users_values(moved: Move) -> None:
    config = (moved.new / PACKAGE / "config.py").read_text()
    assert re.search(r"^    epochs: int = 3  # passes", config, re.M)
    assert re.search(r"^    batch_size: int = 64  # examples", config, re.M)
    assert re.search(r'^    persistent_dir: str = "/mnt/birds"  # where', config, re.M)
    assert re.search(r"^    wings: int = 2  # wings of a bird$", config, re.M)
    assert re.search(r"^    shift: float = 0.08  # largest", config, re.M)  # which model.py reads
    assert "precision" not in config
    form = (moved.new / "notebooks/setup.ipynb").read_text(encoding="utf-8")
    for line in ("epochs = 3  #", "batch_size = 64  #", 'revision = \\"dev\\"  #'):
        assert f'"{line}' in form
    assert by_hand(moved, f"{PACKAGE}/config.py: this edition has no setting precision") == []


def test_files_that_the_user_added_are_copied(moved: Move, changed: Path) -> None:
    for name in ("tests/test_birds.py", "birds.bin", "notebooks/untracked.txt"):
        assert (moved.new / name).read_bytes() == (changed / name).read_bytes()
        assert f"{name}: copied" in moved.moved
    assert not (moved.new / "runs").exists()


def test_imports_of_what_is_gone_are_listed(moved: Move) -> None:
    birds = (moved.new / PACKAGE / "birds.py").read_text()
    assert birds == "from exactrun import UserError\nfrom .training import loop\n"
    assert by_hand(moved, f"{PACKAGE}/birds.py: ") == ["2: from .training import loop"]
    (line,) = by_hand(moved, "notebooks/birds.ipynb: ")
    assert "from my_project.training.loop import STEPS" in line


def test_a_notebook_that_the_user_added_begins_with_todays_setup(moved: Move) -> None:
    names = ("setup", "birds", "other")
    read = [json.loads((moved.new / f"notebooks/{n}.ipynb").read_text("utf-8")) for n in names]
    todays, birds, other = (notebook["cells"] for notebook in read)
    (setup,) = (each for each in todays if each["id"] == "setup")
    assert [each["id"] for each in birds] == ["parameters", "setup", "mine"]
    assert birds[1] == setup
    assert [each["id"] for each in other] == ["mine"]


def test_a_file_of_both_editions_is_merged_and_the_rest_listed(moved: Move) -> None:
    readme = (moved.new / "README.md").read_text(encoding="utf-8")
    assert readme.endswith("; see [LICENSE](LICENSE).\n\nThey are from the garden.\n")
    assert "By my harness." not in readme
    assert by_hand(moved, "README.md: ") == ["9: + By my harness."]
    assert 'version = "1.2.0"' in (moved.new / "pyproject.toml").read_text()
    assert by_hand(moved, "tests/test_data.py: ") == ["5: +     assert True"]


def test_what_can_only_be_done_by_hand_is_listed_with_its_line(moved: Move) -> None:
    assert by_hand(moved, f"{PACKAGE}/training/loop.py: ") == ["3: + STEPS = 2"]
    assert by_hand(moved, "notebooks/setup.ipynb, cell 3: ") == ["run.train(1)"]
    assert by_hand(moved, "pyproject.toml: run nox -s add -- 'umap-learn<1'") == []
    assert by_hand(moved, "pyproject.toml: run nox -s remove -- mlxtend") == []
    assert by_hand(moved, "pyproject.toml: add pytest-xdist to `dev`") == []
    assert by_hand(moved, ".gitattributes: the new project has a file of this name") == []
    assert by_hand(moved, ".gitignore: you had deleted it") == []


def test_data_that_cannot_be_adapted_are_left_to_the_user(
    old: Path, template: Path, tmp_path: Path
) -> None:
    edit(old / PACKAGE / "data.py", "def load(", "def fetch(")
    done = move(old, tmp_path / "new", template=template)
    assert "def load_data" in (tmp_path / "new" / PACKAGE / "data.py").read_text()
    (entry,) = done.by_hand
    assert "it doesn't define load" in entry
    assert "27: + def fetch(config: Config, *, cache: Path) -> Data:" in entry


def test_the_new_project_is_laid_over_the_old_repository(
    moved: Move, changed: Path, tmp_path: Path
) -> None:
    for place in (changed, moved.new):
        shutil.copytree(place, tmp_path / place.name)
    old, new = tmp_path / "my-project", tmp_path / "my-project-2"
    shutil.rmtree(new / ".git", ignore_errors=True)
    run(old, "git", "checkout", "--quiet", "--force", ".")
    (tmp_path / "template").mkdir()
    page = (TEMPLATE / "docs/updating.md").read_text(encoding="utf-8")
    held = r"<!-- held to a project by tests/test_first_edition.py -->\n```sh\n(.*?)```"
    found = re.search(held, page, re.S)
    assert found is not None
    run(tmp_path / "template", "bash", "-euc", found[1])
    kept = {"runs/model.keras": b"large"}
    assert files_of(old) == files_of(new) | kept
    assert run(old, "git", "status", "--porcelain") == ""
    assert run(old, "git", "log", "--format=%s").splitlines()[1:] == ["Mine", "First"]


def test_the_command_prints_the_list(
    old: Path,
    template: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    edit(old / "README.md", "By the harness.", "By my harness.")
    monkeypatch.setattr("tools.first_edition.__main__.TEMPLATE", template)
    assert main([str(old)]) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "my-project-2/README.md").exists()
    assert "Moved:\n  nothing\n" in printed
    assert "README.md: both were changed here; do it again\n    9: + By my harness." in printed
    assert main([str(old)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert main([str(old), str(tmp_path / "my-project-2/README.md/new")]) == 1
    assert "can't be written" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main([str(old), str(tmp_path / "other")]) == 1
    assert "python -m pip install cruft" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        (f"{PACKAGE}/config.py", "knob = 1", "is no project of the first edition"),
        (
            f"{PACKAGE}/config.py",
            "x: int = knob(1\n= knob(",
            "config.py can't be read: SyntaxError",
        ),
        ("notebooks/setup.ipynb", "{", "setup.ipynb can't be read: JSONDecodeError"),
        ("pyproject.toml", "[", "pyproject.toml can't be read: TOMLDecodeError"),
        ("requirements.txt", "keras==3", "colab_runtime: not found"),
        (".cruft.json", "{}", ".cruft.json can't be read: KeyError('context')"),
        (".cruft.json", '{"commit": "0", "context": {"cookiecutter": {}}}', "names the commit 0"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(
    path: str, text: str, words: str, old: Path, template: Path, tmp_path: Path
) -> None:
    (old / path).write_text(text)
    with pytest.raises(Refused, match=re.escape(words)):
        move(old, tmp_path / "new", template=template)
    assert not (tmp_path / "new").exists()


def test_a_clone_or_project_without_history_is_refused(
    old: Path, template: Path, tmp_path: Path
) -> None:
    shallow = tmp_path / "shallow"
    run(tmp_path, "git", "clone", "--quiet", "--depth", "1", template.as_uri(), shallow)
    with pytest.raises(Refused, match="git fetch --unshallow"):
        move(old, tmp_path / "new", template=shallow)
    with pytest.raises(Refused, match="in the old project"):
        move(old, old / "new", template=template)
    shutil.rmtree(old / ".git")
    with pytest.raises(Refused, match="is in no git repository"):
        move(old, tmp_path / "new", template=template)
