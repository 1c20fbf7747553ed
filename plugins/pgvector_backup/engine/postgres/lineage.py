"""What of a table has to stay the same for an increment to stand on an earlier set: its key and its definition.

A row that nobody wrote has the same transaction as before. That its bytes are the same too needs more: a column that
was added, a label of an enum that was renamed, a type's extension that was updated change what COPY sends of rows that
nobody wrote. All of that is recorded with the keys, as digests by name, and compared before an increment is made.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection

from pgvector_backup.engine.codec.formats import Format
from pgvector_backup.engine.postgres.tables import Table


@dataclass(frozen=True)
class KeyColumn:
    """A column of the key that rows are told by.

    :param kind: how its binary form is read as text: ``text``, ``bpchar``, ``uuid``, ``int``, ``oid``, ``bool``,
        ``bytea``;
        ``other``: not at all
    """

    name: str
    kind: str


@dataclass(frozen=True)
class Fact:
    """One part of what was recorded of a definition.

    :param digest: of what the catalog says of it, 32 hexadecimal digits
    """

    name: str
    digest: str


@dataclass(frozen=True)
class Lineage:
    """What is recorded of a table with its keys.

    :param oid: of the table
    :param sendable: whether each of its types has a binary form
    """

    oid: int
    key: tuple[KeyColumn, ...]
    facts: tuple[Fact, ...]
    sendable: bool


def lineage_of(conn: Connection[Any], table: Table, form: Format) -> Lineage | str:
    """What an increment on a set of this moment would need.

    :param conn: joined to the snapshot
    :param form: of the table's file
    :return: the lineage; or why there can be no increment of such a table, in words that follow its name
    """
    if table.kind not in ("table", "partitioned table"):
        return f"it is a {table.kind}, whose rows do not tell which transaction wrote them, or have no key in common"
    others = conn.execute(_NO_HEAPS, [list(table.relations)]).fetchall()
    if others:
        return f"its rows lie in {others[0][0]}, which is no ordinary heap"
    key = _key(conn, table)
    if key is None:
        return "it has neither a primary key nor a unique key of columns that are NOT NULL and stored"
    if not form.is_text and any(column.kind == "other" for column in key):
        return "the type of its key cannot be read in the binary format; use file_format csv"
    types = conn.execute(_TYPES, [table.oid]).fetchall()
    telling = sorted({row[2] for row in types if row[1] == "pg_catalog" and row[2] in _FROM_CATALOG})
    if telling:
        return f"it has a column of type {telling[0]}, whose text changes with the catalog and not with the row"
    facts = [Fact("columns", _digest(conn.execute(_COLUMNS, [table.oid]).fetchall())), Fact("types", _digest(types))]
    oids = [row[0] for row in types]
    for name, query in _OF_TYPES.items():
        facts.append(Fact(name, _digest(conn.execute(query.encode(), [oids]).fetchall())))
    facts.append(Fact("collations", _digest(conn.execute(_COLLATIONS, [table.oid]).fetchall())))
    facts.append(Fact("encoding", _digest(conn.execute(_ENCODING).fetchall())))
    return Lineage(table.oid, key, tuple(facts), sendable=all(row[-1] for row in types))


def difference(then: Lineage, now: Lineage) -> str | None:
    """What of a table is not as it was, in words that follow its name; None: nothing."""
    if then.oid != now.oid:
        return "it is another table than the one that the base is of (another oid)"
    if then.key != now.key:
        return "its key is another one than in the base"
    known = {fact.name: fact.digest for fact in then.facts}
    changed = [fact.name for fact in now.facts if known.get(fact.name) != fact.digest]
    if changed or len(known) != len(now.facts):
        return f"its definition has changed since the base was made: {', '.join(changed) or 'other facts'}"
    return None


def _key(conn: Connection[Any], table: Table) -> tuple[KeyColumn, ...] | None:
    stored = {column.name for column in table.columns if not column.generated}
    for (columns,) in conn.execute(_KEYS, [table.oid]).fetchall():
        if {name for name, _ in columns} <= stored:
            return tuple(KeyColumn(name, _SENT_BY.get(send or "", "other")) for name, send in columns)
    return None


def _digest(rows: list[tuple[Any, ...]]) -> str:
    text = json.dumps(rows, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]


_FROM_CATALOG: Final = {
    "regproc",
    "regprocedure",
    "regoper",
    "regoperator",
    "regclass",
    "regtype",
    "regrole",
    "regnamespace",
    "regconfig",
    "regdictionary",
    "regcollation",
    "regdatabase",
    "aclitem",
}
"""Types whose text is looked up when it is written: it changes with what it names, and the row does not."""

_SENT_BY: Final = {
    "textsend": "text",
    "varcharsend": "text",
    "bpcharsend": "bpchar",
    "namesend": "text",
    "enum_send": "text",
    "uuid_send": "uuid",
    "int2send": "int",
    "int4send": "int",
    "int8send": "int",
    "oidsend": "oid",
    "boolsend": "bool",
    "byteasend": "bytea",
}
"""The server's own functions that make a binary form which can be read as the text that the type has."""

KEY_KINDS: Final = {*_SENT_BY.values(), "other"}

# What keeps rows otherwise than in pages of its own tells its transactions otherwise, if at all.
_NO_HEAPS: Final = """
SELECT c.oid::regclass::text FROM pg_class c LEFT JOIN pg_am m ON m.oid = c.relam
WHERE c.oid = ANY(%s) AND (c.relkind <> 'r' OR m.amname <> 'heap') LIMIT 1
"""

# The primary key first; INCLUDE columns are none of the key's.
_KEYS: Final = """
SELECT (SELECT jsonb_agg(jsonb_build_array(a.attname, (SELECT p.prosrc FROM pg_proc p
              WHERE p.oid = t.typsend AND p.prolang = (SELECT oid FROM pg_language WHERE lanname = 'internal')))
              ORDER BY k.position)
        FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, position)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        JOIN pg_type t ON t.oid = a.atttypid
        WHERE k.position <= i.indnkeyatts)
FROM pg_index i
WHERE i.indrelid = %s AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
  AND NOT EXISTS (SELECT FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, position)
                  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                  WHERE k.position <= i.indnkeyatts AND NOT a.attnotnull)
ORDER BY NOT i.indisprimary, i.indexrelid
"""

_COLUMNS: Final = """
SELECT a.attnum, a.attname, a.atttypid::bigint, a.atttypmod, a.attgenerated::text,
       CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END, a.attmissingval::text
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""

# Every type that a value of the table may hold: of its columns, and what those consist of.
_TYPES: Final = """
WITH RECURSIVE used(oid) AS (
    SELECT atttypid FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped
    UNION
    SELECT part.oid FROM used JOIN pg_type t ON t.oid = used.oid CROSS JOIN LATERAL (
        SELECT t.typelem AS oid UNION ALL SELECT t.typbasetype
        UNION ALL SELECT r.rngsubtype FROM pg_range r
            WHERE t.oid IN (r.rngtypid, (to_jsonb(r) ->> 'rngmultitypid')::oid)
        UNION ALL SELECT a.atttypid FROM pg_attribute a
            WHERE t.typrelid <> 0 AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    ) AS part WHERE part.oid <> 0
)
SELECT t.oid::bigint, n.nspname, t.typname, t.typtype::text, t.typlen, t.typoutput::oid::bigint, t.typtypmod,
       t.typsend::oid <> 0
FROM used JOIN pg_type t ON t.oid = used.oid JOIN pg_namespace n ON n.oid = t.typnamespace ORDER BY t.oid
"""

_OF_TYPES: Final = {
    "enums": "SELECT enumtypid::bigint, oid::bigint, enumlabel FROM pg_enum WHERE enumtypid = ANY(%s) ORDER BY oid",
    "composites": "SELECT t.oid::bigint, a.attnum, a.attname, a.atttypid::bigint, a.atttypmod, a.attisdropped"
    " FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0"
    " WHERE t.typrelid <> 0 AND t.oid = ANY(%s) ORDER BY t.oid, a.attnum",
    "extensions": "SELECT e.extname, e.extversion FROM pg_extension e WHERE e.oid IN (SELECT refobjid FROM pg_depend"
    " WHERE classid = 'pg_type'::regclass AND refclassid = 'pg_extension'::regclass AND deptype = 'e'"
    " AND objid = ANY(%s)) ORDER BY 1",
}

_COLLATIONS: Final = """
SELECT DISTINCT c.oid::bigint, c.collname, c.collprovider::text, c.collversion
FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1
"""

_ENCODING: Final = """
SELECT pg_encoding_to_char(encoding), datcollate, datctype FROM pg_database WHERE datname = current_database()
"""
