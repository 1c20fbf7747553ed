"""What all tasks have in common: connection, cancelling, and how their errors leave."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import BaseOperator, get_current_context
from airflow.sdk.exceptions import AirflowException, AirflowSkipException, AirflowTaskTimeout, DownstreamTasksSkipped

from pgvector_backup.engine.base.errors import BackupError, Cancelled, InvalidParams
from pgvector_backup.engine.base.progress import OnProgress
from pgvector_backup.engine.contract.keys import Key
from pgvector_backup.installation import configuration
from pgvector_backup.installation.runs import PLACE, PROGRESS_KEY
from pgvector_backup.installation.temporary import temporary_id
from pgvector_backup.operators import counts
from pgvector_backup.operators.arguments import text_of
from pgvector_backup.operators.conclusion import handed_over
from pgvector_backup.operators.failures import failure_of, log_in_one_line, push_error, report_of
from pgvector_backup.operators.lineage import Lineage, facets
from pgvector_backup.operators.links import VectorBackupsLink
from pgvector_backup.operators.outcomes import Outcome, Upstream, plain, references

if TYPE_CHECKING:
    from airflow.sdk import Context

    from pgvector_backup.engine.base.cancel import Cancel
    from pgvector_backup.engine.postgres.session import Connect

T = TypeVar("T")


class PgVectorTask(BaseOperator):
    """One step of a run of this project's.

    :param pgvector_conn_id: Airflow connection of the database; the configured one if None (templated)
    :param backup_root: path or URL in place of the configured one (templated)
    :param conf_from_run: whether the run's conf decides: its keys come before the arguments, an unknown one is
        refused
    """

    template_fields: Sequence[str] = ("pgvector_conn_id", "backup_root")
    operator_extra_links = (VectorBackupsLink(),)
    ui_color = "#e4f0e8"

    def __init__(
        self,
        *,
        pgvector_conn_id: str | None = None,
        backup_root: str | None = None,
        conf_from_run: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pgvector_conn_id = pgvector_conn_id
        self.backup_root = backup_root
        self.conf_from_run = conf_from_run
        self._cancel: Cancel | None = None
        self._lineage = Lineage()
        self.remember_given()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """What this try has read and written, as apache-airflow-providers-openlineage asks for it."""
        return facets(self._lineage)

    def on_kill(self) -> None:
        """Stop what runs on the server; the story then ends by itself and cleans up."""
        if self._cancel is not None:
            self.log.warning("asked to stop; cancelling what runs on the server")
            self._cancel.ask()

    def remember_given(self) -> None:
        """Keep which arguments were given, for rendering replaces them; each constructor ends with it."""
        given = {name: getattr(self, name, None) for name in self.template_fields}
        self._given = {name: references(value) for name, value in given.items() if value is not None}

    def asked(self, context: Context, keys: Sequence[Key], arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What this run asks for: its conf where that decides, otherwise the arguments."""
        if not self.conf_from_run:
            return dict(arguments)
        # conf itself as well as params: Airflow checks params, and lets unknown keys of conf pass.
        params, conf = context["params"], context["dag_run"].conf or {}
        return {key.name: params[key.name] for key in keys if key.name in params} | dict(conf)

    def connect(self, db_connection: str | None, default: str | None = None) -> Connect:
        """How to connect to the database that a request is about.

        :param default: connection id where neither conf nor an argument names one; the configured one if None
        """
        from pgvector_backup.installation.connections import connect_to  # noqa: PLC0415 (see `operators`)

        run = get_current_context()["dag_run"]
        connect = connect_to(
            db_connection,
            self.rendered("pgvector_conn_id", text_of) or default,
            configuration.connection_rules(),
            own=temporary_id(run.dag_id, run.run_id, run.triggering_user_name),
        )
        return self._lineage.noting(connect)

    def used(self, db_connection: str | None, default: str | None = None) -> dict[str, str]:
        """What a result tells of the connection; the same arguments as of `connect`."""
        from pgvector_backup.installation.connections import name_of  # noqa: PLC0415 (see `operators`)

        configured = self.rendered("pgvector_conn_id", text_of) or default
        return {"connection": name_of(db_connection, configured, configuration.connection_rules())}

    def cancel(self) -> Cancel:
        """What `on_kill` asks to stop, made when the work begins."""
        from pgvector_backup.engine.base.cancel import Cancel  # noqa: PLC0415 (see `operators`)

        if self._cancel is None:
            self._cancel = Cancel()
        return self._cancel

    def on_progress(self, context: Context) -> OnProgress | None:
        """Keeps the last report where the API server reads it, if this Airflow has such a place (3.3 and later)."""
        store = context.get("task_state_store")
        return None if store is None else partial(store.set, PROGRESS_KEY)

    @contextmanager
    def reported(self, context: Context) -> Iterator[None]:
        """Push an error of the engine as XCom ``error``, then let the task fail with it.

        What a retry cannot cure fails at once, whatever retries are left. An end that comes from elsewhere, a timeout
        or a fault that nobody foresaw, is told there too, and leaves as it is.
        """
        log_in_one_line()
        self._cancel, self._lineage = None, Lineage()  # another try's
        started = time.monotonic()
        failed = partial(self._count, "failed", started)
        try:
            with self.cancel().heard():
                yield
            self._count("success", started)
        except BackupError as fault:
            failed()
            self._push_error(context, fault)
            # Not chained: the cause's own text may quote what the message leaves out on purpose.
            raise failure_of(fault) from None
        except AirflowTaskTimeout:
            failed()
            self._push_error(
                context,
                Cancelled(
                    f"task {self.task_id} was stopped after its execution_timeout of {self.execution_timeout}; "
                    "nothing half-made of it is left. Allow it more time, or find what it waited for in its log"
                ),
            )
            raise
        except DownstreamTasksSkipped:  # how a task that has done its work leaves others out
            self._count("success", started)
            raise
        except AirflowSkipException:
            raise
        except AirflowException:
            failed()
            raise
        except Exception as fault:
            failed()
            # Its own text may hold anything, a password too.
            self._push_error(
                context,
                BackupError(
                    f"task {self.task_id} failed by an unforeseen {type(fault).__name__}; its log has the traceback"
                ),
            )
            raise

    def _count(self, outcome: counts.Outcome, started: float) -> None:
        counts.count(counts.step_of(self, PgVectorTask), outcome, time.monotonic() - started)

    def note_place(self, context: Context, **place: Any) -> None:
        """Leave word of where this step's set lies, for a report that is not given the same arguments."""
        if not self.conf_from_run:
            context["ti"].xcom_push(key=PLACE, value=place)

    def rendered(self, name: str, convert: Callable[[str, Any], T]) -> T:
        """One of this task's arguments, rendered and checked.

        :raises InvalidParams: when it is not what it should be, or came out as None
        """
        value = getattr(self, name)
        if value is None and name in self._given:
            raise InvalidParams(
                f"{name}: what was given for it came out as None, so what is meant is not known; "
                "look at the task that it comes from"
            )
        return convert(name, value)

    def step_outcomes(
        self, upstream: Upstream, kind: type, argument: str, named: str | None, *, after: Sequence[Any] = ()
    ) -> tuple[list[Any], list[Outcome]]:
        """The steps of a kind that a report tells of, and what became of them.

        :param argument: the report's own, by which such a step's output is handed over
        :param named: a step's task id, in its place
        :param after: steps that come before these
        """
        given = self._given.get(argument)
        if given == ():
            # A result as such: no task's output, or one that is mapped over.
            return [], handed_over(argument, getattr(self, argument))
        names = given or (() if named is None else (named,))
        steps = upstream.steps(kind, names)
        return steps, upstream.outcomes(steps, after=after)

    def own_or_step_s(
        self, name: str, outcome: Outcome | None, steps: Mapping[str, Any], context: Context
    ) -> str | None:
        """An argument of this report, or that of the step that it tells of."""
        own = self.rendered(name, text_of)
        return self.step_s(name, outcome, steps, context) if own is None else own

    def step_s(self, name: str, outcome: Outcome | None, steps: Mapping[str, Any], context: Context) -> str | None:
        """An argument of the step that a report tells of; None where it differs between its mapped instances."""
        step = None if outcome is None else steps.get(outcome.task_id)
        return None if step is None else text_of(name, self.render_template(plain(step, name), context))

    def _push_error(self, context: Context, fault: BackupError) -> None:
        push_error(context["ti"], report_of(fault))
