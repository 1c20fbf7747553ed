"""Which task's return value is the result of a whole DAG run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk import DAG, BaseOperator


def declare_result(dag: DAG, task: BaseOperator) -> None:
    """Make `GET …/dagRuns/{run}/wait` answer with what a task returns, without being asked for it by ``result=``.

    Airflow 3.2 knows no such declaration: there the caller names the task, ``result=report``.
    """
    if hasattr(dag, "add_result"):
        dag.add_result(task.output)
