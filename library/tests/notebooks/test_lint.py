"""The lint of notebooks: what it finds in a stored notebook, and what it leaves alone."""

from __future__ import annotations

import copy
import json
import random
import re
import string
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commanded import command
from honest_notebooks import HONEST

from exactrun.environment import MADE_FOR
from exactrun.errors import UserError
from exactrun.notebooks.lint import check
from exactrun.notebooks.rules import RULES, Finding

Json = dict[str, Any]

BADGE = "[![Open in Colab](https://x.org/b.svg)](https://colab.research.google.com/github"
KAGGLE = (
    "[![Kaggle](https://x.org/b.svg)](https://kaggle.com/kernels/welcome?src=https://github.com"
)
ALL = "[tool.exactrun.lint]\nextend-select = " + json.dumps(list(RULES))
DOCUMENT = Path(__file__).parents[3] / "docs" / "lint.md"


def code(name: str, *lines: str, **metadata: Any) -> Json:
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": name,
        "metadata": metadata,
        "outputs": [],
        "source": "\n".join(lines).splitlines(keepends=True),
    }


GOOD: Json = {
    "cells": [
        {
            "cell_type": "markdown",
            "id": "title",
            "metadata": {},
            "source": [f"{BADGE}/ada/engine/blob/main/notebooks/small.ipynb)"],
        },
        code(
            "settings",
            '# @title Settings {display-mode: "form"}',
            'epochs = 3  # @param {type:"integer"}',
            'rate = 1  # @param {type:"number"}',
            'name = "é # @param"  # @param {"type":"string","placeholder":"a name"}',
            'fast = True  # @param {type:"boolean"}',
            'device = "auto"  # @param ["auto", "gpu"]',
            'repository = "https://github.com/ada/engine"  # @param {type:"string"}',
            tags=["parameters"],
        ),
        code("work", "%matplotlib inline", "note = '''", "! no command", "'''", "print(note)"),
    ],
    "metadata": {
        "accelerator": "GPU",
        "colab": {"gpuType": "T4", "provenance": []},
        "kernelspec": {"display_name": "Python 3", "name": "python3"},
        "language_info": {"name": "python"},
    },
    "nbformat": 4,
    "nbformat_minor": 5,
}

Store = Callable[..., Path]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Write a notebook into a project's directory `notebooks`, and the project's settings."""
    (tmp_path / "notebooks").mkdir()

    def store(notebook: Json, settings: str = ALL, *, name: str = "small") -> Path:
        (tmp_path / "pyproject.toml").write_text(settings, encoding="utf-8")
        path = tmp_path / "notebooks" / f"{name}.ipynb"
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False), encoding="utf-8")
        return path

    return store


def with_line(line: str, *, cell: str = "work") -> Json:
    """Return the good notebook with one line more."""
    notebook = copy.deepcopy(GOOD)
    (changed,) = (each for each in notebook["cells"] if each["id"] == cell)
    changed["source"].append(f"\n{line}")
    return notebook


def executed() -> Json:
    """Return the good notebook as Colab and papermill leave it."""
    notebook = copy.deepcopy(GOOD)
    notebook["metadata"]["papermill"] = {"duration": 3.0}
    work = notebook["cells"][2]
    work["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["hello"]}]
    work["execution_count"] = 3
    work["metadata"] = {"executionInfo": {"user": {"displayName": "Ada"}}, "outputId": "1"}
    notebook["cells"].append(copy.deepcopy(work))  # pasted, with its id
    notebook["cells"].append({"cell_type": "raw", "metadata": {"id": "kept"}, "source": []})
    return notebook


def drawn(length: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    """Return a text by chance, the same each time, as those who issue tokens draw them."""
    return "".join(random.Random(length).choices(alphabet, k=length))


def the_only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_a_good_notebook_is_without_fault(store: Store) -> None:
    assert check(store(GOOD)) == []


@pytest.mark.parametrize("kind", HONEST)
def test_by_default_an_honest_notebook_is_without_fault(kind: str, store: Store) -> None:
    assert check(store(HONEST[kind], "", name="honest")) == []


@pytest.mark.parametrize(
    ("rule", "line", "fault"),
    [
        ("silent-failure", "!pip install numpy", "when `!pip install numpy` fails"),
        ("silent-failure", "%pip install numpy", "when `%pip install numpy` fails"),
        ("silent-failure", "files = !ls", "when `!ls` fails"),
        ("silent-failure", "if note:\n    !rm x", "when `!rm x` fails"),
        ("plot-alt", "import matplotlib.pyplot as plt; plt.show()", "its plot has no alt text"),
        ("local-path", "open('/home/ada/data.csv')", "it names /home/ada/"),
        ("local-path", r"open('C:\\Users\\ada\\data.csv')", r"it names C:\Users\ada\data.csv"),
        ("local-path", r"open(r'D:\data\train.csv')", r"it names D:\data\train.csv"),
        ("local-path", "assert note is '' or open(f'/Users/ada/{note}')", "it names /Users/ada/"),
        ("syntax-error", "print(1", "is not Python"),
        ("syntax-error", "print 'old'", "is not Python"),
    ],
)
def test_a_line_of_code_with_a_fault_is_found(
    rule: str, line: str, fault: str, store: Store
) -> None:
    finding = the_only(check(store(with_line(line))))
    assert (finding.rule, finding.cell) == (rule, "work")
    assert fault in finding.fault


HEX = "0123456789abcdef"
SECRETS = {
    f"ghp_{drawn(36)}": "a GitHub token",
    f"gho_{drawn(36)}": "a GitHub token",
    f"ghu_{drawn(36)}": "a GitHub token",
    f"ghs_{drawn(36)}": "a GitHub token",
    f"ghr_{drawn(76)}": "a GitHub token",
    f"github_pat_{drawn(22)}_{drawn(59)}": "a GitHub token",
    f"AIza{drawn(35)}": "a Google API key",
    f"ya29.a0{drawn(160)}": "a Google access token",
    f"GOCSPX-{drawn(28)}": "a Google client secret",
    f"hf_{drawn(34, string.ascii_letters)}": "a Hugging Face token",
    f"sk-{drawn(20)}T3BlbkFJ{drawn(20)}": "an OpenAI key",
    f"sk-proj-{drawn(74)}T3BlbkFJ{drawn(74)}": "an OpenAI key",
    f"sk-ant-api03-{drawn(93)}AA": "an Anthropic key",
    f"AKIA{drawn(16, string.ascii_uppercase + '234567')}": "an AWS key",
    f"aws_secret_access_key = {drawn(40)}": "an AWS secret key",
    f"KGAT_{drawn(32, HEX)}": "a Kaggle token",
    f"KAGGLE_KEY={drawn(32, HEX)}": "a Kaggle key",
    f'{{"username":"ada","key":"{drawn(32, HEX)}"}}': "a Kaggle key",
    f"wandb_v1_{drawn(27)}_{drawn(50)}": "a Weights & Biases key",
    f"WANDB_API_KEY: {drawn(40, HEX)}": "a Weights & Biases key",
    f"wandb login --relogin {drawn(40, HEX)}": "a Weights & Biases key",
    f"-----BEGIN RSA PRIVATE KEY-----\n{drawn(64)}\n{drawn(64)}\n": "a private key",
}


@pytest.mark.parametrize("secret", SECRETS, ids=SECRETS.values())
def test_a_secret_is_found_wherever_it_is_and_not_repeated(secret: str, store: Store) -> None:
    printed = f"here: {secret}\n".splitlines(keepends=True)
    data = {"application/json": {"a": [{"b": secret}]}}
    # Such as a service account's JSON in a text.
    escaped = f"note = {json.dumps(json.dumps({'private_key': secret}))}"
    cells = [
        code("source", f"note = '''{secret}'''"),
        code("escaped", escaped),
        code("metadata", note={"x": [secret]}),
        code("printed")
        | {"outputs": [{"output_type": "stream", "name": "stdout", "text": printed}]},
        code("shown")
        | {"outputs": [{"output_type": "display_data", "data": data, "metadata": {}}]},
    ]
    metadata = GOOD["metadata"] | {"note": secret}
    findings = check(store(GOOD | {"cells": cells, "metadata": metadata}, ""))
    assert {(each.rule, each.cell) for each in findings} == {
        ("secret", name) for name in ("", *(cell["id"] for cell in cells))
    }
    assert all(f"it holds {SECRETS[secret]}" in each.fault for each in findings)
    assert drawn(16)[9:] not in "".join(map(str, findings))


def test_what_names_a_secret_and_holds_none_is_left_alone(store: Store) -> None:
    lines = (
        "os.environ['KAGGLE_KEY'] = userdata.get('KAGGLE_KEY')",
        f"digest = '{drawn(32, HEX)}', '{drawn(40, HEX)}', '{drawn(64, HEX)}'",
        "key = 'AIza" + 35 * "a" + "'",
        "key = 'AKIA" + 16 * "X" + "'",
        f"picture = '{drawn(20)}AIza{drawn(50)}'",
        "hf_" + drawn(10) + "_" + drawn(40),
    )
    assert check(store(with_line("\n".join(lines)), "")) == []


@pytest.mark.thorough
def test_fifty_megabytes_of_outputs_are_searched_in_seconds(store: Store) -> None:
    parts = [
        drawn(12_500_000),
        "the username and key of wandb login are KAGGLE_KEY, api_org_, sk-ant- " * 176_000,
        "-----BEGIN PRIVATE KEY-----" * 463_000,
        "wandb.login('" + '" ' * 6_250_000,
    ]
    notebook = copy.deepcopy(GOOD)
    notebook["cells"][2]["outputs"] = [
        {"output_type": "stream", "name": "stdout", "text": part} for part in parts
    ]
    path, began = store(notebook, ""), time.process_time()
    assert check(path) == []
    assert time.process_time() - began < 30


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('size = "3"  # @param {type:"integer"}', "does not fit its form field of type integer"),
        ('size = True  # @param {type:"number"}', "does not fit its form field of type number"),
        ('size = 3  # @param {type:"int"}', "does not fit its form field of type int"),
        ('size = "3"  # @param ["1", "2"]', 'is none of the choices ["1", "2"]'),
        ("size = '1'  # @param ['1', '2']", "has choices that are not JSON"),
    ],
)
def test_a_parameter_that_its_form_can_not_show_is_found(
    line: str, fault: str, store: Store
) -> None:
    finding = the_only(check(store(with_line(line, cell="settings"), "")))
    assert (finding.rule, finding.cell) == ("parameter-form", "settings")
    assert fault in finding.fault


@pytest.mark.parametrize(
    "line",
    [
        'size = len("abc")  # @param {type:"integer"}',
        "size = 3",
        "size: int = 3  # @param",
        'size = "3"  # @param ["1", "2"] {allow-input: true}',
        "print(epochs)",
        "%time",
    ],
)
def test_a_parameter_needs_no_form(line: str, store: Store) -> None:
    assert check(store(with_line(line, cell="settings"), "")) == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("![](curve.png)", "its picture ![](curve.png) has no alt text"),
        ('<img src="curve.png" alt="">', "has no alt text"),
        (f"![](data:image/png;base64,{'iVBO' * 1000})", "VBOi… has no alt text"),
    ],
)
def test_a_picture_without_alt_text_is_found(line: str, fault: str, store: Store) -> None:
    finding = the_only(check(store(with_line(line, cell="title"))))
    assert (finding.rule, finding.cell) == ("picture-alt", "title")
    assert fault in finding.fault


@pytest.mark.parametrize(
    "line",
    ["![A rising curve](curve.png)", '<img alt="A rising curve" src="c.png">', "`![](no picture)`"],
)
def test_a_line_of_text_without_fault_is_left_alone(line: str, store: Store) -> None:
    assert check(store(with_line(line, cell="title"))) == []


@pytest.mark.parametrize(
    ("title", "fault"),
    [
        (f"{BADGE}/ada/engine/blob/main/notebooks/other.ipynb)", "opens notebooks/other.ipynb"),
        (f"{BADGE}/ada/engine/blob/main/small.ipynb)", "opens small.ipynb"),
        (
            f"{BADGE}/ada/engine/blob/main/notebooks/small.ipynb?hl=en)\n"
            f"{KAGGLE}/bob/engine/blob/main/notebooks/small.ipynb)",
            "opens a notebook of bob/engine, and another one of ada/engine",
        ),
        (
            f"{BADGE}/bob/engine/blob/main/notebooks/small.ipynb)",
            "it fetches ada/engine, and the badge opens a notebook of bob/engine",
        ),
    ],
)
def test_a_badge_that_leads_elsewhere_is_found(title: str, fault: str, store: Store) -> None:
    notebook = copy.deepcopy(GOOD)
    notebook["cells"][0]["source"] = title
    path = store(notebook, "")
    (path.parents[1] / ".git").mkdir()
    finding = the_only(check(path))
    assert finding.rule == "badge"
    assert fault in finding.fault


def test_a_badge_of_a_branch_with_a_slash_or_of_a_notebook_alone_is_left_alone(
    store: Store, tmp_path: Path
) -> None:
    notebook = copy.deepcopy(GOOD)
    notebook["cells"][0]["source"] = f"{BADGE}/ada/engine/blob/a/fix/notebooks/small.ipynb)"
    path = store(notebook, "")
    assert check(path) == []
    path.with_name("pyproject.toml").unlink(missing_ok=True)
    (tmp_path / "pyproject.toml").unlink()
    assert check(path) == []


@pytest.mark.parametrize(
    ("name", "language", "faults"),
    [
        ("ir", "R", []),
        ("python3", "python", []),
        ("lab", "python", ["its kernel is lab"]),
        (None, None, ["it names no kernel"]),
    ],
)
def test_a_python_kernel_of_one_machine_is_found_if_asked_for(
    name: str | None, language: str | None, faults: list[str], store: Store
) -> None:
    metadata: Json = {"kernelspec": {"name": name}, "language_info": {"name": language}}
    cells = [code("a", "x <- 1" if language == "R" else "x = 1")]
    notebook = GOOD | {"cells": cells, "metadata": metadata if name else {}}
    if name is not None:
        metadata["kernelspec"]["display_name"] = name
    assert [finding.fault for finding in check(store(notebook))] == faults


@pytest.mark.parametrize(
    "settings", [ALL, '[project]\nname = "engine"\n'], ids=["with settings", "without"]
)
@pytest.mark.parametrize(
    ("pinned", "asked", "fault"),
    [
        ("2026.07", "2026.07", ""),
        ("latest", None, ""),
        (None, "2026.07", ""),
        ("2026.07", None, "the runtime latest, and requirements.txt is of 2026.07"),
        ("2026.07", "2025.10", "the runtime 2025.10, and requirements.txt is of 2026.07"),
        ("latest", "2026.07", "the runtime 2026.07, and requirements.txt is of latest"),
    ],
)
def test_another_runtime_than_the_pinned_one_is_found(
    pinned: str | None, asked: str | None, fault: str, settings: str, store: Store
) -> None:
    notebook = copy.deepcopy(GOOD)
    if asked:
        notebook["metadata"]["colab"] = {"runtime_attributes": {"runtime_version": asked}}
    path = store(notebook, settings)
    pins = f"{MADE_FOR}{pinned} (Python 3.12): its own\n" if pinned else ""
    (path.parents[1] / "requirements.txt").write_text(f"--find-links ./wheels\n{pins}numpy==2\n")
    found = check(path)
    assert [each.rule for each in found] == (["runtime"] if fault else [])
    assert all(fault in each.fault for each in found)


def test_two_cells_of_parameters_are_found(store: Store) -> None:
    notebook = copy.deepcopy(GOOD)
    notebook["cells"][2]["metadata"]["tags"] = ["parameters"]
    finding = the_only(check(store(notebook, "")))
    assert (finding.rule, finding.fault) == ("parameters-cell", "2 cells are tagged parameters")


@pytest.mark.parametrize("given", [True, False])
def test_a_cell_of_parameters_is_asked_for_where_there_are_some(given: bool, store: Store) -> None:
    notebook = copy.deepcopy(GOOD)
    notebook["cells"][1]["metadata"] = {}
    settings = "[tool.exactrun.notebooks.small]\n" + ("parameters = { epochs = 1 }" * given)
    findings = check(store(notebook, settings))
    assert [finding.rule for finding in findings] == ["parameters-cell"] * given


def test_values_of_an_earlier_run_are_found(store: Store) -> None:
    notebook = copy.deepcopy(GOOD)
    notebook["cells"].append(code("injected", "epochs = 9", tags=["injected-parameters"]))
    finding = the_only(check(store(notebook, "")))
    assert (finding.rule, finding.cell) == ("injected-parameters", "injected")


def test_what_an_execution_leaves_is_found_cell_by_cell_if_asked_for(store: Store) -> None:
    found = [(each.cell, each.rule, each.fault) for each in check(store(executed()))]
    left = [
        ("work", "outputs", "it holds 1 outputs"),
        ("work", "execution-count", "it holds the count 3"),
        ("work", "tool-metadata", "its metadata holds executionInfo, outputId"),
    ]
    assert sorted(found) == sorted(
        [
            ("", "tool-metadata", "its metadata holds papermill"),
            ("work", "cell-id", "its id is used twice"),
            *left,
            ("5", "cell-id", "its id is missing"),
            ("5", "tool-metadata", "its metadata holds id"),
        ]
    )
    assert {each.rule for each in check(store(executed(), ""))} == {"cell-id"}


def test_a_finding_names_file_cell_rule_and_what_to_do(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    path = store(with_line("open('/home/ada/data.csv')"), "")
    assert command("notebook", "lint", path.parent) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{path}: cell work: local-path: it names /home/ada/."
        " Use a path relative to the notebook, or a parameter.",
        "Notebooks: 1, findings: 1",
    ]


def test_the_rules_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("notebook", "lint", "--rules") == 0
    told = capsys.readouterr().out
    for rule in RULES.values():
        for part in (rule.finds, rule.why, rule.fix):
            assert " ".join(part.split()) in " ".join(told.split())
    assert "outputs (off by default)\n" in told
    assert "\nsecret (off" not in told
    assert max(map(len, told.splitlines())) <= 80


def test_the_documentation_lists_the_rules_as_they_are() -> None:
    rows = [
        f"| `{rule.name}` | {rule.finds} | {rule.why} | {rule.fix} |" for rule in RULES.values()
    ]
    document = DOCUMENT.read_text(encoding="utf-8")
    assert re.findall(r"^\| `.*\|$", document, re.M) == rows
    on = document.index("## Off by default")
    for rule, row in zip(RULES.values(), rows, strict=True):
        assert (document.index(row) < on) == rule.default


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("<<<<<<< HEAD", "not JSON"),
        ("[]", "not a notebook of format 4"),
        ('{"nbformat": 3, "nbformat_minor": 0}', "not a notebook of format 4"),
        ('{"nbformat": 4, "nbformat_minor": 5, "cells": []}', "not a valid notebook"),
    ],
)
def test_a_file_that_is_no_notebook_is_refused(
    content: str, fault: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    path = store(GOOD, "")
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=fault):
        check(path)
    assert command("notebook", "lint", "--fix", path) == 1
    assert fault in capsys.readouterr().out
    assert path.read_text(encoding="utf-8") == content


@pytest.mark.parametrize("line", ["a\0b", "(" * 3000])
def test_code_that_no_parser_takes_is_a_finding(line: str, store: Store) -> None:
    path = store(GOOD, "")
    text = json.dumps(GOOD | {"cells": [code("work", line)]})
    path.write_text(text, encoding="utf-8")
    assert [each.rule for each in check(path)] == ["syntax-error"]


@pytest.mark.parametrize("arguments", [["."], []])
def test_the_command_fails_where_there_is_no_notebook(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        command("notebook", "lint", *arguments)
    assert ended.value.code == 2
