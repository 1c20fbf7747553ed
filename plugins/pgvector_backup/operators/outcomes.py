"""What became of the steps that a report tells of: which tasks they are, how they ended, what they left.

A step is named by the report's author, by handing over its output, or it is found: among the tasks upstream of the
report, by its type. Whatever its name, its group or its number of mapped instances, what is told of it is what Airflow
and the step itself have recorded; nothing is concluded from a step's absence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import XComArg

from pgvector_backup.engine.base.errors import BackupError, InvalidParams
from pgvector_backup.engine.base.messages import english, heard
from pgvector_backup.installation.runs import ERROR, ERROR_IN_ENGLISH, PLACE, SAVED

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context

UNMAPPED: Final = -1


@dataclass(frozen=True)
class Outcome:
    """What became of one step, or of one mapped instance of it.

    :param map_index: `UNMAPPED` where there is but one instance
    :param value: what it returned
    :param error: `BackupError.report` of why it did not do what it is for
    :param certain: whether ``error`` is the step's own word; otherwise what it has done is not known
    :param note: why it did nothing, where that is no failure of its own
    :param place: what the step itself said of where its set lies
    :param saved: of a restore, the set that it made of the tables first
    """

    task_id: str
    map_index: int = UNMAPPED
    value: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    certain: bool = True
    note: str | None = None
    place: Mapping[str, Any] | None = None
    saved: Mapping[str, Any] | None = None


def references(value: Any) -> tuple[str, ...]:
    """The tasks whose outputs an argument is made of, as it is before rendering."""
    return tuple(dict.fromkeys(operator.task_id for operator, _ in XComArg.iter_xcom_references(value)))


def sources(operator: Any, argument: str) -> tuple[str, ...]:
    """The tasks whose outputs a task, mapped or not, is given for an argument."""
    if not operator.is_mapped:
        return references(getattr(operator, argument, None))
    expanded = getattr(operator.expand_input, "value", {})
    return references([operator.partial_kwargs.get(argument), expanded])


def plain(operator: Any, argument: str) -> Any:
    """An argument of a task as its author wrote it; None where it differs from one mapped instance to the next."""
    return operator.partial_kwargs.get(argument) if operator.is_mapped else getattr(operator, argument, None)


class Upstream:
    """The tasks that come before a report, as they have ended in this run."""

    def __init__(self, report: BaseOperator, context: Context) -> None:
        self._report = report
        self._ti = context["ti"]
        run_id = context["run_id"]
        self._states: Mapping[str, str | None] = self._ti.get_task_states(dag_id=self._ti.dag_id, run_ids=[run_id]).get(
            run_id, {}
        )
        self._tasks = {task.task_id: task for task in report.get_flat_relatives(upstream=True)}

    def steps(self, kind: type, named: Sequence[str]) -> list[Any]:
        """The tasks that are steps of a kind: those named; where none is, those of the type.

        :raises InvalidParams: for a name that no task has
        """
        assert self._report.dag is not None
        for task_id in named:
            if not self._report.dag.has_task(task_id):
                raise InvalidParams(f"{self._report.task_id}: this DAG has no task {task_id!r} to tell of")
        if named:
            return [self._report.dag.get_task(task_id) for task_id in named]
        found = [task for task in self._tasks.values() if issubclass(getattr(task, "operator_class", type(task)), kind)]
        return sorted(found, key=lambda task: task.task_id)

    def outcomes(self, steps: Sequence[Any], *, after: Sequence[Any] = ()) -> list[Outcome]:
        """What became of each step, one outcome for each of its mapped instances.

        :param after: steps that come before these and are told of too: what kept them from running is their affair
        """
        told = {step.task_id for step in after}
        return [self._outcome(step, index, told) for step in steps for index in self._indexes(step)]

    def many(self, steps: Sequence[Any]) -> bool:
        """Whether steps have, or could have, more than one outcome."""
        return len(steps) > 1 or any(self._spread(step) for step in steps)

    def other_failures(self, told: Iterable[Outcome]) -> list[dict[str, Any]]:
        """The failures of tasks that are none of the steps, and that no later task has made good.

        A task that failed is made good where all that follow it succeeded nevertheless, by their trigger rules.

        :param told: the outcomes of the steps, which tell of their own failures, and of what kept them from running
        """
        known = {outcome.task_id for outcome in told}
        blamed = " ".join(english(heard(outcome.error)) for outcome in told if outcome.error)
        faults = []
        for task_id, task in self._tasks.items():
            state = next((state for state in self._states_of(task) if state == "failed"), None)
            if task_id in known or state is None or f"task {task_id} failed" in blamed:
                continue
            followers = [self._tasks[name] for name in task.downstream_task_ids if name in self._tasks]
            if followers and all(set(self._states_of(follower)) <= {"success"} for follower in followers):
                continue
            left = self._pull_error(task, UNMAPPED)
            text = english(heard(left)) if isinstance(left, Mapping) and "response" in left else "its log tells why"
            faults.append(dict(BackupError(f"task {task_id} failed: {text}").report()))
        return faults

    def _outcome(self, step: Any, index: int, told_too: set[str]) -> Outcome:
        told: dict[str, Any] = {"task_id": step.task_id, "map_index": index}
        state = self._states.get(_key(step.task_id, index))
        value = self._pull(step, "return_value", index)
        told["value"] = value if isinstance(value, Mapping) else None
        place = self._pull(step, PLACE, index)
        told["place"] = place if isinstance(place, Mapping) else None
        if told["value"] is None and state == "failed":
            saved = self._pull(step, SAVED, index)
            told["saved"] = saved if isinstance(saved, Mapping) else None
        if state == "success":
            if told["value"] is not None:
                return Outcome(**told)
            text = f"task {step.task_id} is marked success and left no result: what it has done is not known"
        elif state == "skipped":
            return Outcome(**told, note=self._why_skipped(step, told_too))
        elif state == "upstream_failed":
            return self._kept_from_running(step, told, told_too)
        elif state == "failed":
            left = self._pull_error(step, index)
            if isinstance(left, Mapping):
                return Outcome(**told, error=dict(left))
            text = (
                f"task {step.task_id} is failed and gave no reason: somebody marked it so, or its process was killed; "
                "its log tells which"
            )
        else:
            text = (
                f"task {step.task_id} has not ended ({state or 'no state'}): what it does is not known; "
                "let the report follow it"
            )
        return Outcome(**told, error=dict(BackupError(text).report()), certain=False)

    def _kept_from_running(self, step: Any, told: Mapping[str, Any], told_too: set[str]) -> Outcome:
        before = sorted(step.get_flat_relatives(upstream=True), key=lambda task: str(task.task_id))
        failed = [task for task in before if "failed" in self._states_of(task)]
        names = ", ".join(f"task {task.task_id} failed" for task in failed) or "a task before it failed"
        note = f"did not run: {names}"
        if any(
            {"failed", "upstream_failed"} & set(self._states_of(task)) for task in before if task.task_id in told_too
        ):
            return Outcome(**told, note=note)
        left = [self._pull_error(task, UNMAPPED) for task in failed]
        why = (
            "; ".join(english(heard(one)) for one in left if isinstance(one, Mapping))
            or "the log of that task tells why"
        )
        return Outcome(**told, error=dict(BackupError(f"task {step.task_id} {note}: {why}").report()), note=note)

    def _why_skipped(self, step: Any, told_too: set[str]) -> str:
        skipped = [
            task.task_id
            for task in step.upstream_list
            if task.task_id not in told_too and set(self._states_of(task)) == {"skipped"}
        ]
        return f"skipped, as was {', '.join(f'task {name}' for name in skipped)} before it" if skipped else "skipped"

    def _spread(self, step: Any) -> bool:
        """Whether a step has several instances, seen from the report."""
        if step.is_mapped:
            return True
        group = step.get_closest_mapped_task_group()
        return group is not None and group is not self._report.get_closest_mapped_task_group()

    def _indexes(self, step: Any) -> list[int]:
        if not self._spread(step):
            grouped = step.get_closest_mapped_task_group() is not None
            return [self._ti.map_index if grouped and self._ti.map_index is not None else UNMAPPED]
        pattern = re.compile(re.escape(step.task_id) + r"_(\d+)")
        assert self._report.dag is not None
        found = [
            int(match[1])
            for name, state in self._states.items()
            if state != "removed" and (match := pattern.fullmatch(name)) and not self._report.dag.has_task(name)
        ]
        # Not expanded at all: a task before it failed or was skipped, or there was nothing to expand over.
        return sorted(found) or [UNMAPPED]

    def _states_of(self, task: Any) -> list[str | None]:
        return [self._states.get(_key(task.task_id, index)) for index in self._indexes(task)]

    def _pull(self, step: Any, key: str, index: int) -> Any:
        if index == UNMAPPED:
            # Without an index Airflow asks for all that there are, and does not log as an error that there is none.
            return self._ti.xcom_pull(task_ids=step.task_id, key=key)
        return self._ti.xcom_pull(task_ids=step.task_id, key=key, map_indexes=index)

    def _pull_error(self, step: Any, index: int) -> Any:
        """A step's error, its English with it; None where it left none."""
        left = self._pull(step, ERROR, index)
        if not isinstance(left, Mapping) or "response" not in left:
            return left
        translated = self._pull(step, ERROR_IN_ENGLISH, index)
        return {**left, "response_en": translated} if isinstance(translated, str) else left


def _key(task_id: str, index: int) -> str:
    return task_id if index == UNMAPPED else f"{task_id}_{index}"
