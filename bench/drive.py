"""Measure what Drive costs: staging many small files, and saving while Drive stalls.

Drive is a FUSE mount by rclone of a WebDAV server whose every request is held up for 20 ms on its
way.
"""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import exactrun
from exactrun.checkpoints import Checkpoint

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "library" / "tests"))

import mounting

FILES, SIZE = 5_000, 20_000
LATENCY = 0.020
"""Seconds that each request to Drive takes longer."""

STAGING_LIMIT = 50
"""Times that a pack has to be faster than file by file."""

STALL = 30.0
STEP_LIMIT = 0.005
"""Seconds: how long Drive stalls, and by how much that may delay a step."""

METHODS = (b"GET", b"PUT", b"PROPFIND", b"MOVE", b"DELETE", b"MKCOL", b"HEAD", b"OPTIONS")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def hold_up(server: int) -> int:
    """Pass connections on to a server, each request after `LATENCY`; return the port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def pass_on(source: socket.socket, target: socket.socket, *, requests: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 20):
                if requests and data.startswith(METHODS):
                    time.sleep(LATENCY)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        while True:
            client, _ = listening.accept()
            there = socket.create_connection(("127.0.0.1", server))
            for ends, requests in (((client, there), True), ((there, client), False)):
                for end in ends:
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(
                    target=pass_on, args=ends, kwargs={"requests": requests}, daemon=True
                ).start()

    threading.Thread(target=accept, daemon=True).start()
    return int(listening.getsockname()[1])


@contextmanager
def slow_drive(store: Path) -> Iterator[Callable[[Path], Path]]:
    """Serve a directory slowly; yields a function that mounts it anew, with nothing cached."""
    port = free_port()
    serve = ["rclone", "serve", "webdav", "--config", os.devnull, "--addr", f"127.0.0.1:{port}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([*serve, str(store)], **quiet)
    mounted: list[Path] = []

    def mount(place: Path) -> Path:
        place.mkdir()
        remote = f':webdav,url="http://127.0.0.1:{slow}":'
        options = f"--vfs-cache-mode writes --vfs-write-back 0s --cache-dir {place}-cache"
        command = ["rclone", "mount", "--daemon", "--config", os.devnull, *options.split()]
        subprocess.run([*command, remote, str(place)], check=True)
        mounted.append(place)
        return place

    try:
        ends = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert time.monotonic() < ends, "rclone serve webdav did not start"
                time.sleep(0.05)
        slow = hold_up(port)
        yield mount
    finally:
        for place in mounted:
            mounting.unmount(place)
        server.kill()
        server.wait()


def bench_staging(place: Path, *, sample: int) -> None:
    """Compare staging through a pack with copying file by file."""
    directory = place / "store/pictures"
    for number in range(FILES):
        file = directory / f"class-{number % 10}" / f"{number:05}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.urandom(SIZE))

    def stage(session: str) -> float:
        started = time.perf_counter()
        exactrun.stage(mount(place / session) / "pictures", place / f"{session}-disk")
        return time.perf_counter() - started

    with slow_drive(place / "store") as mount:
        source = mount(place / "naive")
        files = sorted((source / "pictures").rglob("*.png"))
        (place / "naive-disk").mkdir()
        started = time.perf_counter()
        for file in files[:sample]:
            shutil.copy(file, place / "naive-disk")
        naive = (time.perf_counter() - started) / sample * FILES
        first, second = stage("first"), stage("second")
    found = {path.name: path.read_bytes() for path in (place / "second-disk").rglob("*.png")}
    assert found == {path.name: path.read_bytes() for path in directory.rglob("*.png")}
    measured = "" if sample == FILES else f", from {sample} of them"
    print(f"{FILES} files of {SIZE} bytes, {LATENCY * 1e3:.0f} ms for each request to Drive")
    print(f"file by file            {naive:8.2f} s{measured}")
    print(f"staged, first session   {first:8.2f} s  {naive / first:6.1f} × as fast; makes the pack")
    print(f"staged, second session  {second:8.2f} s  {naive / second:6.1f} × as fast;", end=" ")
    print(f"limit {STAGING_LIMIT}")


def taken_away() -> int:
    """Return how often the system took the processor from this thread, for another's benefit.

    Steps in which it did are not counted: on a busy machine they tell of the others only.
    """
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw


def bench_saving(place: Path) -> None:
    """Compare steps while a Drive stalls that is saved to with steps without saving."""
    import numpy as np

    store, mountpoint = place / "stalling-store", place / "stalling"
    store.mkdir()
    mountpoint.mkdir()
    command = mounting.command(store, cache=place / "stalling-cache")
    subprocess.run([*shlex.split(command), str(mountpoint)], check=True)
    kept_in = exactrun.Checkpoints(place / "local", persistent=mountpoint / "run")
    kept_in.require_writable()
    weights = np.random.default_rng(0).random((50, 131_072))  # 50 MiB
    factor = weights[0, :40_000].reshape(200, 200)

    def steps(seconds: float, *, save: bool) -> tuple[list[float], list[float]]:
        """Return what steps took, and what of it went to `save`, in those that make one."""
        took, kept = [], []
        ends, due, step = time.perf_counter() + seconds, 0.0, 0
        while (now := time.perf_counter()) < ends:
            step += 1
            others, keeping = taken_away(), 0.0
            product = factor @ factor
            product @ factor
            if save and now > due:
                due = now + 1.0
                called = time.perf_counter()
                state = {"arrays": {"w": weights}, "lasting": {}, "facts": {"step": step}}
                kept_in.save(Checkpoint(step=step, **state))
                keeping = time.perf_counter() - called
            if taken_away() == others:
                took.append(time.perf_counter() - now)
                kept += [keeping] * (keeping > 0)
        return sorted(took), kept

    try:
        plain, _ = steps(STALL, save=False)
        process = mounting.process_of(mountpoint)
        os.kill(process, signal.SIGSTOP)
        threading.Timer(STALL, os.kill, [process, signal.SIGCONT]).start()
        stalled, kept = steps(STALL, save=True)
        if unsafe := kept_in.wait():
            sys.exit(f"The newest checkpoint was not kept: {unsafe}")
        ends = time.monotonic() + 30
        while not list(store.rglob("step-*.npz")):  # which proves that it was copied there
            assert time.monotonic() < ends, "nothing has reached Drive"
            time.sleep(0.1)
    finally:
        mounting.unmount(mountpoint)
    print(f"Drive stalls for {STALL:.0f} s; a checkpoint of 50 MiB is saved every second")
    for name, times in (("without saving", plain), ("while Drive stalls", stalled)):
        median, high = statistics.median(times), times[int(len(times) * 0.9999)]
        print(
            f"a step, {name:<18}  median {median * 1e3:5.2f} ms  99.99 % below {high * 1e3:5.2f} ms"
        )
    delay, calls = max(kept) * 1e3, f"of {len(kept)} calls"
    print(f"a save's share of a step: {delay:.2f} ms at most {calls};", end=" ")
    print(f"limit {STEP_LIMIT * 1e3:.0f} ms")


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sample",
        type=int,
        default=500,
        help="files that are copied one by one, of 5,000; default: %(default)s",
    )
    options = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # the step's own threads would wait for each other
    if mounting.MISSING:
        sys.exit(mounting.WHY_NOT)
    with tempfile.TemporaryDirectory() as place:
        bench_staging(Path(place), sample=options.sample)
        print()
        bench_saving(Path(place))


if __name__ == "__main__":
    main()
