"""How what goes wrong leaves the app: always in the envelope, never with what it should not tell."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pgvector_backup.engine.base.errors import BackupError
from pgvector_backup.web.envelope import failed, refused

_log: Final = logging.getLogger(__name__)

_ERROR_TYPES: Final = {
    401: "UNAUTHENTICATED",
    403: "FORBIDDEN",
    404: "RESOURCE_NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "CONFLICT",
    416: "RANGE_NOT_SATISFIABLE",
}

_CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}


def put_in_envelopes(app: FastAPI) -> None:
    """Make every error of an app an answer in the envelope."""
    app.add_exception_handler(BackupError, _of_the_engine)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(OperationalError, _of_the_metadata_database)
    app.add_middleware(_LastResort)


async def _of_the_engine(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, BackupError)
    return failed(request, fault)


async def _of_http(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, HTTPException)
    headers: Mapping[str, str] | None = fault.headers
    if fault.status_code == 401:
        headers = {**_CHALLENGE, **(headers or {})}
    elif fault.status_code == 405:
        headers = {**(headers or {}), "Allow": ", ".join(_methods(request))}
    error_type = _ERROR_TYPES.get(fault.status_code, "INVALID_PARAMS" if fault.status_code < 500 else "INTERNAL_ERROR")
    return refused(request, fault.status_code, error_type, _text(fault.detail), headers=headers)


async def _of_validation(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, RequestValidationError)
    first = fault.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    return refused(request, 400, "INVALID_PARAMS", f"{where}: {first['msg']}")


async def _of_the_metadata_database(request: Request, fault: Exception) -> JSONResponse:
    _log.error("Airflow's metadata database: %s", type(fault).__name__, exc_info=fault)
    return refused(request, 503, "SERVICE_UNAVAILABLE", "Airflow's metadata database is not available; try again later")


def _methods(request: Request) -> list[str]:
    """What the path can be asked with; the router names only those of the first route that has it."""
    # The routes are matched anew, against what is left of the path below this app.
    scope = {**request.scope, "method": "OPTIONS", "path_params": {}}
    matching = [route for route in request.app.routes if route.matches(scope)[0] is not Match.NONE]
    # ``/restore/list`` is not the run that is called "list", nor is ``…/pin`` a set.
    tails = [(route, route.path.rpartition("}")[2]) for route in matching]
    exact = [route for route, tail in tails if tail and request.scope["path"].endswith(tail)]
    return sorted({method for route in exact or matching for method in route.methods or ()})


def _text(detail: Any) -> str:
    return (
        detail
        if isinstance(detail, str)
        else str(detail.get("message", detail) if isinstance(detail, dict) else detail)
    )


class _LastResort:
    """Answers what nobody foresaw, and logs it; the answer tells nothing of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def watch(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception as fault:
            if begun or scope["type"] != "http":
                raise
            _log.exception("%s %s: unforeseen", scope["method"], scope["path"], exc_info=fault)
            request = Request(scope)
            answer = refused(request, 500, "INTERNAL_ERROR", "an unforeseen error; the API server's log tells it")
            await answer(scope, receive, send)
