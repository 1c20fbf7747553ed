"""The set that an increment is to stand on: which one it is, and whether it and all that it stands on are whole."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from pgvector_backup.engine.base.errors import BackupError, IntegrityFault, NotFound
from pgvector_backup.engine.postgres.source import Source
from pgvector_backup.engine.sets.documents import read_outcome, tells_damage
from pgvector_backup.engine.sets.found import FoundSet
from pgvector_backup.engine.sets.keys_entry import Link
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.table_entry import TableEntry
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import committed_id, manifest_name, verification_name
from pgvector_backup.engine.store.store import Entry

_READ_AT_MOST: Final = 100
"""Manifests looked at, the newest first: sets of many databases may share a location."""


@dataclass(frozen=True)
class Base:
    """A set that was found to stand on.

    :param link: how a set that stands on it names it
    """

    manifest: Manifest
    link: Link

    @property
    def links(self) -> tuple[Link, ...]:
        """What a set that stands on it stands on: the full set first, the base last."""
        return (*self.manifest.chain, self.link)

    @property
    def ids(self) -> tuple[str, ...]:
        """The same by their ids."""
        return tuple(link.backup_id for link in self.links)

    def entry(self, label: str) -> TableEntry:
        """What it says of a table."""
        return next(entry for entry in self.manifest.tables if entry.name == label)


def find_base(location: Location, source: Source, labels: Collection[str]) -> Base | str:
    """The newest set that holds all of these tables with their keys, of this database where there is such a one.

    :return: why there is none, in words
    """
    manifests = [entry for entry in location.entries() if committed_id(entry.name) is not None]
    manifests.sort(key=lambda entry: (entry.modified, entry.name), reverse=True)
    elsewhere: Base | None = None
    remark = ""
    for entry in manifests[:_READ_AT_MOST]:
        try:
            manifest, link = linked(location, entry.name)
        except BackupError as fault:
            remark = remark or f" ({fault.english})"
            continue
        held = {table.name for table in manifest.tables if table.keys is not None}
        if manifest.source.database != source.database or not set(labels) <= held:
            continue
        there = manifest.source
        if (there.system_identifier, there.database_oid) == (source.system_identifier, source.database_oid):
            return Base(manifest, link)
        elsewhere = elsewhere or Base(manifest, link)
    return elsewhere or f"no earlier set here holds all of the tables with their keys{remark}"


def linked(location: Location, name: str) -> tuple[Manifest, Link]:
    """A manifest, and how another set names it.

    :raises NotFound: when there is no such set
    :raises IntegrityFault: when it is damaged
    """
    manifest, checksum = Manifest.read_stated(location, name)
    return manifest, Link(manifest.backup_id, checksum)


def chain_of(location: Location, manifest: Manifest) -> list[Manifest]:
    """The manifests of the sets that a set stands on, the full one first; each is the one that was meant.

    :raises IntegrityFault: when one of them is missing, damaged or another one, or does not fit the others
    """
    found: list[Manifest] = []
    for number, link in enumerate(manifest.chain):
        try:
            one, there = linked(location, manifest_name(link.backup_id))
        except NotFound:
            raise IntegrityFault(f"its base {link.backup_id} is missing") from None
        except IntegrityFault as fault:
            raise IntegrityFault(f"its base {link.backup_id} is damaged: {fault.english}") from None
        if there != link:
            raise IntegrityFault(f"its base {link.backup_id} is another set than the one that it was made on")
        if one.chain != manifest.chain[:number]:
            raise IntegrityFault(f"its base {link.backup_id} stands on other sets than it does itself")
        found.append(one)
    return found


def unfit(location: Location, base: Base) -> str | None:
    """Why nothing can stand on a set, as far as names, sizes, manifests and verifications tell; None: it can."""
    entries = {entry.name: entry for entry in location.entries()}
    name = base.manifest.backup_id
    try:
        chain = chain_of(location, base.manifest)
    except IntegrityFault as fault:
        return f"the base {name}: {fault.english}"
    for one in (*chain, base.manifest):
        wrong = _wrong_files(one, entries) or _found_damaged(location, one.backup_id, entries)
        if wrong is not None:
            return f"set {one.backup_id}, which it would stand on, is damaged: {wrong}"
    return None


ReadChains = dict[Entry, tuple[str, ...]]
"""By manifests as they lie there: the sets that each one's set stands on, by their ids."""


def standing_on(location: Location, found: FoundSet, read: ReadChains | None = None) -> list[str]:
    """The increments that stand on a set, by their ids; those whose manifests cannot be read stand on nothing.

    :param read: what was read for earlier answers about this location, and is not read again; what is read is added
    """
    if found.tables and all(table.keys is None for table in found.tables):
        return []  # nothing can
    read = {} if read is None else read
    standing = []
    for entry in location.entries():
        if (backup_id := committed_id(entry.name)) is None or backup_id == found.backup_id:
            continue
        if entry not in read:
            try:
                read[entry] = tuple(link.backup_id for link in Manifest.read(location, entry.name).chain)
            except (NotFound, IntegrityFault):
                read[entry] = ()
        if found.backup_id in read[entry]:
            standing.append(backup_id)
    return sorted(standing)


def _wrong_files(manifest: Manifest, entries: Mapping[str, Entry]) -> str | None:
    for table in manifest.tables:
        for one in (table, *(() if table.keys is None else (table.keys,))):
            there = entries.get(one.file)
            if there is None:
                return f"{one.file} is missing"
            if there.bytes != one.bytes:
                return f"{one.file}: {there.bytes:,} bytes on disk, {one.bytes:,} in the manifest"
    return None


def _found_damaged(location: Location, backup_id: str, entries: Mapping[str, Entry]) -> str | None:
    name = verification_name(backup_id)
    if name not in entries:
        return None
    try:
        told = read_outcome(location, name)
    except BackupError:
        return None
    if told is not None and tells_damage(told):
        return "its last verification found damage"
    return None
