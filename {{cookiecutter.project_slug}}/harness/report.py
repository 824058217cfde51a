"""An executed notebook as one web page that loads nothing from anywhere."""

from __future__ import annotations

from pathlib import Path

from bs4 import BeautifulSoup
from nbconvert import HTMLExporter

TEMPLATES = Path(__file__).parent / "templates"


def write_report(notebook: Path, target: Path) -> Path:
    """Convert an executed notebook to HTML, with its pictures and styles inside.

    Pictures that lie on the web, such as badges, are replaced by their alt texts.

    Returns:
        The path of the page.
    """
    exporter = HTMLExporter(
        template_name="report", extra_template_basedirs=[str(TEMPLATES)], embed_images=True
    )
    html, _ = exporter.from_filename(str(notebook))
    page = BeautifulSoup(html, "html.parser")
    for picture in page.select("img"):
        if not str(picture["src"]).startswith("data:"):
            picture.replace_with(str(picture["alt"]))
    target.write_text(str(page), encoding="utf-8")
    return target
