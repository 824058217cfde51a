"""What a GPU is worth: the same work on the CPU and on the GPU, by the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

CPU, GPU = "/CPU:0", "/GPU:0"

WARM_UP = 2
"""Runs before the clock starts: graphs are traced, kernels chosen and memory is taken in them."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Work to be timed.

    Attributes:
        name: What it is, with its size.
        runs: How often it is timed.
        build: Given a device, puts the numbers there and returns what does the work there once.
    """

    name: str
    runs: int
    build: Callable[[str], Callable[[], Any]]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What a task took: seconds of all its runs together; None without a GPU."""

    name: str
    runs: int
    cpu: float
    gpu: float | None

    @property
    def row(self) -> dict[str, str]:
        """The timing in words, by the headings of a table."""
        gpu = speed_up = "–"
        if self.gpu is not None:
            gpu, speed_up = f"{self.gpu:.3f}", f"{self.cpu / self.gpu:.1f} ×"
        return {
            "task": self.name,
            "runs": str(self.runs),
            "CPU (s)": f"{self.cpu:.3f}",
            "GPU (s)": gpu,
            "speed-up": speed_up,
        }


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison:
    """Timings of several tasks; a notebook shows them as a table."""

    timings: Sequence[Timing]

    @property
    def remark(self) -> str:
        """What has to be said about the table, or an empty text."""
        missing = any(timing.gpu is None for timing in self.timings)
        return "There is no GPU here to compare the CPU with." if missing else ""

    def table(self) -> DataFrame:
        """Return a row for each task, ready to be shown."""
        from pandas import DataFrame

        return DataFrame([timing.row for timing in self.timings])

    def __repr__(self) -> str:
        return f"{self.table().to_string(index=False)}\n{self.remark}".rstrip()

    def _repr_html_(self) -> str:
        table = self.table().to_html(index=False, border=0, justify="left")
        return f"{table}<p>{self.remark}</p>"

    def chart(self) -> tuple[Figure, str]:
        """Draw the seconds as bars.

        Returns:
            The figure and its alt text.
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10, 1.2 + 0.8 * len(self.timings)), layout="constrained")
        axes = figure.add_subplot()
        bars = [(-0.2, "CPU", "tab:gray"), (0.2, "GPU", "tab:green")]
        if self.remark:
            bars = [(0.0, "CPU", "tab:gray")]
        for offset, name, color in bars:
            places = [place + offset for place in range(len(self.timings))]
            seconds = [getattr(timing, name.lower()) for timing in self.timings]
            drawn = axes.barh(places, seconds, height=0.38, color=color)
            axes.bar_label(drawn, fmt=name + " %.3f s", padding=3)
        axes.set_yticks(range(len(self.timings)), [timing.name for timing in self.timings])
        axes.invert_yaxis()
        axes.margins(x=0.2)
        title = self.remark or "CPU and GPU at the same work"
        axes.set(xlabel="seconds of all runs together", title=title)
        axes.spines[["top", "right"]].set_visible(False)
        told = "; ".join(
            f"{t.name}: CPU {t.cpu:.3f} s"
            + (f", GPU {t.gpu:.3f} s, speed-up {t.row['speed-up']}" if t.gpu is not None else "")
            for t in self.timings
        )
        return figure, f"Bar chart of CPU and GPU at the same work. {told}. {self.remark}".rstrip()


def standard_tasks(scale: float) -> list[Task]:
    """Return a convolution and a matrix product, which others have timed on Colab, too.

    The convolution has 32 filters of 7×7×3 for 100 images of 100×100×3; the product is one of
    10000×100 by 100×100000 and takes 4 GB for its result.

    Args:
        scale: Share of the images and of the rows; 1 is the full size.

    Raises:
        UserError: If the scale is no share.
    """
    import numpy as np
    import tensorflow as tf

    if not 0 < scale <= 1:
        raise UserError(f"benchmark_scale={scale:g} is no share; choose one up to 1, such as 0.1.")
    images, rows = max(1, round(100 * scale)), max(1, round(10_000 * scale))

    def convolve(pictures: Any, filters: Any) -> Any:
        return tf.nn.conv2d(pictures, filters, strides=1, padding="SAME")

    def task(name: str, function: Callable[..., Any], *shapes: tuple[int, ...]) -> Task:
        def build(device: str) -> Callable[[], Any]:
            random = np.random.default_rng(0)
            with tf.device(device):
                numbers = [tf.constant(random.standard_normal(s, np.float32)) for s in shapes]

            def work() -> Any:
                with tf.device(device):
                    return function(*numbers)

            return work

        return Task(name=name, runs=10, build=build)

    pictures, filters = (images, 100, 100, 3), (7, 7, 3, 32)
    left, right = (rows, 100), (100, 100_000)
    return [
        task(f"32×7×7×3 convolution of {images}×100×100×3", convolve, pictures, filters),
        task(f"{rows}×100 by 100×100000 product", tf.matmul, left, right),
    ]


def compare(tasks: Sequence[Task]) -> Comparison:
    """Time each task on the CPU, and on the first GPU where TensorFlow has one.

    Raises:
        UserError: If a device has too little memory for a task.
    """
    import tensorflow as tf

    has_gpu = bool(tf.config.list_logical_devices("GPU"))
    return Comparison(
        timings=[
            Timing(
                name=task.name,
                runs=task.runs,
                cpu=_seconds(task, CPU),
                gpu=_seconds(task, GPU) if has_gpu else None,
            )
            for task in tasks
        ]
    )


def _seconds(task: Task, device: str) -> float:
    """Return what the runs of a task take on a device, without the warm-up.

    A GPU works while Python goes on, so the clock is read only when all its work is done.
    """
    import tensorflow as tf

    try:
        work = task.build(device)
        for _ in range(WARM_UP):
            work()
        tf.test.experimental.sync_devices()
        started = time.perf_counter()
        for _ in range(task.runs):
            work()
            tf.test.experimental.sync_devices()  # else the results of all runs need memory
        return time.perf_counter() - started
    except tf.errors.ResourceExhaustedError as error:
        raise UserError(
            f"The benchmark's task '{task.name}' needs more memory than {device.strip('/')} has."
            " Make it smaller by the parameter benchmark_scale, on the command line --scale."
        ) from error
