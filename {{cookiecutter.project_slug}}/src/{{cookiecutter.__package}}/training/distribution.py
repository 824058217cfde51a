"""One training on one device, on several GPUs of a machine, or on several machines."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..errors import UserError


@dataclass(frozen=True, kw_only=True)
class Devices:
    """What a training runs on.

    Attributes:
        strategy: TensorFlow's way to place variables and steps.
        workers: Processes that train together; 1 unless `TF_CONFIG` says otherwise.
        worker: Index of this one. Number 0, the chief, is the only one that writes.
    """

    strategy: tf.distribute.Strategy
    workers: int = 1
    worker: int = 0

    @property
    def replicas(self) -> int:
        """Devices that share each batch, of all workers."""
        return self.strategy.num_replicas_in_sync

    @property
    def chief(self) -> bool:
        """Whether this process writes checkpoints and results."""
        return self.worker == 0

    def __str__(self) -> str:
        if self.replicas == 1:
            return "one device"
        shared = f"{self.replicas} devices"
        return shared if self.workers == 1 else f"{shared} of {self.workers} workers"

    def sum_over_workers(self, values: np.ndarray) -> np.ndarray:
        """Add up what each worker holds; all of them have to call it, and get the same sum.

        Args:
            values: Numbers, of the same shape on every worker.
        """
        if self.workers == 1:
            return values
        own = tf.constant(values, tf.float64)
        local = self.replicas // self.workers

        def share(context: Any) -> tf.Tensor:  # once for each worker, not for each device
            first = context.replica_id_in_sync_group % local == 0
            return own if first else tf.zeros_like(own)

        shares = self.strategy.experimental_distribute_values_from_function(share)
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, shares, axis=None).numpy()

    def from_chief(self, values: np.ndarray) -> np.ndarray:
        """Return what the chief holds; all workers have to call it, and get the same."""
        return self.sum_over_workers(values if self.chief else np.zeros_like(values))


def make_seeds_differ(model: keras.Model, devices: Devices) -> None:
    """Give each device random numbers of its own, so that dropout differs on each.

    The first device keeps its state, which is what a checkpoint holds: one device alone draws the
    same numbers with this and without.
    """
    own = devices.replicas // devices.workers
    for variable in model.variables:
        if variable.name != "seed_generator_state":
            continue
        copies = devices.strategy.experimental_local_results(variable.value)
        for index, copy in enumerate(copies, start=devices.worker * own):
            copy.assign_add([index, 0])  # (seed, how often it was used)


def find_devices() -> Devices:
    """Take the workers that `TF_CONFIG` names, or else all visible GPUs, or else the one device.

    Call it before any operation of TensorFlow's runs: workers have to find each other first.
    `TF_CONFIG` is what Vertex AI, Kubeflow and this project's `--workers` set in each process.

    Raises:
        UserError: If `TF_CONFIG` can't be understood.
    """
    workers, worker = read_workers(os.environ.get("TF_CONFIG", ""))
    if workers > 1:
        print(f"Worker {worker} waits until all {workers} workers are there.", flush=True)
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        return Devices(strategy=strategy, workers=workers, worker=worker)
    if len(tf.config.get_visible_devices("GPU")) > 1:
        return Devices(strategy=tf.distribute.MirroredStrategy())
    return Devices(strategy=tf.distribute.get_strategy())


def read_workers(text: str) -> tuple[int, int]:
    """Return how many workers `TF_CONFIG` names, and which of them this process is.

    A process of the type `chief` comes before all of the type `worker`.

    Raises:
        UserError: If it is no JSON of the known form, or gives this process another task.
    """
    if not text.strip():
        return 1, 0
    try:
        told = json.loads(text)
        cluster, task = told.get("cluster", {}), told.get("task", {})
        chiefs, others = len(cluster.get("chief", [])), len(cluster.get("worker", []))
        kind, index = task.get("type", "worker"), int(task.get("index", 0))
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"TF_CONFIG={text!r} can't be understood: {error}. It has to look like"
            ' {"cluster": {"worker": ["host0:2222", "host1:2222"]},'
            ' "task": {"type": "worker", "index": 0}}; to train on one machine, unset it.'
        ) from error
    if chiefs + others <= 1:
        return 1, 0
    if kind not in ("chief", "worker") or index >= (chiefs if kind == "chief" else others):
        raise UserError(
            f"TF_CONFIG gives this process the task {kind} {index}, but its cluster has {chiefs}"
            f" of the type chief and {others} of the type worker. Other types take no part here:"
            " start the training in those processes only."
        )
    return chiefs + others, index if kind == "chief" else chiefs + index
