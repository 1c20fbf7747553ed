"""LangChain's pair of tables: collections by name, embeddings by the collection they belong to."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import IntegrityFault, InvalidParams, NotFound
from pgvector_backup.engine.codec.rows import Field
from pgvector_backup.engine.contract.requests import RestoreRequest
from pgvector_backup.engine.load.copy_in import RowFilter
from pgvector_backup.engine.load.open_copy import Destination
from pgvector_backup.engine.sets.stored_set import StoredSet, StoredTable

_UUID: Final = "uuid"
_NAME: Final = "name"
_COLLECTION: Final = "collection_id"
_KEYS: Final = ("id", "uuid")
"""What an embedding goes by: ``id``, in older versions ``uuid``."""

RENAMED_COLUMNS: Final = frozenset({_UUID, _NAME, _COLLECTION, *_KEYS})
"""What `Selection.rename` looks at, and what it changes."""

_NAMED_AT_MOST: Final = 20


@dataclass(frozen=True)
class Selection:
    """Which collections are wanted, and what they are to be called.

    :param collections: the table of collections; embeddings are the tables with a ``collection_id``
    :param wanted: by uuid, the names of those wanted
    :param new_names: by old name
    :param everything: whether no collection is left out
    """

    collections: StoredTable
    embeddings: tuple[StoredTable, ...]
    wanted: Mapping[uuid.UUID, str]
    new_names: Mapping[str, str]
    everything: bool

    def row_filter(self, stored: StoredTable) -> RowFilter | None:
        """Which rows of a table are wanted; None: all."""
        if self.everything:
            return None
        if stored == self.collections:
            at = stored.columns.index(_UUID)
        elif stored in self.embeddings:
            at = stored.columns.index(_COLLECTION)
        else:
            return None
        wanted = {stored.format.uuid_field(one) for one in self.wanted}
        return lambda fields: fields[at] in wanted

    def renames(self, label: str) -> bool:
        """Whether rows of this table are changed on the way."""
        return bool(self.new_names) and label in (self.collections.label, *(one.label for one in self.embeddings))

    def rename(self, conn: Connection[Any], label: str, staging: Destination, into: Destination) -> str | None:
        """Give staged rows of renamed collections their new uuid, collections their new name.

        The new uuid follows from the old one and the new name: restoring once more meets the same rows, and
        ``on_conflict`` can tell. Embeddings keep their keys, unless one of them is in the target already: then all of a
        renamed collection get new ones, which follow from the new collection and the old key.

        :return: what should be known of it
        """
        changed = [
            (old, uuid.uuid5(old, self.new_names[name]), self.new_names[name])
            for old, name in self.wanted.items()
            if name in self.new_names
        ]
        olds, news, names = [one[0] for one in changed], [one[1] for one in changed], [one[2] for one in changed]
        mapping = sql.SQL("unnest({}::uuid[], {}::uuid[], {}::text[]) AS r(old, new, name)").format(olds, news, names)
        if label == self.collections.label:
            conn.execute(
                sql.SQL("UPDATE {} AS s SET {} = r.new, {} = r.name FROM {} WHERE s.{} = r.old").format(
                    staging.table,
                    sql.Identifier(_UUID),
                    sql.Identifier(_NAME),
                    mapping,
                    sql.Identifier(_UUID),
                )
            )
            return None
        key = next((name for name in _KEYS if name in into.columns), None)
        new_key = None if key is None else _new_key(key)
        taken = key is not None and self._taken(conn, key, staging, into, mapping)
        changes = sql.SQL("{} = r.new").format(sql.Identifier(_COLLECTION))
        if taken:
            assert key is not None
            assert new_key is not None
            changes += sql.SQL(", {} = {}").format(sql.Identifier(key), new_key)
        conn.execute(
            sql.SQL("UPDATE {} AS s SET {} FROM {} WHERE s.{} = r.old").format(
                staging.table, changes, mapping, sql.Identifier(_COLLECTION)
            )
        )
        if not taken:
            return None
        return (
            f"{label}: the target holds rows with the keys of the set, so the embeddings of renamed collections have "
            f"new ones: the uuid of md5(new collection's uuid || ':' || old {key})"
        )

    @staticmethod
    def _taken(
        conn: Connection[Any], key: str, staging: Destination, into: Destination, mapping: sql.Composable
    ) -> bool:
        """Whether the target has one of the keys, or has been given new ones for them before."""
        row = conn.execute(
            sql.SQL(
                "SELECT EXISTS (SELECT FROM {staging} AS s JOIN {mapping} ON s.{collection} = r.old"
                " JOIN {target} AS t ON t.{key} = s.{key} AND t.{collection} IS DISTINCT FROM r.new)"
                " OR EXISTS (SELECT FROM {staging} AS s JOIN {mapping} ON s.{collection} = r.old"
                " JOIN {target} AS t ON t.{key} = {new_key})"
            ).format(
                staging=staging.source,
                target=into.source,
                mapping=mapping,
                key=sql.Identifier(key),
                new_key=_new_key(key),
                collection=sql.Identifier(_COLLECTION),
            )
        ).fetchone()
        assert row is not None
        return bool(row[0])


def _new_key(key: str) -> sql.Composable:
    """SQL of an embedding's new key, out of its new collection ``r.new`` and its old key."""
    new = sql.SQL("md5(r.new::text || ':' || format('%s', s.{}))::uuid").format(sql.Identifier(key))
    return sql.SQL("{}::text").format(new) if key == "id" else new


def select(stored_set: StoredSet, request: RestoreRequest, cancel: Cancel) -> Selection | None:
    """Find the collections that a request names; None when it names none.

    :raises InvalidParams: when the set has no pair of tables of LangChain's shape
    :raises NotFound: naming the collections that the set does hold
    """
    if request.collections is None and not request.rename_collection:
        return None
    collections = _pair(stored_set)
    stored_set.glance([collections], cancel)
    there = _names(stored_set, collections, cancel)
    asked = list(request.collections or ()) + list(request.rename_collection)
    missing = [name for name in dict.fromkeys(asked) if name not in there.values()]
    if missing:
        known = sorted(there.values())
        listed = ", ".join(known[:_NAMED_AT_MOST]) + (", …" if len(known) > _NAMED_AT_MOST else "")
        raise NotFound(
            f"collections: {', '.join(missing)} not in set {stored_set.found.backup_id}, which holds {listed or 'none'}"
        )
    everything = request.collections is None
    wanted = {one: name for one, name in there.items() if everything or name in (request.collections or ())}
    final = [request.rename_collection.get(name, name) for name in wanted.values()]
    twice = next((name for name in final if final.count(name) > 1), None)
    if twice is not None and request.rename_collection:
        raise InvalidParams(f"rename_collection: two collections would be called {twice!r}; name `collections` too")
    return Selection(
        collections=collections,
        embeddings=tuple(table for table in stored_set.tables.values() if _COLLECTION in table.columns),
        wanted=wanted,
        new_names=dict(request.rename_collection),
        everything=everything,
    )


def _pair(stored_set: StoredSet) -> StoredTable:
    tables = list(stored_set.tables.values())
    collections = [t for t in tables if {_UUID, _NAME} <= set(t.columns) and _COLLECTION not in t.columns]
    if len(collections) > 1:
        collections = [t for t in collections if t.name.table == "langchain_pg_collection"]
    if len(collections) != 1 or not any(_COLLECTION in table.columns for table in tables):
        raise InvalidParams(
            "collections, rename_collection: this set has no pair of LangChain's tables, one with uuid and name, one "
            "with collection_id"
        )
    return collections[0]


def _names(stored_set: StoredSet, collections: StoredTable, cancel: Cancel) -> dict[uuid.UUID, str]:
    at, name_at = collections.columns.index(_UUID), collections.columns.index(_NAME)
    names: dict[uuid.UUID, str] = {}
    for block in stored_set.blocks(collections, cancel, prove=True):
        for _, fields in collections.format.rows(block.data):
            names[_uuid(fields[at], collections)] = (fields[name_at] or b"").decode()
    return names


def _uuid(value: Field, collections: StoredTable) -> uuid.UUID:
    try:
        if value is None:
            raise ValueError
        return collections.format.uuid(value)
    except ValueError:
        raise IntegrityFault(f"{collections.file}: column uuid holds what is no uuid") from None
