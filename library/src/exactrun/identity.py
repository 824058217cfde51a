"""What a run is: its model, how it is compiled, its data and settings, as JSON to be compared.

A checkpoint carries the identity of its run, so that two runs are never mixed. Shapes are not
enough for that: a relu exchanged for a tanh has the same ones. So Keras' own configurations are
compared, once the names that Keras numbers by itself (`dense_7`) are brought to one form, and with
them the code of the user's own layers, losses and functions.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import dis
import functools
import inspect
import marshal
import re
import sys
import types
import warnings
import weakref
from typing import Any

import keras
import numpy as np

from .files import digest
from .structures import walk

PARTS = keras.regularizers.Regularizer | keras.constraints.Constraint | functools.partial
"""What a layer's configuration tells by a name and, often, no more."""

LISTED = 12
"""How many differences a message names."""

_learning_rates: weakref.WeakKeyDictionary[Any, tuple[float, float]] = weakref.WeakKeyDictionary()
"""The learning rate that an optimizer began a run with, and the one that the run left it with."""


def describe_model(model: keras.Model) -> dict[str, Any]:
    """Return what a model computes, without its weights' values."""
    layers = list(model._flatten_layers(include_self=True))
    found = {
        "class": _name(type(model)),
        "config": _config(model),
        "weights": [[list(w.shape), str(w.dtype), bool(w.trainable)] for w in model.weights],
        "attributes": _attributes(model, {}),
    }
    if found["config"] is None or any(_is_own(type(layer)) for layer in layers):
        found["layers"] = [describe(layer) for layer in layers[1:]]
    parts = [_plain_function(part) for layer in layers for part in vars(layer).values()]
    own = [p for p in parts if _is_own(type(p) if isinstance(p, PARTS) else p)]
    if described := [describe(p) for p in own if isinstance(p, PARTS | types.FunctionType)]:
        found["parts"] = described
    if codes := {_name(c): _class_code(c) for c in _own_classes(type(model))}:
        found["code"] = codes
    return _with_plain_names(found)  # type: ignore[no-any-return]


def describe_compile(model: keras.Model) -> dict[str, Any]:
    """Return how a model is compiled, but for what concerns speed alone.

    A learning rate counts as it was when the run began, not as callbacks have changed it since.
    """
    config = dict(model._compile_config.config)
    for name in ("optimizer", "run_eagerly", "steps_per_execution", "jit_compile"):
        config.pop(name, None)
    found = {name: describe(value) for name, value in config.items() if value is not None}
    found["optimizers"] = [_optimizer(optimizer) for optimizer in optimizers_of(model)]
    return _with_plain_names(found)  # type: ignore[no-any-return]


def optimizers_of(model: keras.Model) -> list[Any]:
    """Return the optimizers of a model, those that a custom `train_step` uses included."""
    own = (each for value in vars(model).values() for each in _listed(value))
    found = [model.optimizer, *(v for v in own if isinstance(v, keras.optimizers.Optimizer))]
    return list({id(o): o for o in found if o is not None}.values())


def _listed(value: Any) -> list[Any]:
    """Return what a list, tuple or dict holds; others as the only one."""
    values = value.values() if isinstance(value, dict) else value
    return list(values) if isinstance(value, list | tuple | dict) else [value]


def remember_learning_rates(model: keras.Model) -> None:
    """Note what rates a run leaves the optimizers with: see `describe_compile`."""
    for optimizer in optimizers_of(model):
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        if optimizer in _learning_rates:
            _learning_rates[optimizer] = (_learning_rates[optimizer][0], _rate(optimizer))


def describe(value: Any) -> Any:
    """Return a value as JSON that is the same in every process for the same meaning."""
    if isinstance(value, np.generic):  # before float, of which np.float64 is one
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return describe({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    if isinstance(value, dict):
        return _described_dict(value)
    if isinstance(value, list | tuple):
        return [describe(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    if isinstance(value, type):
        return _name(value)
    if isinstance(value, functools.partial):
        return {"partial": [describe(part) for part in (value.func, value.args, value.keywords)]}
    value = _plain_function(value)
    if isinstance(value, types.FunctionType | types.MethodType | types.BuiltinFunctionType):
        return {"function": _name(value), "code": _code(value)} if _is_own(value) else _name(value)
    if hasattr(value, "get_config"):
        config = _config(value)
        return {"class": _name(type(value)), "config": config} | _own_parts(value, config)
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.size <= 16 and array.dtype.kind in "biufSU":
            return array.tolist()
        if array.dtype.hasobject:  # its bytes are addresses
            content = repr(array.tolist()).encode()
        else:
            content = np.ascontiguousarray(array).tobytes()
        return {"shape": list(array.shape), "sha256": digest(content)}
    if type(value).__repr__ is not object.__repr__:  # type: ignore[comparison-overlap]
        return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
    return {"class": _name(type(value))} | _own_parts(value, {})


def differences(then: Any, now: Any) -> list[str]:
    """Return where two identities differ, a line for each, with both values.

    The code of functions is compared only if both were made by the same Python: its form differs
    from one to the next.
    """
    before, after = _leaves(then), _leaves(now)
    same_python = before.get("python") == after.get("python")
    lines = []
    for path in before | after:
        code = re.search(r"\bcode\b", path)
        if path == "python" or (code and not same_python):
            continue
        old, new = before.get(path, "nothing"), after.get(path, "nothing")
        if repr(old) != repr(new):  # NaN is never equal to itself
            path += ", with the values that it reads" if code else ""
            lines.append(f"  {path}: {_short(old)} then, {_short(new)} now")
    if len(lines) > LISTED:
        lines[LISTED:] = [f"  … and {len(lines) - LISTED} more"]
    return lines


def python_version() -> str:
    """Return the version whose bytecode the identity's code is."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _leaves(identity: Any) -> dict[str, Any]:
    """Return the leaves by their paths, such as `compile.optimizers[0].config.momentum`."""
    return {
        re.sub(r"\['([^']*)'\]", r".\1", path).removeprefix("."): value
        for path, value in walk(_none_as_text(identity))
    }


def _none_as_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _none_as_text(part) for key, part in value.items()} or "{}"
    if isinstance(value, list | tuple):
        return [_none_as_text(part) for part in value] or "[]"
    return "None" if value is None else value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _optimizer(optimizer: Any) -> Any:
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    found = describe(optimizer)
    if found["config"] is None:  # that of its schedule, a user's own, is missing
        held = {n: v for n, v in vars(inner).items() if n[0] != "_" and n != "built"}
        numbers = {n: v for n, v in held.items() if isinstance(v, int | float)}
        return found | {"config": numbers | {"learning_rate": describe(inner._learning_rate)}}
    if isinstance(inner.get_config().get("learning_rate"), int | float | np.floating):
        rate = _rate(inner)
        began, left = _learning_rates.get(inner, (rate, rate))
        if left != rate:  # set by the user since
            began = rate
        _learning_rates[inner] = (began, rate)
        config = found["config"]
        if inner is not optimizer:
            config = config["inner_optimizer"]["config"]
        config["learning_rate"] = began
    return found


def _rate(optimizer: Any) -> float:
    """Return an optimizer's learning rate with no more digits than it has: 0.01 in float32."""
    return float(str(optimizer.learning_rate.numpy()))


def _config(value: Any) -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):  # a lambda could not be loaded everywhere
            return describe(value.get_config())
    except (NotImplementedError, TypeError, OSError):  # it has none; a lambda whose file is gone
        return None


def _own_parts(value: Any, config: Any) -> dict[str, Any]:
    """Return the code of a value's class, if it is the user's, and what its configuration lacks."""
    codes = [_class_code(c) for c in _own_classes(type(value))]
    return {"code": codes, "attributes": _attributes(value, config)} if codes else {}


def _attributes(value: Any, config: Any) -> dict[str, Any]:
    """Return what the user's own `__init__` sets to numbers, texts, arrays and functions."""
    codes = [getattr(vars(c).get("__init__"), "__code__", None) for c in _own_classes(type(value))]
    held = getattr(value, "__dict__", {})
    names = {name for code in codes if code for name in code.co_names} & set(held)
    return {n: describe(held[n]) for n in sorted(names - set(config or {})) if _is_plain(held[n])}


def _is_plain(value: Any) -> bool:
    """Tell whether a value is of numbers, texts, arrays and functions that stay as they are."""
    if isinstance(value, list | tuple | set | dict):
        return all(map(_is_plain, [*value, *(value.values() if isinstance(value, dict) else [])]))
    plain = bool | int | float | str | np.generic | np.ndarray | types.FunctionType
    constant = hasattr(value, "numpy") and not hasattr(value, "assign")  # a tensor
    return value is None or constant or isinstance(value, plain | functools.partial)


def _described_dict(value: dict[Any, Any]) -> Any:
    if value.get("class_name") == "__lambda__":  # Keras' two forms: code with its file and line
        config = value["config"]
        code = config["code"] if "code" in config else config["value"][0]
        return {"lambda": _code_of(marshal.loads(base64.b64decode(code)))}
    # The first ones follow from the rest, and name the batch that a model was first called on, as
    # the first of `batch_shape` does; the others are of this process alone.
    left_out = (
        "build_config",
        "build_input_shape",
        "shared_object_id",
        "module",
        "registered_name",
    )
    if value.get("batch_shape"):
        value = value | {"batch_shape": value["batch_shape"][1:]}
    return {str(k): describe(v) for k, v in value.items() if k not in left_out}


def _is_own(thing: Any) -> bool:
    """Tell whether a class or function is the user's, not Keras' or TensorFlow's."""
    module = getattr(thing, "__module__", None) or "builtins"
    return module.partition(".")[0] not in ("keras", "tensorflow", "builtins", "abc", "numpy")


def _own_classes(kind: type) -> list[type]:
    return [c for c in kind.__mro__ if _is_own(c)]


def _name(thing: Any) -> str:
    module = getattr(thing, "__module__", "") or ""
    name = getattr(thing, "__qualname__", type(thing).__qualname__)
    # A script's functions are in `__main__`, which is another module for whoever imports it.
    return name if _is_own(thing) else f"{module.partition('.')[0]}.{name}"


def _class_code(kind: type) -> str:
    """Return a digest of what a class itself holds: its methods, and values such as `alpha = 1`."""
    held = {name: getattr(part, "fget", part) for name, part in sorted(vars(kind).items())}
    codes = "".join(map(_code, held.values()))
    values = {name: describe(v) for name, v in held.items() if name[:2] != "__" and _is_value(v)}
    return digest(codes.encode(), repr(values).encode())[:16]


def _is_value(value: Any) -> bool:
    return _is_plain(value) and not isinstance(value, types.FunctionType | functools.partial)


def _code(function: Any, seen: set[Any] | None = None) -> str:
    """Return a digest of a function's code, its defaults, and the values and functions it reads.

    These are what it is closed over, and the user's global ones, but for those that it sets itself.
    """
    function = _plain_function(getattr(function, "__func__", function))
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    seen = seen or set()
    seen.add(function)
    held = [function.__defaults__, function.__kwdefaults__]
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # not filled yet
            held.append(cell.cell_contents)
    around = function.__globals__
    held += [around[name] for name in sorted(_globals_read(code)) if name in around]
    extras = repr([_described_part(each, seen) for each in held])
    return digest(_code_of(code, function.__doc__).encode(), extras.encode())[:16]


def _described_part(value: Any, seen: set[Any]) -> Any:
    """Describe what a function reads; functions that were seen, perhaps itself, by their names."""
    value = _plain_function(value)
    if isinstance(value, types.FunctionType) and _is_own(value):
        return _name(value) if value in seen else _code(value, seen)
    if not _is_plain(value):
        return _name(type(value))
    if isinstance(value, functools.partial):
        value = [value.func, value.args, value.keywords]
    if isinstance(value, dict):
        value = [*value.items()]
    if isinstance(value, list | tuple):
        return [_described_part(part, seen) for part in value]
    return describe(value)


def _plain_function(value: Any) -> Any:
    """Return what a decorated function was before, as by `tf.function`; others as they are."""
    return inspect.unwrap(value) if callable(value) else value


@functools.cache
def _globals_read(code: types.CodeType) -> set[str]:
    """Return the names of the globals that code reads, and doesn't set."""
    used = list(dis.get_instructions(code))
    names = {i.argval for i in used if i.opname == "LOAD_GLOBAL" and i.argval[:2] != "__"}
    for constant in code.co_consts:
        names |= _globals_read(constant) if isinstance(constant, types.CodeType) else set()
    return names - {i.argval for i in used if i.opname == "STORE_GLOBAL"}


def _code_of(code: types.CodeType, doc: str | None = None) -> str:
    """Return a digest of what code does: not of its file, its lines or its docstring."""
    constants = [
        _code_of(c) if isinstance(c, types.CodeType) else repr(describe(c))
        for c in code.co_consts
        if c != doc or doc is None
    ]
    parts = [code.co_code.hex(), *constants, *code.co_names, *code.co_varnames]
    return digest("\n".join(parts).encode())[:16]


def _with_plain_names(description: Any) -> Any:
    """Replace the names that Keras makes by numbers in the order in which they appear."""
    names: dict[str, str] = {}
    counts: dict[str, int] = {}

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            kind, config = value.get("class_name", value.get("class")), value.get("config")
            if isinstance(kind, str) and isinstance(config, dict):
                name, stem = str(config.get("name", value.get("name"))), _stem(kind)
                numbered = rf"((forward|backward)_)?{stem}(_\d+)?|keras_tensor_\d+(CLONE)?"
                if re.fullmatch(numbered, name) and name not in names:
                    counts[stem] = counts.get(stem, 0) + 1
                    names[name] = f"{stem}#{counts[stem]}"
            for part in value.values():
                collect(part)
        elif isinstance(value, list):
            for part in value:
                collect(part)

    def replace(value: Any) -> Any:
        if isinstance(value, dict):
            found = {key: replace(part) for key, part in value.items()}
            if isinstance(name := found.get("name"), str):
                found["name"] = names.get(name, name)
            return found
        if isinstance(value, list):
            if [type(part) for part in value] == [str, int, int]:  # a tensor: of a layer, which one
                return [names.get(value[0], value[0]), *value[1:]]
            return [replace(part) for part in value]
        return value

    collect({"class_name": description.get("class"), **description})
    return replace(description)


def _stem(kind: str) -> str:
    """Return what Keras begins the names of a class's layers with."""
    kind = kind.rpartition(".")[2]
    kind = getattr(getattr(keras.layers, kind, None), "__name__", kind)  # two may differ
    return str(keras.src.utils.naming.to_snake_case(kind))
