"""A run from the first check to the summary: what the notebook and the command line share."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..colab import accelerator, drive, environment
from ..colab.files import sha256_of, write_whole
from ..config import Config
from .record import Record, git_revision

if TYPE_CHECKING:
    import keras
    import numpy as np

    from ..data import Data
    from .folders import RunFolders
    from .loop import Training

ROOT = Path(__file__).resolve().parents[3]
"""The project's folder: the package is used from its sources, in Colab as elsewhere."""


class Run:
    """Takes a run through its steps, in the order of its methods, and records each.

    Args:
        config: The settings.
        root: The project's folder.

    Attributes:
        record: What is written to `run.json`.
        folders: The run's folders, known after `open_folders`.
    """

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
        found = accelerator.choose(self.config.accelerator)
        if self.config.deterministic:
            accelerator.make_deterministic()
        self.record.note(accelerator=asdict(found))
        passed = found.kind == "gpu"
        self.record.check(
            "gpu", "passed" if passed else "skipped", f"{found.name}: {found.checked}"
        )
        return found

    def open_folders(self) -> RunFolders:
        """Mount Drive where there is one, and prove that the persistent folder keeps files."""
        from .folders import RunFolders

        places = drive.places(
            environment.detect(), root=self.root, persistent=self.config.persistent
        )
        result = drive.round_trip(places.persistent)
        if places.drive:
            self.record.check("drive", "passed", "mounted")
        else:
            self.record.check("drive", "skipped", places.why)
        self.record.check("persistent folder", "passed", f"{places.persistent}: {result}")
        self.folders = RunFolders(
            self.config.run_name, scratch=places.scratch, persistent=places.persistent
        )
        self.record.note(folder=str(self.folders.kept))
        self.record.write_to(self.folders.kept / "run.json")
        self.scratch = places.scratch
        return self.folders

    def load_data(self) -> Data:
        """Load the data and record its fingerprint."""
        from ..data import load

        self.data = data = load(self.config, cache=self.scratch)
        sizes = {"train": len(data.x_train), "test": len(data.x_test)}
        self.record.note(
            data={
                "name": data.name,
                **sizes,
                "classes": len(data.class_names),
                "sha256": data.sha256,
            }
        )
        detail = f"{data.name}: {sizes['train']} to train on, {sizes['test']} to test on"
        self.record.check("data", "passed", detail)
        return data

    def train(self, model: keras.Model) -> Training:
        """Train, or go on with an interrupted training; the history is kept as JSON lines."""
        from .loop import train, weights_sha256

        self.training = result = train(model, self.data, self.config, folders=self.folders)
        lines = self.folders.work / "history.jsonl"
        write_whole(lines, "".join(json.dumps(record) + "\n" for record in result.history))
        self.folders.publish(lines)
        self.record.note(
            steps=result.step,
            resumed_from=result.resumed_from,
            seconds=round(result.seconds, 3),
            examples_per_second=result.examples_per_second,
            metrics=result.metrics,
            weights_sha256=weights_sha256(model),
        )
        if unsaved := self.folders.wait():
            self.record.check("checkpoints", "failed", f"the newest was not kept: {unsaved}")
        else:
            self.record.check("checkpoints", "passed", f"kept in {self.folders.checkpoints[1]}")
        accuracy, loss = result.metrics["test_accuracy"], result.metrics["test_loss"]
        found = f"{result.step} steps, test accuracy {accuracy:.4f}, test loss {loss:.4f}"
        if result.step < result.steps:
            found += f"; stopped by {result.stopped_by} before step {result.steps}: run it again"
        self.record.check("training", "passed" if result.step == result.steps else "skipped", found)
        return result

    def deliver(self, model: keras.Model) -> np.ndarray:
        """Save, publish, reload and compare the model.

        Returns:
            The loaded model's probabilities for the test examples, shape (examples, classes).
        """
        from .delivery import deliver_model

        path, answers, compared = deliver_model(model, self.data, self.folders)
        files = [path, self.folders.kept / "history.jsonl"]
        self.record.note(
            artifacts=[
                {"name": f.name, "size": f.stat().st_size, "sha256": sha256_of(f)} for f in files
            ]
        )
        self.record.check("model", "passed", f"{path}: {compared}")
        return answers
