"""The data: docstrings that don't tell their library, a clean split, a cache that heals itself."""

from __future__ import annotations

import gzip
import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from {{ cookiecutter.__package }} import data as corpus
from {{ cookiecutter.__package }} import docstrings
from {{ cookiecutter.__package }}.config import Config
from {{ cookiecutter.__package }}.errors import UserError

SMALL = Config(vocabulary_size=1_000, sequence_length=40)

KINDS = '''"""The docstring of this module is read."""

class Widget:
    """The docstring of this class is read."""

    def method(self):
        """The docstring of this method is read."""

        async def inner():
            """The docstring of this inner coroutine is read."""

try:
    import fast
except ImportError:
    def fallback():
        r"""The docstring of this fallback is read."""

TEXT = """A string that documents nothing is not read."""
INVALID = "an escape sequence that Python warns of: \\d"

def short():
    """Too short to tell."""
'''


def install(site: Path, library: str, files: dict[str, str], *, version: str = "1.0") -> None:
    """Lay out a package as pip does: its folder, and its metadata beside it."""
    for name, source in {"__init__.py": "", **files}.items():
        path = site / library / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    for old in site.glob(f"{library}-*.dist-info"):
        shutil.rmtree(old)
    metadata = site / f"{library}-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: {library}\nVersion: {version}\n")


def functions(*docstrings: str) -> str:
    """Return the source of functions with these docstrings."""
    return "\n".join(f"def f{i}():\n    {text!r}\n" for i, text in enumerate(docstrings))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, where two small libraries stand for the six."""
    site = tmp_path / "site"
    for library, count, verb in (("libalpha", 90, "Sort"), ("libbeta", 60, "Draw")):
        texts = [
            f"{verb} the NumPy items of {library[3:]}{i} by key{i % 7} and label."
            for i in range(count)
        ]
        install(site, library, {"work.py": functions(*texts)})
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(docstrings, "LIBRARIES", {"libalpha": "libalpha", "libbeta": "libbeta"})
    return site


def all_texts(data: corpus.Data) -> list[str]:
    return [data.text(row) for row in (*data.x_train, *data.x_validation, *data.x_test)]


def repeated_texts(data: corpus.Data) -> int:
    """Return how many texts of one part are in another part, too."""
    parts = (data.x_train, data.x_validation, data.x_test)
    different = [{row.tobytes() for row in part} for part in parts]
    return sum(map(len, different)) - len(set.union(*different))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A NumPy array", "a [library] array"),
        ("numpy.linalg.norm", "[library] linalg norm"),
        ("np.array(pd.Series())", "[library] array [library] series"),
        ("Scikit-learn, scikit learn and sklearn", "[library] [library] and [library]"),
        ("a KerasTensor of tf.keras", "a [library] tensor of [library] [library]"),
        ("mpl_toolkits, plt.plot", "[library] _toolkits [library] plot"),
        ("to_numpy() of _scipy", "to_ [library] of _ [library]"),
        # Words that only look like names.
        ("simple input template spline", "simple input template spline"),
        ("disp updates tf2zpk jnp", "disp updates tf2zpk jnp"),
    ],
)
def test_names_of_libraries_are_masked(text: str, words: str) -> None:
    assert docstrings.masked_words(text) == words.split()


def test_docstrings_of_every_kind_are_read_and_nothing_else(tmp_path: Path) -> None:
    install(tmp_path, "libalpha", {"kinds.py": KINDS, "tests/test_kinds.py": KINDS})
    things = ("module", "class", "method", "inner coroutine", "fallback")
    expected = [f"the docstring of this {thing} is read" for thing in things]
    assert list(docstrings.read_docstrings(tmp_path / "libalpha")) == expected


def test_a_docstring_counts_once_and_one_of_two_libraries_not_at_all(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repeated = "This very sentence stands in one library twice."
    # The same once its names are masked: no reader could tell the two apart.
    shared = "Convert whatever comes along to a {} array first."
    install(site, "libalpha", {"more.py": functions(repeated, repeated, shared.format("numpy"))})
    install(site, "libbeta", {"more.py": functions(shared.format("pandas"))})
    corpus.load(SMALL, cache=tmp_path)
    assert "Kept 151 of 154" in capsys.readouterr().out


def test_no_tested_text_is_trained_on(site: Path, tmp_path: Path) -> None:
    # Different texts that look the same within the words that the model sees.
    texts = [f"Compute {'the same value ' * 20} of row{i}" for i in range(40)]
    install(site, "libalpha", {"alike.py": functions(*texts)})
    assert repeated_texts(corpus.load(SMALL, cache=tmp_path)) == 0


def test_words_are_known_from_the_training_texts_alone(site: Path, tmp_path: Path) -> None:
    data = corpus.load(SMALL, cache=tmp_path)
    words = range(2, len(data.vocabulary))
    assert set(words) <= set(np.unique(data.x_train))
    assert 1 in data.x_test  # Unknown: words of the test texts that no training text has.


def test_the_vocabulary_keeps_the_most_frequent_words(site: Path, tmp_path: Path) -> None:
    everything = corpus.load(SMALL, cache=tmp_path)
    data = corpus.load(replace(SMALL, vocabulary_size=100), cache=tmp_path)
    assert data.vocabulary == everything.vocabulary[:100]
    assert data.vocabulary[:7] == ("", "[UNK]", "[library]", "and", "by", "items", "label")
    assert data.x_train.max() == 99


def test_texts_are_cut_and_padded_at_their_end(site: Path, tmp_path: Path) -> None:
    long = " ".join(f"word{i}" for i in range(50))
    install(site, "libalpha", {"long.py": functions(*[f"Sort {i} {long}" for i in range(20)])})
    data = corpus.load(SMALL, cache=tmp_path)
    assert data.x_train.shape[1] == data.x_test.shape[1] == 40
    assert data.x_train.dtype == data.y_train.dtype == np.int32
    lengths = {len(text.split()) for text in all_texts(data)}
    assert lengths == {10, 40}
    assert not [text for text in all_texts(data) if text.endswith("word49")]
    assert all(not row[10:].any() for row in data.x_train if not row[10])


def test_every_class_has_the_same_share_in_training_and_test(site: Path, tmp_path: Path) -> None:
    data = corpus.load(SMALL, cache=tmp_path)
    assert data.class_names == ("libalpha", "libbeta")
    assert np.bincount(data.y_train).tolist() == [65, 43]
    assert np.bincount(data.y_test).tolist() == [18, 12]
    for part in ("train", "validation", "test"):
        x, y = getattr(data, f"x_{part}"), getattr(data, f"y_{part}")
        assert ["sort" in data.text(row) for row in x] == (y == 0).tolist()


def test_the_split_is_a_function_of_the_seed(site: Path, tmp_path: Path) -> None:
    data = corpus.load(SMALL, cache=tmp_path / "one")
    assert corpus.load(SMALL, cache=tmp_path / "two").sha256 == data.sha256
    assert corpus.load(replace(SMALL, seed=1), cache=tmp_path / "one").sha256 != data.sha256


def test_the_fingerprint_covers_every_value(site: Path, tmp_path: Path) -> None:
    data = corpus.load(SMALL, cache=tmp_path)
    labels = data.y_test.copy()
    labels[-1] = 1 - labels[-1]
    assert replace(data, y_test=labels).sha256 != data.sha256


def test_the_libraries_are_read_only_once(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = corpus.load(SMALL, cache=tmp_path / "cache")
    assert "Read 90 docstrings of libalpha 1.0." in capsys.readouterr().out
    (site / "libalpha" / "work.py").unlink()
    assert corpus.load(SMALL, cache=tmp_path / "cache").sha256 == first.sha256
    assert capsys.readouterr().out == ""
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_another_version_of_a_library_is_read_afresh(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus.load(SMALL, cache=tmp_path)
    install(site, "libbeta", {"new.py": functions("What is new is read.")}, version="1.1")
    corpus.load(SMALL, cache=tmp_path)
    assert "of libbeta 1.1." in capsys.readouterr().out


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-20],
        lambda content: content[:40] + bytes(20) + content[60:],
        lambda content: b"no archive at all",
        lambda content: gzip.compress(b'[["half a'),
        lambda content: gzip.compress(json.dumps([["one", "two", "three"]]).encode()),
    ],
    ids=["empty", "cut", "overwritten", "foreign", "cut-before-packing", "other-shape"],
)
def test_a_damaged_cache_is_made_again(
    damage: Callable[[bytes], bytes],
    site: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cache = tmp_path / "cache"
    whole = corpus.load(SMALL, cache=cache)
    (file,) = cache.iterdir()
    content = file.read_bytes()
    file.write_bytes(damage(content))
    capsys.readouterr()
    assert corpus.load(SMALL, cache=cache).sha256 == whole.sha256
    assert f"{file} is damaged" in capsys.readouterr().out
    assert file.read_bytes() == content


def test_a_missing_library_is_named_with_the_command_that_installs_it(
    site: Path, tmp_path: Path
) -> None:
    shutil.rmtree(site / "libbeta")
    with pytest.raises(UserError, match=r"(?s)libbeta .*pip install -r requirements\.txt"):
        corpus.load(SMALL, cache=tmp_path)


def test_every_data_set_on_offer_can_be_loaded() -> None:
    choices = Config.__dataclass_fields__["dataset"].metadata["choices"]
    assert set(choices) == set(corpus.LOADERS)


def test_the_preview_shows_each_class_with_its_count_and_a_text(site: Path, tmp_path: Path) -> None:
    data = corpus.load(SMALL, cache=tmp_path)
    figure, alt = corpus.preview(data)
    assert "libalpha: 65, such as “sort the [library] items" in alt
    assert "libbeta: 43, such as “draw the [library] items" in alt
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg")
    assert "libbeta" in drawn.getvalue()


def test_the_six_libraries_give_thousands_of_texts_without_their_names(tmp_path: Path) -> None:
    data = corpus.load(Config(), cache=tmp_path)
    counts = sum(np.bincount(y) for y in (data.y_train, data.y_validation, data.y_test))
    assert data.class_names == tuple(docstrings.LIBRARIES)
    assert counts.sum() > 12_000
    assert counts.min() > 1_000
    assert len(data.vocabulary) == Config().vocabulary_size
    names = re.compile("numpy|scipy|pandas|matplotlib|scikit|sklearn|keras|tensorflow")
    assert [word for word in data.vocabulary if names.search(word)] == []
    assert {"np", "sp", "pd", "plt", "mpl", "tf"}.isdisjoint(data.vocabulary)
    assert repeated_texts(data) == 0
