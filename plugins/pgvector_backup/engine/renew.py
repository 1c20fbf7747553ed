"""The newest increment written anew as a full set, so that what it stood on need not stay for its sake alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import Conflict
from pgvector_backup.engine.consolidate import consolidate
from pgvector_backup.engine.contract.prune_result import RenewedSet
from pgvector_backup.engine.contract.requests import VerifyRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.remove import remove
from pgvector_backup.engine.sets.found import FoundLocation, FoundSet
from pgvector_backup.engine.sets.retention import Candidate, Plan
from pgvector_backup.engine.verify import verify

_log: Final = logging.getLogger(__name__)


def renew(
    place: FoundLocation,
    made: Plan,
    settings: Settings,
    *,
    now: datetime,
    run_id: str | None,
    cancel: Cancel,
    dry_run: bool,
) -> tuple[RenewedSet, ...]:
    """Consolidate the newest good set of each database, if a set stays for nothing but that others stand on it.

    The new set is verified, row by row. Then the increment that it was made of goes, unless somebody has pinned it, a
    table was emptied on its word, or another set stands on it.

    :param made: what the policy says of the place as it is
    :raises BackupError: when a chain is damaged, there is no space, or the new set is not what it was made of
    """
    renewed = []
    for candidate, found in _worth_it(place, made):
        if dry_run:
            renewed.append(RenewedSet(found.backup_id, None))
            continue
        made_id = consolidate(place.location, found, settings, now=now, run_id=run_id, cancel=cancel).backup_id
        request = VerifyRequest(backup_path=place.location.relative_path, timestamp=made_id, depth="rows")
        verified = verify(request, settings, None, now=now, run_id=run_id, cancel=cancel)
        if verified.failure is not None:
            raise verified.failure
        renewed.append(RenewedSet(found.backup_id, made_id))
        if candidate.pin is None and not candidate.relied_on:
            try:
                remove(place.location, found)
            except Conflict as fault:
                _log.info("%s: stays beside %s: %s", found.backup_id, made_id, fault.english)
    return tuple(renewed)


def _worth_it(place: FoundLocation, made: Plan) -> Iterator[tuple[Candidate, FoundSet]]:
    sets = {one.backup_id: one for one in place.sets}
    only_bases = {one.set.timestamp for one in made.kept if one.only_as_base}
    seen: set[object] = set()
    for one in made.decisions:  # the newest first
        if one.set.fault is None and one.set.source not in seen:
            seen.add(one.set.source)
            found = sets[one.set.timestamp]
            if only_bases & set(found.chain):
                yield one.set, found
