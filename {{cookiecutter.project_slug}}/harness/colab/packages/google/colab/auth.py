"""Who the user is; in a simulated Colab, nobody."""

from __future__ import annotations


def authenticate_user(clear_output: bool = True, project_id: str | None = None) -> None:
    """Ask for the user's credentials, which `google.auth.default` finds afterwards."""
