"""Good notebooks of many kinds, of which the lint has nothing to say by default."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
PYTHON: Json = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "version": "3.12.3", "nbconvert_exporter": "python"},
}
COLAB: Json = {
    "accelerator": "GPU",
    "colab": {
        "authorship_tag": "ABX9TyNBcdefg0hiJklm",
        "collapsed_sections": [],
        "gpuType": "T4",
        "include_colab_link": True,
        "name": "sine.ipynb",
        "provenance": [{"file_id": "1Abc", "timestamp": 1700000000000}],
        "toc_visible": True,
    },
    "kernelspec": {"display_name": "Python 3", "name": "python3"},
    "language_info": {"name": "python"},
    "widgets": {"application/vnd.jupyter.widget-state+json": {"state": {}}},
}
LINK = (
    '<a href="https://colab.research.google.com/github/ada/sums/blob/main/{}" target="_parent">'
    '<img src="https://colab.research.google.com/assets/colab-badge.svg" alt="Open In Colab"/></a>'
)
BUTTONS = (
    '<table class="tfo-notebook-buttons"><td><a target="_blank" href="https://www.tensorflow.org/'
    'tutorials/quickstart"><img src="https://www.tensorflow.org/images/tf_logo_32px.png" />View on'
    ' TensorFlow.org</a></td><td><a target="_blank" href="https://colab.research.google.com/github/'
    'tensorflow/docs/blob/master/notebooks/honest.ipynb"><img src="https://www.tensorflow'
    '.org/images/colab_logo_32px.png" />Run in Google Colab</a></td></table>'
)


def text(source: str, **metadata: Any) -> Json:
    return {"cell_type": "markdown", "metadata": metadata, "source": source}


def code(source: str, *outputs: Json, count: int | None = None, **metadata: Any) -> Json:
    return {
        "cell_type": "code",
        "execution_count": count,
        "metadata": metadata,
        "outputs": list(outputs),
        "source": source.splitlines(keepends=True),
    }


def printed(said: str) -> Json:
    return {"output_type": "stream", "name": "stdout", "text": said.splitlines(keepends=True)}


def shown(**data: str) -> Json:
    data = {name.replace("_", "/"): value for name, value in data.items()}
    return {"output_type": "display_data", "data": data, "metadata": {}}


def notebook(*cells: Json, minor: int = 4, **metadata: Any) -> Json:
    return {
        "cells": list(cells),
        "metadata": metadata,
        "nbformat": 4,
        "nbformat_minor": minor,
    }


HONEST: dict[str, Json] = {
    "empty": notebook(minor=5),
    "saved by Colab": notebook(
        text(LINK.format("notebooks/honest.ipynb"), id="view-in-github", colab_type="text"),
        code(
            "import math\nmath.sin(1)",
            {
                "output_type": "execute_result",
                "execution_count": 3,
                "data": {"text/plain": ["0.8414709848078965"]},
                "metadata": {},
            },
            count=3,
            id="kP0Zl5bC",
            colab={"base_uri": "https://localhost:8080/"},
            executionInfo={
                "status": "ok",
                "timestamp": 1700000000000,
                "user_tz": -60,
                "elapsed": 5,
                "user": {"displayName": "Ada Lovelace", "userId": "0123456789"},
            },
            outputId="3f1ab0a7-5d3f-4b16-b21c-1cbf7b4d8bb4",
        ),
        minor=0,
        **COLAB,
    ),
    "saved by Colab under another name": notebook(
        text(LINK.format("notebooks/honest.ipynb"), id="view-in-github", colab_type="text"),
        text("# Sums\n\n" + LINK.format("notebooks/sums.ipynb"), id="a"),
        minor=0,
        **COLAB,
    ),
    "saved by Colab for another owner": notebook(
        text(LINK.format("notebooks/honest.ipynb"), id="view-in-github", colab_type="text"),
        text(LINK.format("notebooks/honest.ipynb").replace("ada", "bob"), id="a"),
        code('repository = "https://github.com/bob/sums"', id="b"),
        minor=0,
        **COLAB,
    ),
    "an example of Keras'": notebook(
        text("# Simple MNIST convnet\n\n**Author:** [fchollet](https://twitter.com/fchollet)<br>"),
        code('import os\n\nos.environ["KERAS_BACKEND"] = "tensorflow"\nimport keras'),
        code("keras.utils.plot_model(model, show_shapes=True)"),
        minor=0,
        accelerator="GPU",
        colab={"name": "mnist_convnet", "provenance": [], "toc_visible": True},
        **PYTHON,
    ),
    "a tutorial of TensorFlow's": notebook(
        text("##### Copyright 2019 The TensorFlow Authors.", id="rX8mhOLljYeM"),
        text(BUTTONS, id="hiH7AC-NTniF"),
        code(
            "!pip install -q tensorflow-datasets\n!git clone https://github.com/tensorflow/models"
        ),
        code('path = tf.keras.utils.get_file("a.zip", origin="https://x.org/home/ada/a.zip")'),
        code("plt.plot(history)\nplt.show()", shown(image_png="iVBORw0KGgo=")),
        minor=0,
        accelerator="GPU",
        colab={"name": "honest.ipynb", "toc_visible": True},
        kernelspec={"display_name": "Python 3", "name": "python3"},
    ),
    "pandas": notebook(
        text("# 10 minutes to pandas\n\n![](images/frame.png)"),
        code('df = pd.read_csv("data/titanic.csv")\ndf.head()', shown(text_html="<table></table>")),
        code('pd.read_csv("~/data.csv")', printed("/home/ada/.cache/x.py:3: FutureWarning: …\n")),
        **PYTHON,
    ),
    "plotly": notebook(
        code(
            "fig = px.scatter(df, labels={'x': r'$\\mathrm{C}:\\theta$'})\nfig.show()",
            {
                "output_type": "display_data",
                "data": {"application/vnd.plotly.v1+json": {"data": [{"x": [1]}], "layout": {}}},
                "metadata": {},
            },
        ),
        **PYTHON,
    ),
    "R": notebook(
        code('x <- read.csv("/home/ada/data.csv")\nx |> head()'),
        kernelspec={"display_name": "R", "language": "R", "name": "ir"},
        language_info={"name": "R", "version": "4.4.1"},
    ),
    "R as Colab names it": notebook(
        code("x <- 1:3"), minor=0, kernelspec={"name": "ir", "display_name": "R"}
    ),
    "Julia": notebook(
        code("f(x) = x^2; f.(1:3)"),
        kernelspec={"display_name": "Julia 1.10", "language": "julia", "name": "julia-1.10"},
        language_info={"name": "julia"},
    ),
    "an environment of conda's": notebook(
        code("import torch"),
        kernelspec={"display_name": "lab", "language": "python", "name": "conda-env-lab-py"},
    ),
    "what IPython adds to Python": notebook(
        code(
            "%matplotlib inline\n%load_ext autoreload\nfiles = !ls *.csv\nlen?\n!echo {len(files)}"
        ),
        code("ls data/"),
        code("pip install plotly"),
        code("%%bash\nfor f in *; do echo $f; done"),
        code("%%writefile a.py\nprint 'old'"),
        code("await client.get('https://x.org')\nasync for row in rows:\n    print(row)"),
        code(""),
        **PYTHON,
    ),
    "an error that is shown": notebook(
        code(
            "for i in range(3) print(i)",
            {"output_type": "error", "ename": "SyntaxError", "evalue": "", "traceback": []},
        ),
        code("1 +", tags=["raises-exception"]),
        **PYTHON,
    ),
    "regular expressions and warnings of Python's": notebook(
        code("re.findall('\\d+\\s', said)\nlabel = 'Y:\\theta \\\\ x'"), **PYTHON
    ),
    "papermill's parameters": notebook(
        code(
            "import os\nroot = os.getcwd()\nn = 10 * 60  # computed\nrate = 0.1",
            tags=["parameters"],
        ),
        **PYTHON,
    ),
    "forms without a tag": notebook(
        code('#@title Settings\nsteps = 3 #@param {type:"integer"}\nname = "x" #@param ["x", "y"]'),
        code('rate = 0.5 #@param {type:"slider", min:0, max:1, step:0.1}'),
        minor=0,
        **COLAB,
    ),
    "tokens that are none": notebook(
        text(
            "Get a token, `hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx`, then `export GITHUB_TOKEN=ghp_…`"
        ),
        code('token = "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"\nkey = "AKIAIOSFODNN7EXAMPLE"'),
        code('openai.api_key = "sk-..."\nos.environ["KAGGLE_KEY"] = userdata.get("KAGGLE_KEY")'),
        code('{"username": "ada", "key": "your key"}\nwandb.login(key="YOUR_KEY")'),
        code('revision = "0a4be8bbc3ae126f3ca49a0bf173902866ec06f0"  # a commit'),
        code('key = """-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----"""'),
        **PYTHON,
    ),
    "places that every machine of a service has": notebook(
        code('!cp kaggle.json /root/.kaggle/\nroot = "/content/drive/MyDrive/data"'),
        code('a = "/kaggle/input/x.csv"\nb = "/home/jovyan/x.csv"\nc = "/home/user/x.csv"'),
        **PYTHON,
    ),
    "scikit-learn's pictures of models": notebook(
        code(
            "model",
            shown(
                text_html="<style>#sk-container-id-1 .sk-toggleable__control:checked~label"
                ".sk-toggleable__label-arrow {}</style><div class='sk-estimator sk-toggleable'>"
            ),
        ),
        **PYTHON,
    ),
    "a list of chapters": notebook(
        text(f"1. {LINK.format('one.ipynb')}\n2. {LINK.format('two.ipynb')}"), **PYTHON
    ),
    "a link to the next chapter": notebook(
        text("[next](https://colab.research.google.com/github/ada/sums/blob/main/next.ipynb)"),
        **PYTHON,
    ),
    "written by nbdev": notebook(code("1") | {"idx_": 0}, **PYTHON) | {"path_": "honest.ipynb"},
    "a picture attached": notebook(
        text("![a](attachment:a.png)")
        | {"attachments": {"a.png": {"image/png": "AKIAIO7Z5FODNN7BQRST"}}},
        **PYTHON,
    ),
}
"""By what they are, each a notebook; `notebooks/honest.ipynb` is its path."""
