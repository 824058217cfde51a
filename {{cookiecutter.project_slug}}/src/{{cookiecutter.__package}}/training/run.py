"""A run from the first check to the summary: what the notebook and the command line share."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..colab import accelerator, drive, environment, machine
from ..colab.files import sha256_of, write_whole
from ..config import Config
from ..errors import UserError
from .record import Record, git_revision

if TYPE_CHECKING:
    from collections.abc import Sequence

    import keras

    from ..colab.benchmark import Comparison
    from ..data import Data
    from .distribution import Devices
    from .folders import RunFolders
    from .loop import Training
    from .steps import Evaluation

ROOT = Path(__file__).resolve().parents[3]
"""The project's folder: the package is used from its sources, in Colab as elsewhere."""

RECORD = "run.json"


class Run:
    """Takes a run through its steps, in the order of its methods, and records each.

    Args:
        config: The settings.
        root: The project's folder.

    Attributes:
        record: What is written to `run.json`.
        devices: What it trains on, known after `check_accelerator`.
        folders: The run's folders, known after `open_folders`.
    """

    device: accelerator.Accelerator
    devices: Devices
    precision: str
    xla: bool
    folders: RunFolders
    data: Data
    training: Training

    def __init__(self, config: Config, *, root: Path = ROOT) -> None:
        self.config = config
        self.root = root
        self.record = Record(
            project=root.name,
            git_revision=git_revision(root),
            run_name=config.run_name,
            settings=config.as_dict(),
        )

    def check_environment(self) -> environment.Environment:
        """Read the machine and compare what is installed with the pins."""
        found = environment.detect()
        self.record.note(environment=asdict(found))
        self.record.check("environment", "passed", str(found))
        requirements = self.root / "requirements.txt"
        runtime = environment.pinned_runtime(requirements)
        differences = environment.pin_differences(requirements)
        self.record.note(pins={"runtime": runtime, "differences": [asdict(d) for d in differences]})
        if differences:
            listed = ", ".join(str(d) for d in differences[:10])
            more = f" and {len(differences) - 10} more" if len(differences) > 10 else ""
            if found.where == "kaggle":
                detail = f"Kaggle has an image of its own, which differs in {listed}{more}"
                self.record.check("pins", "skipped", detail)
            else:
                mend = "python -m pip install -r requirements.txt"
                if found.where == "colab":
                    mend = f"Command palette → Change runtime version → {runtime}"
                self.record.check("pins", "failed", f"{listed}{more}; to mend: {mend}")
        else:
            self.record.check("pins", "passed", f"every package is that of Colab's {runtime}")
        return found

    def check_accelerator(self) -> accelerator.Accelerator:
        """Choose the accelerator and verify that it calculates."""
        found = accelerator.choose(
            self.config.accelerator,
            gpu=self.config.gpu,
            memory_limit=self.config.gpu_memory_limit,
        )
        if self.config.deterministic:
            accelerator.make_deterministic()

        from .distribution import find_devices
        from .precision import settle_precision

        # Workers find each other before anything is computed, also by the verification.
        self.devices = find_devices()
        self.precision = settle_precision(self.config, found)
        self.device = found = accelerator.verify(found)
        self.record.note(
            accelerator=asdict(found), devices=str(self.devices), precision=self.precision
        )
        self.record.check("gpu", found.status, f"{found.name}: {found.checked}")
        return found

    def open_folders(self) -> RunFolders:
        """Mount Drive where there is one, and prove that the persistent folder keeps files."""
        from .folders import RunFolders

        persistent, why_not = drive.persistent_folder(self.root, chosen=self.config.persistent)
        result = drive.round_trip(persistent)
        self.record.check("drive", "skipped" if why_not else "passed", why_not or "mounted")
        self.record.check("persistent folder", "passed", f"{persistent}: {result}")
        # Workers on one machine must not share what they write.
        worker = "" if self.devices.chief else f"worker-{self.devices.worker}"
        self.scratch = self.root / ".scratch" / worker
        self.folders = RunFolders(
            self.config.run_name,
            scratch=self.scratch,
            persistent=persistent,
            writes=self.devices.chief,
        )
        self.record.note(folder=str(self.folders.kept))
        if self.devices.chief:
            self.record.write_to(self.folders.work / RECORD, copy=self.folders.publish_later)
        return self.folders

    def load_data(self) -> Data:
        """Load the data, refuse what can't be trained on, and record the fingerprint."""
        from ..data import load
        from .checks import check_data
        from .packs import load_pack

        config = self.config
        data = load_pack(config) if config.data else load(config, cache=self.scratch)
        check_data(data, config, replicas=self.devices.replicas)
        self.data = data
        sizes = {part: len(getattr(data, f"x_{part}")) for part in ("train", "validation", "test")}
        self.record.note(
            data={
                "name": data.name,
                **sizes,
                "classes": len(data.class_names),
                "sha256": data.sha256,
            }
        )
        detail = (
            f"{data.name}: {sizes['train']} to train on, {sizes['validation']} to validate by,"
            f" {sizes['test']} to test on"
        )
        self.record.check("data", "passed", detail)
        return data

    def build_model(self) -> keras.Model:
        """Build the model of model.py, for the devices and in the precision of this run."""
        import keras

        from ..model import build_model
        from .precision import settle_xla

        keras.config.set_dtype_policy(self.precision)
        with self.devices.strategy.scope():
            model = build_model(self.data, self.config)
        self.xla = settle_xla(self.config, self.device, model)
        self.record.note(xla=self.xla, parameters=model.count_params())
        return model

    def train(
        self, model: keras.Model, *, callbacks: Sequence[keras.callbacks.Callback] = ()
    ) -> Training:
        """Train, or go on with an interrupted training; the history is kept as JSON lines.

        Args:
            model: What `build_model` returned.
            callbacks: Of Keras, called as `fit` calls them with many `steps_per_execution`.
        """
        from .delivery import weights_sha256
        from .loop import train
        from .tensorboard import TensorBoardLogs

        logs = [TensorBoardLogs(self.folders)] if self.config.tensorboard else []
        self.training = result = train(
            model,
            self.data,
            self.config,
            folders=self.folders,
            devices=self.devices,
            callbacks=[*logs, *callbacks],
            precision=self.precision,
            xla=self.xla,
        )
        epoch = result.delivered_epoch or len(result.history)
        measured = result.history[epoch - 1] if result.history else {}
        shown = ("loss", "accuracy", "val_loss", "val_accuracy")
        self.record.note(
            epoch=epoch,
            steps=result.step,
            resumed_from=result.resumed_from,
            seconds=round(result.seconds, 3),
            examples_per_second=result.examples_per_second,
            metrics={name: measured[name] for name in shown if name in measured},
            weights_sha256=weights_sha256(model),
        )
        if not self.devices.chief:
            return result
        lines = self.folders.work / "history.jsonl"
        write_whole(lines, "".join(json.dumps(record) + "\n" for record in result.history))
        self.folders.publish(lines)
        if unsaved := self.folders.wait():
            self.record.check("checkpoints", "failed", f"the newest was not kept: {unsaved}")
        else:
            self.record.check("checkpoints", "passed", f"kept in {self.folders.checkpoints[1]}")
        found = f"{result.step} steps"
        if measured:
            found += (
                f", validation accuracy {measured['val_accuracy']:.4f} and loss"
                f" {measured['val_loss']:.4f} after epoch {epoch}"
            )
        if result.stopped_by:
            found += f"; stopped by {result.stopped_by} before step {result.steps}"
            found += "" if result.finished else ": run it again"
        self.record.check("training", "passed" if result.finished else "skipped", found)
        self.folders.publish(self.folders.work / RECORD)
        return result

    def deliver(self, model: keras.Model) -> Evaluation:
        """Save, publish, reload and compare the model, and test it, once.

        Returns:
            How the loaded model answers the test examples.
        """
        from .delivery import deliver_model

        path, found, compared = deliver_model(model, self.data, self.folders)
        files = [path, self.folders.kept / "history.jsonl"]
        tested = {"test_loss": found.loss, "test_accuracy": found.accuracy}
        self.record.note(
            metrics=self.record.facts["metrics"] | tested,
            artifacts=[
                {"name": f.name, "size": f.stat().st_size, "sha256": sha256_of(f)} for f in files
            ],
        )
        accuracy = f"test accuracy {found.accuracy:.4f}"
        self.record.check("model", "passed", f"{path}: {accuracy}; {compared}")
        self.folders.publish(self.folders.work / RECORD)
        return found

    def benchmark(self, *, scale: float) -> Comparison:
        """Compare CPU and GPU at standard work of this scale and at steps of this model."""
        from .speed import compare_devices

        return compare_devices(self.data, self.config, scale=scale)

    def disconnect(self) -> None:
        """Give Colab's machine back, unless something that has to outlive it is not kept.

        Raises:
            UserError: If the machine has to stay, with the reason.
        """
        kept = {check.name for check in self.record.checks if check.status == "passed"}
        unsafe = "; ".join(f"{name}: {reason}" for name, reason in self.folders.unsafe().items())
        if lost := unsafe or ", ".join({"checkpoints", "model"} - kept):
            raise UserError(
                f"The machine is not given back, because not everything is kept: {lost}. Run the"
                " cells above again, then this one."
            )
        machine.give_back(self.folders.kept)
