"""The benchmark: what is timed, how, and how it is shown, also without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exactrun import UserError, benchmark
from exactrun.benchmark import Comparison, Task, Timing

SOURCE = Path(benchmark.__file__).parent.parent


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """TensorFlow lists a GPU, whose part the CPU plays; returns what is done, in order."""
    import tensorflow as tf

    done: list[str] = []
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["a GPU"])
    monkeypatch.setattr(tf.test.experimental, "sync_devices", lambda: done.append("waited"))
    return done


def test_warm_up_runs_do_not_count_and_each_run_is_waited_for(
    with_gpu: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "WARM_UP", 4)
    monkeypatch.setattr(benchmark, "RUNS", 3)

    def build(device: str) -> Callable[[], Any]:
        def work() -> None:
            # The first runs are slow, as tracing and choosing kernels makes them; and one later.
            runs = with_gpu.count(device)
            time.sleep(0.2 if runs < benchmark.WARM_UP or runs == 5 else 0.001)
            with_gpu.append(device)

        return work

    (timing,) = benchmark.compare([Task(name="sleeping", build=build)]).timings
    assert 0.001 <= timing.cpu < 0.05  # the median: the one slow run doesn't move it
    assert timing.gpu is not None
    assert 0.001 <= timing.gpu < 0.05
    runs = benchmark.WARM_UP + benchmark.RUNS
    assert with_gpu == [*[benchmark.CPU, "waited"] * runs, *[benchmark.GPU, "waited"] * runs]


def test_the_standard_work_is_that_of_the_literature() -> None:
    convolution, product, training = benchmark.standard_tasks(0.01)
    assert convolution.build(benchmark.CPU)().shape == (1, 100, 100, 32)
    assert product.build(benchmark.CPU)().shape == (100, 100_000)
    steps = training.build(benchmark.CPU)
    first = float(steps())
    assert float(steps()) < first  # it learns
    names = [task.name for task in benchmark.standard_tasks(1)]
    assert names[:2] == ["32×7×7×3 convolution of 100×100×100×3", "10000×100 by 100×100000 product"]


@pytest.mark.thorough
def test_the_work_is_done_on_the_device_that_is_timed() -> None:
    # A second CPU takes the GPU's part, in a process of its own: TensorFlow's devices are fixed.
    code = """
import keras, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from exactrun.benchmark import standard_tasks

models = []
compile = keras.Sequential.compile
keras.Sequential.compile = lambda self, *a, **b: (models.append(self), compile(self, *a, **b))
for device in ("/CPU:0", "/CPU:1"):
    *tasks, training = standard_tasks(0.01)
    found = [task.build(device)().device for task in tasks]
    steps = training.build(device)
    steps()
    (model,) = models
    functions = steps.get_concrete_function().graph.as_graph_def().library.function
    convolutions = [n.device for f in functions for n in f.node_def if n.op.startswith("Conv2D")]
    assert len(convolutions) >= 4  # forwards and backwards
    found += convolutions
    found += [variable.value.device for variable in model.variables]
    assert len(found) > 12
    assert all(name.endswith("device:" + device[1:]) for name in found), found
    models.clear()
"""
    env = os.environ | {"PYTHONPATH": str(SOURCE), "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)


@pytest.mark.parametrize("scale", [0.0, 1.5, float("nan")])
def test_a_scale_that_is_no_fraction_is_refused(scale: float) -> None:
    with pytest.raises(UserError, match="is no fraction"):
        benchmark.standard_tasks(scale)


def test_too_little_memory_is_explained() -> None:
    import tensorflow as tf

    def build(device: str) -> Callable[[], Any]:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    with pytest.raises(UserError, match="'too large' needs more memory than CPU:0 has"):
        benchmark.compare([Task(name="too large", build=build)])


TIMINGS = Comparison(
    timings=[
        Timing(name="a <product>", cpu=2.0, gpu=0.25),
        Timing(name="a step", cpu=0.5, gpu=1.0),
    ]
)


def test_the_table_shows_the_speed_up() -> None:
    assert [line.split() for line in str(TIMINGS).splitlines()[1:3]] == [
        ["a", "<product>", "2000.00", "250.00", "8.0", "×"],
        ["a", "step", "500.00", "1000.00", "0.5", "×"],
    ]
    assert "skipped" not in str(TIMINGS)


def test_what_was_skipped_without_a_gpu_is_said() -> None:
    table = Comparison(timings=[Timing(name="a step", cpu=0.5, gpu=None)])
    assert "– " in str(table)
    assert "its part was skipped" in str(table)


@pytest.mark.skipif(
    "not __import__('tensorflow').config.list_physical_devices('GPU')", reason="needs a GPU"
)
def test_the_gpu_is_timed() -> None:
    assert all(each.gpu for each in benchmark.compare(benchmark.standard_tasks(0.1)).timings)
