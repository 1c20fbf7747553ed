"""One key that a request may carry: its JSON schema for forms and HTTP, its check for everybody."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pgvector_backup.engine.base.errors import InvalidParams

_TYPES: Final[dict[str, type]] = {"string": str, "boolean": bool, "integer": int, "array": list, "object": dict}
Default = str | bool | int | None


@dataclass(frozen=True)
class Key:
    """One key that a request may carry.

    :param types: JSON types that its value may have; an array's items and an object's values are strings
    :param pattern: what a string has to match (JSON schema, ECMA 262)
    :param max_length: characters that a string may have
    :param choices: the only values that a string may have
    """

    name: str
    types: tuple[str, ...]
    default: Default
    title: str
    description: str
    pattern: str | None = None
    max_length: int | None = None
    choices: tuple[str, ...] | None = None

    @property
    def schema(self) -> dict[str, Any]:
        """The key as JSON schema."""
        schema: dict[str, Any] = {"type": list(self.types), "title": self.title}
        if self.pattern is not None:
            schema["pattern"] = self.pattern
        if self.max_length is not None:
            schema["maxLength"] = self.max_length
        if self.choices is not None:
            schema["enum"] = [*self.choices, *([None] if "null" in self.types else [])]
        if "array" in self.types:
            schema["items"] = {"type": "string", "minLength": 1}
        if "object" in self.types:
            schema["additionalProperties"] = {"type": "string", "minLength": 1}
        return schema

    def check(self, value: object) -> None:
        """Refuse a value of another JSON type, or one that is not among the choices.

        :raises InvalidParams: naming the key, what is wrong with the value and what is allowed
        """
        if value is None and "null" in self.types:
            return
        if not any(type(value) is _TYPES[name] for name in self.types if name != "null"):
            wanted = " or ".join(self.types)
            raise InvalidParams(f"{self.name}: expected {wanted}, got {type(value).__name__}")
        if self.choices is not None and value not in self.choices:
            raise InvalidParams(f"{self.name}: {value!r} is not one of {', '.join(self.choices)}")
        if isinstance(value, (list, dict)):
            parts = [*value, *value.values()] if isinstance(value, dict) else value
            for part in parts:
                if not isinstance(part, str) or not part:
                    raise InvalidParams(f"{self.name}: expected texts that are not empty inside it, got {part!r}")


def check_all(keys: Iterable[Key], conf: Mapping[str, Any]) -> None:
    """Check a conf, key by key.

    :raises InvalidParams: for an unknown key or a wrong type
    """
    known = {key.name: key for key in keys}
    for name, value in conf.items():
        if name not in known:
            raise InvalidParams(_unknown(name, list(known)))
        known[name].check(value)


def _unknown(name: object, known: list[str]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    remedy = f"did you mean {near[0]!r}?" if near else f"accepted are {', '.join(known)}"
    return f"unknown key {name!r}: {remedy}"
