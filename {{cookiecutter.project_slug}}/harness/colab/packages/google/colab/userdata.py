"""The user's secrets: in a simulated Colab, the file `secrets.json` on its machine."""

import json
import os
from pathlib import Path


class SecretNotFoundError(Exception):
    """There is no secret of this name."""


class NotebookAccessError(Exception):
    """The notebook may not read the secret."""


class TimeoutException(Exception):
    """The page did not answer."""


def get(key: str) -> str:
    """Return a secret.

    Raises:
        SecretNotFoundError: If there is none of this name.
        NotebookAccessError: If its value is null, for a notebook that may not read it.
    """
    file = Path(os.environ["SIMULATED_MACHINE"], "secrets.json")
    secrets = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if key not in secrets:
        raise SecretNotFoundError(f"Secret {key} does not exist.")
    if secrets[key] is None:
        raise NotebookAccessError(f"Notebook does not have access to secret {key}")
    return str(secrets[key])
