"""The command line: exit codes, messages, and a training without a notebook."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from small import small_data

from {{ cookiecutter.__package }} import __main__ as command_line
from {{ cookiecutter.__package }} import data as data_module
from {{ cookiecutter.__package }}.colab import accelerator


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        command_line.main(["--help"])
    assert done.value.code == 0
    assert {"doctor", "benchmark", "train"} <= set(capsys.readouterr().out.split())


def test_an_unknown_flag_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        command_line.main(["train", "--epoch-count", "3"])
    assert done.value.code == 2
    assert "--epoch-count" in capsys.readouterr().err


def test_a_wrong_value_is_named_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["train", "--epochs", "0"]) == 1
    assert "epochs=0 is too small; it must be at least 1" in capsys.readouterr().err


def test_doctor_prints_json_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    code = command_line.main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    statuses = {check["name"]: check["status"] for check in found["checks"]}
    assert statuses["environment"] == "passed"
    assert code == (1 if "failed" in statuses.values() else 0)


def test_doctor_prints_the_machine_and_the_checks_as_a_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command_line.main(["doctor", "--accelerator", "cpu"])
    lines = capsys.readouterr().out.splitlines()
    names = [line[2:].split()[0] for line in lines]
    assert names == ["place", "Python", "processors", "memory", "disk", "NVIDIA", "pins", "gpu"]
    assert "accelerator=cpu" in lines[-1]


def test_doctor_fails_when_the_gpu_is_not_usable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = accelerator.Accelerator(
        kind="cpu", name="CPU", count=0, precisions=("float32",), status="failed", checked="why"
    )
    monkeypatch.setattr(accelerator, "choose", lambda *wanted, **settings: broken)
    assert command_line.main(["doctor"]) == 1
    assert f"✖ {'gpu':<10} CPU: why" in capsys.readouterr().out


def test_the_benchmark_prints_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(data_module, "load", lambda config, cache: small_data())
    assert command_line.main(["benchmark", "--scale", "0.01"]) == 0
    printed = capsys.readouterr().out
    assert "32×7×7×3 convolution of 1×100×100×3" in printed
    assert "10 training steps" in printed


def test_doctor_answers_without_tensorflow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert command_line.main(["doctor"]) == 1
    assert "TensorFlow can't be imported" in capsys.readouterr().out


def test_train_leaves_a_model_and_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_module, "load", lambda config, cache: small_data())
    arguments: list[Any] = ["train", "--epochs", "1", "--batch-size", "16", "--no-deterministic"]
    command_line.main([*arguments, "--run-name", "cli", "--persistent", str(tmp_path)])
    folder = tmp_path / "runs" / "cli"
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert {check["name"]: check["status"] for check in record["checks"]}["model"] == "passed"
    assert (folder / "model.keras").stat().st_size == record["artifacts"][0]["size"]
