"""A run from the first check to the record: what a notebook and a program share."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import driver, environment
from .checkpoints import Checkpoints
from .errors import UserError
from .files import explain, sha256_of, write_whole
from .record import Check, Record, git_revision
from .version import __version__
from .workers import place_in_cluster

if TYPE_CHECKING:
    from .gpu import Accelerator

RECORD, MODEL, HISTORY = "run.json", "model.keras", "history.csv"


class Run:
    """Take a run through its steps and record each: machine, training, model, figures.

    Nothing is written into the run's directories before `fit` has accepted the run: a finished run
    that an attempt with other data, seed or fewer epochs is refused under stays byte for byte.

    Args:
        config: The settings: a dataclass or a mapping, which goes into the record.
        name: Of the run. A known one goes on where it stopped, a new one begins.
        persistent_dir: What outlives the machine. Empty: Drive in Colab, `/kaggle/working` on
            Kaggle, the project's directory elsewhere.
        project_dir: Where the project is; the local files are in `.exactrun` there.

    Attributes:
        record: Facts and checks; a notebook shows it as a table.
        chief: Whether this process writes; of several workers, one does.
        accelerator: What it trains on, known after `setup_devices`.

    Example:
        >>> run = exactrun.Run({"epochs": 2}, name="first", project_dir=directory)
        >>> run.setup_storage()  # doctest: +ELLIPSIS
        – drive: ...
        ✔ persistent directory: ...
        >>> x, y = np.ones((64, 4)), np.zeros((64, 1))
        >>> settings = {"epochs": 2, "verbose": 0, "checkpoint_dir": run.checkpoints}
        >>> history = exactrun.fit(model, x, y, **settings)
        >>> trained = run.save_model(model, check_on=x)  # doctest: +ELLIPSIS
        ✔ model: ...
        >>> run.log(history=history, test=exactrun.evaluate(model, x, y))  # doctest: +ELLIPSIS
        ✔ training: ...
        >>> run.failed
        []
    """

    def __init__(
        self,
        config: Any = None,
        *,
        name: str = "first",
        persistent_dir: str | Path = "",
        project_dir: str | Path = ".",
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}", name):
            raise UserError(
                f"The name {name!r} can't be that of a run's directory everywhere. Use up to 80"
                " letters, digits, '-', '_' and '.', beginning with a letter or digit."
            )
        self.name = name
        self.project_dir = Path(project_dir).expanduser().resolve()
        self.accelerator: Accelerator | None = None
        self._persistent_dir = str(persistent_dir)
        self._workers, self._worker = place_in_cluster()
        self.chief = self._worker == 0
        self._places: tuple[Path, Path] | None = None
        self._checkpoints: Checkpoints | None = None
        self._uploader: Any = None
        self.record = Record(
            exactrun=__version__,
            project=self.project_dir.name,
            git_revision=git_revision(self.project_dir),
            name=name,
            settings=_settings(config),
        )

    @property
    def failed(self) -> list[Check]:
        """The checks that failed."""
        return list(self.record.failed)

    @property
    def directory(self) -> Path:
        """The run's directory on the machine's own disk."""
        return self._known_places()[0]

    @property
    def persistent_directory(self) -> Path:
        """The run's directory that outlives the machine."""
        return self._known_places()[1]

    @property
    def checkpoints(self) -> Checkpoints:
        """What `exactrun.fit` takes as `checkpoint_dir`."""
        self._known_places()
        assert self._checkpoints is not None
        return self._checkpoints

    def check_environment(self, requirements: str | Path | None = None) -> environment.Environment:
        """Read the machine, and compare what is installed with the pins.

        Args:
            requirements: The pinned requirements file, from the project's directory on; None
                compares nothing.
        """
        found = environment.detect()
        self.record.note(
            environment=asdict(found),
            packages=environment.package_versions(),
            driver=driver.describe()[0],
        )
        self.record.check("environment", "passed", str(found))
        if requirements is not None:
            self._check_pins(self.project_dir / requirements, found.where)
        return found

    def setup_devices(
        self,
        accelerator: str = "auto",
        *,
        memory_limit_mb: int | None = None,
        deterministic: bool = False,
    ) -> Any:
        """Choose the accelerator, verify that it computes right, and return the strategy.

        Args:
            accelerator: gpu (an error if there is none), cpu (a GPU is hidden), or auto.
            memory_limit_mb: Memory in MiB to take of each GPU; None lets it grow with the need.
            deterministic: Use only kernels that give the same bits every time, some of them slower.

        Returns:
            The `tf.distribute.Strategy` in whose scope the model is built: of the workers in
            `TF_CONFIG`, of all GPUs, or of the one device.

        Raises:
            UserError: If a GPU was demanded and can't be used, or computes wrong.
        """
        from . import gpu

        try:
            found = gpu.setup(accelerator, memory_limit_mb=memory_limit_mb)
            if deterministic:
                gpu.make_deterministic()
            # Workers find each other before anything is computed, also by the verification.
            strategy = gpu.strategy()
            self.accelerator = found = gpu.verify(found)
        except UserError as error:
            self.record.check("gpu", "failed", str(error))
            raise
        self.record.note(
            accelerator=asdict(found),
            devices=_devices(found, strategy, self._workers),
            deterministic=deterministic,
        )
        self.record.check("gpu", found.status, f"{found.name}: {found.checked}")
        return strategy

    def setup_storage(self) -> None:
        """Mount Drive where there is one, prove that files stay, and lock the run.

        Raises:
            UserError: If there is no place that keeps files, or if another session has this run.
        """
        from .colab import persistent_directory, prove_writable
        from .upload import Uploader

        place, why_not = persistent_directory(
            self._persistent_dir, name=self.project_dir.name, project_dir=self.project_dir
        )
        persistent = place / "runs" / self.name
        # The same name in two persistent places is two runs, on the local disk as well.
        key = hashlib.sha256(str(place.resolve()).encode()).hexdigest()[:8]
        worker = f"worker-{self._worker}" if self._worker else "."
        local = self.project_dir / ".exactrun" / worker / "runs" / key / self.name
        try:
            new = _is_missing(persistent)
            if self.chief:
                proof = prove_writable(place)
                self._uploader = Uploader(persistent)
                self.record.check("drive", "skipped" if why_not else "passed", why_not or "mounted")
                self.record.check("persistent directory", "passed", f"{persistent}: {proof}")
            if new and local.exists():
                _set_aside(local, persistent)
            local.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{error.filename or local} can't be used: {explain(error)}. The run needs a"
                " directory that can be read and written: choose another persistent_dir, or copy"
                " the project to another disk."
            ) from error
        self._places = local, persistent
        self._checkpoints = Checkpoints(
            local / "checkpoints",
            persistent=persistent / "checkpoints",
            lock=self._uploader.lock if self._uploader is not None else None,
        )
        self.record.note(directory=str(persistent))

    def save_model(self, model: Any, *, check_on: Any, class_names: Sequence[str] = ()) -> Any:
        """Save the model, upload it, load it again from there, and compare the predictions.

        Each of several workers does so for itself; the chief's file is uploaded.

        Args:
            model: As trained. It is saved without its optimizer, and stays as it is.
            check_on: Inputs to compare the predictions on, such as those of the test: arrays,
                structures of them, texts, a source, or a `tf.data.Dataset`; the first 256 count.
            class_names: The name of each class by its index; they travel in the file.

        Returns:
            The loaded model, on one device, compiled with the same loss and metrics and without
            an optimizer: for `exactrun.evaluate` and `predict`.

        Raises:
            UserError: If it can't be saved or loaded, or predicts differently then.
        """
        from . import saving

        local, kept = self.directory / MODEL, self.persistent_directory / MODEL
        try:
            saving.save_model(model, local, class_names=class_names)
            loaded = saving.load_model(local)
            said = saving.require_same_predictions(model, loaded, check_on, path=local)
            missing = ""
            if self.chief:
                missing = "" if saving.same_content(local, kept) else self._upload(local)
            if self.chief and not missing:
                try:
                    found = {"size": kept.stat().st_size, "sha256": sha256_of(kept)}
                    loaded = saving.load_model(kept)
                except OSError as error:  # such as a Drive that was lost meanwhile
                    missing = explain(error)
                else:
                    said = saving.require_same_predictions(model, loaded, check_on, path=kept)
                    self.record.note(model=found)
        except UserError as error:
            self.record.check("model", "failed", str(error))
            self._write_record()
            raise
        saving.compile_like(loaded, model)
        self.record.note(
            parameters=model.count_params(),
            precision=model.dtype_policy.name,
            weights_sha256=saving.weights_sha256(model),
        )
        if missing:
            detail = f"{said}, but it is not in {kept.parent}: {missing}. It is whole in {local}"
            self.record.check("model", "failed", detail)
        elif self.chief:
            self.record.check("model", "passed", f"{kept}: {said}")
        self._write_record()
        return loaded

    def log(
        self, *, history: Any = None, test: Mapping[str, Any] | None = None, **facts: Any
    ) -> None:
        """Record the training and the test, and upload `run.json` and `history.csv`.

        Args:
            history: What `exactrun.fit` returned.
            test: What `exactrun.evaluate` measured; `test_` comes before each name.
            facts: What else is to be recorded, by name, such as the size of the data.
        """
        metrics = dict(self.record.facts.get("metrics", {}))
        if history is not None:
            metrics |= {name: values[-1] for name, values in history.history.items() if values}
        metrics |= {f"test_{name}": value for name, value in (test or {}).items()}
        # What a report of the notebook shows large.
        figures = {n.replace("_", " "): v for n, v in _numbers(metrics, test=True).items()}
        if history is not None:
            facts["data_sha256"] = history.data
        self.record.note(metrics=metrics, figures=figures, **facts)
        if history is not None:
            self._log_training(history, metrics)
        elif test:
            self.record.check("test", "passed", _listed(_numbers(metrics, test=True)))
        self._write_record()
        if self._uploader is not None:  # all is there: the next session need not wait for this one
            self._uploader.flush()

    def upload(self, file: str | Path, *, within: str = "") -> None:
        """Copy a closed file to the persistent directory, in the background.

        For what a program writes besides, such as figures and logs; a failure costs a printed line
        and is tried again.

        Args:
            file: On the local disk, such as in `run.directory`.
            within: The directory inside the run's.
        """
        self._known_places()
        if self.chief:
            self._uploader.upload(Path(file), within=within)

    def disconnect(self) -> None:
        """Give Colab's machine back, unless something that has to outlive it is not kept.

        Raises:
            UserError: If the machine has to stay, with the reason.
        """
        from .colab import disconnect

        if not self.chief:
            return
        statuses = {check.name: check.status for check in self.record.checks}
        missing = self._uploader.flush() if self._uploader is not None else {}
        reasons = [f"{name}: {why}" for name, why in missing.items()]
        reasons += [
            f"{n} did not pass" for n in ("model", "training") if statuses.get(n) != "passed"
        ]
        if reasons:
            raise UserError(
                "The machine is not given back, because not everything is kept:"
                f" {'; '.join(reasons)}. Run the cells above again, then this one."
            )
        disconnect(self.persistent_directory)

    def _known_places(self) -> tuple[Path, Path]:
        if self._places is None:
            raise UserError("The run has no directory yet: call run.setup_storage() first.")
        return self._places

    def _check_pins(self, requirements: Path, where: str) -> None:
        runtime = environment.pinned_runtime(requirements)
        differences = environment.pin_differences(requirements)
        self.record.note(pins={"runtime": runtime, "differences": [asdict(d) for d in differences]})
        if not differences:
            self.record.check("pins", "passed", f"every package is that of Colab's {runtime}")
            return
        listed = ", ".join(str(d) for d in differences[:10])
        if len(differences) > 10:
            listed += f" and {len(differences) - 10} more"
        if where == "kaggle":
            why = "Kaggle has an image of its own, which differs in"
            self.record.check("pins", "skipped", f"{why} {listed}")
        elif where == "colab" and runtime == "latest":
            why = "Colab's latest runtime has moved on since it was pinned:"
            self.record.check("pins", "skipped", f"{why} {listed}")
        else:
            fix = f"python -m pip install -r {requirements.name}"
            if where == "colab":
                listed = f"this is not Colab's runtime {runtime}: {listed}"
                fix = f"Command palette → Change runtime version → {runtime}, then run all again"
            self.record.check("pins", "failed", f"{listed}; to fix: {fix}")

    def _log_training(self, history: Any, metrics: Mapping[str, Any]) -> None:
        self.record.note(
            epochs=len(history.epoch),
            resumed_from=history.resumed_from,
            finished=history.finished,
            stopped_by=history.stopped_by,
        )
        found = f"{len(history.epoch)} epochs"
        if shown := _listed(_numbers(metrics, test=False)):
            found += f", {shown}"
        if shown := _listed(_numbers(metrics, test=True)):
            found += f"; {shown}"
        if history.stopped_by:
            found += f"; stopped by {history.stopped_by}"
        if history.unsaved:
            self.record.check("training", "failed", f"{found}; not kept: {history.unsaved}")
        elif history.finished:
            self.record.check("training", "passed", found)
        else:
            self.record.check("training", "skipped", f"{found}: run it again")
        self._write(HISTORY, _as_csv(history))

    def _write_record(self) -> None:
        self._write(RECORD, self.record.to_json())

    def _write(self, name: str, text: str) -> None:
        """Write a file and upload it; what fails is a failed check."""
        if not self.chief or self._places is None:
            return
        file = self.directory / name
        try:
            write_whole(file, text)
            missing = self._upload(file)
        except OSError as error:  # such as a full disk
            missing = explain(error)
        if missing:
            self.record.check(name, "failed", f"it is not in {self._places[1]}: {missing}")

    def _upload(self, file: Path) -> str:
        """Upload a file and wait for it; return why that failed, or nothing."""
        missing: str = self._uploader.upload(file, wait=True)
        return missing


def _settings(config: Any) -> dict[str, Any]:
    if config is None:
        return {}
    if is_dataclass(config) and not isinstance(config, type):
        return asdict(config)
    if isinstance(config, Mapping):
        return dict(config)
    raise UserError(
        f"config is {type(config).__name__}; it must be a dataclass of settings, or a dict."
    )


def _devices(found: Accelerator, strategy: Any, workers: int) -> str:
    count = strategy.num_replicas_in_sync
    of = f" of {workers} workers" if workers > 1 else ""
    return f"{f'{count} × ' if count > 1 else ''}{found.name}{of}"


def _is_missing(directory: Path) -> bool:
    """Tell whether a directory doesn't exist.

    Raises:
        OSError: If that can't be told, such as on a Drive whose connection was lost.
    """
    try:
        directory.stat()  # not `exists`, which takes a lost connection for a missing directory
    except FileNotFoundError:
        return True
    return False


def _as_csv(history: Any) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(history.history)
    writer.writerow(["epoch", *names])
    for row, epoch in enumerate(history.epoch):
        values = [history.history[name] for name in names]
        writer.writerow([epoch, *(v[row] if row < len(v) else "" for v in values)])
    return text.getvalue()


def _set_aside(local: Path, persistent: Path) -> None:
    """Keep what this machine has of a run whose persistent directory was deleted, or lost."""
    number = sum(1 for _ in local.parent.glob(f"{local.name}.*")) + 1
    aside = local.rename(local.with_name(f"{local.name}.{number}"))
    print(
        f"{persistent} is not there any more, so this run begins afresh. What this machine had of"
        f" it is in {aside}: to go on with that, stop, and copy its checkpoints to {persistent}."
    )


def _numbers(metrics: Mapping[str, Any], *, test: bool) -> dict[str, str]:
    """Return the metrics that are numbers, of the test or not, with four digits."""
    return {
        name: f"{float(value):.4g}"
        for name, value in metrics.items()
        if name.startswith("test_") == test and isinstance(value, int | float)
    }


def _listed(numbers: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in numbers.items())
