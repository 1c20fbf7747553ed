"""The story of a verify: read every set that is asked for from end to end, drill it if that is asked for too, tell."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import BackupError, Conflict, IntegrityFault, NotFound, StorageFault
from pgvector_backup.engine.base.progress import OnProgress, Progress, reporting
from pgvector_backup.engine.check.chain_inspection import look_at_chain, look_at_keys
from pgvector_backup.engine.check.inspection import inspect, inspect_foreign
from pgvector_backup.engine.contract.requests import VerifyRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.contract.verify_result import SetVerification, TableVerification, VerifyResult, outcome
from pgvector_backup.engine.drill import Samples, drill
from pgvector_backup.engine.postgres.session import Connect
from pgvector_backup.engine.sets import choice
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.chain import chains
from pgvector_backup.engine.sets.copies import at_copy
from pgvector_backup.engine.sets.found import FoundSet
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.stored_set import check_script, shared_lock
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import LATEST, verification_name
from pgvector_backup.engine.store.root import locate_all

_log: Final = logging.getLogger(__name__)

_LOOKS: Final = 3
"""How often the newest set is looked for again, when it was removed between finding and reading it."""


def verify(
    request: VerifyRequest,
    settings: Settings,
    connect: Connect | None,
    *,
    now: datetime,
    run_id: str | None = None,
    cancel: Cancel | None = None,
    on_progress: OnProgress | None = None,
) -> VerifyResult:
    """Hold sets against what their manifests say of them; all are looked at, whatever is wrong with the first.

    Nothing is compared with the tables as they are now: a set is of its own moment. The outcome is written beside
    each set, and a section added to each location's log file. `LATEST` is the newest set even if it is damaged; where
    no place is named, the newest of each database that has sets there.

    :param connect: to the server for the drill's scratch database; None: an embedded one
    :param now: with a time zone
    :param on_progress: told about once a second how far the rows are
    :return: the result; what is wrong is in it, as its ``failure``
    :raises NotFound: when the place or the set that the request names is not there
    :raises StorageFault: when the backup root is not there
    :raises Cancelled: when that was asked for
    """
    started = time.monotonic()
    result = VerifyResult(depth=request.depth, timestamp=now)
    with reporting(on_progress) as watched:
        run = _Run(
            request, at_copy(settings, request.from_copy), connect, now, run_id, cancel or Cancel(), watched, result
        )
        for place in run.places():
            run.verify(place)
    result.duration = time.monotonic() - started
    return result


@dataclass
class _Run:
    """One verify, from place to place."""

    request: VerifyRequest
    settings: Settings
    connect: Connect | None
    now: datetime
    run_id: str | None
    cancel: Cancel
    watched: list[Progress]
    result: VerifyResult

    def __post_init__(self) -> None:
        self._catalog = Catalog(self.settings)

    def places(self) -> Iterator[Location]:
        """Where to look.

        :raises StorageFault: when there is no root, so that a volume that is not mounted passes for no success
        """
        self._catalog.require_root()
        if self._place_named:
            yield self._catalog.place(self.request.backup_path, self.request.task_id)
        else:
            yield from locate_all(self.settings.backup_root, self.settings.backup_directory)

    def verify(self, location: Location) -> None:
        """Verify what is asked for of one place: one set, or the newest of each database where no place was named."""
        database = 0
        while self._verify_one(location, database):
            database += 1

    @property
    def _place_named(self) -> bool:
        return self.request.backup_path is not None or self.request.task_id is not None

    def _verify_one(self, location: Location, database: int) -> bool:
        """Verify a set of one place; gives whether there are sets of another database after it, see `_find`."""
        more = False
        for look in range(1, _LOOKS + 1):
            self.cancel.check()
            try:
                found, more = self._find(location, database)
            except StorageFault as fault:
                _log.error("%s: %s", location.relative_path, fault.english)
                self.result.faults.append(fault)
                return False
            if found is None:
                if not database:  # otherwise those of this one were removed meanwhile
                    self.result.notes.append(f"{location.relative_path}: no set to verify")
                return False
            try:
                with shared_lock(location, found):
                    self._record(location, found, self._verified(location, found))
                return more
            except (NotFound, Conflict) as fault:
                # Removed, or being removed, since it was found: then another one is the newest.
                if self.request.timestamp != LATEST or look == _LOOKS:
                    self.result.faults.append(fault)
                    break
            except (StorageFault, IntegrityFault) as fault:  # the manifest cannot even be held on to
                _log.error("%s: %s", location.relative_path, fault.english)
                self.result.faults.append(fault)
                break
        return more

    def _find(self, location: Location, database: int) -> tuple[FoundSet | None, bool]:
        """The set that is asked for, and whether there are sets of another database after it.

        :param database: where no place was named: which of those that have sets there
        """
        if self.request.timestamp != LATEST:
            return self._catalog.find(location, self.request.timestamp), False
        sets = self._catalog.at(location).sets
        if self._place_named:
            newest = choice.newest(sets)
            if newest is None:
                raise NotFound(f"{location.relative_path}: it holds no set; make a backup")
            return newest, False
        groups = choice.by_database(sets)
        newest = choice.newest(groups[database]) if database < len(groups) else None
        return newest, database + 1 < len(groups)

    def _verified(self, location: Location, found: FoundSet) -> SetVerification:
        started = time.monotonic()
        one = SetVerification(
            directory=location.directory,
            relative_path=location.relative_path,
            task_id=location.task_id,
            backup_id=found.backup_id,
            depth=self.request.depth,
        )
        _log.info("verifying set %s in %s: %s", found.backup_id, location.directory, one.depth)
        try:
            if found.manifest_file is None:
                self._foreign(location, found, one)
            else:
                self._ours(location, found.manifest_file, one)
        except IntegrityFault as fault:
            one.faults.append(fault.message)
        except (NotFound, Conflict):
            raise
        except BackupError as fault:
            self.cancel.check()
            one.obstacle = fault
        except Exception as fault:
            # A fault of this program must neither pass for damage nor keep the other sets from being looked at.
            _log.exception("set %s in %s could not be verified", found.backup_id, location.directory)
            one.obstacle = BackupError(
                f"an error of the program: {type(fault).__name__}; the log of this run has the rest"
            )
        one.duration = time.monotonic() - started
        return one

    def _ours(self, location: Location, manifest_file: str, one: SetVerification) -> None:
        manifest = Manifest.read(location, manifest_file)
        one.notes += [f"{label}: not in the set: {why}" for label, why in manifest.failed_tables.items()]
        chained = chains(location, manifest)
        samples = Samples(manifest)
        rows = one.depth != "files"
        progresses = {
            entry.name: self._progress(location, entry.name, entry.rows, entry.raw_bytes) for entry in manifest.tables
        }
        for entry in manifest.tables:
            self.cancel.check()
            started = time.monotonic()
            progresses[entry.name].start()
            inspection = inspect(
                location,
                entry,
                manifest.fingerprint_algorithm,
                rows=rows,
                cancel=self.cancel,
                progress=progresses[entry.name],
                see=samples.of(entry) if one.depth == "drill" and entry.name not in chained else None,
            )
            if entry.keys is not None:
                look_at_keys(location, entry.keys, inspection, self.cancel)
            if (chain := chained.get(entry.name)) is not None:
                look_at_chain(
                    chain,
                    manifest.fingerprint_algorithm,
                    inspection,
                    rows=rows,
                    cancel=self.cancel,
                    see=samples.of(entry) if one.depth == "drill" else None,
                )
            one.tables[entry.name] = TableVerification(inspection, time.monotonic() - started)
            _tell(entry.name, one.tables[entry.name])
        try:
            check_script(location, manifest)
        except IntegrityFault as fault:
            one.faults.append(fault.message)
        if one.depth == "drill":
            if one.damage:
                one.notes.append("not drilled, for it is damaged")
                one.depth = "rows"
            else:
                drill(
                    location,
                    manifest,
                    self.settings,
                    self.connect,
                    tables=one.tables,
                    samples=samples,
                    now=self.now,
                    run_id=self.run_id,
                    cancel=self.cancel,
                )

    def _foreign(self, location: Location, found: FoundSet, one: SetVerification) -> None:
        if one.depth == "drill":
            one.notes.append("not drilled: without a manifest nothing tells which tables and columns to make")
            one.depth = "rows"
        for table in found.tables:
            started = time.monotonic()
            progress = self._progress(location, table.name, None, table.bytes)
            progress.start()
            inspection = inspect_foreign(
                location, table.file, rows=one.depth != "files", cancel=self.cancel, progress=progress
            )
            inspection.bytes = table.bytes
            one.tables[table.name] = TableVerification(inspection, time.monotonic() - started)
            _tell(table.name, one.tables[table.name])

    def _progress(self, location: Location, label: str, rows: int | None, size: int) -> Progress:
        progress = Progress(
            _log, f"{location.relative_path}/{label}", rows, self.settings.progress_rows, expected_bytes=size
        )
        self.watched.append(progress)
        return progress

    def _record(self, location: Location, found: FoundSet, one: SetVerification) -> None:
        """Write down what was found; that this cannot be done is no fault of the set's."""
        self.result.sets.append(one)
        for error in one.errors:
            _log.error("%s %s: %s", one.relative_path, one.backup_id, error)
        try:
            # What was in the way says nothing of the set; another tool's files stay alone as they are.
            if found.manifest_file is not None and (one.damage or one.obstacle is None):
                content = outcome(one, found.verification, now=self.now, run_id=self.run_id)
                location.write(verification_name(found.backup_id), content)
            with self.cancel.heard():
                location.append_log(one.log_section(now=self.now, run_id=self.run_id))
        except StorageFault as fault:
            _log.warning("the outcome was not written beside the set: %s", fault.english)
            self.result.notes.append(f"{one.relative_path} {one.backup_id}: the outcome was not written: {fault}")


def _tell(label: str, table: TableVerification) -> None:
    rows = table.inspection.rows
    counted = "rows not counted" if rows is None else f"{rows:,} rows"
    _log.info("%s: %s, %s, %.3f s", label, "DAMAGED" if table.faults else "whole", counted, table.duration)
