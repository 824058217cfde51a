"""The command line: commands, exit codes and messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import exactrun
from exactrun import __main__ as command_line
from exactrun import driver, gpu
from exactrun.environment import MADE_FOR
from exactrun.gpu import Accelerator

SOURCE = Path(exactrun.__file__).parent.parent
BROKEN = Accelerator(
    kind="cpu", name="CPU", count=0, precisions=("float32",), status="failed", checked="why"
)
COMMANDS = ["check", "stage", "shard", "benchmark", "notebook", "compare", "crash-test"]


@pytest.fixture(autouse=True)
def in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def usage(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as done:
        command_line.main(arguments)
    return done.value.code


def test_help_names_every_command_and_imports_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert usage("--help") == 0
    assert set(COMMANDS) <= set(capsys.readouterr().out.split())
    code = (
        "import sys; from exactrun.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'tensorflow', 'papermill', 'nbformat', 'IPython'} & set(sys.modules)"
    )
    env = os.environ | {"PYTHONPATH": str(SOURCE)}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, capture_output=True)


@pytest.mark.parametrize("arguments", [[], ["train"], ["check", "--gpu"], ["shard", "--size", "9"]])
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert usage(*arguments) == 2
    assert "usage: exactrun" in capsys.readouterr().err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert usage("--version") == 0
    assert capsys.readouterr().out == f"exactrun {exactrun.__version__}\n"


def test_check_prints_json_and_nothing_else(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}}')  # not waited for
    code = command_line.main(["check", "--json"])
    found = json.loads(capsys.readouterr().out)
    statuses = {check["name"]: check["status"] for check in found["checks"]}
    assert statuses["environment"] == "passed"
    assert statuses["pins"] == "skipped"
    assert set(found) >= {"environment", "driver", "accelerator", "packages"}
    assert code == (1 if "failed" in statuses.values() else 0)


def test_check_prints_the_machine_and_the_checks_as_a_table(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "requirements.txt").write_text(f"{MADE_FOR}2026.07\nnumpy==0.1\n")
    assert command_line.main(["check", "--accelerator", "cpu"]) == 1
    lines = capsys.readouterr().out.splitlines()
    names = [line[2:].split()[0] for line in lines]
    machine = ["place", "system", "Python", "processors", "memory", "disk", "NVIDIA"]
    assert names == [*machine, "pins", "gpu"]
    assert lines[-2].startswith(f"✖ {'pins':<10} numpy {np.__version__} (pinned 0.1); to fix:")
    assert "accelerator=cpu" in lines[-1]
    assert command_line.main(["check", "--accelerator", "cpu", "--requirements", "no.txt"]) == 1
    assert "no.txt is not there" in capsys.readouterr().out
    (tmp_path / "requirements.txt").write_text("numpy\n")  # of a project of another kind
    assert command_line.main(["check", "--accelerator", "cpu"]) == 0
    assert "does not say which Colab runtime" in capsys.readouterr().out


def test_check_fails_when_the_gpu_or_the_driver_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "setup", lambda *wanted, **settings: BROKEN)
    assert command_line.main(["check"]) == 1
    assert f"✖ {'gpu':<10} CPU: why" in capsys.readouterr().out
    monkeypatch.undo()

    def inventory() -> None:
        raise driver.BrokenDriver("the GPU is lost")

    monkeypatch.setattr(driver, "inventory", inventory)
    assert command_line.main(["check", "--accelerator", "cpu"]) == 1
    assert f"✖ {'driver':<10} the GPU is lost" in capsys.readouterr().out


def test_check_answers_without_tensorflow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert command_line.main(["check"]) == 1
    assert "TensorFlow can't be imported" in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_console_that_knows_few_signs_ends_no_command(encoding: str) -> None:
    env = os.environ | {"PYTHONPATH": str(SOURCE), "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "exactrun"]
    done = subprocess.run([*command, "shard", "é→", "b"], env=env, capture_output=True)
    assert done.returncode == 1
    assert b"is not there. Give a directory of pictures" in done.stderr
    done = subprocess.run([*command, "check", "--help"], env=env, capture_output=True)
    assert done.returncode == 0


@pytest.mark.thorough
def test_the_benchmark_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["benchmark", "--scale", "0.01"]) == 0
    printed = capsys.readouterr().out
    assert "32×7×7×3 convolution of 1×100×100×3" in printed
    assert "10 training steps" in printed
    assert command_line.main(["benchmark", "--scale", "2"]) == 1
    assert "scale=2 is no fraction" in capsys.readouterr().err


def test_the_benchmark_refuses_a_gpu_that_can_not_be_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "setup", lambda *wanted, **settings: BROKEN)
    assert command_line.main(["benchmark"]) == 1
    assert "The GPU can't be timed: why." in capsys.readouterr().err


def test_pictures_are_written_to_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    for kind in ("crow", "swan"):
        (tmp_path / "birds" / kind).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (20, 10)).save(tmp_path / "birds" / kind / f"{number}.png")
    (tmp_path / "birds" / "swan" / "broken.png").write_bytes(b"no picture")
    arguments = ["shard", "birds", "shards", "--size", "8x16", "--channels", "1"]
    assert command_line.main(arguments) == 1
    assert "broken.png" in capsys.readouterr().err
    assert command_line.main([*arguments, "--ignore-errors"]) == 0
    assert "shards holds 6 examples" in capsys.readouterr().out
    shards = exactrun.open_shards("shards")
    assert shards.columns[0].shape == (6, 8, 16, 1)


def test_a_csv_is_written_to_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "\n".join(f"{n},{n * 2},{n * 0.5}" for n in range(10))
    (tmp_path / "prices.csv").write_text(f"rooms,age,price\n{rows}\n")
    arguments = ["shard", "prices.csv", "shards", "--target", "price", "--features", "age"]
    assert command_line.main([*arguments, "--no-classes"]) == 0
    assert "shards holds 10 examples" in capsys.readouterr().out
    x, y = exactrun.open_shards("shards")[3]
    assert (np.asarray(x).tolist(), float(y)) == ([6.0], 1.5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "shards"], "nowhere is not there"),
        (["birds", "birds/shards"], "lies in the source"),
        (["birds", "shards", "--target", "price"], "--target is for a CSV"),
        (["prices.csv", "shards"], "give the column to predict by --target"),
        (["prices.csv", "shards", "--target", "price", "--size", "8x8"], "and no --size"),
        (["prices.csv", "shards", "--target", "rent"], "rent"),
    ],
)
def test_what_can_not_be_sharded_is_told_without_a_traceback(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "birds").mkdir()
    (tmp_path / "prices.csv").write_text("price,rooms\n1,2\n")
    assert command_line.main(["shard", *arguments]) == 1
    assert said in capsys.readouterr().err


def fake_module(monkeypatch: pytest.MonkeyPatch, name: str, **contents: Any) -> None:
    module = ModuleType(name)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)


def test_data_are_staged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def stage(source: str, directory: Path) -> Path:
        return directory / source

    fake_module(monkeypatch, "exactrun.staging", stage=stage)
    assert command_line.main(["stage", "a.zip", "data"]) == 0
    assert capsys.readouterr().out == f"{Path('data/a.zip')} is complete and verified.\n"


@pytest.mark.parametrize("command", ["notebook", "compare", "crash-test"])
def test_a_command_of_another_module_is_added_when_it_is_asked_for(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add_to(commands: Any) -> None:
        added = commands.add_parser(command)
        added.add_argument("what")
        added.set_defaults(command=lambda options: int(options.what))

    fake_module(monkeypatch, "exactrun.notebooks", __path__=[])
    fake_module(monkeypatch, "exactrun.notebooks.commands", add_to=add_to)
    fake_module(monkeypatch, "exactrun.crash_test", add_to=add_to)
    assert command_line.main([command, "3"]) == 3


@pytest.mark.parametrize(
    ("missing", "extra"),
    [("papermill", "papermill nbconvert"), ("nbformat.v4", "papermill"), ("numpy", "tensorflow")],
)
def test_a_missing_extra_is_named_with_what_installs_it(
    missing: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def add_to(commands: Any) -> None:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    fake_module(monkeypatch, "exactrun.notebooks", __path__=[])
    fake_module(monkeypatch, "exactrun.notebooks.commands", add_to=add_to)
    assert command_line.main(["notebook", "run", "a.ipynb"]) == 1
    package = missing.split(".")[0]
    said = f"This needs {package}, which comes with: python -m pip install {extra}"
    assert capsys.readouterr().err.startswith(said)


def test_ctrl_c_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(source: str, directory: Path) -> Path:
        raise KeyboardInterrupt

    fake_module(monkeypatch, "exactrun.staging", stage=interrupted)
    assert command_line.main(["stage", "a", "b"]) == 130
    assert "The same command goes on where it stopped" in capsys.readouterr().err


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(source: str, directory: Path) -> Path:
        raise ModuleNotFoundError("No module named 'x'", name="x")

    fake_module(monkeypatch, "exactrun.staging", stage=broken)
    with pytest.raises(ModuleNotFoundError):
        command_line.main(["stage", "a", "b"])
