"""What every answer looks like, for the OpenAPI document; what is in it has a module by what it is of."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

T = TypeVar("T")


class Open(BaseModel):
    """Further fields may come with later releases."""

    model_config = ConfigDict(extra="allow")


class Envelope(BaseModel, Generic[T]):
    """Every answer of a success."""

    code: int
    success: Literal[True]
    message: str
    data: T


class ErrorData(Open):
    """What went wrong, and the remedy."""

    response: str
    error_type: str
    can_retry: bool
    timestamp: str
    missing_params: list[str] | None = None
    run_id: str | None = None
    result: dict[str, Any] | None = None


class ErrorEnvelope(BaseModel):
    """Every answer of an error."""

    code: int
    success: Literal[False]
    message: str
    data: ErrorData


def answers(shape: Any, *errors: int, code: int = 200) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route: its success, its own errors, and those that every route may give."""
    every = {400, 401, 403, 500, 503, *errors}
    return {
        code: {"model": Envelope[shape], "description": "Success"},
        **{error: {"model": ErrorEnvelope, "description": "Error"} for error in sorted(every)},
    }
