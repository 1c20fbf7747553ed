"""JSON of a manifest as the dataclass that describes it, each value of the type that its field declares.

A field that an earlier release did not write has its default. One that this release does not know is a later one's, and
is left alone where the manifest says that it is of a later one; otherwise nobody here has written it.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from typing import Any, Final, TypeVar

_T = TypeVar("_T")

_Read = Callable[[object, str, bool], Any]
"""Makes a value of what JSON holds; told where that is, and whether a later release wrote it."""

_KNOWN: Final[dict[type[Any], dict[str, tuple[_Read, bool, str]]]] = {}


def structured(cls: type[_T], body: object, *, later: bool = False) -> _T:
    """Make an object of a dataclass out of a JSON object.

    :param cls: whose fields are text, whole numbers, booleans, None, tuples or dataclasses of such
    :param later: whether a later release wrote it, whose further fields are left alone
    :raises ValueError: naming the field that is missing, unknown or holds something else
    """
    if type(body) is not dict:
        raise ValueError(f"{cls.__name__}: not an object: {body!r}")
    fields = _fields(cls)
    if not later and not body.keys() <= fields.keys():
        raise ValueError(f"{cls.__name__}: unknown: {', '.join(sorted(body.keys() - fields.keys()))}")
    values = {}
    for name, (read, required, where) in fields.items():
        if name in body:
            values[name] = read(body[name], where, later)
        elif required:
            raise ValueError(f"{where} is missing")
    return cls(**values)


def _fields(cls: type[Any]) -> dict[str, tuple[_Read, bool, str]]:
    """Of each field, by name: what reads it, whether it has to be there, what it is called; worked out once."""
    known = _KNOWN.get(cls)
    if known is None:
        hints = typing.get_type_hints(cls)
        known = _KNOWN[cls] = {
            field.name: (
                _reader(hints[field.name]),
                field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
                f"{cls.__name__}.{field.name}",
            )
            for field in dataclasses.fields(cls)
        }
    return known


def _reader(declared: Any) -> _Read:
    """What reads values of a type."""
    if dataclasses.is_dataclass(declared):
        cls = typing.cast("type[Any]", declared)
        return lambda value, where, later: structured(cls, value, later=later)
    origin, arguments = typing.get_origin(declared), typing.get_args(declared)
    if origin in (types.UnionType, typing.Union):
        (one,) = (_reader(one) for one in arguments if one is not type(None))
        if type(None) not in arguments:
            return one
        return lambda value, where, later: None if value is None else one(value, where, later)
    if origin is tuple:
        return _tuple(arguments)

    def plain(value: object, where: str, later: bool) -> Any:
        if type(value) is not declared:
            raise ValueError(f"{where}: not of type {declared.__name__}: {value!r}")
        return value

    return plain


def _tuple(arguments: tuple[Any, ...]) -> _Read:
    many = len(arguments) == 2 and arguments[1] is Ellipsis
    readers = [_reader(one) for one in (arguments[:1] if many else arguments)]

    def read(value: object, where: str, later: bool) -> tuple[Any, ...]:
        if type(value) is not list:
            raise ValueError(f"{where}: not a list: {value!r}")
        if many:
            one = readers[0]
            return tuple([one(each, where, later) for each in value])
        if len(value) != len(readers):
            raise ValueError(f"{where}: not {len(readers)} values: {value!r}")
        return tuple([one(each, where, later) for one, each in zip(readers, value, strict=True)])

    return read
