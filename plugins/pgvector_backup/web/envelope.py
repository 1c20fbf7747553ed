"""The shape of every answer: ``{"code", "success", "message", "data"}``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from pgvector_backup.engine.base.errors import BackupError
from pgvector_backup.engine.base.messages import beside
from pgvector_backup.web.language import preferred, spoken, status_message


def answer(request: Request, data: Any, *, code: int = 200, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An answer in the language that the request prefers.

    :param data: JSON as it is; for an error see `failed`
    :param code: below 400 it is a success
    """
    language = preferred(request.headers.get("accept-language"))
    return JSONResponse(
        {
            "code": code,
            "success": code < 400,
            "message": status_message(code, language),
            "data": spoken(data, language),
        },
        status_code=code,
        headers={"Vary": "Accept-Language", "Cache-Control": "no-store", **(headers or {})},
    )


def failed(request: Request, fault: BackupError, **more: Any) -> JSONResponse:
    """The answer that an error of the engine's family is.

    :param more: further fields of its data
    """
    return answer(request, {**fault.report(), **beside("response", fault.message), **more}, code=fault.code)


def refused(
    request: Request,
    code: int,
    error_type: str,
    response: str,
    *,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> JSONResponse:
    """The answer to what does not reach the engine."""
    data = {
        "response": response,
        "error_type": error_type,
        "can_retry": code == 503,
        "timestamp": datetime.now(timezone.utc).astimezone().isoformat(timespec="seconds"),
        **more,
    }
    return answer(request, data, code=code, headers=headers)
