"""Backup sets as JSON: what the list, the detail and the page tell of each."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import lru_cache
from typing import Any, Final

from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.errors import BackupError, InvalidParams, NotFound
from pgvector_backup.engine.contract.run_log import section_of
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.copies import whereabouts
from pgvector_backup.engine.sets.found import FoundLocation, FoundSet
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.set_json import describe_set, kind_of_place
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import LOG_FILE, check_task_id, script_name
from pgvector_backup.engine.store.root import locate
from pgvector_backup.installation import configuration
from pgvector_backup.installation.runs import DAG_IDS
from pgvector_backup.web.durations import Durations
from pgvector_backup.web.runs import run_url


def catalog() -> Catalog:
    """The catalog of the root that is configured now; the same one every time, for it remembers what it has read."""
    return _catalog_of(configuration.settings())


@lru_cache(maxsize=2)
def _catalog_of(settings: Settings) -> Catalog:
    return Catalog(settings)


def place(path: str) -> Location:
    """The location that a path of ours names.

    :raises NotFound: when it is not there, or could not be
    """
    try:
        return catalog().place(path, None)
    except InvalidParams as fault:  # in a path of ours, what cannot be is what is not there
        raise NotFound(fault.message) from None


def at(path: str) -> FoundLocation:
    """What lies in the location that a path of ours names.

    :raises NotFound: when it is not there, or could not be
    """
    return catalog().at(place(path))


def require_task_directory(task_id: str | None) -> None:
    """Refuse a task whose directory is not there; that it holds no backups yet is fine.

    :raises NotFound: with the sentence that clients of the older API know
    """
    if task_id is not None:
        check_task_id(task_id)
        settings = configuration.settings()
        try:
            locate(settings.backup_root, task_id, settings.backup_directory, create=False)
        except NotFound as fault:
            if fault.message == messages.TASK_DIRECTORY_MISSING.format(task_id=task_id):
                raise


def found_locations(*, global_only: bool, task_id: str | None) -> list[FoundLocation]:
    """The locations with sets that a list asks for.

    :raises InvalidParams: for a malformed task id
    :raises NotFound: when the task's directory is not there
    """
    here = catalog()
    if task_id is None and not global_only:
        return here.locations()
    require_task_directory(task_id)
    if task_id is not None and global_only:
        return []
    try:
        found = here.at(here.place(None, task_id))
    except NotFound:
        return []
    return [found] if found.sets else []


def location_json(found: FoundLocation, durations: Durations) -> dict[str, Any]:
    """One of the list's ``backup_locations``; not to be changed, for the next list is given the same one."""
    kept = _rendered.get(found.location.directory)
    if kept is not None and kept[0] is found and kept[1] == durations.extent:
        return kept[2]
    rendered = _location_json(found, durations)
    _rendered[found.location.directory] = found, durations.extent, rendered
    return rendered


_rendered: Final[dict[str, tuple[FoundLocation, int, dict[str, Any]]]] = {}
"""By directory: what was found there, how many durations were known, and the JSON made of both."""


def _location_json(found: FoundLocation, durations: Durations) -> dict[str, Any]:
    return {
        "type": kind_of_place(found.location.task_id),
        "task_id": found.location.task_id,
        "relative_path": found.location.relative_path,
        "backups": [_in_a_list(set_json(one, durations, has_log=found.has_log)) for one in found.sets],
    }


_LISTED_AT_MOST: Final = 50
"""Collections of a set that a list tells of; the set itself tells all."""


def _in_a_list(told: dict[str, Any]) -> dict[str, Any]:
    return {**told, "collections": told["collections"] and told["collections"][:_LISTED_AT_MOST]}


def set_json(one: FoundSet, durations: Durations, *, has_log: bool) -> dict[str, Any]:
    """One set, and what Airflow knows besides of the run that made it."""
    took = durations.of(one)
    described = describe_set(one, has_log=has_log)
    for name, table in described["tables"].items():
        table["duration"] = took.tables.get(name)
    described["run_url"] = run_url(DAG_IDS["backup"], one.run_id) if one.run_id else None
    described["duration"] = took.whole
    return described


def detail_json(location: Location, found: FoundLocation, one: FoundSet, durations: Durations) -> dict[str, Any]:
    """One set with all that its manifest, the log and its verification tell."""
    told = set_json(one, durations, has_log=found.has_log)
    told |= {"source": None, "verification": None if one.verification is None else dict(one.verification)}
    told["copies"] = copies_json(location, one)
    script = script_name(one.backup_id)
    told["schema_file"] = script if any(entry.name == script for entry in location.entries()) else None
    told["log_section"] = _log_section(location, one.backup_id) if found.has_log else None
    try:
        manifest = None if one.manifest_file is None else Manifest.read(location, one.manifest_file)
    except BackupError:  # the catalog has told it, in ``damaged``
        manifest = None
    if manifest is not None:
        told["source"] = asdict(manifest.source)
        for entry in manifest.tables:
            more = asdict(entry)
            more.pop("late_transactions")  # up to thousands of numbers that say nothing to a reader
            told["tables"][entry.name] = more | told["tables"].get(entry.name, {})
    return told


def copies_json(location: Location, one: FoundSet) -> list[dict[str, Any]]:
    """How a set stands at the other roots; none where nobody can say what it is."""
    if one.manifest_file is None:
        return []
    try:
        return [asdict(copy) for copy in whereabouts(configuration.settings(), location, one.manifest_file)]
    except BackupError:  # the catalog has told it, in ``damaged``
        return []


def as_json(value: Any) -> Any:
    """What a manifest's dataclasses hold, in JSON's own types."""
    return json.loads(json.dumps(value))


def _log_section(location: Location, backup_id: str) -> str | None:
    try:
        with location.open(LOG_FILE) as file:
            return section_of(file, backup_id)
    except BackupError:
        return None
