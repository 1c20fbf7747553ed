"""The words of the answers: Chinese, as clients of the older API know them, or English for who prefers it."""

from __future__ import annotations

import re
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

_ENGLISH: Final[dict[str, str]] = {
    messages.BACKUP_DONE: "Vector tables backed up",
    messages.NOTHING_DONE: "Nothing was done",
    messages.BACKUP_FAILED: "The backup of the vector tables failed",
    messages.OUTCOME_UNKNOWN: "What became of the backup is not known",
    messages.TRUNCATE_FAILED: "Emptying the vector tables failed",
    messages.BAD_TASK_ID: "malformed task_id: letters, digits and underscores only",
    messages.TASK_DIRECTORY_MISSING: "the task's directory does not exist: {task_id}",
    messages.PARAMS_MISSING: "required parameters are missing",
    messages.CONNECTION_FAILED: "the database cannot be reached, check the connection",
    # Of runs whose DAGs may be older or newer than this API.
    "Vector表恢复完成": "Vector tables restored",
    "Vector表恢复失败": "The restore of the vector tables failed",
    "Vector表恢复预演完成,未执行任何更改": "The restore was rehearsed, nothing was changed",
    "Vector表备份校验完成": "Backups verified",
    "Vector表备份校验失败": "The verification of the backups failed",
    "没有可校验的备份": "There is no backup to verify",
    messages.PRUNE_DONE: "Backups pruned",
    messages.PRUNE_PLANNED: "The prune was rehearsed, nothing was changed",
    messages.PRUNE_FAILED: "The prune of the backups failed",
    messages.NO_POLICY: "No retention policy is set, nothing was removed",
}

_SPOKEN: Final = frozenset({"response", "error", "errors", "message"})
"""Keys whose texts are sentences of ours; everything else is data and stays as it is."""


def _pattern(sentence: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+\})", sentence)
    return re.compile("".join(f"(?P<{part[1:-1]}>.*)" if part[:1] == "{" else re.escape(part) for part in parts))


_TRANSLATIONS: Final = [(_pattern(known), english) for known, english in _ENGLISH.items()]


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
    """The same data with the known sentences in it in the language asked for."""
    return data if language == "zh" else _walked(data, ours=False)


def _walked(data: Any, *, ours: bool) -> Any:
    match data:
        case str():
            return _english(data) if ours else data
        case Mapping():
            return {key: _walked(value, ours=key in _SPOKEN) for key, value in data.items()}
        case list() | tuple():
            return [_walked(value, ours=ours) for value in data]
    return data


def _english(text: str) -> str:
    if text.isascii():
        return text
    for known, english in _TRANSLATIONS:
        text = known.sub(lambda found, english=english: english.format(**found.groupdict()), text)  # type: ignore[misc]
    return text
