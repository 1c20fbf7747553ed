"""What every command is given and what it answers."""

from __future__ import annotations

import argparse
import getpass
import logging
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pgvector_backup.cli.arguments import conf_of
from pgvector_backup.cli.configuration import Configuration
from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import BackupError, Cancelled, StorageFault
from pgvector_backup.engine.contract.request_keys import VERIFY_KEYS
from pgvector_backup.engine.contract.requests import VerifyRequest
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.found import FoundSet
from pgvector_backup.engine.store.location import Location

_log: Final = logging.getLogger(__name__)

PLACE_KEYS: Final = [key for key in VERIFY_KEYS if key.name in ("backup_path", "task_id", "timestamp")]


@dataclass(frozen=True)
class Order:
    """One call of the command line."""

    arguments: argparse.Namespace
    configuration: Configuration
    cancel: Cancel

    @property
    def run_id(self) -> str:
        """By which logs and manifests know who did it."""
        now = self.configuration.now().isoformat(timespec="seconds")
        return f"cli__{user()}@{platform.node() or 'localhost'}__{now}"


@dataclass(frozen=True)
class Answer:
    """What a command has to say.

    :param body: for programs
    :param say: for people
    :param failure: what the exit code tells of
    """

    body: Mapping[str, Any]
    say: Callable[[], None]
    failure: BackupError | None = None


def placed(conf: dict[str, Any], configuration: Configuration) -> dict[str, Any]:
    """A request's keys with a place in them: the root's own where the command line names none."""
    if "backup_path" in conf or "task_id" in conf:
        return conf
    return {**conf, "backup_path": configuration.settings().backup_directory}


def find_set(order: Order) -> tuple[Location, FoundSet]:
    """The set that the command line names; the newest that is whole, where it does not say which."""
    catalog, location, timestamp = placed_set(order)
    return location, catalog.find(location, timestamp)


def placed_set(order: Order) -> tuple[Catalog, Location, str]:
    """Where the set lies that the command line names, and its id, or `LATEST`."""
    conf = placed(conf_of(order.arguments, PLACE_KEYS), order.configuration)
    request = VerifyRequest.from_mapping(conf)
    catalog = Catalog(order.configuration.settings())
    return catalog, catalog.place(request.backup_path, request.task_id), request.timestamp


def user() -> str:
    """Whose command this is."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such user, as in a container
        return "unknown"


def log_section(location: Location, section: str) -> None:
    """Add a section to a location's log file; that it cannot be added is no failure of what was done."""
    try:
        location.append_log(section)
    except (StorageFault, Cancelled) as fault:
        _log.warning("no section was added to the log file: %s", fault.english)
