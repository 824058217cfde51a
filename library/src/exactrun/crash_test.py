"""Kill a training again and again, and demand what an unbroken one ends with."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import UserError


@dataclass(frozen=True)
class Outcome:
    """What a session left.

    Attributes:
        code: Its exit code.
        killed: Whether it was killed, before it ended by itself.
        trained: Seconds from its first checkpoint on; 0 if it did not come so far.
        output: What it printed.
    """

    code: int
    killed: bool
    trained: float
    output: str


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
    place, chance, killed = Path(directory), random.Random(seed), 0
    started = time.monotonic()
    whole = _session(command, place / "unbroken", "unbroken")
    _require_success(whole, "The unbroken training")
    unbroken = _result(place / "unbroken")
    seconds = time.monotonic() - started
    # A session may get so far that something is left for those after it.
    longest = whole.trained / min(kills, 5)
    print(
        f"The unbroken training took {seconds:.1f} s, {whole.trained:.1f} s from a checkpoint on."
    )
    runs = 0
    while killed < kills:
        runs += 1
        name = f"killed-{runs}"
        while True:
            after = chance.uniform(0.0, longest) if killed < kills else None
            session = _session(command, place / name, name, kill_after=after)
            if not session.killed:
                break
            killed += 1
            print(
                f"Kill {killed} of {kills}, {after:.2f} s after its first checkpoint.", flush=True
            )
        if session.code:
            _require_success(session, f"A session of {name}")
        if (found := _result(place / name)) != unbroken:
            differ = ", ".join(part for part in unbroken if found[part] != unbroken[part])
            raise UserError(
                f"Killed and run again, the training ends with other {differ} than an unbroken one"
                f" (seed {seed}). Something in it is random and not saved, such as NumPy's numbers"
                f" in a callback. Both are in {place}; compare: exactrun compare"
                f" {_record(place / 'unbroken')} {_record(place / name)}"
            )
    print(
        f"{killed} kills in {runs} trainings: weights and history of the unbroken one, each time."
    )


def _session(
    command: Sequence[str], place: Path, name: str, *, kill_after: float | None = None
) -> Outcome:
    """Run the command to its end, or kill it so many seconds after its first checkpoint."""
    whole = [*command, "--persistent-dir", str(place), "--run-name", name]
    env = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    before, began, killed = _checkpoints(place), 0.0, False
    with tempfile.TemporaryFile() as output:
        with subprocess.Popen(whole, stdout=output, stderr=subprocess.STDOUT, env=env) as process:
            try:
                while process.poll() is None:
                    time.sleep(0.01)
                    if not began and _checkpoints(place) - before:
                        began = time.monotonic()
                    if began and kill_after is not None and not killed:
                        killed = time.monotonic() - began > kill_after
                        if killed:
                            process.kill()
            except BaseException:
                process.kill()
                raise
        trained = time.monotonic() - began if began else 0.0
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
    return Outcome(process.returncode, killed and process.returncode != 0, trained, text)


def _checkpoints(place: Path) -> set[str]:
    found = place.glob("runs/*/checkpoints/*")
    return {path.name for path in found if not path.name.startswith(".")}


def _require_success(session: Outcome, what: str) -> None:
    if session.code:
        tail = "\n".join(session.output.splitlines()[-15:])
        raise UserError(f"{what} failed with the exit code {session.code}. It said:\n{tail}")
    if not session.trained:
        raise UserError(
            f"{what} saved no checkpoint in --persistent-dir. Give exactrun.fit checkpoint_dir="
            "run.checkpoints, and a save_interval_secs of 0."
        )


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
