"""Strict conversion of plain mappings to typed dataclasses.

An unknown key, a wrong type or a bad value is refused in one sentence.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, Union

from dfp.core.errors import UserError, suggest

T = TypeVar("T")


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def settings(cls: type) -> dict[str, dataclasses.Field[Any]]:
    """The fields of a dataclass that can be set."""
    return {field.name: field for field in dataclasses.fields(cls) if field.init}


def build(cls: type[T], raw: object, where: str) -> T:
    """Make ``cls``, a dataclass, from a mapping.

    Raises:
        UserError: naming ``where`` and the key for an unknown or missing key, a wrong type, or a value that
            ``cls`` refuses.
    """
    if not isinstance(raw, Mapping):
        raise UserError(f"{where}: found {_shown(raw)}, expected a mapping of settings")
    known = settings(cls)
    for key in raw:
        if key not in known:
            raise UserError(
                f"{where}: unknown key {key!r}{suggest(str(key), known)}; known: {', '.join(sorted(known))}"
            )
    for name, field in known.items():
        bare = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if bare and name not in raw:
            raise UserError(f"{where}: the key {name!r} is missing")
    hints = _hints(typing.cast(type, cls))
    values = {name: convert(hints[name], value, f"{where}.{name}") for name, value in raw.items()}
    try:
        return cls(**values)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def convert(hint: Any, value: object, where: str) -> Any:
    """``value`` as the type ``hint``.

    Integers pass for floats and lists for tuples; nothing else is converted.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _one_of(arguments, value, where)
    if isinstance(hint, type) and hint.__module__ != "builtins" and isinstance(value, hint):
        return value  # made already
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, where)
    if origin in (list, tuple):
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{where}: found {_shown(value)}, expected a list")
        items = [convert(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value)]
        return items if origin is list else tuple(items)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: found {_shown(value)}, expected a mapping")
        return {key: convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    return _scalar(hint, value, where)


def _one_of(choices: tuple[Any, ...], value: object, where: str) -> Any:
    if value is None and type(None) in choices:
        return None
    real = [choice for choice in choices if choice is not type(None)]
    for choice in real[:-1]:
        try:
            return convert(choice, value, where)
        except UserError:
            continue
    return convert(real[-1], value, where)


def _scalar(hint: Any, value: object, where: str) -> Any:
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise UserError(f"{where}: found {value}, expected a finite number")
        return float(value)
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is bool and isinstance(value, bool):
        return value
    if hint is str and isinstance(value, str):
        return value
    expected = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}.get(
        hint, str(hint)
    )
    raise UserError(f"{where}: found {_shown(value)}, expected {expected}")


def _shown(value: object) -> str:
    names = {str: "text", bool: "true/false", int: "the number", float: "the number", type(None): "nothing"}
    kind = names.get(type(value), type(value).__name__)
    return kind if value is None else f"{kind} {value!r}"


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``over`` laid on top: mappings are merged, everything else (lists too) is replaced.

    A mapping whose ``kind`` differs from the base's replaces it whole: settings of another kind do not carry
    over.
    """
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            other = "kind" in value and "kind" in below and value["kind"] != below["kind"]
            merged[key] = dict(value) if other else merge(below, value)
        else:
            merged[key] = value
    return merged
