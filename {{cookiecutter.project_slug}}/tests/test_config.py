"""Settings: what is refused, and how it is said."""

from __future__ import annotations

from typing import Any

import pytest

from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.errors import UserError


@pytest.mark.parametrize(
    ("setting", "value", "hint"),
    [
        ("epochs", 0, "at least 1"),
        ("epochs", 2.5, "of type int"),
        ("epochs", True, "of type int"),
        ("learning_rate", -0.1, "at least"),
        ("learning_rate", float("nan"), "at least"),
        ("dropout", 1.0, "at most 0.95"),
        ("accelerator", "tpu", "auto, gpu, cpu"),
        ("run_name", "a/b", "letters, digits"),
        ("run_name", "", "letters, digits"),
    ],
)
def test_a_wrong_setting_is_named_with_what_would_work(setting: str, value: Any, hint: str) -> None:
    with pytest.raises(UserError, match=hint) as refusal:
        Config(**{setting: value})
    assert f"{setting}={value!r}" in str(refusal.value)


def test_all_wrong_settings_are_named_at_once() -> None:
    with pytest.raises(UserError) as refusal:
        Config(epochs=0, batch_size=-1)
    assert "epochs=0" in str(refusal.value)
    assert "batch_size=-1" in str(refusal.value)


def test_a_whole_number_serves_as_a_share() -> None:
    assert isinstance(Config(dropout=0).dropout, float)


def test_a_run_may_change_its_length_and_its_place_but_not_its_seed() -> None:
    one = Config(run_name="one", persistent="there", accelerator="cpu")
    assert one.fixed() == Config(run_name="other", epochs=3).fixed()
    assert one.fixed() != Config(seed=1).fixed()
