"""Comparing runs: equal ones, and what is said of those that are not."""

from __future__ import annotations

import copy
import html
import json
import os
from pathlib import Path
from typing import Any

import pytest
from commanded import command

from exactrun.notebooks.compare import compare

RECORD: dict[str, Any] = {
    "git_revision": "0123456789abcdef0123456789abcdef01234567",
    "run_name": "first",
    "settings": {"run_name": "first", "persistent_dir": "/drive", "epochs": 3, "seed": 0},
    "environment": {"where": "colab", "python": "3.13.5"},
    "packages": {"keras": "3.13.2"},
    "pins": {"runtime": "2026.08", "differences": []},
    "accelerator": {"kind": "gpu", "name": "Tesla T4", "count": 1, "checked": "sums agree"},
    "precision": "float32",
    "data": {"name": "digits", "train": 4000, "sha256": "ab" * 32},
    "name": "first",
    "metrics": {"test_accuracy": 0.987654, "loss": 0.25},
    "figures": {"test accuracy": "98.77 %"},
    "checks": [{"name": "training", "status": "passed", "detail": "/home/ada/runs/first"}],
    "seconds": 725.4,
    "weights_sha256": "cd" * 32,
}
MOVED = {"name": "numpy", "pinned": "2.1.3", "installed": "2.4.0"}


def changed(*path: str, to: Any) -> dict[str, Any]:
    """Return the record with another value at a place in it."""
    record = copy.deepcopy(RECORD)
    place = record
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = to
    return record


def store(directory: Path, name: str, record: dict[str, Any]) -> str:
    (directory / name).mkdir()
    (directory / name / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return str(directory / name)


@pytest.fixture
def say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Compare a record with RECORD, by the command; return its exit code and what it printed."""

    def say(record: dict[str, Any]) -> tuple[int, str]:
        runs = [store(tmp_path, "a", RECORD), store(tmp_path, "b", record)]
        return command("compare", *runs), capsys.readouterr().out

    return say


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        changed("settings", "persistent_dir", to="/elsewhere"),
        changed("settings", "run_name", to="second"),
        changed("seconds", to=1.0),
    ],
)
def test_runs_that_differ_in_place_and_time_only_are_equal(say: Any, record: Any) -> None:
    status, said = say(record)
    assert status == 0
    assert said.endswith("The runs are equal.\n")
    assert "✖" not in said


@pytest.mark.parametrize(
    ("record", "part", "difference"),
    [
        (
            changed("git_revision", to="f" * 40),
            "code",
            f"0123456789abcdef0123456… and {'f' * 23}…",
        ),
        (changed("exactrun", to="0.2.0"), "packages", "exactrun: none and 0.2.0"),
        (changed("environment", "python", to="3.12.1"), "packages", "python: 3.13.5 and 3.12.1"),
        (
            changed("pins", "differences", to=[MOVED]),
            "packages",
            "differences: none and numpy 2.1.3 2.4.0",
        ),
        (changed("packages", "keras", to="3.14"), "packages", "keras: 3.13.2 and 3.14"),
        (changed("data", "train", to=5000), "data", "train: 4000 and 5000"),
        (changed("settings", "epochs", to=5), "settings", "epochs: 3 and 5"),
        (changed("accelerator", "name", to="CPU"), "device", "name: Tesla T4 and CPU"),
        (changed("precision", to="mixed_float16"), "device", "float32 and mixed_float16"),
        (changed("weights_sha256", to="ef" * 32), "weights", "cdcdcd"),
    ],
)
def test_what_differs_is_named(say: Any, record: Any, part: str, difference: str) -> None:
    status, said = say(record)
    assert status == 1
    (line,) = [line for line in said.splitlines() if line.startswith("✖")]
    assert line.startswith(f"✖ {part}: ")
    assert difference in line
    assert f"\nWhat differs first: the {part}.\n" in said
    assert max(map(len, said.splitlines())) <= 80


def test_the_cause_comes_before_its_consequences(say: Any) -> None:
    record = changed("weights_sha256", to="ef" * 32)
    record["settings"]["seed"] = 1
    record["data"]["sha256"] = "ab" * 16 + "ba" * 16  # another split
    _, said = say(record)
    lines = said.splitlines()
    parts = [line.split(":")[0] for line in lines if line.startswith(("✖", "→"))]
    assert parts == ["✖ settings", "→ data", "→ weights"]
    assert "✖ settings: seed: 0 and 1" in lines
    assert lines[-2:] == [
        "What differs first: the settings.",
        "That may be why these differ too: data, weights.",
    ]


def test_data_that_differ_alone_are_the_cause(say: Any) -> None:
    record = changed("weights_sha256", to="ef" * 32)
    record["data"]["train"], record["accelerator"]["name"] = 5000, "NVIDIA L4"
    _, said = say(record)
    assert "✖ data: train: 4000 and 5000" in said
    assert "✖ device: accelerator.name: Tesla T4 and NVIDIA L4" in said or "✖ device: name" in said
    assert "What differs first: the data, the device.\n" in said


def test_weights_that_nothing_explains_are_named_so(say: Any) -> None:
    _, said = say(changed("weights_sha256", to="ef" * 32))
    assert said.endswith(
        "Nothing that was recorded explains it: look for what is random without a seed.\n"
    )


def test_what_is_no_number_in_both_is_equal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = changed("settings", "rate", to=float("nan"))
    assert command("compare", store(tmp_path, "a", record), store(tmp_path, "b", record)) == 0


def test_several_differences_of_a_part_have_a_line_each(say: Any) -> None:
    record = changed("packages", to={"keras": "3.14.0", "numpy": "2.4.0"})
    _, said = say(record)
    assert "✖ packages:\n    keras: 3.13.2 and 3.14.0\n    numpy: none and 2.4.0\n" in said


def test_of_long_values_the_difference_is_shown(say: Any) -> None:
    record = changed("settings", "note", to=None)
    long = "a" * 60
    record["settings"]["note"] = long + "b" * 60
    first = copy.deepcopy(RECORD)
    first["settings"]["note"] = long + "c" * 60
    found = compare(first, record)["settings"]
    assert found == [f"note: …{'a' * 12}{'c' * 11}… and …{'a' * 12}{'b' * 11}…"]


def test_metrics_and_times_stand_side_by_side(say: Any, capsys: pytest.CaptureFixture[str]) -> None:
    record = changed("seconds", to=731.25)
    record["name"], record["metrics"] = "second", {"test_accuracy": 0.987654321, "loss": 0.1}
    _, said = say(record)
    table = said[said.index("\n\n") : said.rindex("\n\n")].strip("\n").splitlines()
    assert [line.split() for line in table] == [
        ["first", "second"],
        ["test", "accuracy", "0.987654", "0.987654321"],
        ["loss", "0.25", "0.1"],
        ["seconds", "725.4", "731.25"],
    ]
    assert len({len(line) for line in table}) == 1


@pytest.mark.parametrize("embedded", [True, False])
@pytest.mark.parametrize("suffix", [".html", ".ipynb"])
def test_a_report_stands_for_its_run(
    suffix: str, embedded: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = store(tmp_path, "a", RECORD)
    page = report(tmp_path / "build", RECORD, embedded=embedded)
    page.with_suffix(".ipynb").touch()
    assert command("compare", run, page.with_suffix(suffix)) == 0
    said = capsys.readouterr().out
    assert "The runs are equal." in said
    assert "Whole notebook" in said


def report(directory: Path, record: dict[str, Any], *, embedded: bool) -> Path:
    """Write the page of a run, with its record inside or in a directory beside it."""
    checks = [each | {"detail": "…/shortened"} for each in record["checks"]]
    figures = {**record["figures"], "Whole notebook": "12 min 5 s"}
    summary = {"title": "a", "status": "passed", "figures": figures, "checks": checks}
    directory.mkdir()
    if embedded:
        summary["record"] = record
    else:
        (directory / "colab").mkdir()
        store(directory / "colab", "right", record)
        store(directory, "other", record | {"checks": [], "weights_sha256": "0"})
        store(
            directory,
            "worse",
            record | {"figures": {"test accuracy": "7 %"}, "weights_sha256": "0"},
        )
    page = directory / "small.html"
    content = html.escape(json.dumps(summary))
    page.write_text(f'<!DOCTYPE html><head><meta name="run-report" content="{content}"></head>')
    return page


def test_a_report_of_which_no_record_is_found_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = report(tmp_path / "build", RECORD, embedded=False)
    store(page.parent, "twin", RECORD | {"weights_sha256": "1"})
    (tmp_path / "foreign.html").write_text("<p>Hello")
    for path, fault in (
        (page, "there are 2 files run.json with the checks"),
        (tmp_path / "foreign.html", "is no report of a notebook"),
        (tmp_path / "missing.html", "can't be read"),
    ):
        assert command("compare", path, path) == 2
        assert fault in capsys.readouterr().err


def test_the_runs_of_a_directory_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    failed = [{"name": "gpu", "status": "failed", "detail": "none"}]
    for name, change in {
        "c": {"name": "third", "finished": False, "settings": {"seed": 0, "epochs": 5}},
        "b": {"name": "second", "checks": failed, "settings": RECORD["settings"] | {"epochs": 4}},
        "a": {"stopped_by": "max_time_secs"},
        "d": {"name": "zero", "finished": True, "metrics": []},
    }.items():
        path = Path(store(tmp_path, name, RECORD | change)) / "run.json"
        os.utime(path, (1.7e9, 1.7e9))
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "run.json").write_text("{")
    assert command("compare", tmp_path) == 0
    said = capsys.readouterr().out.splitlines()
    when = "2023-11-14 22:13"
    assert [line.split("  ")[0] for line in said[:6]] == [
        "run",
        "e",
        "first",
        "second",
        "third",
        "zero",
    ]
    assert [" ".join(line.split()) for line in said[2:6]] == [
        f"first {when} – stopped by max_time_secs 3 0.987654",
        f"second {when} ✖ gpu 4 0.987654",
        f"third {when} – not finished 5 0.987654",
        f"zero {when} ✔ finished 3 98.77 %",
    ]
    assert said[0].split()[4:] == ["epochs", "test", "accuracy"]
    assert "✖ unreadable" in said[1]
    assert said[-1].startswith(f"{tmp_path / 'e' / 'run.json'} is not JSON")
    monkeypatch.setenv("COLUMNS", "60")
    assert command("compare", tmp_path) == 0
    narrow = capsys.readouterr().out.splitlines()
    assert f"third  {when}  – not finished" in narrow
    assert "    epochs 5, test accuracy 0.987654" in narrow


def test_three_runs_are_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [store(tmp_path, name, RECORD) for name in "ab"]
    assert command("compare", *runs, runs[0]) == 0
    runs.append(store(tmp_path, "c", changed("settings", "seed", to=1) | {"weights_sha256": "e"}))
    capsys.readouterr()
    assert command("compare", *runs) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].split()[4:6] == ["seed", "test"]
    assert [line.split()[0] for line in said[:4]] == ["run", "a", "b", "c"]
    assert said[-2:] == [
        f"{runs[1]} is equal to the first",
        f"{runs[2]} differs in: settings, weights",
    ]


def test_code_that_was_not_committed_is_not_called_equal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = changed("git_revision", to=RECORD["git_revision"] + "+changes")
    command("compare", store(tmp_path, "a", record), store(tmp_path, "b", record))
    assert "– code: not known to be equal" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "can't be read"),
        ("{", "is not JSON"),
        ("[]", "holds no JSON object"),
        ('{"version": 1}', "records no weights yet"),
        ("[" * 100_000, "is nested too deeply"),
        ("\xff", "is not JSON"),
    ],
)
def test_what_is_no_record_of_a_trained_run_is_refused(
    content: str | None, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run.json"
    if content is not None:
        run.write_text(content, encoding="latin-1")
    assert command("compare", run, run) == 2
    assert fault in capsys.readouterr().err


@pytest.mark.parametrize("part", ["settings", "checks", "metrics", "figures", "name", "packages"])
@pytest.mark.parametrize("value", [None, [], {}, "text", 3.5, [1], {"a": [None]}, [{"name": 1}]])
def test_a_foreign_record_is_read_as_far_as_it_goes(
    part: str, value: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = store(tmp_path, "a", RECORD | {part: value})
    own = store(tmp_path, "b", RECORD)
    assert command("compare", own, foreign) == (part in ("settings", "packages"))
    assert command("compare", tmp_path) == 0


@pytest.mark.parametrize(("path", "fault"), [("run.json", "is no directory"), (".", "no run.json")])
def test_where_there_are_no_runs_to_list_a_sentence_says_so(
    path: str, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("compare", tmp_path / path) == 2
    assert fault in capsys.readouterr().err
