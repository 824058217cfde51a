"""What a notebook holds can't leave its page: attacks, by what is left of them in the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from hostile import MARKUP, hostile_notebook
from nbformat.v4 import new_markdown_cell
from report_pages import output, written

from exactrun.notebooks import sanitize
from exactrun.notebooks.report import write_index

KEPT = """\
<h2>A table</h2><table class="dataframe" border="1"><caption>Sales</caption><thead><tr>
<th colspan="2">both</th></tr></thead><tbody><tr><th scope="row">a</th><td>1</td></tr></table>
<ul><li>one<ol><li>two</li></ol></ul><details open><summary>More</summary><p>inside</p></details>
<pre><code>code()</code></pre><a href="https://x.org/">there</a> <a href="mailto:a@x.org">mail</a>
<img alt="dot" src="data:image/png;base64,iVBORw0KGgo=">
<svg width="9" height="9" viewBox="0 0 9 9"><circle r="4"/></svg>"""
STYLED = """\
<style type="text/css">#T_1 th { color: gray } #T_1_row0_col0, #T_1_row1_col0 { background-color: \
yellow; color: red; position: fixed } #T_1 td:hover { color: blue } p { display: none }</style>
<table id="T_1"><caption>Best</caption><tr><th>a</th><td id="T_1_row0_col0">1</td></tr></table>"""


def assert_harmless(page: BeautifulSoup) -> None:
    body = page.body
    assert body is not None
    assert body.select("script, meta, link, base, style, form, input, button, iframe, object") == []
    assert body.select("embed, svg, textarea, select, noscript, template, foreignobject") == []
    for element in body.find_all(True):
        for name, value in element.attrs.items():
            assert not name.startswith("on"), element
            if name in ("src", "poster", "srcset", "background"):
                assert str(value).startswith("data:image/"), element
            if name == "href":
                assert re.match(r"https?:|mailto:|#|[\w%./-]*$", str(value)), element
            if name == "style":
                assert not re.search("url|position|transform|margin", str(value)), element
    assert len(page.select("meta[http-equiv]")) == 1
    policy = str(page.select("meta[http-equiv]")[0]["content"])
    assert {"default-src 'none'", "form-action 'none'", "base-uri 'none'"} <= set(
        policy.split("; ")
    )
    assert len(page.select("style")) == 1


@pytest.mark.parametrize("kind", ["text/html", "text/markdown", "cell"])
def test_no_attack_reaches_the_page(kind: str, tmp_path: Path) -> None:
    cells = [
        each
        for name, html in MARKUP.items()
        for each in (
            new_markdown_cell(html) if kind == "cell" else output(html, kind),
            new_markdown_cell(f"after the {name}"),
        )
    ]
    page = written(tmp_path, *cells)
    assert_harmless(page)
    assert len(page.select(".verdict")) == 1
    assert len(page.select("#notebook")) == 1
    within = [text.get_text().strip() for text in page.select("article#notebook > .text_cell")]
    assert [text for text in within if text.startswith("after")] == [
        f"after the {name}" for name in MARKUP
    ]


def test_nothing_of_a_hostile_notebook_is_more_than_text(tmp_path: Path) -> None:
    page = written(tmp_path, notebook=hostile_notebook(), name="a <b onclick='x'>&amp;")
    assert_harmless(page)
    ids = [str(element["id"]) for element in page.find_all(id=True)]
    assert len(ids) == len(set(ids))
    assert "onerror=window.hit=1" in page.select(".failure")[0].get_text()


def test_the_index_shows_names_and_titles_as_text(tmp_path: Path) -> None:
    written(tmp_path, new_markdown_cell("# &lt;script>x&lt;/script>"), name="<img src=x onerror=y>")
    index = BeautifulSoup(write_index(tmp_path).read_text(encoding="utf-8"), "html.parser")
    assert_harmless(index)
    assert index.select("tbody th a")[0].get_text() == "<script>x</script>"
    assert index.select("small")[0].get_text() == "<img src=x onerror=y>.html"


def test_what_people_show_stays(tmp_path: Path) -> None:
    page = written(tmp_path, output(KEPT))
    shown = page.select(".output_html")[0]
    for name in (
        "h2",
        "table",
        "caption",
        "thead",
        "th[colspan]",
        "li ol li",
        "details[open] summary",
    ):
        assert shown.select(name), name
    assert [link["href"] for link in shown.select("a")] == ["https://x.org/", "mailto:a@x.org"]
    forms = [str(picture["src"]).partition(";")[0] for picture in shown.select("img")]
    assert forms == ["data:image/png", "data:image/svg+xml"]
    assert "code()" in shown.select("pre code")[0].get_text()


def test_the_styles_of_an_output_stay_with_its_elements(tmp_path: Path) -> None:
    page = written(tmp_path, new_markdown_cell("text"), output(STYLED))
    shown = page.select(".output_html")[0]
    assert [str(cell["style"]).replace(" ", "") for cell in shown.select("td")] == [
        "background-color:yellow;color:red;"
    ]
    assert shown.select("caption")[0].get_text() == "Best"
    assert "gray" in str(shown.select("th")[0]["style"])
    assert "yellow" not in shown.get_text()
    assert "style" not in page.select(".text_cell p")[0].attrs


LONG = 150_000
TANGLED = {
    "open elements": "<font></b>",
    "elements in a table": "<table><p>x",
    "text in a table": "<table>x<b>y</b>",
    "crossed elements": "<b><i></b></i>",
    "links that a paragraph ends": "<a><p></a></p>",
    "paragraphs that a link ends": "<b><p></b>",
    "tags without an end": "<a ",
    "comments without an end": "<!--",
    "depth": "<div>",
    "many elements": "<tr><td>1<td>2",
}


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of what is parsed as HTML, which is what takes the time."""
    lengths, clean = list[int](), sanitize.Cleaner.clean

    def counted(cleaner: Any, html: str) -> Any:
        lengths.append(len(html))
        return clean(cleaner, html)

    monkeypatch.setattr(sanitize.Cleaner, "clean", counted)
    return lengths


@pytest.mark.parametrize("kind", [*TANGLED, "attributes"])
def test_html_that_would_take_long_is_shown_as_text(
    kind: str, tmp_path: Path, parsed: list[int]
) -> None:
    html = TANGLED.get(kind, "x") * (LONG // len(TANGLED.get(kind, "x")))
    if kind == "attributes":
        html = "<p " + " ".join(f"a{number}=1" for number in range(LONG // 9)) + ">"
    page = written(tmp_path, output(html, **{"text/plain": "what it says"}), output(html))
    assert max(parsed, default=0) <= sanitize.TANGLED_LIMIT
    assert [note.get_text() for note in page.select(".note")] == [
        "This HTML is too deep or too tangled to be shown as a page: page.ipynb has it"
    ] * 2
    texts = [text.get_text().strip() for text in page.select(".output_text")]
    assert texts[0] == "what it says"
    assert texts[1].startswith(html[:1_000].strip())
    assert sanitize.clean(html, missing="").startswith("<pre>&lt;")  # such as of Markdown


@pytest.mark.thorough
def test_a_long_table_is_shown_as_one(tmp_path: Path, parsed: list[int]) -> None:
    row = "<tr><th scope='row'id=r>1</th>" + '<td class="data">0.14</td>' * 8 + "</tr>\n"
    slips = "0 < 1<i><b></i>"
    html = f"<?xml?><!-- p < 1 --><table border=1>\n<tbody>{row * 600}</tbody></table>{slips}"
    page = written(tmp_path, output(html))
    assert LONG > max(parsed) > 140_000
    assert len(page.select(".output_html tr")) == 600


@pytest.mark.thorough
def test_styles_do_not_grow_with_the_square(parsed: list[int]) -> None:
    html = f"<style>{'#a,' * 20_000}{{{'color:red;' * 5_000}}}</style><p id=a>x</p>"
    sanitize.clean(html, missing="")
    assert parsed[0] < 2 * sanitize.STYLES_LIMIT
