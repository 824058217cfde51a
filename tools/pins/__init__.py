"""Compile the template's pins: hashed requirements that equal a Google Colab runtime.

    python -m tools.pins                                            # what is new in Colab
    python -m tools.pins --runtime 2026.07 --freeze PATH_OR_URL

Reads what the projects need from the template itself, solves it under the freeze of the runtime and
writes `templates/pins/<runtime>/`. Why and how: `docs/pins.md`.
"""
