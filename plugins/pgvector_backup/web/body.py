"""A request's body: JSON with the keys of the engine's requests, or empty."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import Request

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.contract.keys import Key

_LARGEST: Final = 1 << 20


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
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise InvalidParams("the body is not JSON") from None
    if not isinstance(body, dict):
        raise InvalidParams(f"the body is no JSON object, it is of type {type(body).__name__}")
    _check_texts(body)
    return body


def _check_texts(body: dict[str, Any]) -> None:
    """Refuse what JSON can say and no database stores."""
    text = json.dumps(body, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidParams("the body holds half of a surrogate pair, which is no character") from None
    if "\\u0000" in text:
        raise InvalidParams("the body holds a NUL character")


def schema_of(keys: Sequence[Key], *, db_connection: str, example: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAPI's description of such a body.

    :param db_connection: pattern of the values that this installation admits there
    """
    properties = {}
    for key in keys:
        properties[key.name] = {**key.schema, "description": key.description, "default": key.default}
        if key.name == "db_connection":
            properties[key.name]["pattern"] = db_connection
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    content = {"application/json": {"schema": schema, "example": dict(example)}}
    return {"requestBody": {"required": False, "content": content}}
