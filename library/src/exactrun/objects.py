"""Objects besides models, kept in formats that are safe to read and stay readable.

A file `NAME.SUFFIX.sha256` beside each is what `sha256sum --check` reads.
"""

from __future__ import annotations

import io
import json
import pickle
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from .errors import UserError
from .files import explain, require_portable, sha256_of
from .upload import copy_verified

SUFFIXES = (".npz", ".csv", ".json", ".keras", ".pickle")

PICKLE_ADVICE = (
    "A pickle can run any code when it is read, and often can't be read by other versions. Prefer"
    " lists, dicts, arrays and tables; if you must, pass allow_pickle=True, and read only files"
    " that you wrote yourself."
)


def save_object(value: Any, path: str | Path, *, allow_pickle: bool = False) -> Path:
    """Save an object, also on Drive, in the safe format that fits its type.

    | type | format |
    | --- | --- |
    | NumPy array, or dict of arrays by name | `.npz` |
    | pandas table | `.csv`: parquet needs pyarrow |
    | list, dict, text, number, bool, None | `.json` |
    | Keras model, or layer such as a tokeniser | `.keras` |
    | anything else | `.pickle`, if allowed |

    Args:
        value: The object. What would come back different from the format is refused.
        path: The file, with the format's suffix or without one.
        allow_pickle: Whether an object of no safe format may be pickled.

    Returns:
        The file, which `load_object` reads.

    Raises:
        UserError: If there is no safe format for it, if it is not what the suffix says, if
            Windows can't hold a file of that name, or if it can't be written.

    Example:
        >>> exactrun.save_object(["cat", "dog"], directory / "labels").name
        'labels.json'
    """
    path = Path(path)
    require_portable(path.name)
    with tempfile.TemporaryDirectory() as scratch:
        name = path.stem if path.suffix in SUFFIXES else path.name
        file = _write(Path(scratch) / name, value, allow_pickle=allow_pickle)
        if path.suffix in SUFFIXES and path.suffix != file.suffix:
            raise UserError(
                f"{path} would hold a {type(value).__name__}, which is saved as {file.suffix}:"
                f" call it {file.name}, or leave the suffix away."
            )
        described = file.with_name(f"{file.name}.sha256")
        described.write_text(f"{sha256_of(file)}  {file.name}\n", encoding="utf-8", newline="\n")
        try:
            kept = copy_verified(file, path.parent)
            copy_verified(described, path.parent)
        except OSError as error:
            raise UserError(
                f"{file.name} was not saved in {path.parent}: {explain(error)}. If that is Drive,"
                " empty its trash, or mount it again by running the cell that does."
            ) from error
    return kept


def load_object(path: str | Path, *, allow_pickle: bool = False) -> Any:
    """Read an object back, after comparing its file with the SHA-256 recorded beside it.

    Raises:
        UserError: If the file is missing or damaged, or is a pickle and that is not allowed.

    Example:
        >>> exactrun.load_object(exactrun.save_object(["cat", "dog"], directory / "labels"))
        ['cat', 'dog']
    """
    path = Path(path)
    described = path.with_name(f"{path.name}.sha256")
    try:
        recorded = described.read_text(encoding="utf-8").partition(" ")[0]
        found = sha256_of(path)
    except OSError as error:
        raise UserError(
            f"{path} or {described.name} can't be read: {explain(error)}. If that is Drive, mount"
            " it again by running the cell that does; else save the object again."
        ) from error
    if found != recorded:
        raise UserError(
            f"{path} is damaged: its SHA-256 is {found}, {described.name} has {recorded}. Save the"
            " object again; on Drive, an older version may be under 'Manage versions'."
        )
    match path.suffix:
        case ".npz":
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            return arrays[""] if list(arrays) == [""] else arrays
        case ".csv":
            return _read_table(path)
        case ".json":
            return json.loads(path.read_text(encoding="utf-8"))
        case ".keras":
            import keras

            return keras.saving.load_model(path)
        case ".pickle" if allow_pickle:
            return pickle.loads(path.read_bytes())
        case ".pickle":
            raise UserError(f"{path} is a pickle. {PICKLE_ADVICE}")
    raise UserError(f"{path} has none of the suffixes {', '.join(SUFFIXES)}.")


def _write(path: Path, value: Any, *, allow_pickle: bool) -> Path:
    """Write the object to `path` plus its format's suffix, and return that."""
    # An object's library is loaded already, or it could not be here.
    keras, pandas = sys.modules.get("keras"), sys.modules.get("pandas")
    arrays = {"": value} if isinstance(value, np.ndarray) else value
    if keras is not None and isinstance(value, keras.layers.Layer):  # as every model is
        file = path.with_name(f"{path.name}.keras")
        keras.saving.save_model(value, file)
    elif _are_arrays(arrays):
        file = path.with_name(f"{path.name}.npz")
        np.savez(file, **arrays)
    elif pandas is not None and isinstance(value, pandas.DataFrame):
        file = path.with_name(f"{path.name}.csv")
        value.to_csv(file, index=False, lineterminator="\n")
        if value.columns.empty or not _read_table(file).equals(value):
            raise UserError(
                f"The table {path.name} would come back different from a CSV file, which has no"
                " index, no numbers as names of columns, and no types such as dates or digits that"
                " are text. Call reset_index() on it, turn such columns into numbers or"
                " unmistakable text, or save them as a dict of arrays."
            )
    elif _is_json(value):
        file = path.with_name(f"{path.name}.json")
        text = json.dumps(value, ensure_ascii=False, indent=1)
        file.write_text(text, encoding="utf-8", newline="\n")
    elif allow_pickle:
        file = path.with_name(f"{path.name}.pickle")
        file.write_bytes(pickle.dumps(value))
    else:
        raise UserError(
            f"{path.name} is of the type {type(value).__name__}, or holds something, for which"
            " there is no safe format. JSON has no tuples, sets or keys that are numbers: use"
            f" lists, and text as keys. {PICKLE_ADVICE}"
        )
    return file


def _are_arrays(value: Any) -> bool:
    """Tell whether this is a dict of arrays by name, each of a type that a file can hold."""
    if not isinstance(value, dict) or not value or "file" in value:  # NumPy's own argument
        return False
    return all(
        isinstance(name, str)
        and isinstance(array, np.ndarray)
        and not array.dtype.hasobject
        and (array.dtype.kind != "V" or array.dtype.names is not None)  # such as bfloat16
        for name, array in value.items()
    )


def _is_json(value: Any) -> bool:
    """Tell whether an object comes back from JSON as it is: tuples, for one, would be lists."""
    try:
        return repr(json.loads(json.dumps(value))) == repr(value)
    except (TypeError, ValueError):
        return False


def _read_table(file: Path) -> Any:
    import pandas

    # 'NA' and the like are text; only what is empty is missing. Floats come back to the bit.
    text = io.StringIO(file.read_text(encoding="utf-8"))
    return pandas.read_csv(
        text, keep_default_na=False, na_values=[""], float_precision="round_trip"
    )
