"""The whole training, from the machine to the saved model; the notebook's cells are its lines."""

from __future__ import annotations

from pathlib import Path

import exactrun
import keras

from .config import Config
from .data import load_data
{% if cookiecutter.task == "text" %}
from .model import build_model, export_model
{% else %}
from .model import build_model
{% endif %}

ROOT = Path(__file__).resolve().parents[2]
"""The project's directory."""


def train(config: Config) -> exactrun.Run:
    """Train, or go on with the run of this name, and save the model.

    Returns:
        The run: what it checked, where its files are.
    """
    # 1. The machine: its packages, its GPU, and a directory that outlives it (Drive, in Colab).
    #    Each is a check that `run` prints and keeps for run.json.
    run = exactrun.Run(
        config, name=config.run_name, persistent_dir=config.persistent_dir, project_dir=ROOT
    )
    run.check_environment("requirements.txt")
    strategy = run.setup_devices(config.accelerator)  # all GPUs, several machines, or the CPU
    run.setup_storage()

    # 2. The data, and the first weights: the seed decides both.
    keras.utils.set_random_seed(config.seed)
    splits = load_data(config)

    # 3. The model, compiled, as in any Keras script.
    with strategy.scope():
        model = build_model(splits, config)

    # 4. `model.fit`, but for a session that is lost: run again, it goes on from the newest
    #    checkpoint, to the very weights of an unbroken run. Callbacks of Keras go in here, such as
    #    EarlyStopping("val_loss", patience=3, restore_best_weights=True).
    history = exactrun.fit(
        model,
        *splits.train,
        validation_data=splits.validation,
        batch_size=config.batch_size,
        epochs=config.epochs,
        callbacks=[],
        seed=config.seed,
        checkpoint_dir=run.checkpoints,
        save_interval_secs=config.save_interval_secs,
        max_time_secs=config.max_hours * 3600 or None,
    )

    # 5. The result: saved, uploaded, loaded again from there and compared; then tested, once.
{% if cookiecutter.task == "text" %}
    model = run.save_model(
        export_model(model, splits), check_on=splits.test[0], class_names=splits.class_names
    )
{% else %}
    model = run.save_model(model, check_on=splits.test[0], class_names=splits.class_names)
{% endif %}
    run.log(history=history, test=exactrun.evaluate(model, *splits.test), data=splits.origin)
    return run
