"""Print the next three steps, and how what is new in the template comes later.

cookiecutter renders this file and runs it in the finished project; were it to fail, cookiecutter
would delete the project. ``pre_gen_project.py`` has checked the answers.
"""

import os
import sys


def next_steps(*, slug: str, owner: str, directory: str, template: str) -> str:
    """The way from a fresh project to its notebook in Colab, and to updates.

    ``directory`` is what ``cd`` needs to get to the project from where the user is; ``template``
    what the project is to be linked to, empty if cruft does that.
    """
    link = f"cruft link {template}, once, with the same answers; then " if template else ""
    repository = f"https://github.com/{owner}/{slug}"
    colab = "https://colab.research.google.com/github"
    python, activate = "python3", ". .nox/nox/bin/activate"
    if sys.platform == "win32":
        python, activate = "python", ".nox\\nox\\Scripts\\activate"
    return f"""
{slug} is ready. Next:

  1. Create its environment and run its checks:
       cd {directory}
       {python} -m venv .nox/nox
       {activate}
       python -m pip install "nox[uv]"
       nox

  2. Make an empty repository {repository}, then push:
       git init --initial-branch main
       git add --all
       git commit --message "First version"
       git remote add origin {repository}.git
       git push --set-upstream origin main

  3. Open the notebook in Colab, then choose Runtime > Run all:
       {colab}/{owner}/{slug}/blob/main/notebooks/setup.ipynb

What is new in the template comes by cruft (python -m pip install cruft), later:
       {link}cruft update
"""


def main(*, slug: str, owner: str, template: str) -> None:
    """Print the steps; a message that can't be shown must not cost the user the project."""
    project = os.getcwd()
    # A shell says in PWD where the user is; cookiecutter may have been told another --output-dir.
    here = os.path.join(os.environ.get("PWD", ""), slug) == project
    directory = slug if here else f'"{project}"'
    template = template.replace("gh:", "https://github.com/")  # which cruft doesn't know
    local = os.path.join(os.environ.get("PWD", ""), template)
    template = os.path.abspath(local) if template and os.path.isdir(local) else template
    text = next_steps(slug=slug, owner=owner, directory=directory, template=template)
    encoding = sys.stdout.encoding if sys.stdout else "ascii"
    try:
        print(text.encode(encoding, "replace").decode(encoding), flush=True)
    except OSError:  # a closed pipe or a full disk: nobody reads, and the project is complete
        return


if __name__ == "__main__":
    main(
        # No more than letters, digits, - and _, or the other hook would have refused them.
        slug="{{ cookiecutter.project_slug }}",
        owner="{{ cookiecutter.github_owner }}",
        # Also run by cruft, which knows the commit, and links the project itself.
        template={{("" if cookiecutter._commit is defined else cookiecutter._template) | pprint}},  # noqa: F821
    )
