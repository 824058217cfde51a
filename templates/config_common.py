"""The settings: flags of the command line, and the notebook's form."""

from __future__ import annotations

from dataclasses import dataclass

from exactrun import UserError


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a run is made with.

    A setting is a line with a type, a default and a comment, which is the help of its flag.
    """

    run_name: str = "first"  # a name that exists goes on where it stopped, a new one starts afresh
    persistent_dir: str = ""  # where runs are kept; empty: Drive in Colab, else the project's own
    data_dir: str = ""  # data of your own, see load_data; empty: the example's
    accelerator: str = "auto"  # gpu: stop if there is none; cpu: use no GPU; auto: what is there
    max_hours: float = 0.0  # save and stop after so many hours; 0: no limit
    save_interval_secs: float = 60.0  # seconds between checkpoints: what a lost session can cost
    seed: int = 0  # decides the split, the order of the examples and every random number
