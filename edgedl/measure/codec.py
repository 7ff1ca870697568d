"""Frozen dataclasses from JSON values, strictly: what is not of the declared type is refused, with its place."""

from __future__ import annotations

import functools
import math
import types
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from edgedl.errors import InvalidInput

T = TypeVar("T")


def decode(kind: type[T], value: Any, where: str) -> T:
    """`value` as a `kind`; InvalidInput, naming the place, if it is none."""
    found: T = _decode(kind, value, where)
    return found


def _decode(kind: Any, value: Any, where: str) -> Any:
    if is_dataclass(kind):
        return _record(kind, value, where)
    if get_origin(kind) is types.UnionType:
        return _optional(kind, value, where)
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        return tuple(_decode(item, v, f"{where}[{i}]") for i, v in enumerate(_of(list, value, where)))
    if get_origin(kind) is not None:  # Mapping[str, X]
        item = get_args(kind)[1]
        return {key: _decode(item, v, f"{where}.{key}") for key, v in _of(dict, value, where).items()}
    return _scalar(kind, value, where)


def _record(kind: Any, value: Any, where: str) -> Any:
    given, hints = _of(dict, value, where), _hints(kind)
    made = {}
    for field in fields(kind):
        if field.name in given:
            made[field.name] = _decode(hints[field.name], given[field.name], f"{where}.{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise InvalidInput(f"{where} has no {field.name!r}")
    return kind(**made)


def _optional(kind: Any, value: Any, where: str) -> Any:
    (real,) = (arg for arg in get_args(kind) if arg is not type(None))
    return None if value is None else _decode(real, value, where)


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float and type(value) is int and abs(value) < 1 << 53:
        return float(value)
    found = _of(kind, value, where)
    if isinstance(found, int | float) and not (math.isfinite(found) and abs(found) < 1 << 62):
        raise InvalidInput(f"{where} is {str(found)[:30]}: out of range")
    return found


def _of(kind: Any, value: Any, where: str) -> Any:
    if type(value) is not kind:
        raise InvalidInput(f"{where} is a {type(value).__name__}, expected a {kind.__name__}")
    texts = value if kind is dict else [value] if kind is str else ()
    if any("\ud800" <= character <= "\udfff" for text in texts for character in text):
        raise InvalidInput(f"{where} is not text: it holds half of a surrogate pair")
    return value


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
