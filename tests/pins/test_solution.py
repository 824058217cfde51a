"""The conditions a solution is made under, and the markers without them."""

import pytest
from exactrun.pins.solution import conditions_for, strip_conditions
from packaging.markers import Marker

BOUND = "python_full_version < '3.14'"
OTHERS = ("implementation_name == 'cpython'", "platform_python_implementation == 'CPython'")
MARKERS = {
    "": "",
    f"{BOUND} and {OTHERS[0]} and {OTHERS[1]}": "",
    f"{BOUND} and sys_platform == 'win32'": "sys_platform == 'win32'",
    f"python_full_version == '3.12.*' and {OTHERS[1]}": "python_full_version == '3.12.*'",
    f"({BOUND} and sys_platform == 'win32') or ({BOUND} and sys_platform == 'darwin')": (
        "sys_platform == 'win32' or sys_platform == 'darwin'"
    ),
    f"({BOUND} and os_name == 'nt' and {OTHERS[0]}) or ({BOUND} and os_name == 'nt')": (
        "os_name == 'nt'"
    ),
    f"({BOUND} and sys_platform != 'win32' and platform_machine == 'arm64') or "
    f"(python_full_version < '3.12' and sys_platform == 'win32')": (
        "(sys_platform != 'win32' and platform_machine == 'arm64') or "
        "(python_full_version < '3.12' and sys_platform == 'win32')"
    ),
    f"({BOUND} and {OTHERS[0]}) or python_full_version < '3.12'": "",
}


@pytest.mark.parametrize(("before", "after"), MARKERS.items())
def test_a_marker_loses_the_conditions_it_was_solved_under(before: str, after: str) -> None:
    assert strip_conditions(before, conditions_for("3.13")) == after


@pytest.mark.parametrize("before", [marker for marker in MARKERS if marker])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_a_stripped_marker_means_the_same_wherever_the_pins_are_for(
    before: str, python: str, platform: str
) -> None:
    after = strip_conditions(before, conditions_for("3.13"))
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.5",
        "sys_platform": platform,
        "os_name": "nt" if platform == "win32" else "posix",
        "platform_machine": "arm64" if platform == "darwin" else "x86_64",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    assert Marker(before).evaluate(environment) == (
        not after or Marker(after).evaluate(environment)
    )


def test_the_bound_is_the_version_after_the_runtime() -> None:
    assert conditions_for("3.12")[0] == "python_full_version < '3.13'"
