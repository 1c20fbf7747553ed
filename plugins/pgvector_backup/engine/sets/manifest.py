"""The manifest: what a set holds, written last, and the only thing that makes it a set."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Final

from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.postgres.source import Source
from pgvector_backup.engine.postgres.transactions import TransactionIds
from pgvector_backup.engine.sets.collection_entry import CollectionEntry, check_collections
from pgvector_backup.engine.sets.documents import MANIFEST_BYTES, parse_json, read_bounded
from pgvector_backup.engine.sets.keys_entry import Link
from pgvector_backup.engine.sets.manifest_checks import check
from pgvector_backup.engine.sets.shapes import structured
from pgvector_backup.engine.sets.table_entry import TableEntry
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import committed_id

FORMAT_VERSION: Final = 1
FORMAT_REVISION: Final = 4
"""Of the version: later revisions have further fields, which a release that does not know them may leave alone."""

_INCREMENT: Final = 2
"""The version of an increment: a release that knows of none must not take its rows for the whole table's."""

_CHECKSUM: Final = "manifest_sha256"


@dataclass(frozen=True)
class Manifest:
    """A set: where it is from, the moment it is of, its files.

    :param created_at: ISO 8601 with an offset
    :param failed_tables: tables that were asked for and are not in the set, and why
    :param fingerprint_algorithm: a name that `fingerprint.named` may know
    :param chain: the sets that an increment stands on, the full one first, its base last; empty of a full set
    :param full_because: why a set that was to be an increment is a full one
    :param wal_position: of the server's write-ahead log, in bytes, where an increment may want to know
    :param collections: LangChain's, with their rows; None where there are none, or nobody has counted them
    :param saved_before: of the tables as they were before a restore, the set that was to be restored
    :param script: bare name of the script for psql, and its SHA-256; None where the set has none, or did not tell
    """

    backup_id: str
    created_at: str
    task_id: str | None
    run_id: str | None
    source: Source
    snapshot: TransactionIds
    tables: tuple[TableEntry, ...]
    failed_tables: dict[str, str]
    fingerprint_algorithm: str
    chain: tuple[Link, ...] = ()
    full_because: str | None = None
    wal_position: int | None = None
    script: str | None = None
    script_sha256: str | None = None
    collections: tuple[CollectionEntry, ...] | None = None
    saved_before: str | None = None

    @property
    def mode(self) -> str:
        """``incremental`` or ``full``."""
        return "incremental" if self.chain else "full"

    @property
    def chain_length(self) -> int:
        """Sets that a restore of it reads, itself among them."""
        return len(self.chain) + 1

    def to_bytes(self) -> bytes:
        """The manifest as the JSON file's content, its own checksum last."""
        told = asdict(self)
        # A set without keys does not name what it does not have.
        for table in told["tables"]:
            if table["keys"] is None:
                del table["keys"]
        for name in ("chain", "full_because", "wal_position"):
            if not told[name]:
                del told[name]
        for name in ("collections", "saved_before"):
            if told[name] is None:
                del told[name]
        body = {
            "format_version": _INCREMENT if self.chain else FORMAT_VERSION,
            "format_revision": FORMAT_REVISION,
            **told,
            "encoding": "UTF8",
        }
        return _pretty(body | {_CHECKSUM: _checksum(body)})

    @classmethod
    def read(cls, location: Location, name: str) -> Manifest:
        """Read a set's manifest, and believe it only where it is of this set and tells of what can be read here.

        :param name: of the manifest's file
        :raises NotFound: when there is no such set
        :raises IntegrityFault: when the manifest is damaged, or another set's
        """
        return cls.read_with_content(location, name)[0]

    @classmethod
    def read_stated(cls, location: Location, name: str) -> tuple[Manifest, str]:
        """The same, and the checksum that the manifest states of itself, which is right."""
        manifest, content = cls.read_with_content(location, name)
        return manifest, _text(parse_json(content)[_CHECKSUM])

    @classmethod
    def read_with_content(cls, location: Location, name: str) -> tuple[Manifest, bytes]:
        """The same, and the bytes that it was read from."""
        content = read_bounded(location, name, MANIFEST_BYTES)
        try:
            manifest = cls.from_bytes(content)
            if manifest.backup_id != committed_id(name):
                raise IntegrityFault(f"it says that it is of set {manifest.backup_id}")
        except IntegrityFault as fault:
            raise IntegrityFault(f"{name}: {fault.english}") from None
        return manifest, content

    @classmethod
    def from_bytes(cls, content: bytes) -> Manifest:
        """Read a manifest and trust nothing in it before its checksum has been compared.

        :raises IntegrityFault: when it is not whole, was altered, or is of a later version
        """
        try:
            body = parse_json(content)
            stated = body.pop(_CHECKSUM)
            version = body["format_version"]
            checksum = _checksum(body)
        except (ValueError, KeyError, TypeError, AttributeError) as fault:
            raise IntegrityFault(f"the manifest is damaged: {type(fault).__name__}") from None
        if type(version) is not int or version not in (FORMAT_VERSION, _INCREMENT):
            raise IntegrityFault(
                f"the manifest is of format version {version!r}; this release reads {FORMAT_VERSION} and {_INCREMENT}"
            )
        if stated != checksum:
            raise IntegrityFault("the manifest was altered: its own checksum does not match")
        try:
            manifest = cls._of(body)
            if (version == _INCREMENT) != bool(manifest.chain):
                raise ValueError(f"chain: {len(manifest.chain)} sets in format version {version}")
            check(manifest)
            check_collections(manifest.collections)
        except (ValueError, KeyError, TypeError, AttributeError) as fault:
            what = fault if isinstance(fault, ValueError) else repr(fault)
            raise IntegrityFault(f"the manifest is not of the shape it should be: {what}") from None
        return manifest

    @classmethod
    def _of(cls, body: dict[str, Any]) -> Manifest:
        later = _number(body.get("format_revision", 1)) > FORMAT_REVISION
        return cls(
            backup_id=_text(body["backup_id"]),
            created_at=_text(body["created_at"]),
            task_id=_text_or_none(body["task_id"]),
            run_id=_text_or_none(body["run_id"]),
            source=structured(Source, body["source"], later=later),
            snapshot=TransactionIds(**{name: _number(value) for name, value in body["snapshot"].items()}),
            tables=tuple(_entry(entry, later=later) for entry in _list(body["tables"])),
            failed_tables=dict(body["failed_tables"].items()),
            fingerprint_algorithm=_text(body["fingerprint_algorithm"]),
            chain=tuple(structured(Link, link, later=later) for link in _list(body.get("chain", []))),
            full_because=None if body.get("full_because") is None else _text(body["full_because"]),
            wal_position=None if body.get("wal_position") is None else _number(body["wal_position"]),
            script=_text_or_none(body.get("script")),
            script_sha256=_text_or_none(body.get("script_sha256")),
            collections=_collections(body.get("collections"), later=later),
            saved_before=_text_or_none(body.get("saved_before")),
        )


def _entry(body: dict[str, Any], *, later: bool) -> TableEntry:
    entry = structured(TableEntry, body, later=later)
    for number in (entry.rows, entry.bytes, entry.raw_bytes, *entry.relations, *(entry.late_transactions or ())):
        _number(number)
    if (keys := entry.keys) is not None:
        for number in (keys.rows, keys.bytes, keys.raw_bytes, keys.deleted, keys.lineage.oid):
            _number(number)
    return entry


def _collections(value: object, *, later: bool) -> tuple[CollectionEntry, ...] | None:
    return None if value is None else tuple(structured(CollectionEntry, one, later=later) for one in _list(value))


def _list(value: object) -> list[Any]:
    if type(value) is not list:
        raise ValueError(f"not a list: {value!r}")
    return value


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"not a count or an id: {value!r}")
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError(f"not a text: {value!r}")
    return value


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _pretty(body: dict[str, Any]) -> bytes:
    return (json.dumps(body, ensure_ascii=False, indent=2) + "\n").encode()


def _checksum(body: dict[str, Any]) -> str:
    """Over the content, not its spacing: a manifest may be reformatted, never altered."""
    canonical = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
