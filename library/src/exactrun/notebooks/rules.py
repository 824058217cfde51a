"""The rules of the lint: their names, what they find, why, and what to do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule of the lint.

    Attributes:
        name: By which settings switch it on or off.
        finds: What it finds.
        why: Why that matters to the notebook's author.
        fix: What to do.
        default: Whether it is on without any setting. So are the rules of whose findings the
            author of a good notebook from anywhere would be glad, and what Colab saves breaks none.
    """

    name: str
    finds: str
    why: str
    fix: str
    default: bool = True


RULES = {
    rule.name: rule
    for rule in (
        Rule(
            name="secret",
            finds="a token or key of Google, GitHub, Kaggle, Hugging Face, OpenAI, AWS and others, "
            "in the source, the outputs or the metadata",
            why="whoever reads the notebook can use it, and robots read what is pushed",
            fix="Revoke it; read the next one from Colab's secrets or the environment.",
        ),
        Rule(
            name="syntax-error",
            finds="a code cell that is not Python, as IPython understands it",
            why="the notebook stops there",
            fix="Correct it, or tag the cell raises-exception if it is meant to fail.",
        ),
        Rule(
            name="local-path",
            finds="a path into somebody's home directory or onto a Windows drive, in the code",
            why="the file is on no other machine",
            fix="Use a path relative to the notebook, or a parameter.",
        ),
        Rule(
            name="badge",
            finds="an Open in Colab or Open in Kaggle badge that leads to another notebook, or to "
            "another repository than the other badge",
            why="the reader opens something else",
            fix="Correct the badge's address.",
        ),
        Rule(
            name="cell-id",
            finds="cells of one id; in format 4.5, which demands it, a cell without one",
            why="Jupyter gives new ones each time, and links to the cell break",
            fix="`exactrun notebook lint --fix` gives it one.",
        ),
        Rule(
            name="parameters-cell",
            finds="two cells tagged parameters; or none, though pyproject.toml gives the notebook "
            "parameters",
            why="a run sets the values of exactly one cell",
            fix="Tag one cell parameters, the one that sets the defaults.",
        ),
        Rule(
            name="injected-parameters",
            finds="a cell with the parameters of an earlier run",
            why="its values win over those that are written in the notebook",
            fix="Delete the cell.",
        ),
        Rule(
            name="parameter-form",
            finds="a value in the parameters that its form field (`# @param`) can't show",
            why="Colab's form shows another value than the code has",
            fix='Write it as: epochs = 15  # @param {type:"integer"}',
        ),
        Rule(
            name="runtime",
            finds="a notebook that asks Colab for another runtime than the pins beside "
            "pyproject.toml are of",
            why="Colab starts other versions than CI and a laptop have",
            fix="Set metadata.colab.runtime_attributes.runtime_version to the pins' runtime, or "
            "take it out if they are of latest.",
        ),
        Rule(
            name="outputs",
            finds="a cell with outputs",
            why="they make diffs large, and may show what is private",
            fix="`exactrun notebook lint --fix` takes them out.",
            default=False,
        ),
        Rule(
            name="execution-count",
            finds="a cell with an execution count",
            why="it changes with every run",
            fix="`exactrun notebook lint --fix` takes it out.",
            default=False,
        ),
        Rule(
            name="tool-metadata",
            finds="metadata that Jupyter, Colab or papermill wrote while the notebook was open",
            why="it changes with every run, and Colab's names the user",
            fix="`exactrun notebook lint --fix` takes it out.",
            default=False,
        ),
        Rule(
            name="silent-failure",
            finds="a `!` line, or a magic such as `%pip`, whose failure stops nothing",
            why="where no engine looks after it, the notebook goes on as if it had succeeded",
            fix="Use subprocess.run([...], check=True), or execute by exactrun notebook run.",
            default=False,
        ),
        Rule(
            name="kernel",
            finds="a Python notebook whose kernel is not called python3",
            why="Colab and CI have no other one",
            fix="Set the kernelspec's name in the metadata to python3.",
            default=False,
        ),
        Rule(
            name="picture-alt",
            finds="a picture in Markdown without an alt text",
            why="who can't see it learns nothing from it",
            fix="Say what it shows: ![what it shows](file).",
            default=False,
        ),
        Rule(
            name="plot-alt",
            finds="a plot shown by plt.show(), which gives it no alt text",
            why="who can't see it learns nothing from it",
            fix='Use display(figure, metadata={"image/png": {"alt": "what it shows"}}).',
            default=False,
        ),
    )
}
"""The rules by name, first those that are on by default."""

MENDABLE = ("cell-id", "outputs", "execution-count", "tool-metadata")
"""The rules whose findings a machine can fix."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a rule found in a stored notebook.

    Attributes:
        rule: Its name.
        cell: Id of the cell, or its number if it has none; empty for the whole notebook.
        fault: What was found.
    """

    rule: str
    cell: str = ""
    fault: str

    def __str__(self) -> str:
        where = f"cell {self.cell}: " if self.cell else ""
        return f"{where}{self.rule}: {self.fault}. {RULES[self.rule].fix}"
