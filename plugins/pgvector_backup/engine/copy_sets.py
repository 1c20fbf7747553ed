"""The story of a copy: which sets are asked for, to which roots, and what became of each."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import BackupError, InvalidParams
from pgvector_backup.engine.base.progress import OnProgress, reporting
from pgvector_backup.engine.contract.copy_result import CopyResult, SetCopy
from pgvector_backup.engine.contract.requests import CopyRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.copies import from_copy
from pgvector_backup.engine.sets.copying import Copying
from pgvector_backup.engine.sets.found import FoundSet
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.root import Root, require_apart, require_root

_log: Final = logging.getLogger(__name__)


def copy(
    request: CopyRequest,
    settings: Settings,
    *,
    now: datetime,
    cancel: Cancel | None = None,
    on_progress: OnProgress | None = None,
) -> CopyResult:
    """Bring sets to each of ``copy_roots``, or from one of them to all other roots.

    One set, or one root, that fails stops no other.

    What a set stands on goes with it. A set that lies there whole is left alone; one that is damaged there is made
    again from this one, once this one is proven. Another set of the same id there is never touched.

    :param now: with a time zone; the result's timestamp
    :param on_progress: told about once a second how far it is
    :raises InvalidParams: when there is no other root, or it is not another
    :raises NotFound: when the place or the set named is not there
    :raises Cancelled: when that was asked for
    """
    started = time.monotonic()
    cancel = cancel or Cancel()
    if not settings.copy_roots:
        raise InvalidParams("copy_roots: no other root is named, so there is nowhere to copy to")
    for root in settings.copy_roots:
        require_apart(settings.backup_root, root)
    first = settings.backup_root
    settings = from_copy(settings, request.from_copy)
    copies: list[SetCopy] = []
    notes: list[str] = []
    whole: set[tuple[Root, str, str]] = set()
    with reporting(on_progress) as watched:
        for location, found in _asked_for(request, settings, notes):
            for root in settings.copy_roots:
                cancel.check()
                one = Copying(
                    location, root, settings, request.quick, cancel, watched, whole, now, copies=root is not first
                )
                copies.append(_copied(one, found))
    return CopyResult(tuple(copies), time.monotonic() - started, now, tuple(notes))


def log_copies(request: CopyRequest, settings: Settings, result: CopyResult, *, run_id: str | None) -> None:
    """Tell the log file of each place, where the sets were read, of its copies; that it cannot be told is no failure.

    :param settings: as they were for `copy`
    """
    catalog = Catalog(from_copy(settings, request.from_copy))
    for path in dict.fromkeys(one.backup_path for one in result.copies):
        section = result.log_section(path, run_id=run_id)
        if section is not None:
            try:
                catalog.place(path, None).append_log(section)
            except BackupError as fault:
                _log.warning("no section was added to the log file: %s", fault.english)


def _asked_for(request: CopyRequest, settings: Settings, notes: list[str]) -> Iterator[tuple[Location, FoundSet]]:
    catalog = Catalog(settings)
    if request.all and request.backup_path is None and request.task_id is None:
        places = catalog.locations()
    else:
        location = catalog.place(request.backup_path, request.task_id)
        if not request.all:
            found = catalog.find(location, request.timestamp)
            if found.manifest_file is None:
                raise InvalidParams(f"timestamp: set {found.backup_id} has no manifest, so nothing could be compared")
            yield location, found
            return
        places = [catalog.at(location)]
    for place in places:
        # The oldest first: what stands on another comes after it.
        for found in reversed(place.sets):
            if found.manifest_file is None:
                notes.append(f"{found.relative_path} {found.backup_id}: it has no manifest, so it is not copied")
            else:
                yield place.location, found


def _copied(one: Copying, found: FoundSet) -> SetCopy:
    """Bring one set to one root; whatever is in the way is told, and stops nothing else."""
    started = time.monotonic()
    failure: BackupError | None = None
    try:
        require_root(one.root, create=one.settings.create_root)
        # What it stands on first: without that it could not be restored there.
        for backup_id in (*found.chain, found.backup_id):
            one.run(backup_id)
    except BackupError as fault:
        one.cancel.check()
        _log.error("%s %s to %s: %s", found.relative_path, found.backup_id, one.root, fault.english)
        failure = fault
    return SetCopy(
        root=str(one.root),
        backup_path=found.relative_path,
        timestamp=found.backup_id,
        duration=time.monotonic() - started,
        files=one.files,
        bytes=one.bytes,
        repaired=one.repaired,
        failure=failure,
    )
