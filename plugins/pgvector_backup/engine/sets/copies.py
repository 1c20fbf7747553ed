"""A set at another root: which files belong to it, and how what lies there stands to it."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeVar

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import (
    BackupError,
    Conflict,
    IntegrityFault,
    InvalidParams,
    NotFound,
    storage_translated,
)
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.sets.base_set import chain_of
from pgvector_backup.engine.sets.documents import MANIFEST_BYTES, read_bounded
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import manifest_name, of_table, script_name
from pgvector_backup.engine.store.root import Root, place_of_copy
from pgvector_backup.engine.store.store import Entry

_READ_BYTES: Final = 1 << 20
_Seen = TypeVar("_Seen")


@dataclass(frozen=True)
class SetFile:
    """A file of a set besides its manifest.

    :param bytes: of the file as the manifest says, else as it lies at the source
    :param sha256: None where the manifest does not say
    :param table: whose it is
    """

    name: str
    bytes: int
    sha256: str | None
    table: str | None = None


State = Literal["whole", "damaged", "missing", "unknown"]


@dataclass(frozen=True)
class Whereabouts:
    """How a set stands at another root, as names, sizes and its manifest there show.

    :param problem: what is wrong with it, or why nobody knows; None: nothing
    """

    root: str
    state: State
    problem: str | None


@dataclass(frozen=True)
class Source:
    """A set that is to lie elsewhere too.

    :param content: of its manifest, byte for byte
    """

    location: Location
    manifest_file: str
    content: bytes
    manifest: Manifest
    files: tuple[SetFile, ...]

    @classmethod
    def read(cls, location: Location, manifest_file: str) -> Source:
        """Learn which files belong to a set.

        :raises NotFound: when it is not there
        :raises IntegrityFault: when its manifest is damaged, or a file that it lists is missing
        """
        manifest, content = Manifest.read_with_content(location, manifest_file)
        there = {entry.name: entry for entry in location.entries()}
        files: list[SetFile] = []
        for table in manifest.tables:
            named = table.hashes
            for name in [*named, *sorted(of_table(table.file, manifest.backup_id, list(there)))]:
                if name in there and all(one.name != name for one in files):
                    files.append(SetFile(name, there[name].bytes, named.get(name), table.name))
                elif name not in there:
                    raise IntegrityFault(f"{name}: the manifest lists it, and it is missing")
        script = script_name(manifest.backup_id)
        if script in there:
            files.append(SetFile(script, there[script].bytes, manifest.script_sha256))
        elif manifest.script is not None:
            raise IntegrityFault(f"{script}: the manifest lists it, and it is missing")
        return cls(location, manifest_file, content, manifest, tuple(files))

    @classmethod
    def read_chain(cls, location: Location, manifest_file: str) -> list[Source]:
        """The same of what a set stands on, the full set first, and of the set itself, last.

        :raises IntegrityFault: also when a set that it stands on is missing or another one
        """
        own = cls.read(location, manifest_file)
        below = chain_of(location, own.manifest)
        return [*(cls.read(location, manifest_name(one.backup_id)) for one in below), own]

    @property
    def backup_id(self) -> str:
        """Of the set."""
        return self.manifest.backup_id

    def differs(self, entries: dict[str, Entry]) -> str | None:
        """What is missing or of another size at another root, as names and sizes show; None: nothing.

        :param entries: what lies there, by name
        """
        if self.manifest_file not in entries:
            return f"{self.manifest_file} is missing"
        for file in (SetFile(self.manifest_file, len(self.content), None), *self.files):
            entry = entries.get(file.name)
            if entry is None:
                return f"{file.name} is missing"
            if entry.bytes != file.bytes:
                return f"{file.name}: {entry.bytes:,} bytes instead of {file.bytes:,}"
        return None

    def wrong_at(self, place: Location, entries: dict[str, Entry] | None = None) -> str | None:
        """The same of a place, and whether the manifest there is this one; no data is read.

        :param entries: what lies there, where that has been looked at already
        :raises StorageFault: when it does not answer
        """
        try:
            if entries is None:
                entries = {entry.name: entry for entry in place.entries()}
            wrong = self.differs(entries)
            if wrong is None and read_bounded(place, self.manifest_file, MANIFEST_BYTES) != self.content:
                wrong = f"{self.manifest_file} is another one"
        except (NotFound, IntegrityFault) as fault:
            return fault.message
        return wrong


def digest(location: Location, name: str, cancel: Cancel) -> str:
    """SHA-256 of a file, read from end to end.

    :raises NotFound: when it is not there
    """
    sha256 = hashlib.sha256()
    with location.open(name) as file, storage_translated():
        while piece := file.read(_READ_BYTES):
            cancel.check()
            sha256.update(piece)
    return sha256.hexdigest()


def at_copy(settings: Settings, named: str | None) -> Settings:
    """The settings with which sets are read at one of ``copy_roots``; None: at the backup root, as they are.

    :raises InvalidParams: when it is none of them: nobody but who configures says where sets are read
    """
    if named is None:
        return settings
    for root in settings.copy_roots:
        if str(root).rstrip("/") == named.rstrip("/"):
            return replace(settings, backup_root=root)
    known = ", ".join(str(root) for root in settings.copy_roots) or "of which there are none"
    raise InvalidParams(f"from_copy: it has to be one of copy_roots, {known}")


def from_copy(settings: Settings, named: str | None) -> Settings:
    """The settings with which sets are brought from one of ``copy_roots`` to the backup root and the others.

    :raises InvalidParams: when it is none of them
    """
    there = at_copy(settings, named)
    if named is None:
        return settings
    others = (root for root in settings.copy_roots if root is not there.backup_root)
    return replace(there, copy_roots=(settings.backup_root, *others))


def require_copies(settings: Settings, location: Location, manifest_file: str) -> list[Location]:
    """Refuse to go on unless a set lies in each of ``copy_roots``, as its manifest there, names and sizes show.

    :return: where it lies
    :raises Conflict: naming the root that lacks it, and the remedy
    :raises StorageFault: when a root does not answer
    """
    if not settings.copy_roots or not settings.truncate_needs_copies:
        return []
    sources = Source.read_chain(location, manifest_file)
    places = []
    for root in settings.copy_roots:
        place = place_of_copy(root, location.task_id, settings.backup_directory)
        for source in sources:
            wrong = source.wrong_at(place)
            if wrong is not None:
                raise Conflict(
                    f"set {source.backup_id} is not whole at {place.directory}: {wrong}; nothing was emptied. Run "
                    "pgvector-backup copy, or set truncate_needs_copies to False"
                )
        places.append(place)
    return places


def _wrong_alone(place: Location, manifest_file: str, entries: dict[str, Entry]) -> str | None:
    """What is wrong with a set that can be compared with no other, as its manifest, names and sizes show."""
    try:
        for table in Source.read(place, manifest_file).manifest.tables:
            if entries[table.file].bytes != table.bytes:
                return f"{table.file}: {entries[table.file].bytes:,} bytes instead of {table.bytes:,}"
    except (IntegrityFault, NotFound) as fault:
        return fault.message
    return None


def whereabouts(
    settings: Settings, location: Location, manifest_file: str, *, seconds: float = 3.0
) -> list[Whereabouts]:
    """How a set stands at each of ``copy_roots``; one that has not answered by then is unknown, and delays nobody."""
    if not settings.copy_roots:
        return []
    try:
        source = Source.read(location, manifest_file)
    except IntegrityFault:
        source = None  # then each copy is held against its own manifest

    def look(root: Root) -> Whereabouts:
        place = place_of_copy(root, location.task_id, settings.backup_directory)
        entries = {entry.name: entry for entry in place.entries()}
        wrong = _wrong_alone(place, manifest_file, entries) if source is None else source.wrong_at(place, entries)
        state: State = "whole" if wrong is None else "damaged" if manifest_file in entries else "missing"
        return Whereabouts(str(root), state, wrong)

    def unknown(root: Root, why: str) -> Whereabouts:
        return Whereabouts(str(root), "unknown", why)

    return at_each_root(settings.copy_roots, look, unknown, seconds=seconds)


def at_each_root(
    roots: Sequence[Root], look: Callable[[Root], _Seen], unknown: Callable[[Root, str], _Seen], *, seconds: float
) -> list[_Seen]:
    """What a look at each root gives, all at once; ``unknown`` says it of one that has not answered by then."""
    found: dict[int, _Seen] = {}

    def at(number: int, root: Root) -> None:
        try:
            found[number] = look(root)
        except BackupError as fault:
            found[number] = unknown(root, fault.message)

    threads = [threading.Thread(target=at, args=one, name="copies", daemon=True) for one in enumerate(roots)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    silent = f"it did not answer within {seconds:g} s"
    return [found[number] if number in found else unknown(root, silent) for number, root in enumerate(roots)]
