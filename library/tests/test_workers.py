"""Several workers: who they are, how they are started and ended, and a run of two of them."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import exactrun
from exactrun import UserError, run_workers, workers

SOURCE = Path(exactrun.__file__).parent.parent
TRAIN = """
import sys
import exactrun, numpy as np
run = exactrun.Run(project_dir=sys.argv[1])
devices = int(sys.argv[2])
if devices > 1:
    import tensorflow as tf
    (cpu,) = tf.config.list_physical_devices("CPU")
    parts = [tf.config.LogicalDeviceConfiguration()] * devices
    tf.config.set_logical_device_configuration(cpu, parts)
    names = [f"CPU:{index}" for index in range(devices)]
    from exactrun import gpu
    gpu.strategy = lambda: tf.distribute.MirroredStrategy(names)
strategy = run.setup_devices("cpu")
run.setup_storage()
import keras
keras.utils.set_random_seed(0)
x = np.random.default_rng(0).standard_normal((64, 4)).astype("float32")
y = (x[:, 0] > 0).astype("int64")
with strategy.scope():
    normalize = keras.layers.BatchNormalization(synchronized=True)
    layers = [keras.layers.Dense(8), normalize, keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
history = exactrun.fit(
    model, x, y, validation_data=(x, y), epochs=2, verbose=0, checkpoint_dir=run.checkpoints
)
model = run.save_model(model, check_on=x)
run.log(history=history, test=exactrun.evaluate(model, x, y))
sys.exit(1 if run.failed else 0)
"""


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("", (1, 0)),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}', (1, 0)),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}', (2, 1)),
        (
            '{"cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1"]},'
            ' "task": {"type": "worker", "index": 1}}',
            (3, 2),
        ),
    ],
)
def test_the_chief_is_the_first_of_the_workers(
    told: str, found: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", told)
    assert workers.place_in_cluster() == found


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("localhost:2222", "can't be understood"),
        ("[]", "can't be understood"),
        (
            '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "evaluator", "index": 0}}',
            "the task evaluator 0, but",
        ),
        (
            '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
            "the task worker 2, but its cluster has 0 of the type chief and 2",
        ),
    ],
)
def test_a_wrong_description_of_the_workers_is_refused(
    told: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", told)
    with pytest.raises(UserError, match=said):
        workers.place_in_cluster()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", f"import json, os, sys, time\n{code}"]


def test_each_worker_is_told_who_it_is(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = (
        "told = json.loads(os.environ['TF_CONFIG']); index = told['task']['index']\n"
        f"open({str(tmp_path)!r} + f'/{{index}}', 'w').write(json.dumps(told['cluster']))\n"
        "print(f'worker {index} is here')"
    )
    assert run_workers(python(code), 3) == 0
    clusters = [json.loads((tmp_path / str(index)).read_text()) for index in range(3)]
    assert clusters[0] == clusters[1] == clusters[2]
    assert len(set(clusters[0]["worker"])) == 3
    assert capfd.readouterr().out == "worker 0 is here\n"  # they say the same


def test_if_one_fails_the_others_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "index = json.loads(os.environ['TF_CONFIG'])['task']['index']\n"
        "sys.exit(7) if index == 1 else time.sleep(60)"
    )
    began = time.monotonic()
    assert run_workers(python(code), 2) == 7
    assert time.monotonic() - began < 20
    monkeypatch.setattr(workers, "SECONDS_TO_LEAVE", 0.5)
    code = code.replace("time.sleep(60)", "(__import__('signal').signal(15, 1), time.sleep(60))")
    assert run_workers(python(code), 2) == 7


def test_no_number_of_workers_is_refused() -> None:
    with pytest.raises(UserError, match="workers=0 is too small"):
        run_workers(python(""), 0)


@pytest.mark.skipif(os.name != "posix", reason="needs process groups")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_passed_on_once(number: signal.Signals, tmp_path: Path) -> None:
    # As of a terminal: the whole process group gets it.
    worker = (
        "import signal, sys, time\n"
        "def heard(number, _):\n"
        "    heard.count += 1\n"
        "heard.count = 0\n"
        "signal.signal(signal.SIGINT, heard); signal.signal(signal.SIGTERM, heard)\n"
        f"open({str(tmp_path)!r} + '/ready', 'w').close()\n"
        "while not heard.count:\n"
        "    time.sleep(0.05)\n"
        "time.sleep(0.5)\n"
        "sys.exit(40 + heard.count)\n"
    )
    code = (
        f"from exactrun import run_workers; import sys\nsys.exit(run_workers({python(worker)}, 1))"
    )
    env = os.environ | {"PYTHONPATH": str(SOURCE)}
    process = subprocess.Popen([sys.executable, "-c", code], env=env, start_new_session=True)
    try:
        deadline = time.monotonic() + 30
        while not (tmp_path / "ready").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, number)
        assert process.wait(timeout=30) == 41
    finally:
        process.kill()


def start(directory: Path, *, devices: int = 1, count: int = 1) -> dict[str, Any]:
    """Train on devices or workers; return the record."""
    from sessions import CONTEXT, start_server  # not on every system

    directory.mkdir()
    script, said = directory / "train.py", directory / "said.txt"
    script.write_text(TRAIN)
    arguments = [str(script), str(directory), str(devices)]
    if count == 1:  # forked from a process that has imported TensorFlow
        start_server()
        process = CONTEXT.Process(target=_train, args=(arguments, said))
        process.start()
        process.join(240)
        code, text = process.exitcode, said.read_text()
    else:
        command = [sys.executable, *arguments]
        program = f"import exactrun, sys; sys.exit(exactrun.run_workers({command}, {count}))"
        env = os.environ | {"PYTHONPATH": str(SOURCE), "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(
            [sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=240
        )
        code, text = done.returncode, done.stdout + done.stderr[-3000:]
    assert code == 0, text
    found: dict[str, Any] = json.loads((directory / "runs/first/run.json").read_text())
    return found


def _train(arguments: list[str], said: Path) -> None:
    file = os.open(said, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "devices"),
    [
        ({"count": 2}, "2 × CPU of 2 workers"),
        pytest.param({"devices": 2}, "2 × CPU", marks=pytest.mark.slow),  # see test_scale
    ],
)
def test_a_run_of_several_is_that_of_one_device(
    options: dict[str, int], devices: str, tmp_path: Path
) -> None:
    one, other = start(tmp_path / "one"), start(tmp_path / "other", **options)
    assert other["metrics"] == pytest.approx(one["metrics"], rel=1e-3)
    statuses = {check["name"]: check["status"] for check in other["checks"]}
    assert statuses["model"] == statuses["training"] == "passed"
    assert (one["devices"], other["devices"]) == ("CPU", devices)
    kept = {path.name for path in (tmp_path / "other/runs").rglob("*.keras")}
    assert kept == {"model.keras"}
