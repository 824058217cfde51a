"""Refuse wrong answers before a file is written: all at once, each with one that works.

cookiecutter renders this file, then runs it in the new project's empty directory; exit code 1 makes
it remove that directory. For a slug that can't name one, such as ``a/b`` or 300 characters,
cookiecutter.json has put a safe one into ``project_slug``; ``__asked_slug`` is what was asked for.
What is imported costs every user start-up time, so what only a refusal needs is imported there.
"""

import builtins
import keyword
import sys

TYPED = ("project_name", "project_slug", "__package", "description", "author_name", "github_owner")
CHOICES = {  # as in cookiecutter.json, which a replay file can contradict
    "task": ("image", "text"),
    "accelerator": ("T4", "L4", "A100", "CPU"),
    "colab_runtime": ("2026.07", "latest"),
    "license": ("MIT", "Apache-2.0", "BSD-3-Clause", "Proprietary"),
}

# Distributions in requirements*.txt and the modules they install, lower-case, "-" as "_".
# A project of the same name would replace the dependency, or be hidden by it.
DEPENDENCIES = """
    absl absl_py aiohappyeyeballs aiohttp aiosignal apiclient appnope argcomplete ast_serialize
    astunparse attr attrs backcall beautifulsoup4 bleach bs4 certifi cffi charset_normalizer clang
    click colorama colorlog contourpy cryptography cycler dateutil debugpy decorator defusedxml
    dependency_groups distlib docutils entrypoints exactrun fastjsonschema filelock flatbuffers
    fonttools frozenlist gast google google_api_core google_api_python_client google_auth
    google_auth_httplib2 google_pasta googleapiclient googleapis_common_protos grpc grpcio h5py
    httplib2 humanize idna iniconfig ipykernel ipykernel_launcher ipython jedi jinja2 joblib
    jsonschema jsonschema_specifications jupyter jupyter_client jupyter_core jupyterlab_pygments
    keras kiwisolver libclang librt markdown markdown_it markdown_it_py markupsafe matplotlib
    matplotlib_inline mdurl mistune ml_dtypes mlxtend mpl_toolkits multidict mypy mypy_extensions
    mypyc namex nbclient nbconvert nbformat nest_asyncio nox numpy opt_einsum optree packaging
    pandas pandocfilters papermill parso pasta pathspec pexpect pickleshare pil pillow pip
    pkg_resources platformdirs pluggy prompt_toolkit propcache proto proto_plus protobuf psutil
    ptyprocess py pyasn1 pyasn1_modules pycparser pygments pylab pyparsing pytest python_dateutil
    python_discovery pytz pyyaml pyzmq referencing requests rich rpds rpds_py rsa ruff scikit_learn
    scipy setuptools six sklearn soupsieve tenacity tensorboard tensorboard_data_server tensorflow
    termcolor tf_keras threadpoolctl tinycss2 tornado tqdm traitlets typing_extensions tzdata
    uritemplate urllib3 uv virtualenv wcwidth webencodings werkzeug wheel wrapt yaml yarl zmq
"""
# At the top of the generated project, where Python finds it first; and what pytest imports.
PROJECT = "build conftest data dist notebooks noxfile runs src test tests wheels"
# In the standard library of one Python that the project supports, though perhaps not of this one.
OTHER_PYTHONS = """
    aifc annotationlib asynchat asyncore audioop cgi cgitb chunk compression crypt distutils imghdr
    imp lib2to3 mailcap msilib nis nntplib ossaudiodev pipes smtpd sndhdr spwd sunau telnetlib uu
    xdrlib
"""
DEVICES = frozenset(
    ["con", "prn", "aux", "nul"] + [f"{port}{n}" for port in ("com", "lpt") for n in range(10)]
)
SOFT_KEYWORDS = ("case", "match", "type")  # as in Python 3.12, the most so far


def slug_fault(slug: object) -> str | None:
    """Why ``slug`` can't name the directory, the repository and the package; None if it can."""
    if not isinstance(slug, str):
        return "It must be text."
    words = slug.replace("_", "-").split("-")
    lower = slug.isascii() and slug == slug.lower()
    if not (slug[:1].isalpha() and lower and all(word.isalnum() for word in words)):
        return (
            "It must consist of the lower-case letters a-z, digits, and single hyphens or"
            " underscores between them, and start with a letter: it names a directory (on Windows"
            " too), a GitHub repository and a Python package."
        )
    if len(slug) > 50:
        return f"It has {len(slug)} characters; the project's code leaves room for 50."
    package = slug.replace("-", "_")
    if package in DEVICES:
        return "Windows reserves this name for a device."
    if package in {*SOFT_KEYWORDS, *map(str.lower, keyword.kwlist)}:
        return f"Python could not import the package: {package} is a keyword."
    if package in map(str.lower, dir(builtins)):
        return f"Importing the package would hide Python's built-in {package}."
    if package in {*sys.stdlib_module_names, *OTHER_PYTHONS.split()}:
        return f"The package would clash with Python's standard library, which has {package}."
    if package in DEPENDENCIES.split():
        return f"The package would clash with {package}, which the project installs."
    if package in PROJECT.split():
        return f"The package would clash with {package} at the top of the generated project."
    return None


def suggest_slug(slug: object) -> str:
    """A slug that passes, as near to ``slug`` as can be."""
    import re
    from unicodedata import normalize

    text = normalize("NFKD", str(slug)).encode("ascii", "ignore").decode().lower()
    text = re.sub(r"[^a-z0-9_]+", "-", re.sub(r".*[/\\](?=.*[a-z0-9])", "", text, flags=re.DOTALL))
    text = re.sub(r"[-_]{2,}", "-", text)
    text = text.strip("-_")[:42].rstrip("-_")
    if not text:
        return "colab-project"
    if not text[0].isalpha():
        text = f"project-{text}"
    return text if slug_fault(text) is None else f"{text}-project"


def owner_fault(owner: object) -> str | None:
    """Why GitHub can't have a user or organisation named ``owner``; None if it can."""
    fits = isinstance(owner, str) and owner.isascii() and len(owner) <= 39
    if fits and all(word.isalnum() for word in owner.split("-")):
        return None
    return (
        "GitHub's names have 1 to 39 letters a-z, digits and single hyphens,"
        " with no hyphen at either end."
    )


def suggest_owner(owner: object) -> str:
    """An owner that passes, as near to ``owner`` as can be; of an address, its first directory."""
    import re

    text = re.sub(r"^(.*github\.com[/:])", "", str(owner).strip(" /@")).split("/")[0]
    text = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:39].rstrip("-")
    return text or "your-github-name"


def text_fault(text: object, *, blank: bool) -> str | None:
    """Why ``text`` can't be written to a file, or is ``blank`` though it must not be."""
    if not isinstance(text, str):
        return "It must be text."
    try:
        text.encode()
    except UnicodeEncodeError:
        return "It holds bytes that are not UTF-8, so it can't be written to a file."
    if not blank and not text.strip():
        return "It is blank; README and notebook need a title."
    return None


def readable(text: object) -> str:
    """``text`` with the bytes that are not UTF-8 read as Windows' Western European code page."""
    import re

    def character(match: re.Match[str]) -> str:
        code = ord(match[0])  # Python keeps such a byte, 0x80 to 0xff, as 0xdc80 to 0xdcff
        return bytes([code & 0xFF]).decode("cp1252", "replace") if code > 0xDC7F else "?"

    return re.sub("[\ud800-\udfff]", character, str(text))


def refusals(answers: dict[str, object]) -> list[tuple[str, object, str, str]]:
    """Every wrong answer: its name, its value, why it is refused, and one that passes."""
    found: list[tuple[str, object, str, str]] = []
    for name in (*TYPED, *CHOICES):  # in the order in which they are asked
        value, fault, suggestion = answers[name], None, ""
        if name == "project_name":
            if fault := text_fault(value, blank=False):
                suggestion = readable(value) if str(value).strip() else "Handwritten Digits"
        elif name in ("description", "author_name"):
            if fault := text_fault(value, blank=True):
                suggestion = readable(value)
        elif name == "project_slug":
            asked = answers.get("__asked_slug", value)
            value = asked if slug_fault(asked) else value
            if fault := slug_fault(value):
                suggestion = suggest_slug(value)
        elif name == "__package":  # derived, so only a replay file can have it wrong
            suggestion = str(answers["project_slug"]).replace("-", "_")
            if value != suggestion and slug_fault(answers["project_slug"]) is None:
                fault = "It must be project_slug with - written as _."
        elif name == "github_owner":
            if fault := owner_fault(value):
                suggestion = suggest_owner(value)
        elif value not in CHOICES[name]:
            fault = f"The choices are {', '.join(CHOICES[name])}."
            near = (c for c in CHOICES[name] if c.lower() == str(value).strip().lower())
            suggestion = next(near, CHOICES[name][0])
        if fault:
            found.append((name, value, fault, suggestion))
    return found


def message(found: list[tuple[str, object, str, str]]) -> str:
    """What a person reads instead of getting a project."""
    from textwrap import fill

    count = "1 answer" if len(found) == 1 else f"{len(found)} answers"
    lines = [f"\n{count} can't be used, so no project was generated.\n"]
    for name, value, fault, suggestion in found:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        indent = " " * 6
        lines += [
            f"  {name}: {shown}",
            fill(fault, 80, initial_indent=indent, subsequent_indent=indent),
            f"{indent}Use: {suggestion}\n",
        ]
    lines.append("Run the command again with these answers. Below, cookiecutter logs the stop.")
    return "\n".join(lines)


def main(answers: dict[str, object]) -> int:
    """Print what is wrong with the answers, if anything is, and return the exit code."""
    # Of a text with { in it, __NAME is the text; NAME has what a rendering turns into it.
    texts = {name: answers[f"__{name}"] for name in TYPED if f"__{name}" in answers}
    found = refusals(answers | texts)
    if not found:
        return 0
    print(message(found), file=sys.stderr)
    return 1


if __name__ == "__main__":
    from collections import OrderedDict  # noqa: F401, cookiecutter keeps the answers in one

    sys.exit(main({{cookiecutter | pprint}}))  # noqa: F821, the filter writes Python's literals
