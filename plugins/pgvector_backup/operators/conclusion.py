"""How a report ends: its result or results returned, or pushed and the task failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.base.messages import english, heard
from pgvector_backup.operators.alarms import tell
from pgvector_backup.operators.failures import TaskFailedForGood, log_in_one_line, push_error
from pgvector_backup.operators.outcomes import UNMAPPED, Outcome

if TYPE_CHECKING:
    from airflow.sdk import Context


def conclude(
    context: Context, results: Sequence[dict[str, Any]], faults: Sequence[Mapping[str, Any]], *, many: bool
) -> Any:
    """Return the result of a run; the list of them where there are several. Pushed before a failure is raised.

    :param faults: as `BackupError.report`, the first being the run's error
    """
    value = list(results) if many else results[0]
    if not faults:
        return value
    log_in_one_line()
    context["ti"].xcom_push(key="return_value", value=value)
    push_error(context["ti"], faults[0])
    raise TaskFailedForGood("; ".join(dict.fromkeys(english(heard(fault)) for fault in faults)))


def announce(
    context: Context, kind: str, outcome: Outcome | None, place: str | None, result: Mapping[str, Any]
) -> None:
    """Let whom the settings name know of a step's failure or recovery; a step that did not have to run is neither.

    :param place: where its set lies, or should
    :param result: with its errors, told in English as titles and remedies are
    """
    errors = result.get("errors_en", result["errors"])
    if outcome is None or (not errors and outcome.value is None):
        return
    params, conf = context["params"], context["dag_run"].conf or {}
    database = conf.get("db_connection") or params.get("db_connection")
    if database is not None and "://" in str(database):
        database = "a URI"
    of = f" of {database}" if database is not None else ""
    instance = "" if outcome.map_index == UNMAPPED or place is not None else f"[{outcome.map_index}]"
    tell(context, f"{kind}{of} in {place or 'the backup root'} (DAG {context['ti'].dag_id}{instance})", errors)


def handed_over(argument: str, value: Any) -> list[Outcome]:
    """The outcomes of steps whose results were given as they are, by no task's output.

    :raises InvalidParams: when they are no results
    """
    several = isinstance(value, Sequence) and not isinstance(value, str)
    outcomes = []
    for number, one in enumerate(value if several else [value]):
        if not isinstance(one, Mapping):
            raise InvalidParams(
                f"{argument}: expected what the task returned, as its `output`, got {type(one).__name__}"
            )
        outcomes.append(Outcome(argument, number if several else UNMAPPED, value=one))
    return outcomes


def numbered(result: dict[str, Any], outcome: Outcome | None) -> dict[str, Any]:
    """A result that is one of several: with the task and the mapped instance that it is of."""
    if outcome is None:
        return result
    return {
        **result,
        "step": outcome.task_id,
        "map_index": None if outcome.map_index == UNMAPPED else outcome.map_index,
    }
