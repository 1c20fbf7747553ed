"""Routes about how long sets stay: the plan as it is now, and pins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Final

from airflow.utils.session import create_session
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.contract.request_keys import PIN_KEYS
from pgvector_backup.engine.contract.requests import PinRequest
from pgvector_backup.engine.pin import pin
from pgvector_backup.engine.sets.beside import Pin, lift_pin, parse_until
from pgvector_backup.engine.sets.candidates import candidates
from pgvector_backup.engine.sets.forecast import forecast
from pgvector_backup.engine.sets.found import FoundLocation, FoundSet
from pgvector_backup.engine.sets.policy import Policy, policy_of
from pgvector_backup.engine.sets.retention import Plan, plan
from pgvector_backup.engine.store.location import Location as StoredLocation
from pgvector_backup.engine.store.naming import LATEST
from pgvector_backup.installation import configuration
from pgvector_backup.web import sets
from pgvector_backup.web.access import User, requires
from pgvector_backup.web.attention import interval_of
from pgvector_backup.web.audit import note
from pgvector_backup.web.body import json_object, schema_of
from pgvector_backup.web.envelope import answer
from pgvector_backup.web.language import Language, preferred
from pgvector_backup.web.set_paths import Location, Timestamp
from pgvector_backup.web.set_shapes import Pinned, Retention
from pgvector_backup.web.shapes import answers
from pgvector_backup.web.threads import in_thread, threaded

router = APIRouter(tags=["retention"])

_PIN: Final = "/sets/{location:path}/{timestamp}/pin"


@router.get(
    "/retention",
    summary="The policy, and which sets it keeps or lets go now, and why",
    operation_id="get_retention",
    dependencies=[requires("read", "backup")],
    responses=answers(Retention, 404),
    response_class=JSONResponse,
)
@threaded
def get_retention(
    request: Request,
    backup_path: Annotated[
        str | None,
        Query(description="Only this location, and when each of its sets would go", max_length=600),
    ] = None,
) -> JSONResponse:
    """What a prune would do at this moment; nothing is changed."""
    policy, now = policy_of(configuration.settings()), configuration.now()
    language = preferred(request.headers.get("accept-language"))
    places = sets.catalog().locations() if backup_path is None else [sets.at(backup_path)]
    told, freed = [], 0
    for place in places:
        known = candidates(place)
        made = plan(known, policy, now, now.tzinfo or timezone.utc)
        goes = {} if backup_path is None else _foreseen(place, made, policy, now)
        freed += sum(one.set.bytes for one in made.removed)
        told.append(_location_json(place, made, goes, language))
    return answer(
        request,
        {
            "policy": _policy_json(policy),
            "has_policy": policy.removes_anything,
            "time_zone": str(now.tzinfo),
            "locations": told,
            "bytes_freed": freed,
        },
    )


@router.put(
    _PIN,
    summary="Pin a set: no policy and nobody removes it until the pin ends or is lifted",
    operation_id="pin_set",
    dependencies=[requires("edit", "backup")],
    responses=answers(Pinned, 404),
    openapi_extra=schema_of(PIN_KEYS, example={"reason": "audit 2026", "until": "2027-03-01"}, required=("reason",)),
    response_class=JSONResponse,
)
async def pin_set(request: Request, user: User, location: Location, timestamp: Timestamp) -> JSONResponse:
    """In place of an earlier pin; who pinned it is told by the login."""
    asked = PinRequest.from_mapping(await json_object(request))
    return answer(request, await in_thread(_pin, asked, user.get_name(), location, timestamp))


@router.delete(
    _PIN,
    summary="Lift a set's pin",
    operation_id="unpin_set",
    dependencies=[requires("edit", "backup")],
    responses=answers(Pinned, 404),
    response_class=JSONResponse,
)
@threaded
def unpin_set(request: Request, user: User, location: Location, timestamp: Timestamp) -> JSONResponse:
    """The policy decides on it again; the answer tells the pin that it had."""
    place, one = _find(location, timestamp)
    told = _pinned_json(one, lift_pin(place, one.backup_id))
    _note("pgvector_unpin_set", user.get_name(), told)
    return answer(request, told)


def _pin(asked: PinRequest, by: str, location: str, timestamp: str) -> dict[str, Any]:
    place, one = _find(location, timestamp)
    now = configuration.now()
    held = Pin(by, asked.reason.strip(), parse_until(asked.until, now.tzinfo or timezone.utc), now)
    if not held.holds(now):
        raise InvalidParams(f"until: {asked.until!r} is past")
    pin(place, one, held)
    told = _pinned_json(one, held)
    _note("pgvector_pin_set", by, told)
    return told


def _find(location: str, timestamp: str) -> tuple[StoredLocation, FoundSet]:
    found = sets.at(location)
    if timestamp == LATEST:
        raise InvalidParams("timestamp: name the set itself; the latest is another one tomorrow")
    return found.location, sets.catalog().find(found.location, timestamp)


def _pinned_json(one: FoundSet, held: Pin) -> dict[str, Any]:
    return {"relative_path": one.relative_path, "timestamp": one.backup_id, "pin": held.to_json()}


def _note(event: Any, user: str, told: dict[str, Any]) -> None:
    with create_session(scoped=False) as session:
        note(session, event, user=user, kind="backup", **told)


def _foreseen(place: FoundLocation, made: Plan, policy: Policy, now: datetime) -> dict[str, datetime]:
    """When sets would go, where a schedule says how backups go on; the same until something changes."""
    every = interval_of(configuration.schedule(), now)
    if every is None or not policy.removes_anything:
        return {}
    known = _forecasts.get(place.location.directory)
    key = (policy, every, now.astimezone(timezone.utc).replace(minute=0, second=0, microsecond=0))
    if known is None or known[0] is not place or known[1] != key:
        found = forecast((one.set for one in made.decisions), policy, now, now.tzinfo or timezone.utc, every)
        known = _forecasts[place.location.directory] = place, key, found
        while len(_forecasts) > _REMEMBERED:
            _forecasts.pop(next(iter(_forecasts)), None)
    return known[2]


_REMEMBERED: Final = 50
_forecasts: Final[dict[str, tuple[FoundLocation, tuple[Policy, timedelta, datetime], dict[str, datetime]]]] = {}
"""By directory: what was found there, by which policy and in which hour it was foreseen, and what."""


def _location_json(place: FoundLocation, made: Plan, goes: dict[str, datetime], language: Language) -> dict[str, Any]:
    return {
        "backup_path": place.location.relative_path,
        "drastic": bool(made.drastic()),
        "sets": [
            {
                "timestamp": one.set.timestamp,
                "created_at": one.set.created_at.isoformat(timespec="seconds"),
                "bytes": one.set.bytes,
                "keep": one.keep,
                "reasons": _reasons(one.reasons, language),
                "goes_at": _iso(goes.get(one.set.timestamp)),
            }
            for one in made.decisions
        ],
    }


def _reasons(reasons: Sequence[Any], language: Language) -> list[str]:
    return [str(one) if language == "en" else one.chinese for one in reasons]


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")


def _policy_json(policy: Policy) -> dict[str, Any]:
    """As the settings are called; nothing of what is not set."""
    told = {f"keep_{name}": value for name, value in asdict(policy).items() if name != "within" and value}
    return told if policy.within is None else {**told, "keep_within_days": policy.within.days}
