"""The story of a prune: look at every set, plan, wait where too much would go, remove what the plan lets go."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from typing import Final

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import BackupError, Conflict, NotFound
from pgvector_backup.engine.contract.prune_result import PrunedLocation, PrunedSet, PruneResult, RenewedSet
from pgvector_backup.engine.contract.requests import PruneRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.remove import remove
from pgvector_backup.engine.renew import renew
from pgvector_backup.engine.sets.base_set import ReadChains
from pgvector_backup.engine.sets.candidates import candidates
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.found import FoundLocation, FoundSet
from pgvector_backup.engine.sets.holding import Holding
from pgvector_backup.engine.sets.policy import Policy, policy_of, policy_of_copies
from pgvector_backup.engine.sets.retention import Candidate, Decision, Plan, plan
from pgvector_backup.engine.store.location import Location

_log: Final = logging.getLogger(__name__)

_ANNOUNCED: Final = "prune_announced.json"
"""A plan that would remove more than half of a location, until a second run says the same."""


def prune(
    request: PruneRequest,
    settings: Settings,
    *,
    now: datetime,
    run_id: str | None = None,
    cancel: Cancel | None = None,
) -> PruneResult:
    """Remove what the retention policy lets go.

    One set, or one location, that cannot be read or removed stops no other. Without a policy nothing is looked at.

    :param now: with the time zone in which days, weeks and so on begin
    :raises InvalidParams: when the policy makes no sense
    :raises NotFound: when the location named is not there
    """
    started = time.monotonic()
    cancel = cancel or Cancel()
    policy, for_copies = policy_of(settings), policy_of_copies(settings)
    pruned: list[PrunedLocation] = []
    failures: list[BackupError] = []
    locations: list[Location] = []
    work = [*_here(request, settings, policy), *_copies(request, settings, for_copies, failures)]
    for place, root, rules, originals in work:
        cancel.check()
        at_hand = place
        try:
            made = planned(place, rules, now, originals)
            renewed: tuple[RenewedSet, ...] = ()
            if request.consolidate and root is None:
                try:
                    renewed = renew(
                        place, made, settings, now=now, run_id=run_id, cancel=cancel, dry_run=request.dry_run
                    )
                except BackupError as fault:
                    cancel.check()
                    _log.error("%s: not consolidated: %s", place.location.directory, fault.english)
                    failures.append(fault)
                at_hand = Catalog(settings).at(place.location)
                made = planned(at_hand, rules, now)
            waiting = _waiting(place.location, made.drastic(), made.removed, request)
            done = _carried_out(
                at_hand, made.decisions, dry_run=request.dry_run, waiting=waiting, cancel=cancel, failures=failures
            )
            pruned.append(replace(done, root=root, consolidated=renewed))
            locations.append(place.location)
            if not request.dry_run:
                _hold_on(at_hand, rules, made, settings.object_lock if root is None else settings.copy_object_lock, now)
        except BackupError as fault:
            cancel.check()
            _log.error("%s: not pruned: %s", place.location.directory, fault.english)
            failures.append(fault)
    result = PruneResult(
        locations=tuple(pruned),
        dry_run=request.dry_run,
        has_policy=policy.removes_anything or (bool(settings.copy_roots) and for_copies.removes_anything),
        duration=time.monotonic() - started,
        timestamp=now,
        failures=tuple(failures),
    )
    if not request.dry_run:
        _log_sections(result, locations, run_id)
    return result


def _hold_on(place: FoundLocation, policy: Policy, made: Plan, mode: str, now: datetime) -> None:
    """Have the store hold what stays for as long as it will, where that is longer than what it was told before."""
    if mode:
        kept = [one.set for one in made.kept if one.set.fault is None]
        Holding(mode, policy).extend(place, kept, now)


def planned(place: FoundLocation, policy: Policy, now: datetime, originals: FoundLocation | None = None) -> Plan:
    """What a policy says of each set of one location; another tool's files are not ours to remove.

    :param now: with the time zone in which days, weeks and so on begin
    :param originals: where the sets lie that these are copies of: what holds one there holds its copy
    """
    known = candidates(place)
    if originals is not None:
        there = {one.timestamp: one for one in candidates(originals)}
        known = [_held_as(one, there[one.timestamp]) if one.timestamp in there else one for one in known]
    return plan(known, policy, now, now.tzinfo or timezone.utc)


def _held_as(copy: Candidate, original: Candidate) -> Candidate:
    """A copy with what lies beside the original alone: who holds it, and what was emptied on its word."""
    proven = max((one for one in (copy.proven, original.proven) if one is not None), default=None)
    relied_on = tuple(dict.fromkeys((*copy.relied_on, *original.relied_on)))
    return replace(copy, pin=copy.pin or original.pin, relied_on=relied_on, proven=proven)


_Work = tuple[FoundLocation, "str | None", Policy, "FoundLocation | None"]
"""A location, its root where that is one of copies, the policy there, and where the originals of its sets lie."""


def _here(request: PruneRequest, settings: Settings, policy: Policy) -> Iterable[_Work]:
    places = _places(request, settings) if policy.removes_anything else ()
    return [(place, None, policy, None) for place in places]


def _copies(request: PruneRequest, settings: Settings, policy: Policy, failures: list[BackupError]) -> Iterator[_Work]:
    """The locations of copies; where the originals cannot be seen, nobody knows what holds them: none is touched."""
    if not settings.copy_roots or not policy.removes_anything:
        return
    try:
        originals = {place.location.relative_path: place for place in _places(request, settings)}
    except NotFound:
        originals = {}
    for root in settings.copy_roots:
        try:
            for place in _places(request, replace(settings, backup_root=root, copy_roots=())):
                yield place, str(root), policy, originals.get(place.location.relative_path)
        except NotFound:  # nothing has been copied there yet
            continue
        except BackupError as fault:
            _log.error("copies at %s: not pruned: %s", root, fault.english)
            failures.append(fault)


def _places(request: PruneRequest, settings: Settings) -> Iterable[FoundLocation]:
    catalog = Catalog(settings)
    if request.backup_path is None and request.task_id is None:
        return catalog.locations()
    return [catalog.at(catalog.place(request.backup_path, request.task_id))]


def _waiting(
    location: Location, drastic: Sequence[str], removed: Sequence[Decision], request: PruneRequest
) -> str | None:
    """Why a plan is not carried out now; a plan that removes most of a location has to be made twice."""
    there = {entry.name for entry in location.entries()}
    names = json.dumps(sorted(one.set.timestamp for one in removed))
    digest = hashlib.sha256(names.encode()).hexdigest()
    if not drastic or request.force:
        if _ANNOUNCED in there and not request.dry_run:
            location.remove(_ANNOUNCED)
        return None
    if _ANNOUNCED in there:
        with location.open(_ANNOUNCED) as file:
            announced = file.read(1 << 10)
        if announced.strip() == digest.encode():
            if not request.dry_run:
                location.remove(_ANNOUNCED)
            return None
    if not request.dry_run:
        location.write(_ANNOUNCED, digest.encode())
    return (
        "more than half of the sets here would go: set `force`, or run it again; a second run that says the same "
        "carries it out"
    )


def _carried_out(
    place: FoundLocation,
    decisions: Sequence[Decision],
    *,
    dry_run: bool,
    waiting: str | None,
    cancel: Cancel,
    failures: list[BackupError],
) -> PrunedLocation:
    """Remove what the plan lets go, in its order; what refuses is retained, and tried again by the next prune."""
    found = {one.backup_id: one for one in place.sets}
    kept: list[PrunedSet] = []
    removed: list[PrunedSet] = []
    read: ReadChains = {}
    for one in decisions:
        told = PrunedSet(one.set.timestamp, one.set.bytes, one.reasons)
        if one.keep:
            kept.append(told)
            continue
        retained = None if dry_run else waiting
        if retained is None and not dry_run:
            cancel.check()
            retained = _refusal(place.location, found[one.set.timestamp], read, failures)
        if retained is None:
            removed.append(told)
        else:
            kept.append(PrunedSet(told.timestamp, told.bytes, told.reasons, retained))
    return PrunedLocation(place.location.relative_path, tuple(kept), tuple(removed), waiting)


def _refusal(location: Location, found: FoundSet, read: ReadChains, failures: list[BackupError]) -> str | None:
    """Remove a set; why it is still there, if it is."""
    try:
        remove(location, found, read)
    except Conflict as fault:  # somebody reads it, or has pinned it since
        return fault.message
    except BackupError as fault:
        _log.warning("%s: retained: %s", found.backup_id, fault.english)
        failures.append(fault)
        return fault.message
    return None


def _log_sections(result: PruneResult, locations: Sequence[Location], run_id: str | None) -> None:
    for one, location in zip(result.locations, locations, strict=True):
        if one.removed or one.consolidated:
            with suppress(BackupError):  # what was removed is told by the result all the same
                location.append_log(result.log_section(one, run_id=run_id))
