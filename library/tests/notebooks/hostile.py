"""Notebooks that try to leave their page, as one that a stranger sent may."""

from __future__ import annotations

from typing import Any

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from report_pages import displayed

AWAY = "https://away.example/"
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40"><script>window.hit=1</script>'
    f'<foreignObject><img src="{AWAY}foreign.png" onerror="window.hit=1"/></foreignObject>'
    f'<image href="{AWAY}image.png"/><rect width="40" height="40" onclick="window.hit=1"/></svg>'
)
MARKUP = {
    "refresh": f'<meta http-equiv="refresh" content="0;url={AWAY}">',
    "hidden refresh": f'<!--><meta http-equiv="refresh" content="0;url={AWAY}">-->',
    "script": "<script>window.hit = 1</script><img src=x onerror='window.hit=1'>",
    "form": f'<form action="{AWAY}" id="f"><input name="a"><button>Go on</button></form>',
    "style": "<style>body { display: none } .verdict { color: red !important }</style><p>s</p>",
    "style by import": f"<style>@import url({AWAY}s.css); h1 {{ position: fixed }}</style>",
    "style of an element": f'<p style="position: fixed; top: 0; background: url({AWAY}b)">over</p>',
    "link": '<a href="java&#10;script:window.hit=1">1</a><a href=" JaVaScRiPt:window.hit=1">2</a>',
    "data link": '<a href="data:text/html,<script>1</script>">3</a><a href="//away.example">4</a>',
    "base": f'<base href="{AWAY}"><a href="next">five</a>',
    "frame": f'<iframe src="{AWAY}"></iframe><iframe srcdoc="<script>1</script>"></iframe>',
    "data frame": '<iframe src="data:text/html,<script>1</script>"></iframe>',
    "object": f'<object data="{AWAY}"></object><embed src="{AWAY}"><link rel=icon href={AWAY}>',
    "svg": SVG,
    "math": f'<math><mtext><style><img src="{AWAY}" onerror="window.hit=1"></style></mtext></math>',
    "noscript": f'<noscript><p title="</noscript><img src={AWAY} onerror=hit=1>"></noscript>',
    "classes": '<div class="verdict passed" id="cell-id=c0">✔ Passed: all</div>',
    "names": '<img name="body" src="data:image/png;base64,iVBORw0KGgo="><h2 id="notebook">n</h2>',
    "picture": f'<img src="{AWAY}p.png"><video poster="{AWAY}v" src="{AWAY}v"></video>',
    "end": f"</div></article></main><style>p {{ color: red }}</style><img src={AWAY}>",
}
TEXT = "<img src=x onerror=window.hit=1></pre><script>window.hit=1</script>"


def hostile_notebook(*, attacks: bool = True) -> Any:
    """Return a notebook with every attack in an output, in Markdown and as Markdown's output."""
    if not attacks:
        return new_notebook(cells=[new_markdown_cell("# Title"), new_code_cell("x")])
    cells = [
        new_markdown_cell(f'# Title {TEXT}\n\n## "><b onclick=x>Heading</b>\n\n[x](javascript:1)')
    ]
    for html in MARKUP.values():
        outputs = [displayed(text_html=html), displayed(text_markdown=html)]
        cells += [new_markdown_cell(html), new_code_cell("show()", outputs=outputs)]
    picture = displayed(image_png="iVBORw0KGgo=")
    picture.metadata = {"image/png": {"width": "1 onload=window.hit=1", "alt": '"><script>'}}
    outputs = [
        new_output("stream", name="stdout", text=f"\x1b[31m{TEXT}\x1b[0m"),
        new_output("error", ename=TEXT, evalue=TEXT, traceback=[TEXT]),
        displayed(**{"text_plain": TEXT}),
        displayed(**{"text_latex": f"$\\text{{{TEXT}}}$ {TEXT}"}),
        new_output("display_data", data={"image/svg+xml": SVG}),
        new_output("display_data", data={"image/jpeg": '"><script>window.hit=1</script>'}),
        new_output("display_data", data={TEXT: TEXT}),
        picture,
    ]
    cells.append(new_code_cell(TEXT, outputs=outputs, execution_count=1))
    for cell in cells:
        cell.metadata["tags"] = ['x"><script>window.hit=1</script>']
    notebook = new_notebook(cells=cells)
    cells[-1]["id"] = '"><script>window.hit=1</script>'
    cells[2]["execution_count"] = cells[-1]["id"]
    notebook.metadata = {
        "language_info": {"name": '"><script>window.hit=1</script>', "pygments_lexer": TEXT},
        "exactrun": {"passed": False, "failure": TEXT, "cell": cells[-1]["id"]},
        "title": TEXT,
    }
    return notebook
