"""What the documents of a project say is there: links, badges, trees of files."""

import json
import re
import textwrap

import pytest
from baking import TEMPLATE, Bake, Project


def test_every_link_leads_to_something_that_exists(project: Project) -> None:
    checked = 0
    for name in project.texts():
        if name.endswith((".md", ".ipynb")):
            for link in links(project, name):
                checked += 1
                assert is_alive(link, project, name), f"{name}: {link}"
    assert checked >= 5


def prose(project: Project, name: str) -> str:
    """The Markdown of a file, without its code."""
    text = project.read(name)
    if name.endswith(".ipynb"):
        cells = json.loads(text)["cells"]
        text = "\n\n".join(
            "".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"
        )
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.S | re.M)


def links(project: Project, name: str) -> list[str]:
    """The target of every link and picture in a Markdown file or notebook."""
    pattern = r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\""
    return [match[1] or match[2] for match in re.finditer(pattern, prose(project, name))]


def anchors(project: Project, name: str) -> set[str]:
    """The addresses of a Markdown file's headings, made as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *$", project.read(name), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_alive(link: str, project: Project, name: str) -> bool:
    """Whether a link leads to a file, a heading or a workflow of the project, or out of it."""
    repository = "your-github-name/handwritten-digits"
    if link.startswith("https://"):
        file = re.search(rf"{repository}/blob/main/([^?#]+)", link)
        workflow = re.search(rf"{repository}/actions/workflows/([^/?#]+)", link)
        if workflow:
            return (project.path / ".github" / "workflows" / workflow[1]).is_file()
        return file is None or (project.path / file[1]).is_file()
    path, _, heading = link.partition("#")
    target = (project.path / name).parent / path if path else project.path / name
    return target.exists() and (
        not heading or heading in anchors(project, target.relative_to(project.path).as_posix())
    )


def test_the_tree_in_the_readme_shows_what_is_there(bake: Bake) -> None:
    project = bake()
    tree = re.search(r"## What is where\n+```\n(.*?)```", project.read("README.md"), re.S)
    assert tree is not None
    folder = project.path
    for line in tree[1].splitlines():
        name = line.split()[0]
        if line.startswith(" "):
            entry = folder / name
        else:
            entry = folder = project.path / name
        assert entry.is_dir() if name.endswith("/") else entry.is_file(), line


def test_every_message_in_the_readme_is_one_that_is_said(bake: Bake) -> None:
    section = bake().read("README.md").split("## When something goes wrong")[1]
    shown = re.findall(r"^\| `([^`]+)`", section.split("\n## ")[0], re.M)
    assert len(shown) >= 5
    modules = sorted((TEMPLATE / "library/src/exactrun").glob("*.py"))
    said = "\n".join(module.read_text("utf-8") for module in modules)
    for message in shown:
        if message == "failed call to cuInit":  # TensorFlow's own
            continue
        words = f'check("{message[2:]}"' if message.startswith("✖ ") else message
        assert re.search(".*".join(map(re.escape, words.split("…"))), said), message


def test_every_session_that_a_document_names_can_be_run(bake: Bake) -> None:
    sessions: set[str] = set()
    for folder in (bake().path, TEMPLATE):  # whose documents may name a project's, too
        defined = re.findall(r"^def (\w+)\(session", (folder / "noxfile.py").read_text(), re.M)
        sessions |= {name.replace("_", "-") for name in defined}
        pages = [folder / "README.md", *(folder / "docs").glob("*.md")]
        named = {
            name for page in pages for name in re.findall(r"nox -s ([\w-]+)", page.read_text())
        }
        assert len(named) >= 4
        assert named <= sessions


@pytest.mark.parametrize("name", ["README.md", "notebooks/setup.ipynb"])
def test_the_badges_open_the_notebook_that_exists(name: str, bake: Bake) -> None:
    project = bake(github_owner="ada", project_slug="engine")
    notebook = "github.com/ada/engine/blob/main/notebooks/setup.ipynb"
    colab = f"https://colab.research.google.com/{notebook.replace('.com', '', 1)}"
    kaggle = f"https://kaggle.com/kernels/welcome?src=https://{notebook}"
    assert f"(https://colab.research.google.com/assets/colab-badge.svg)]({colab})" in prose(
        project, name
    )
    assert f"]({kaggle})" in prose(project, name)
    assert (project.path / "notebooks" / "setup.ipynb").is_file()


def readme_block(language: str) -> str:
    """The block of the template's README that is held to a generated project."""
    readme = (TEMPLATE / "README.md").read_text(encoding="utf-8")
    held = r"<!-- held to a generated project by tests/test_documents.py -->\n"
    found = re.search(rf"{held}```{language}\n(.*?)```", readme, re.S)
    assert found is not None
    return found[1]


def test_the_templates_readme_shows_the_projects_training(bake: Bake) -> None:
    (module,) = bake().path.glob("src/*/train.py")
    _, body = module.read_text(encoding="utf-8").split('"""\n    # 1.')
    assert readme_block("python").strip() == textwrap.dedent("    # 1." + body).strip()


def test_the_templates_readme_shows_the_projects_files(bake: Bake) -> None:
    project = bake().path
    (package,) = (project / "src").iterdir()
    shown = []
    for line in readme_block("").splitlines()[1:]:
        name = line.lstrip("├└│─ ").split()[0].replace("<package>", package.name)
        nested = line.startswith("│")
        shown.append(name)
        path = (package if nested else project) / name
        assert path.is_dir() if name.endswith("/") else path.is_file(), line
    top = {path.name for path in project.iterdir() if not path.name.startswith(".")}
    assert top <= {name.split("/")[0] for name in shown}
