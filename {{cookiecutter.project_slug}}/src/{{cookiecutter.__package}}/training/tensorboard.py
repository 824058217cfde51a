"""Logs for TensorBoard, which end up where the run is kept."""

from __future__ import annotations

from typing import Any

import keras

from .folders import RunFolders


class TensorBoardLogs(keras.callbacks.TensorBoard):
    """Keras' own callback, whose files are copied to the persistent folder after each epoch.

    Written there directly, a file that grows all the time would never reach Drive.

    Args:
        folders: The run's folders; `tensorboard --logdir RUN/logs` shows what is in them.
    """

    def __init__(self, folders: RunFolders) -> None:
        super().__init__(folders.work / "logs", write_graph=False)
        self._folders = folders

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the epoch's numbers and copy the files."""
        super().on_epoch_end(epoch, logs)
        self._copy()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the files and copy them for the last time."""
        super().on_train_end(logs)
        self._copy()

    def _copy(self) -> None:
        root = self._folders.work
        for file in sorted((root / "logs").rglob("events.*")):
            self._folders.publish_later(file, within=file.parent.relative_to(root))
