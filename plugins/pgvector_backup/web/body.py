"""A request's body: JSON with the keys of the engine's requests, or empty."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import Request

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.contract.keys import Key

_LARGEST: Final = 1 << 20
_DEEPEST: Final = 16
_DIGITS: Final = 30
_SHOWN: Final = 40


async def json_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object; an empty one counts as ``{}``.

    :raises InvalidParams: when it is anything else
    """
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > _LARGEST:
            raise InvalidParams(f"the body is larger than {_LARGEST:,} bytes")
    if not content.strip():
        return {}
    try:
        body = json.loads(
            content.decode("utf-8-sig"),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except (ValueError, RecursionError):
        raise InvalidParams("the body is not JSON in UTF-8") from None
    if not isinstance(body, dict):
        raise InvalidParams(f"the body is no JSON object, it is of type {type(body).__name__}")
    _check_depth(body)
    _check_texts(body)
    return body


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are said once: which of two was meant is nobody's guess."""
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        again = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InvalidParams(f"the body says the key {again[:_SHOWN]!r} twice")
    return made


def _no_constant(name: str) -> Any:
    raise InvalidParams(f"the body holds {name}, which is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise InvalidParams(f"the body holds the number {text[:_SHOWN]}, which is larger than any that is kept")
    return value


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        raise InvalidParams(f"the body holds a number of {len(text):,} digits")
    return int(text)


def _check_depth(body: dict[str, Any]) -> None:
    level: list[Any] = [body]
    for _ in range(_DEEPEST):
        level = [
            inner
            for one in level
            if isinstance(one, (dict, list))
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    if level:
        raise InvalidParams(f"the body is nested deeper than {_DEEPEST} levels")


def _check_texts(body: dict[str, Any]) -> None:
    """Refuse what JSON can say and no database stores."""
    text = json.dumps(body, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidParams("the body holds half of a surrogate pair, which is no character") from None
    if "\\u0000" in text:
        raise InvalidParams("the body holds a NUL character")


def schema_of(
    keys: Sequence[Key], *, example: Mapping[str, Any], db_connection: str = "", required: Sequence[str] = ()
) -> dict[str, Any]:
    """OpenAPI's description of such a body.

    :param db_connection: pattern of the values that this installation admits there
    :param required: keys without which it means nothing
    """
    properties = {}
    for key in keys:
        properties[key.name] = {**key.schema, "description": key.description, "default": key.default}
        if key.name == "db_connection":
            properties[key.name]["pattern"] = db_connection
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = list(required)
    content = {"application/json": {"schema": schema, "example": dict(example)}}
    return {"requestBody": {"required": bool(required), "content": content}}
