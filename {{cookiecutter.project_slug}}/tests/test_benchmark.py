"""The benchmark: what is timed, how, and how it is shown, also without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from conftest import ROOT
from small import small_data

from {{ cookiecutter.__package }}.colab import benchmark
from {{ cookiecutter.__package }}.colab.benchmark import (
    Comparison,
    Task,
    Timing,
)
from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.errors import UserError
from {{ cookiecutter.__package }}.training.speed import compare_devices


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """TensorFlow lists a GPU, whose part the CPU plays; returns what is done, in order."""
    import tensorflow as tf

    done: list[str] = []
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["a GPU"])
    monkeypatch.setattr(tf.test.experimental, "sync_devices", lambda: done.append("waited"))
    return done


def test_warm_up_runs_are_not_timed_and_each_run_is_waited_for(with_gpu: list[str]) -> None:
    def build(device: str) -> Callable[[], Any]:
        def work() -> None:
            # The first runs are slow, as tracing and choosing kernels makes them.
            time.sleep(0.2 if with_gpu.count(device) < benchmark.WARM_UP else 0.0)
            with_gpu.append(device)

        return work

    (timing,) = benchmark.compare([Task(name="sleeping", runs=3, build=build)]).timings
    assert timing.cpu < 0.2
    assert timing.gpu is not None
    assert timing.gpu < 0.2
    for device in (benchmark.CPU, benchmark.GPU):
        assert with_gpu[:9] == [device, device, "waited", *[device, "waited"] * 3]
        del with_gpu[:9]


def test_the_standard_work_is_that_of_the_literature() -> None:
    convolution, product = benchmark.standard_tasks(0.01)
    assert convolution.build(benchmark.CPU)().shape == (1, 100, 100, 32)
    assert product.build(benchmark.CPU)().shape == (100, 100_000)
    names = [task.name for task in benchmark.standard_tasks(1)]
    assert names == ["32×7×7×3 convolution of 100×100×100×3", "10000×100 by 100×100000 product"]


def test_the_work_is_done_on_the_device_that_is_timed() -> None:
    # A second CPU takes the GPU's part, in a process of its own: TensorFlow's devices are fixed.
    code = """
import keras, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from small import small_data
from {{ cookiecutter.__package }}.colab.benchmark import standard_tasks
from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.training import speed

built = []
build_model = speed.build_model
speed.build_model = lambda *of: built.append(build_model(*of)) or built[-1]
for device in ("/CPU:0", "/CPU:1"):
    found = [task.build(device)().device for task in standard_tasks(0.01)]
    before = build_model(small_data(), Config()).get_weights()
    speed._training(small_data(), Config(batch_size=8), device)()
    model = built.pop()
    found += [variable.value.device for variable in model.variables]
    assert len(found) > 5
    assert all(name.endswith("device:" + device[1:]) for name in found), found
    assert any((one != other).any() for one, other in zip(before, model.get_weights()))
"""
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(["src", "tests"])}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=variables)


@pytest.mark.parametrize("scale", [0.0, 1.5, float("nan")])
def test_a_scale_that_is_no_share_is_refused(scale: float) -> None:
    with pytest.raises(UserError, match="is no share"):
        benchmark.standard_tasks(scale)


def test_too_little_memory_is_explained() -> None:
    import tensorflow as tf

    def build(device: str) -> Callable[[], Any]:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    task = Task(name="too large", runs=1, build=build)
    with pytest.raises(UserError, match="'too large' needs more memory than CPU:0 has"):
        benchmark.compare([task])


def test_the_projects_model_is_timed_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [])
    found = compare_devices(small_data(), Config(batch_size=8), scale=0.01)
    steps = found.timings[-1]
    assert steps.name == "10 training steps, batches of 8"
    assert steps.cpu > 0
    assert steps.gpu is None
    assert "There is no GPU here" in str(found)


TIMINGS = Comparison(
    timings=[
        Timing(name="a <product>", runs=10, cpu=2.0, gpu=0.25),
        Timing(name="a step", runs=10, cpu=0.5, gpu=1.0),
    ]
)


def test_the_table_shows_the_speed_up() -> None:
    assert [line.split() for line in str(TIMINGS).splitlines()[1:]] == [
        ["a", "<product>", "10", "2.000", "0.250", "8.0", "×"],
        ["a", "step", "10", "0.500", "1.000", "0.5", "×"],
    ]
    assert "<td>a &lt;product&gt;</td>" in TIMINGS._repr_html_()


def test_the_chart_has_a_bar_for_each_device_and_says_so_in_words() -> None:
    figure, alt = TIMINGS.chart()
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert sorted(widths) == [0.25, 0.5, 1.0, 2.0]
    assert "a <product>: CPU 2.000 s, GPU 0.250 s, speed-up 8.0 ×" in alt
    without = Comparison(timings=[Timing(name="a step", runs=10, cpu=0.5, gpu=None)])
    figure, alt = without.chart()
    assert len(figure.axes[0].patches) == 1
    assert "no GPU" in alt


@pytest.mark.skipif(
    "not __import__('tensorflow').config.list_physical_devices('GPU')", reason="needs a GPU"
)
def test_the_gpu_is_timed() -> None:
    assert all(timing.gpu for timing in compare_devices(small_data(), Config(), scale=0.1).timings)
