"""How a task fails by one of our errors: for good or until the next try, and with one line in its log.

Airflow logs whatever ends a task with its traceback. Of an error that we foresaw, the traceback tells nothing but where
in our code it was noticed, and buries the one line that names what is wrong and what to do.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from pgvector_backup.engine.base.errors import BackupError
from pgvector_backup.engine.base.messages import beside, english, heard
from pgvector_backup.installation.runs import ERROR, ERROR_IN_ENGLISH


class TaskFailed(AirflowException):
    """The task failed; the same call may succeed later, so that retries are of use."""


class TaskFailedForGood(AirflowFailException):
    """The task failed, and no retry cures it."""


def failure_of(fault: BackupError) -> TaskFailed | TaskFailedForGood:
    """The exception by which a task fails with one of the engine's errors."""
    text = f"{fault.error_type}: {fault.english}"
    return TaskFailed(text) if fault.can_retry else TaskFailedForGood(text)


def push_error(ti: Any, report: Mapping[str, Any]) -> None:
    """Leave an error where callers read it, its English in an XCom of its own beside it."""
    translated = english(heard(report))
    ti.xcom_push(key=ERROR, value={key: value for key, value in report.items() if key != "response_en"})
    if translated != report["response"]:
        ti.xcom_push(key=ERROR_IN_ENGLISH, value=translated)


def report_of(fault: BackupError) -> dict[str, Any]:
    """An error as it is handed on between tasks, its English with it."""
    return {**fault.report(), **beside("response", fault.message)}


def log_in_one_line() -> None:
    """Have this process log those two exceptions as one line, their text, in place of a traceback.

    Tasks log through structlog, whose processors are asked in turn; where there is none, nothing changes.
    """
    try:
        import structlog  # noqa: PLC0415 (which the Task SDK brings)
    except ImportError:
        return
    processors = structlog.get_config()["processors"]
    if isinstance(processors, list) and _one_line not in processors:
        # The list itself, because loggers that have been used already hold on to it.
        processors.insert(0, _one_line)


_EXPECTED: Final = (TaskFailed, TaskFailedForGood)


def _one_line(_logger: Any, _method: str, event: Any) -> Any:
    given = event.get("exc_info")
    fault = given if isinstance(given, BaseException) else given[1] if isinstance(given, tuple) else sys.exc_info()[1]
    if given and isinstance(fault, _EXPECTED):
        event["event"] = str(fault)
        del event["exc_info"]
    return event
