"""Reading the freeze of a runtime, and what it tells."""

import re
from pathlib import Path

import pytest
from exactrun.errors import UserError
from exactrun.pins.freeze import parse_freeze, read_freeze, runtime_python
from pinning import FREEZE


def test_a_freeze_gives_versions_by_canonical_name_and_drops_comments() -> None:
    freeze = parse_freeze("# head\n\nScikit_Learn==1.6.1  # tail\r\nnumpy==2.1.3\n")
    assert freeze.versions == {"scikit-learn": "1.6.1", "numpy": "2.1.3"}
    assert "scikit-learn" in freeze
    assert "head" not in freeze


def test_a_package_installed_by_address_is_present_without_a_version() -> None:
    freeze = parse_freeze("numpy==2.1.3\ngoogle-colab @ file:///colab-1.0.tar.gz#sha256=ab\n")
    assert "google-colab" in freeze
    assert "google-colab" not in freeze.versions


def test_the_python_is_read_from_wheels_for_one_python_only() -> None:
    freeze = parse_freeze(
        "numpy==2.1.3\n"
        "a @ https://example.invalid/a-1-cp39-abi3-manylinux_2_28_x86_64.whl\n"
        "b @ https://example.invalid/b-1-py3-none-any.whl#sha256=ab\n"
        "c @ https://example.invalid/c-1.tar.gz\n"
        "d @ https://example.invalid/d-1-cp312-cp312-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl"
    )
    assert runtime_python(freeze, None) == "3.12"


@pytest.mark.parametrize(("wheels", "found"), [([], "none"), (["cp312", "cp313"], r"3\.12, 3\.13")])
def test_a_freeze_that_tells_no_single_python_is_refused(wheels: list[str], found: str) -> None:
    addresses = [f"p{t} @ https://example.invalid/p{t}-1-{t}-{t}-any.whl" for t in wheels]
    freeze = parse_freeze("\n".join(["numpy==2.1.3", *addresses]))
    with pytest.raises(UserError, match=rf"are for: {found}\.\n.*--python 3\.13"):
        runtime_python(freeze, None)
    assert runtime_python(freeze, "3.13") == "3.13"


def test_a_given_python_goes_before_the_freeze() -> None:
    assert runtime_python(parse_freeze(FREEZE), "3.12") == "3.12"


def test_a_runtime_older_than_the_projects_is_refused() -> None:
    with pytest.raises(UserError, match=r"has Python 3\.10, and the projects need 3\.11"):
        runtime_python(parse_freeze(FREEZE), "3.10")


@pytest.mark.parametrize(
    "line", ["numpy>=2", "numpy==2.*", "numpy", "-e git+https://example.invalid/x", "b==1", "{}"]
)
def test_a_line_that_is_no_pin_is_refused_by_its_number(line: str) -> None:
    with pytest.raises(UserError, match=f"line 3: {re.escape(line)}"):
        parse_freeze(f"a==1\nb==2\n{line}\n")


@pytest.mark.parametrize("text", ["", "# only a comment\n\n"])
def test_an_empty_freeze_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="The freeze is empty"):
        parse_freeze(text)


def test_a_freeze_can_be_given_by_its_address(website: str) -> None:
    assert read_freeze(f"{website}/freeze.txt") == FREEZE


def test_a_freeze_may_start_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "freeze.txt").write_text(FREEZE, encoding="utf-8-sig")
    assert read_freeze(str(tmp_path / "freeze.txt")) == FREEZE


@pytest.mark.parametrize(("page", "why"), [("page", "is a web page"), ("none", "404")])
def test_an_address_without_a_freeze_is_refused(website: str, page: str, why: str) -> None:
    with pytest.raises(UserError, match=f"/{page} .*{why}.*\n.*raw"):
        read_freeze(f"{website}/{page}")


def test_a_server_that_does_not_answer_is_refused(website: str) -> None:
    with pytest.raises(UserError, match="can't be read"):
        read_freeze("http://127.0.0.1:1/freeze.txt")


@pytest.mark.parametrize("kind", ["missing", "folder", "binary"])
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "freeze.txt"
    if kind == "folder":
        source.mkdir()
    elif kind == "binary":
        source.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"freeze\.txt can't be read"):
        read_freeze(str(source))
