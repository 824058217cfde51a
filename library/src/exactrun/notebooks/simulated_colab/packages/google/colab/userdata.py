"""The user's secrets: in a simulated Colab, the file `secrets.json` on its machine."""

from __future__ import annotations

import re
import threading

from google.colab import _message, errors

_one_at_a_time = threading.Lock()


class NotebookAccessError(Exception):
    """The notebook may not read the secret."""

    def __init__(self, key: str) -> None:
        super().__init__(f"Notebook does not have access to secret {key}")


class SecretNotFoundError(errors.Error):
    """There is no secret of this name."""

    def __init__(self, key: str) -> None:
        super().__init__(f"Secret {key} does not exist.")


class TimeoutException(errors.Error):
    """The page did not answer."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"Requesting secret {key} timed out. Secrets can only be fetched when running from the"
            " Colab UI."
        )


TIMEOUT = 10.0


def get(key: str) -> str:
    """Return a secret.

    Raises:
        NotebookAccessError: If the notebook may not read it.
        SecretNotFoundError: If there is none of this name.
        TimeoutException: If the page did not answer.
        ValueError: If it can't be a name.
    """
    if not key or not isinstance(key, str):
        raise ValueError("Please enter a valid secret name")
    if re.search(r"\s", key):
        raise ValueError("Secret name cannot contain spaces or whitespace")
    with _one_at_a_time:
        found = _message.blocking_request("GetSecret", request={"key": key}, timeout_sec=TIMEOUT)
    if not found:
        raise TimeoutException(key)
    if not found.get("exists", False):
        raise SecretNotFoundError(key)
    if not found.get("access", False):
        raise NotebookAccessError(key)
    return str(found.get("payload", ""))
