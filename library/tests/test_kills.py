"""Killed at any instant, any number of times, a run ends with the bits of an unbroken one."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import CASES
from jupyter_client.manager import start_new_kernel
from sessions import INSTANTS, PYTHONPATH, Outcome, Plan, Strike, run

from exactrun import Checkpoints, checkpoints, files
from exactrun.archive import read_facts, verify_archive
from exactrun.checkpoints import Checkpoint

pytestmark = pytest.mark.thorough

Unbroken = Callable[[Plan], Outcome]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """Return what trains a plan without any strike; once, if it is asked again."""
    known: dict[Any, Outcome] = {}

    def train(plan: Plan) -> Outcome:
        key = (plan.name, plan.function, plan.each_batch, plan.batch)
        if key not in known:
            directory = tmp_path_factory.mktemp("unbroken") / "run"
            plain = replace(plan, each_step=False, settings={})
            found = run(replace(plain, directory=directory, persistent=None))
            assert found.code == 0, found.said
            known[key] = found
        return known[key]

    return train


def assert_same(found: Outcome, expected: Outcome, plan: Plan) -> None:
    """Hold the last session of a run to an unbroken one, and look at what lies on disk."""
    assert found.code == 0, found.said
    assert found.told["finished"]
    assert not found.told["unsaved"]
    assert found.state == expected.state
    assert found.told["stopped_by"] == expected.told["stopped_by"]
    for place in filter(None, (plan.directory, plan.persistent)):
        assert newest(replace(plan, directory=place, persistent=None)) == found.told["steps"]
        names = {path.name for path in place.iterdir() if path.suffix != ".damaged"}
        steps = sorted(name for name in names if name.startswith("step-"))
        if found.told["resumed_from"] == found.told["steps"]:
            steps = steps[-1:]  # there was nothing to save, so nothing was deleted either
        else:
            best = {read_facts(place / name)["lasting"] for name in steps} - {""}
            assert len(steps) <= plan.max_to_keep, steps
            assert names == {*steps, *best}, "nothing half-written or unused stays"
        for name in steps:
            verify_archive(place / name)
            if best_name := read_facts(place / name)["lasting"]:
                verify_archive(place / best_name)


def newest(plan: Plan) -> int:
    """Return the step of the newest checkpoint on disk; 0 if there is none."""
    places = [place for place in (plan.directory, plan.persistent) if place and place.exists()]
    found = [re.fullmatch(r"step-(\d+)\.npz", path.name) for p in places for path in p.iterdir()]
    return max((int(match[1]) for match in found if match), default=0)


def strike(plan: Plan, *strikes: Strike, code: int = -signal.SIGKILL) -> Outcome:
    """Run a session that is struck, and see that it began with the newest checkpoint."""
    there = newest(plan)
    found = run(plan, *strikes)
    assert found.code == code, (plan, strikes, found.seen, found.said)
    if "trains" in found.seen:
        assert found.took_over_at == there, found.said
    return found


def finish(plan: Plan, expected: Outcome) -> None:
    """Run the last session, and hold what it ends with to an unbroken run."""
    there = newest(plan)
    found = run(plan)
    assert found.told.get("resumed_from") == there, found.said
    assert_same(found, expected, plan)


LASTING = {"callbacks.LASTING_BYTES": 64}
"""Has even small weights lie in a file of their own, of which there is a new one each epoch."""

DELICATE: dict[str, Any] = {"name": "regression", "settings": LASTING}
"""EarlyStopping ends it after step 20, and ReduceLROnPlateau changes its learning rate."""


# --- Kills ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        (DELICATE, [6, 17]),
        ({"name": "own_train_step", "each_batch": True, "each_step": True}, [11]),
        ({"name": "regularized", "function": True, "each_step": True}, [15]),
    ],
    ids=["best weights restored", "a callback with batches", "a function of the epoch"],
)
def test_killed_in_an_epoch_a_run_ends_with_the_same_bits(
    options: dict[str, Any], steps: list[int], tmp_path: Path, unbroken: Unbroken
) -> None:
    plan = Plan(directory=tmp_path / "run", **options)
    for step in steps:
        assert strike(plan, Strike(step=step)).trained
    assert newest(plan) == steps[-1] - 1 if plan.each_step else newest(plan) > 0
    finish(plan, unbroken(plan))


def test_killed_at_one_delicate_instant_after_another_it_ends_with_the_same_bits(
    tmp_path: Path, unbroken: Unbroken
) -> None:
    plan = Plan(directory=tmp_path / "run", persistent=tmp_path / "drive", **DELICATE)
    for at, step in {
        "after the first checkpoint": 0,
        "best weights written, the step not": 4,
        "half of the archive written": 5,
        "between rename and prune": 9,
        "half of an upload": 12,
        "after the last checkpoint": 20,
    }.items():
        strike(plan, Strike(at=at, step=step))
    finish(plan, unbroken(plan))


@pytest.mark.slow
@pytest.mark.parametrize("at", INSTANTS)
def test_killed_twice_at_an_instant_it_ends_with_the_same_bits(
    at: str, tmp_path: Path, unbroken: Unbroken
) -> None:
    # Uploads are as far as the training then, or else they may lag behind the end of it.
    waits = "upload" in at or "pruned" in at
    places = {"directory": tmp_path / "run", "persistent": tmp_path / "drive"}
    plan = Plan(**places, each_step=waits, **DELICATE)
    if at == "while its state is restored":
        strike(plan, Strike(step=5))
    for step in (6, 13):
        strikes = [Strike(at=at, step=step)]
        if at == "after the first checkpoint" and step == 13:
            strikes = [Strike(step=step)]  # there is none any more
        if at == "before the last save":
            strikes.append(Strike(step=step, signal=signal.SIGTERM))
        strike(plan, *strikes)
    finish(plan, unbroken(plan))


@pytest.mark.slow
def test_killed_in_the_middle_of_a_graph_call_it_ends_with_the_same_bits(
    tmp_path: Path, unbroken: Unbroken
) -> None:
    # Batches of one example: 70 steps an epoch, and a call makes all of them.
    plan = Plan(name="classes", directory=tmp_path / "run", batch=1)
    rng = random.Random(1)
    last = []
    for step in (80, 120, 160, 220):
        found = strike(plan, Strike(at="in a call", step=step, delay=rng.uniform(0.001, 0.01)))
        last.append(found.seen[-1])
    print(last)
    assert last.count("calls") >= 2
    finish(plan, unbroken(plan))


# --- Signals that can be heard -------------------------------------------------------------------

ENDINGS = {signal.SIGTERM: 143, signal.SIGINT: 1}


@pytest.mark.parametrize("number", ENDINGS)
def test_a_signal_at_any_moment_saves_all_and_the_next_session_goes_on(
    number: signal.Signals, tmp_path: Path, unbroken: Unbroken
) -> None:
    plan = Plan(directory=tmp_path / "run", persistent=tmp_path / "drive", **DELICATE)
    delay = random.Random(number.name).uniform(0, 0.05)
    found = strike(plan, Strike(step=6, signal=number, delay=delay), code=ENDINGS[number])
    step = newest(plan)
    said = f"{number.name} stopped the training after step {step}. All of it is saved. Run the same"
    assert f"{number.name}: the training is saved, then it stops." in found.said
    assert said in found.said
    if number == signal.SIGINT:
        assert f"\nKeyboardInterrupt: {said}" in found.said
    assert step >= 6
    finish(plan, unbroken(plan))


@pytest.mark.slow
@pytest.mark.parametrize("number", ENDINGS)
@pytest.mark.parametrize(
    ("at", "step"), [("after a step", 20), ("during validation", 20), ("before the last save", 0)]
)
def test_a_signal_in_the_last_moments_ends_the_session_all_the_same(
    at: str, step: int, number: signal.Signals, tmp_path: Path, unbroken: Unbroken
) -> None:
    # Or else a program that was told to stop would go on with what follows the training.
    plan = Plan(directory=tmp_path / "run", **DELICATE)
    found = strike(plan, Strike(at=at, step=step, signal=number), code=ENDINGS[number])
    assert f"{number.name} stopped the training after step 20. All of it is saved." in found.said
    finish(plan, unbroken(plan))


@pytest.mark.slow
def test_a_second_signal_ends_the_session_at_once(tmp_path: Path, unbroken: Unbroken) -> None:
    plan = Plan(directory=tmp_path / "run", **DELICATE)
    first = Strike(step=6, signal=signal.SIGTERM)
    second = Strike(at="before the last save", signal=signal.SIGTERM)
    assert "stopped the training" not in strike(plan, first, second, code=-signal.SIGTERM).said
    finish(plan, unbroken(plan))


PRINTING = """
import fcntl, os, signal, sys, termios, threading
from exactrun.stopping import Stopping

reader, writer = os.pipe()
os.dup2(writer, 1)
size = fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ)

def interrupt():
    waiting = bytearray(4)
    while int.from_bytes(waiting, sys.byteorder) < size:
        fcntl.ioctl(reader, termios.FIONREAD, waiting)
    os.kill(os.getpid(), signal.SIGINT)  # the print is blocked now
    while os.read(reader, size):
        pass

threading.Thread(target=interrupt, daemon=True).start()
with Stopping(None) as stopping:
    print("x" * 3 * size, flush=True)
    assert stopping.reason == "SIGINT"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it asks Linux how full a pipe is")
def test_a_signal_in_the_middle_of_a_print_is_heard() -> None:
    env = os.environ | {"PYTHONPATH": PYTHONPATH, "PYTHONUNBUFFERED": ""}
    done = subprocess.run(
        [sys.executable, "-c", PRINTING], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


# --- Loss of power, loss of a disk ---------------------------------------------------------------


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def fill_with_zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    place = random.Random(path.name).randrange(8 * len(content))
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)


def lose(path: Path) -> None:
    path.unlink()


def best_of(directory: Path, step: int) -> Path:
    return directory / read_facts(directory / f"step-{step:08}.npz")["lasting"]


@pytest.mark.parametrize(
    ("damage", "best"),
    [
        (truncate, False),
        (fill_with_zeros, False),
        (flip_a_bit, False),
        (flip_a_bit, True),
        *(
            pytest.param(damage, best, marks=pytest.mark.slow)
            for damage, best in [
                (empty, False),
                (truncate, True),
                (fill_with_zeros, True),
                (empty, True),
                (lose, True),
            ]
        ),
    ],
)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_gone_on_with(
    damage: Callable[[Path], None], best: bool, tmp_path: Path, unbroken: Unbroken
) -> None:
    # Step 12 ends an epoch: it has best weights of its own.
    plan = Plan(directory=tmp_path / "run", each_step=True, **DELICATE)
    strike(plan, Strike(at="after a step", step=13))
    path = plan.directory / "step-00000012.npz"
    damaged = best_of(plan.directory, 12) if best else path
    damage(damaged)
    content = path.read_bytes()

    def see(found: Outcome) -> None:
        assert found.took_over_at == 11, found.said
        assert f"A checkpoint is damaged and set aside as {path.name}.damaged: " in found.said
        assert damaged.name in found.said
        assert path.with_name(f"{path.name}.damaged").read_bytes() == content

    if best:  # which are made again, and have to be written again, for the checkpoints after them
        see(run(plan, Strike(at="after a step", step=14)))
        finish(plan, unbroken(plan))
    else:
        found = run(plan)
        see(found)
        assert_same(found, unbroken(plan), plan)


@pytest.mark.parametrize(
    "at", ["written, not uploaded", pytest.param("uploaded, not pruned", marks=pytest.mark.slow)]
)
def test_without_its_local_directory_it_goes_on_from_the_persistent_one(
    at: str, tmp_path: Path, unbroken: Unbroken
) -> None:
    places = {"directory": tmp_path / "run", "persistent": tmp_path / "drive"}
    plan = Plan(**places, each_step=True, **DELICATE)
    strike(plan, Strike(at=at, step=13))
    shutil.rmtree(plan.directory)
    assert newest(plan) == (12 if at == "written, not uploaded" else 13)
    finish(plan, unbroken(plan))


def test_what_a_killed_session_had_not_uploaded_the_next_one_uploads(
    tmp_path: Path, unbroken: Unbroken
) -> None:
    # Even if there is nothing left to train.
    plan = Plan(directory=tmp_path / "run", persistent=tmp_path / "drive", **DELICATE)
    strike(plan, Strike(at="written, not uploaded", step=20))
    finish(plan, unbroken(plan))


@pytest.mark.slow
def test_damaged_in_one_place_a_checkpoint_is_taken_from_the_other(
    tmp_path: Path, unbroken: Unbroken
) -> None:
    places = {"directory": tmp_path / "run", "persistent": tmp_path / "drive"}
    plan = Plan(**places, each_step=True, **DELICATE)
    strike(plan, Strike(step=13))
    for path in plan.directory.iterdir():
        flip_a_bit(path)
    found = run(plan)
    assert found.took_over_at == 12
    assert_same(found, unbroken(plan), plan)


def checkpoint_of(step: int) -> Checkpoint:
    arrays = {"variable-00000": np.random.RandomState(step).normal(size=1 << 16)}
    return Checkpoint(step=step, arrays=arrays, lasting={}, facts={"library": "0"})


def test_a_slow_upload_is_whole_though_its_source_is_pruned_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, pruned, copied = threading.Event(), threading.Event(), []
    copy_verified = checkpoints.copy_verified

    def slow(source: Path, place: Path, *, moved: Callable[[], None]) -> None:
        def wait() -> None:
            began.set()
            assert pruned.wait(30)

        path = copy_verified(source, place, moved=wait)
        verify_archive(path)
        copied.append(path.name)

    monkeypatch.setattr(files, "CHUNK", 4096)
    monkeypatch.setattr(checkpoints, "copy_verified", slow)
    kept = Checkpoints(tmp_path / "run", persistent=tmp_path / "drive", max_to_keep=1)
    kept.save(checkpoint_of(1), wait=True)
    assert began.wait(30)
    kept.save(checkpoint_of(2), wait=True)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["step-00000002.npz"]
    pruned.set()
    assert kept.wait() == ""
    assert copied == ["step-00000001.npz", "step-00000002.npz"]


def test_a_persistent_place_that_is_deleted_meanwhile_is_told_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy_verified, drive = checkpoints.copy_verified, tmp_path / "drive"
    lost = [lambda: shutil.rmtree(drive, ignore_errors=True)]

    def copy(source: Path, place: Path, *, moved: Callable[[], None]) -> Path:
        return copy_verified(source, place, moved=lost.pop() if lost else moved)

    monkeypatch.setattr(checkpoints, "copy_verified", copy)
    kept = Checkpoints(tmp_path / "run", persistent=drive)
    kept.save(checkpoint_of(1), wait=True)
    assert str(drive) in kept.wait()
    assert "step-00000001.npz was not copied" in capsys.readouterr().out
    kept.save(checkpoint_of(2), wait=True)
    assert kept.wait() == ""
    assert (drive / "step-00000002.npz").exists()


def test_sessions_that_save_once_leave_no_more_than_is_to_be_kept(tmp_path: Path) -> None:
    for step in range(1, 7):
        kept = Checkpoints(tmp_path / "run", persistent=tmp_path / "drive", max_to_keep=3)
        kept.newest()
        kept.save(checkpoint_of(step), wait=True)
        assert kept.wait() == ""
        if step == 4:  # what is damaged doesn't count
            flip_a_bit(tmp_path / "run" / "step-00000003.npz")
    run, drive = (
        sorted(int(p.stem[5:]) for p in (tmp_path / d).iterdir()) for d in ("run", "drive")
    )
    assert drive == [4, 5, 6]
    assert run == [4, 5, 6]


def test_a_persistent_place_that_fails_is_told_until_it_has_the_newest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive = tmp_path / "drive"
    drive.touch()
    kept = Checkpoints(tmp_path / "run", persistent=drive)
    for step in (1, 2):
        kept.save(checkpoint_of(step), wait=True)
        assert str(drive) in kept.wait()
    assert "is in" not in capsys.readouterr().out
    drive.unlink()
    kept.save(checkpoint_of(3))
    assert kept.wait() == ""
    assert capsys.readouterr().out == f"step-00000003.npz is in {drive} now.\n"


# --- Every case, at random instants --------------------------------------------------------------

KILLS = 4
"""So many hit the running training of each case."""


def test_at_least_a_hundred_kills_are_asked_for() -> None:
    assert KILLS * len(CASES) >= 100


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_killed_again_and_again_every_case_ends_with_the_same_bits(
    name: str, tmp_path: Path, unbroken: Unbroken
) -> None:
    rng = random.Random(name)
    plan = Plan(
        name=name,
        directory=tmp_path / "run",
        persistent=rng.choice([None, tmp_path / "drive"]),
        max_to_keep=rng.randint(1, 3),
        each_batch=rng.random() < 0.3,
        each_step=rng.random() < 0.5,
        settings=rng.choice([{}, LASTING]),
    )
    expected = unbroken(plan)
    hits = 0
    while hits < KILLS:  # spread over the run: the number decides in which part of it
        step = 1 + int((hits + rng.random()) / KILLS * (expected.told["steps"] - 1))
        at = Strike(step=step, delay=rng.uniform(0, 0.03))
        there = newest(plan)
        found = run(plan, at)
        print(f"from {there}, {at}: {found.code}, {found.seen[-1:]}")
        assert found.took_over_at == there or not found.trained, found.said
        if found.code:
            assert (found.code, found.trained) == (-signal.SIGKILL, True), found.said
            hits += 1
        else:  # it was too fast for the strike: once more from the beginning
            assert_same(found, expected, plan)
            shutil.rmtree(plan.directory)
            shutil.rmtree(plan.persistent or tmp_path / "drive", ignore_errors=True)
    finish(plan, expected)


# --- Steps per call ------------------------------------------------------------------------------


def test_the_number_of_steps_per_call_changes_no_bit(tmp_path: Path) -> None:
    found = {}
    for most in (1, 3, 200):
        settings = {"steps.MOST_STEPS_PER_CALL": most, "steps.SECONDS_PER_CALL": 1e9}
        directory = tmp_path / str(most)
        found[most] = run(Plan(name="regularized", directory=directory, batch=4, settings=settings))
        assert found[most].code == 0, found[most].said
    calls = [outcome.seen.count("calls") for outcome in found.values()]
    assert calls[0] > calls[1] > calls[2]
    assert found[1].state == found[3].state == found[200].state


# --- A notebook ----------------------------------------------------------------------------------

BUILD = """
keras.utils.set_random_seed(1)
model = keras.Sequential([
    keras.Input((6,)), layers.Dense(8, activation="relu"), layers.Dropout(0.2), layers.Dense(1)
])
model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse", metrics=["mae"])
"""
CALLBACKS = """
callbacks = [
    keras.callbacks.EarlyStopping("val_loss", min_delta=1.0, patience=4, restore_best_weights=True),
    keras.callbacks.ReduceLROnPlateau("val_loss", min_delta=1.0, patience=1, factor=0.5),
]
"""
TRAIN = """
history = exactrun.fit(
    model, X, TARGET, validation_data=(X, TARGET), batch_size=16, epochs=8, verbose=0,
    callbacks=[*callbacks, Waiting()], checkpoint_dir=directory,
)
print(state_of(model, callbacks, history))
"""
SETUP = """
import keras, signal, time
from keras import layers
import exactrun
from cases import TARGET, X
from exactrun import steps
from sessions import state_of

steps.SECONDS_PER_CALL = 0.0  # a step a call, so that an interruption comes within an epoch
interrupt_at = None

class Waiting(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == interrupt_at:
            listening = signal.getsignal(signal.SIGINT)
            print("Waits for the interruption.", flush=True)
            while signal.getsignal(signal.SIGINT) == listening:
                time.sleep(0.001)
"""


@pytest.fixture(scope="module")
def execute(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., tuple[str, str]]]:
    """Return what executes a cell in a real kernel, and interrupts it where it waits for that."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name)))
        patch.setenv("PYTHONPATH", PYTHONPATH)
        manager, client = start_new_kernel(kernel_name="python3")

        def run_cell(code: str) -> tuple[str, str]:
            texts: list[str] = []

            def hear(message: dict[str, Any]) -> None:
                texts.append(message["content"].get("text", ""))
                if "Waits for the interruption." in texts[-1]:
                    manager.interrupt_kernel()

            reply = {"status": "aborted"}
            while reply["status"] == "aborted":  # it came while the cell before still failed
                reply = client.execute_interactive(code, output_hook=hear, timeout=120)["content"]
            failed = f"{reply['ename']}: {reply['evalue']}" if reply["status"] == "error" else ""
            return "".join(texts), failed

        try:
            assert run_cell(SETUP) == ("", "")
            yield run_cell
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "cell"),
    [("", BUILD + CALLBACKS + TRAIN), (BUILD, CALLBACKS + TRAIN), (BUILD + CALLBACKS, TRAIN)],
    ids=["all in one cell", "the model built before", "the callbacks made before, too"],
)
def test_a_cell_that_is_interrupted_and_run_again_ends_with_the_same_bits(
    before: str, cell: str, tmp_path: Path, execute: Callable[..., tuple[str, str]]
) -> None:
    def run_all(directory: str, *at: int | None) -> list[tuple[str, str]]:
        execute(f"directory = {str(tmp_path / directory)!r}")
        execute(before)
        return [execute(f"interrupt_at = {place}\n{cell}") for place in at]

    ((expected, failed),) = run_all("unbroken", None)
    assert not failed
    *interrupted, (found, failed) = run_all("run", 2, 4, None)
    for (_, raised), step in zip(interrupted, (9, 17), strict=True):
        said = (
            f"KeyboardInterrupt: SIGINT stopped the training after step {step}. All of it is saved."
        )
        assert raised.startswith(said)
    assert (found, failed) == (expected, "")
    # And once more: what an interrupted session leaves in memory is no part of the run.
    run_all("again", 2, 4)
    assert run_all("again", None) == [(expected, "")]
