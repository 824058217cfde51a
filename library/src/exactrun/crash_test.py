"""Kill a training again and again, and demand what an unbroken one ends with."""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .console import say
from .errors import UserError


def crash_test(command: Sequence[str], directory: str | Path, *, kills: int, seed: int) -> None:
    """Run a training unbroken and then killed at random instants; compare how they end.

    The command is a program that trains one run and writes `run.json` and `history.csv`, as
    `exactrun.Run` does. It is given `--persistent-dir DIRECTORY` and `--run-name NAME`. A killed
    training is run again until it ends; if kills are left then, the next one begins.

    Args:
        command: The program and its arguments.
        directory: For the runs' files; empty or new.
        kills: How many sessions are killed.
        seed: Chooses the instants.

    Raises:
        UserError: If a session fails, or a killed training ends otherwise than the unbroken one.
    """
    if kills < 1:
        raise UserError(f"kills={kills}: give 1 or more.")
    if not command:
        raise UserError(
            "Say what to kill, after two hyphens: exactrun crash-test -- python -m my_package train"
        )
    directory, chance, started = Path(directory), random.Random(seed), time.monotonic()
    _, trained = _session(command, directory / "unbroken")
    if not trained:
        raise UserError(
            "The unbroken training saved no checkpoint in --persistent-dir. Give exactrun.fit"
            " checkpoint_dir=run.checkpoints, and a save_interval_secs of 0."
        )
    unbroken = _result(directory / "unbroken")
    seconds = time.monotonic() - started
    say(f"The unbroken training took {seconds:.1f} s, {trained:.1f} s from a checkpoint on.")
    # A session may get so far that something is left for those after it.
    longest = trained / min(kills, 5)
    killed = runs = 0
    while killed < kills:
        runs += 1
        place, ended = directory / f"killed-{runs}", False
        while not ended:
            after = chance.uniform(0.0, longest) if killed < kills else math.inf
            ended, _ = _session(command, place, kill_after=after)
            if not ended:
                killed += 1
                say(f"Kill {killed} of {kills}, {after:.2f} s after its first checkpoint.")
        if (found := _result(place)) != unbroken:
            differ = ", ".join(part for part in unbroken if found[part] != unbroken[part])
            raise UserError(
                f"Killed and run again, the training ends with other {differ} than an unbroken one"
                f" (seed {seed}). Something in it is random and not saved, such as NumPy's numbers"
                f" in a callback. Both are in {directory}; compare: exactrun compare"
                f" {_record(directory / 'unbroken')} {_record(place)}"
            )
    say(f"{killed} kills in {runs} trainings: weights and history of the unbroken one, each time.")


def _session(
    command: Sequence[str], place: Path, *, kill_after: float = math.inf
) -> tuple[bool, float]:
    """Run the command to its end, or kill it so many seconds after its first checkpoint.

    Returns:
        Whether it came to its end, and the seconds from its first checkpoint on; 0 without one.

    Raises:
        UserError: If it fails by itself.
    """
    whole = [*command, "--persistent-dir", str(place), "--run-name", place.name]
    env = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    before, began, killed = _checkpoints(place), 0.0, False
    with tempfile.TemporaryFile() as output:
        with subprocess.Popen(whole, stdout=output, stderr=subprocess.STDOUT, env=env) as process:
            try:
                while process.poll() is None:
                    time.sleep(0.01)
                    if not began and _checkpoints(place) - before:
                        began = time.monotonic()
                    if began and time.monotonic() - began > kill_after:
                        process.kill()
                        killed = True
            except BaseException:
                process.kill()
                raise
        if process.returncode and not killed:
            output.seek(0)
            said = output.read().decode("utf-8", "replace").splitlines()
            raise UserError(
                f"The training {place.name} failed with the exit code {process.returncode}. It"
                " said:\n" + "\n".join(said[-15:])
            )
    return process.returncode == 0, time.monotonic() - began if began else 0.0


def _checkpoints(place: Path) -> set[str]:
    found = place.glob("runs/*/checkpoints/*")
    return {path.name for path in found if not path.name.startswith(".")}


def _record(place: Path) -> Path:
    found = sorted(place.rglob("run.json"))
    if len(found) != 1:
        raise UserError(f"The training left {len(found)} files run.json in {place}, not one.")
    return found[0]


def _result(place: Path) -> dict[str, Any]:
    """Return what two runs have to agree in: the weights' fingerprint and the history."""
    record = _record(place)
    try:
        weights = json.loads(record.read_text(encoding="utf-8"))["weights_sha256"]
        return {
            "weights": weights,
            "history": record.with_name("history.csv").read_text(encoding="utf-8"),
        }
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"{record} and the history.csv beside it can't be compared: {error!r}. The training has"
            " to end with run.save_model and run.log."
        ) from error


def add_to(subparsers: Any) -> None:
    """Add the command `crash-test` to a parser's."""
    said = "kill a training again and again, and compare its end with an unbroken one's"
    parser = subparsers.add_parser("crash-test", help=said, description=said)
    parser.add_argument("--kills", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--seed", type=int, help="of the instants (default: the time)")
    parser.add_argument("--directory", type=Path, help="for the runs, kept (default: deleted)")
    parser.add_argument("training", nargs="*", metavar="-- COMMAND", help="what trains")
    parser.set_defaults(command=_command)


def _command(options: argparse.Namespace) -> int:
    seed = int(time.time()) if options.seed is None else options.seed
    directory = options.directory or Path(tempfile.mkdtemp(prefix="crash-test-"))
    if directory.exists() and any(directory.iterdir()):
        raise UserError(f"{directory} is not empty. Choose a new directory.")
    command = options.training
    if command and command[0] == "python":  # which may not be this one
        command = [sys.executable, *command[1:]]
    crash_test(command, directory, kills=options.kills, seed=seed)
    if options.directory is None:  # and is kept where something went wrong
        shutil.rmtree(directory, ignore_errors=True)
    return 0
