"""Who the user is."""

from __future__ import annotations

import os

from google.colab import _message, errors


def authenticate_user(clear_output: bool = True, project_id: str | None = None) -> None:
    """Ask for the user's credentials, which `google.auth.default` finds afterwards.

    A page that is silent is waited for without end.

    Raises:
        AuthorizationError: If no credentials came of it.
    """
    if os.environ.get("EXACTRUN_SIMULATED_ACCOUNT"):
        return
    _message.blocking_request(
        "request_auth", request={"authType": "auth_user_ephemeral"}, timeout_sec=None
    )
    if os.environ.get("EXACTRUN_SIMULATED_FAILURE") == "account":
        raise errors.AuthorizationError("Failed to fetch user credentials")
    os.environ["EXACTRUN_SIMULATED_ACCOUNT"] = "given"
