"""JSON of a manifest as the dataclass that describes it, each value of the type that its field declares.

A field that an earlier release did not write has its default. One that this release does not know is a later one's, and
is left alone where the manifest says that it is of a later one; otherwise nobody here has written it.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, Final, TypeVar

_T = TypeVar("_T")

_KNOWN: Final[dict[type[Any], dict[str, tuple[Any, bool]]]] = {}


def structured(cls: type[_T], body: object, *, later: bool = False) -> _T:
    """Make an object of a dataclass out of a JSON object.

    :param cls: whose fields are text, whole numbers, booleans, None, tuples or dataclasses of such
    :param later: whether a later release wrote it, whose further fields are left alone
    :raises ValueError: naming the field that is missing, unknown or holds something else
    """
    if type(body) is not dict:
        raise ValueError(f"{cls.__name__}: not an object: {body!r}")
    unknown = set(body) - set(_fields(cls))
    if unknown and not later:
        raise ValueError(f"{cls.__name__}: unknown: {', '.join(sorted(unknown))}")
    values = {}
    for name, (declared, required) in _fields(cls).items():
        if name in body:
            values[name] = _value(declared, body[name], f"{cls.__name__}.{name}", later)
        elif required:
            raise ValueError(f"{cls.__name__}.{name} is missing")
    return cls(**values)


def _fields(cls: type[Any]) -> dict[str, tuple[Any, bool]]:
    """Name, declared type and whether it has to be there, of each field; looked up once."""
    known = _KNOWN.get(cls)
    if known is None:
        hints = typing.get_type_hints(cls)
        known = _KNOWN[cls] = {
            field.name: (
                hints[field.name],
                field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
            )
            for field in dataclasses.fields(cls)
        }
    return known


def _value(declared: Any, value: object, where: str, later: bool) -> Any:
    if dataclasses.is_dataclass(declared):
        return structured(typing.cast("type[Any]", declared), value, later=later)
    origin, arguments = typing.get_origin(declared), typing.get_args(declared)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        (declared,) = (one for one in arguments if one is not type(None))
        return _value(declared, value, where, later)
    if origin is tuple:
        return _tuple(arguments, value, where, later)
    if type(value) is not declared:
        raise ValueError(f"{where}: not of type {declared.__name__}: {value!r}")
    return value


def _tuple(arguments: tuple[Any, ...], value: object, where: str, later: bool) -> tuple[Any, ...]:
    if type(value) is not list:
        raise ValueError(f"{where}: not a list: {value!r}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_value(arguments[0], one, where, later) for one in value)
    if len(value) != len(arguments):
        raise ValueError(f"{where}: not {len(arguments)} values: {value!r}")
    return tuple(_value(declared, one, where, later) for declared, one in zip(arguments, value, strict=True))
