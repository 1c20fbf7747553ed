"""The words of the answers: Chinese, as clients of the older API know them, or English for who prefers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pgvector_backup.engine.base import messages

Language = Literal["zh", "en"]

_BY_STATUS: Final[dict[int, tuple[str, str]]] = {
    200: ("操作成功", "OK"),
    202: ("操作成功", "Accepted"),
    400: ("请求参数错误", "Bad request"),
    401: ("未登录或登录已过期", "Not logged in"),
    403: ("没有权限", "Not permitted"),
    404: ("资源未找到", "Not found"),
    405: ("请求方法不允许", "Method not allowed"),
    409: ("操作冲突", "Conflict"),
    416: ("请求的范围无效", "Range not satisfiable"),
    500: ("系统内部错误", "Internal error"),
    503: ("数据库服务不可用", "Database not available"),
}

_SPOKEN: Final = frozenset({"response", "error", "errors", "message"})
"""Keys whose texts are sentences of ours, with their English beside them; everything else is data."""


def preferred(accept_language: str | None) -> Language:
    """Which of the two an ``Accept-Language`` header prefers; Chinese when it does not say."""
    best, weight = "zh", 0.0
    for part in (accept_language or "").split(","):
        tag, *parameters = (piece.strip().lower() for piece in part.split(";"))
        language = tag.split("-")[0]
        if language in ("zh", "en") and (quality := _quality(parameters)) > weight:
            best, weight = language, quality
    return "en" if best == "en" else "zh"


def _quality(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0


def status_message(code: int, language: Language) -> str:
    """The envelope's ``message`` for a status."""
    known = _BY_STATUS.get(code) or _BY_STATUS[400 if code < 500 else 500]
    return known[language == "en"]


def spoken(data: Any, language: Language) -> Any:
    """The same data with the sentences in it in the language asked for, and that one alone."""
    match data:
        case Mapping():
            beside = {key for key in data if _is_beside(key, data)}
            return {
                key: data[f"{key}_en"]
                if language == "en" and f"{key}_en" in beside
                else _of_an_earlier_release(value, language)
                if key in _SPOKEN and isinstance(value, str)
                else spoken(value, language)
                for key, value in data.items()
                if key not in beside
            }
        case list() | tuple():
            return [spoken(value, language) for value in data]
    return data


def _of_an_earlier_release(text: str, language: Language) -> str:
    """A sentence that its run, made by a release that wrote no English, has left as it stands in the table."""
    return messages.IN_ENGLISH.get(text, text) if language == "en" else text


def _is_beside(key: object, data: Mapping[Any, Any]) -> bool:
    """Whether a key holds the English of another; a table may have any name, but what is told of it is no text."""
    if not isinstance(key, str) or not key.endswith("_en") or key[:-3] not in _SPOKEN:
        return False
    return isinstance(data[key], (str, list)) and isinstance(data.get(key[:-3]), (str, list))
