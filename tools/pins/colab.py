"""What is new in Colab, for users of the template to choose."""

from collections.abc import Sequence

from exactrun.pins.freeze import address_of
from exactrun.pins.runtimes import LATEST, Runtime, past_runtimes, runtime_named


def runtimes_to_compile(choices: Sequence[str]) -> tuple[list[Runtime], list[str]]:
    """Ask what Colab offers.

    Args:
        choices: The runtimes that users of the template can choose.

    Returns:
        What to compile: the newest past runtime, if it is no choice yet, and `latest`; and the
        choices that Colab does not offer any more.

    Raises:
        UserError: It can't be asked.
    """
    past = past_runtimes()
    found = [runtime_named(LATEST)]
    if (newest := past[0]) not in choices:
        found.insert(0, Runtime(name=newest, source=address_of(newest)))
    return found, [name for name in choices if name not in (*past, LATEST)]
