"""Parameters, reports, lint and settings of a generated project's harness, beyond its own tests.

Slow: it builds an environment. The proofs stand on the helpers of the project's tests.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from environment import Harness

pytestmark = pytest.mark.slow

PROOFS = sorted((Path(__file__).parent / "proofs").glob("prove_*.py"))


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: proof.stem.removeprefix("prove_"))
def test_it_holds(proof: Path, harness: Harness, tmp_path: Path) -> None:
    """Each runs away from the template's own conftest and settings."""
    project = harness.project.path
    done = harness.project.run(
        *(harness.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--noconftest"),
        *("-c", project / "pyproject.toml", "--rootdir", tmp_path),
        *("--basetemp", tmp_path / "results", proof),
        env=harness.env | {"PYTHONPATH": os.pathsep.join([str(project), str(project / "tests")])},
    )
    print(done.stdout, done.stderr, sep="\n")
    assert done.returncode == 0


def test_there_are_proofs() -> None:
    assert len(PROOFS) >= 4
