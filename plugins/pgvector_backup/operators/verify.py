"""The tasks of a verify: the one that verifies, and the one that ends the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pgvector_backup.engine.base.errors import InvalidParams, NotFound
from pgvector_backup.engine.base.messages import heard
from pgvector_backup.engine.contract.request_keys import VERIFY_KEYS
from pgvector_backup.engine.contract.requests import VerifyRequest
from pgvector_backup.engine.store.naming import LATEST
from pgvector_backup.installation import configuration
from pgvector_backup.installation.announced import AnnouncedSet, announced_sets
from pgvector_backup.operators.arguments import text_of
from pgvector_backup.operators.conclusion import announce, conclude, numbered
from pgvector_backup.operators.outcomes import Outcome, Upstream
from pgvector_backup.operators.task import PgVectorTask

if TYPE_CHECKING:
    from airflow.sdk import Context

    from pgvector_backup.engine.contract.verify_result import VerifyResult


class PgVectorVerifyOperator(PgVectorTask):
    """Hold sets against their manifests; returns the run's result.

    The outcome is written beside each set, and a section added to each location's log file. Each outlet asset's event
    tells the sets and whether they are whole.

    :param backup_path: directory of the set, relative to the backup root, as lists of sets give it; without it and
        ``backup_task_id``, every location (templated)
    :param backup_task_id: in its place, the task whose directory holds the set (templated)
    :param timestamp: which set; ``latest`` is the newest, damaged or not (templated)
    :param from_copy: which of ``copy_roots`` the sets are read at; None: at the backup root (templated)
    :param depth: ``files``, ``rows`` or ``drill``; the configured one if None
    :param pgvector_conn_id: Airflow connection of a server on which a drill may make a scratch database; None: an
        embedded server on the worker (templated)

    Further arguments as of `PgVectorTask`, all keyword-only.
    """

    template_fields: Sequence[str] = (
        *PgVectorTask.template_fields,
        "backup_path",
        "backup_task_id",
        "timestamp",
        "from_copy",
    )

    def __init__(
        self,
        *,
        backup_path: str | None = None,
        backup_task_id: str | None = None,
        timestamp: str = LATEST,
        from_copy: str | None = None,
        depth: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.backup_path = backup_path
        self.backup_task_id = backup_task_id
        self.timestamp = timestamp
        self.from_copy = from_copy
        self.depth = depth
        self.remember_given()

    def request(self, context: Context) -> VerifyRequest:
        """What this run asks for, checked.

        :raises InvalidParams: for an unknown key or a bad value
        """
        arguments = {
            "backup_path": self.rendered("backup_path", text_of),
            "task_id": self.rendered("backup_task_id", text_of),
            "timestamp": self.rendered("timestamp", text_of),
            "from_copy": self.rendered("from_copy", text_of),
            "depth": self.depth or configuration.verify_depth(),
        }
        return VerifyRequest.from_mapping(self.asked(context, VERIFY_KEYS, arguments))

    def execute(self, context: Context) -> dict[str, Any]:
        """Verify; the result is pushed before a failure is raised, so that it survives it."""
        with self.reported(context):
            made = self._announced(context)
            result = self._verified(context, self.request(context)) if made is None else self._follow(context, made)
            for asset in self.outlets:
                context["outlet_events"][asset].extra = {
                    "depth": result.depth,
                    "sets": {f"{one.relative_path} {one.backup_id}": one.ok for one in result.sets},
                }
            if result.failure is not None:
                context["ti"].xcom_push(key="return_value", value=result.to_json())
                raise result.failure
            return result.to_json()

    def _announced(self, context: Context) -> tuple[AnnouncedSet, ...] | None:
        """The sets whose backups have called for this run; None: it was not called for by any."""
        events = context.get("triggering_asset_events") if self.conf_from_run else None
        if not events:
            return None
        return announced_sets(event.extra for of_asset in events.values() for event in of_asset)

    def _follow(self, context: Context, made: Sequence[AnnouncedSet]) -> VerifyResult:
        """Look at each set that was announced; one that is gone, or lies elsewhere, is no failure of a backup."""
        from pgvector_backup.engine.contract.verify_result import VerifyResult  # noqa: PLC0415 (see `operators`)
        from pgvector_backup.engine.sets.catalog import Catalog  # noqa: PLC0415 (see `operators`)

        after = configuration.verify_after()
        depth = "files" if after == configuration.NEVER else after
        settings = configuration.settings(backup_root=self.rendered("backup_root", text_of))
        whole = VerifyResult(depth=depth, timestamp=configuration.now())  # type: ignore[arg-type]
        for one in made:
            try:
                request = VerifyRequest.from_mapping({**one.place(settings.backup_directory), "depth": depth})
                if Catalog(settings).place(request.backup_path, request.task_id).directory != one.directory:
                    whole.notes.append(f"{one.directory} {one.backup_id}: not below this backup root; not verified")
                    continue
                whole.add(self._verified(context, request))
            except (NotFound, InvalidParams) as fault:
                self.log.warning("%s %s: not verified: %s", one.directory, one.backup_id, fault.english)
                whole.notes.append(f"{one.directory} {one.backup_id}: not verified: {fault.english}")
        return whole

    def _verified(self, context: Context, request: VerifyRequest) -> VerifyResult:
        from pgvector_backup.engine.verify import verify  # noqa: PLC0415 (see `operators`)

        # Production is touched only if somebody names a server: a drill has one of its own.
        named = request.depth == "drill" and (request.db_connection or self.rendered("pgvector_conn_id", text_of))
        return verify(
            request,
            configuration.settings(backup_root=self.rendered("backup_root", text_of)),
            self.connect(request.db_connection) if named else None,
            now=configuration.now(),
            run_id=context["run_id"],
            cancel=self.cancel(),
            on_progress=self.on_progress(context),
        )


class PgVectorVerifyReportOperator(PgVectorTask):
    """Hand on the run's result, fail if the verify failed.

    It has to run whatever became of the verify (``trigger_rule="all_done"``), and decides the state of the run. The
    verify is the one handed over; without, the one upstream of this task, whatever its name and group. Of a mapped
    verify, and of several, it returns a list of results.

    :param verify: what the verify returned, as its ``output`` (templated)
    :param verify_step: task id of the verify, where its output is not at hand
    """

    template_fields: Sequence[str] = (*PgVectorTask.template_fields, "verify")

    def __init__(self, *, verify: Any = None, verify_step: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.verify = verify
        self.verify_step = verify_step
        self.remember_given()

    def execute(self, context: Context) -> Any:
        """Report; the result is pushed before a failure is raised, so that it survives it."""
        with self.reported(context):
            return self._report(context)

    def _report(self, context: Context) -> Any:
        upstream = Upstream(self, context)
        steps, outcomes = self.step_outcomes(upstream, PgVectorVerifyOperator, "verify", self.verify_step)
        if not outcomes:
            raise InvalidParams(
                "no verify is upstream of this report, so what became of it is not known; hand it over: verify=….output"
            )
        many = upstream.many(steps) or len(outcomes) > 1
        others = upstream.other_failures(outcomes)
        results, faults = [], []
        for number, outcome in enumerate(outcomes):
            told = [outcome.error] if outcome.error else []
            # What failed besides is told once.
            told += others if number == 0 else []
            result = self._result(context, outcome, [heard(fault) for fault in told])
            results.append(numbered(result, outcome) if many else result)
            self._tell(context, outcome, result)
            faults += told
        return conclude(context, results, faults, many=many)

    def _tell(self, context: Context, outcome: Outcome, result: dict[str, Any]) -> None:
        """Let whom the settings name know; of what follows a backup, of each location by itself."""
        if not context.get("triggering_asset_events"):
            announce(context, "verify", outcome, context["params"].get("backup_path"), result)
            return
        for place in dict.fromkeys(one["backup_path"] for one in result["sets"]):
            of_place = [error for one in result["sets"] if one["backup_path"] == place for error in one["errors"]]
            announce(context, "verify", outcome, place, {"errors": of_place})

    def _result(self, context: Context, outcome: Outcome, faults: list[str]) -> dict[str, Any]:
        from pgvector_backup.engine.contract.verify_result import empty_result  # noqa: PLC0415 (see `operators`)

        if outcome.value is not None:
            result = dict(outcome.value)
            return {**result, "errors": list(dict.fromkeys([*result.get("errors", ()), *faults]))}
        # A verify that could not even begin has left no result.
        depth = str(context["params"].get("depth"))
        return empty_result(depth, configuration.now(), errors=faults, notes=[outcome.note] if outcome.note else [])
