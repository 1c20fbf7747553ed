"""What a table has besides columns, constraints and indexes: sequences, storage, row security, and what hangs on it.

Source of the queries: the `pg_catalog` chapter of the PostgreSQL manual. Catalog columns that not every supported
version has are read through `to_jsonb`, which gives NULL where there is none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Final

from psycopg import Connection, sql
from psycopg.rows import dict_row

from pgvector_backup.engine.postgres.session import own_path

_LATE_BOUND: Final = re.compile(r"nextval\(\('(?P<name>(?:[^']|'')+)'::text\)::regclass\)")

_EXPRESSIONS: Final = 140000
"""The first server version that keeps statistics of expressions, and the call that lists them."""
_OF_EXPRESSIONS: Final = "pg_catalog.pg_get_statisticsobjdef_expressions(s.oid)"


@dataclass(frozen=True)
class SequenceState:
    """A sequence that a table's columns count by, or that one of them owns.

    :param columns: of the table whose default or identity draws from it
    :param owned_by: the column of the table that it belongs to and is dropped with; None: it stands alone, or
        belongs to another table
    :param owned_elsewhere: the table that it belongs to, if that is another one
    :param last_value: what it had reached when the set was made; None: the role might not read it
    :param is_called: whether ``last_value`` was given out already
    """

    schema: str
    name: str
    type: str
    start: int
    increment: int
    minimum: int
    maximum: int
    cache: int
    cycle: bool
    unlogged: bool
    identity: bool
    columns: tuple[str, ...]
    owned_by: str | None
    owned_elsewhere: tuple[str, str] | None
    last_value: int | None = None
    is_called: bool = False

    @property
    def label(self) -> str:
        """The name for people."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Policy:
    """A row security policy; ``command`` is ``all``, ``select``, ``insert``, ``update`` or ``delete``."""

    name: str
    command: str
    permissive: bool
    roles: tuple[str, ...]
    using: str | None
    check: str | None


@dataclass(frozen=True)
class ExtendedStatistics:
    """A statistics object; ``kinds`` are ``ndistinct``, ``dependencies`` and ``mcv``.

    :param columns: by name
    :param expressions: as the server writes them, each in brackets of its own or a function's call
    """

    schema: str
    name: str
    kinds: tuple[str, ...]
    columns: tuple[str, ...]
    expressions: tuple[str, ...]
    target: int | None
    comment: str | None


@dataclass(frozen=True)
class Child:
    """A table that inherits from this one and keeps rows of its own; ``rows`` is the server's estimate."""

    schema: str
    table: str
    rows: int | None

    @property
    def label(self) -> str:
        """The name for people."""
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True)
class Properties:
    """What else a table is. ``options`` are its storage parameters, each as ``name=value``.

    :param replica_identity: ``default``, ``full``, ``nothing`` or ``index``
    :param parents: tables that it inherits from, or is a partition of: schema and table
    :param children: tables that inherit from it, at any depth
    :param triggers: its own, by name
    :param granted: whether privileges on it or on its columns were granted to anybody
    """

    unlogged: bool = False
    access_method: str | None = None
    tablespace: str | None = None
    options: tuple[str, ...] = ()
    toast_options: tuple[str, ...] = ()
    replica_identity: str = "default"
    row_security: bool = False
    force_row_security: bool = False
    policies: tuple[Policy, ...] = ()
    statistics: tuple[ExtendedStatistics, ...] = ()
    parents: tuple[tuple[str, str], ...] = ()
    children: tuple[Child, ...] = ()
    triggers: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    publications: tuple[str, ...] = ()
    granted: bool = False
    comment: str | None = None


def properties_of(conn: Connection[Any], oid: int) -> Properties:
    """Read them from the catalog."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_PROPERTIES, {"oid": oid}).fetchone()
        assert row is not None
        policies = cursor.execute(_POLICIES, {"oid": oid}).fetchall()
        kept = _STATISTICS if conn.info.server_version >= _EXPRESSIONS else _STATISTICS.replace(_OF_EXPRESSIONS, "'{}'")
        statistics = cursor.execute(kept, {"oid": oid}).fetchall()
    for name in ("options", "toast_options", "triggers", "rules", "publications"):
        row[name] = tuple(row[name])
    row["parents"] = tuple((one[0], one[1]) for one in row["parents"])
    return Properties(
        **row,
        children=children_of(conn, oid),
        policies=tuple(Policy(**{**one, "roles": tuple(one["roles"])}) for one in policies),
        statistics=tuple(
            ExtendedStatistics(**{**one, **{key: tuple(one[key]) for key in ("kinds", "columns", "expressions")}})
            for one in statistics
        ),
    )


def children_of(conn: Connection[Any], oid: int) -> tuple[Child, ...]:
    """The tables that inherit from an ordinary table, at any depth, and keep rows."""
    return tuple(Child(*row) for row in conn.execute(_CHILDREN, {"oid": oid}).fetchall())


def sequences_of(conn: Connection[Any], oid: int) -> tuple[SequenceState, ...]:
    """The sequences that a table's columns count by, each with what it has reached if the role may read that."""
    with conn.cursor(row_factory=dict_row) as cursor:
        late = [
            [attnum, match["name"].replace("''", "'")]
            for attnum, expression in conn.execute(_DEFAULTS, {"oid": oid}).fetchall()
            for match in _LATE_BOUND.finditer(expression)
        ]
        found = cursor.execute(
            _SEQUENCES,
            {
                "oid": oid,
                "late_columns": [one[0] for one in late],
                "late_names": [one[1] for one in late],
                "path": list(own_path(conn)) if late else [],
            },
        ).fetchall()
    sequences = []
    for row in found:
        readable = row.pop("readable")
        elsewhere = row["owned_elsewhere"]
        row["owned_elsewhere"] = None if elsewhere is None else (elsewhere[0], elsewhere[1])
        one = SequenceState(**{**row, "columns": tuple(row["columns"])})
        if readable:
            state = conn.execute(
                sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(one.schema, one.name))
            ).fetchone()
            assert state is not None
            one = replace(one, last_value=state[0], is_called=state[1])
        sequences.append(one)
    return tuple(sequences)


# The default access method and tablespace are not worth a word: NULL.
_PROPERTIES: Final = """
SELECT c.relpersistence = 'u' AS unlogged,
       (SELECT a.amname FROM pg_catalog.pg_am a WHERE a.oid = c.relam AND a.amname <> 'heap') AS access_method,
       (SELECT t.spcname FROM pg_catalog.pg_tablespace t WHERE t.oid = c.reltablespace) AS tablespace,
       coalesce(c.reloptions, '{}') AS options,
       coalesce((SELECT t.reloptions FROM pg_catalog.pg_class t WHERE t.oid = c.reltoastrelid), '{}') AS toast_options,
       CASE c.relreplident WHEN 'f' THEN 'full' WHEN 'n' THEN 'nothing' WHEN 'i' THEN 'index' ELSE 'default'
       END AS replica_identity,
       c.relrowsecurity AS row_security, c.relforcerowsecurity AS force_row_security,
       coalesce((SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(n.nspname, p.relname) ORDER BY i.inhseqno)
          FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
          JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace WHERE i.inhrelid = c.oid), '[]') AS parents,
       coalesce((SELECT pg_catalog.array_agg(t.tgname::text ORDER BY t.tgname) FROM pg_catalog.pg_trigger t
                  WHERE t.tgrelid = c.oid AND NOT t.tgisinternal), '{}') AS triggers,
       coalesce((SELECT pg_catalog.array_agg(r.rulename::text ORDER BY r.rulename) FROM pg_catalog.pg_rewrite r
                  WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN'), '{}') AS rules,
       coalesce((SELECT pg_catalog.array_agg(p.pubname::text ORDER BY p.pubname) FROM pg_catalog.pg_publication p
                  JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid WHERE r.prrelid = c.oid), '{}')
       AS publications,
       c.relacl IS NOT NULL OR EXISTS (SELECT FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL AND NOT a.attisdropped) AS granted,
       pg_catalog.obj_description(c.oid, 'pg_class') AS comment
FROM pg_catalog.pg_class c WHERE c.oid = %(oid)s
"""

_POLICIES: Final = """
SELECT p.polname AS name,
       CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update' WHEN 'd' THEN 'delete'
                     ELSE 'all' END AS command,
       p.polpermissive AS permissive,
       (SELECT pg_catalog.array_agg(CASE WHEN r = 0 THEN 'public' ELSE pg_catalog.pg_get_userbyid(r)::text END)
          FROM pg_catalog.unnest(p.polroles) AS r) AS roles,
       pg_catalog.pg_get_expr(p.polqual, p.polrelid) AS using,
       pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) AS check
FROM pg_catalog.pg_policy p WHERE p.polrelid = %(oid)s ORDER BY p.polname
"""

_STATISTICS: Final = """
SELECT n.nspname AS schema, s.stxname AS name,
       ARRAY(SELECT CASE k WHEN 'd' THEN 'ndistinct' WHEN 'f' THEN 'dependencies' WHEN 'm' THEN 'mcv' END
               FROM pg_catalog.unnest(s.stxkind) AS k WHERE k IN ('d', 'f', 'm')) AS kinds,
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(s.stxkeys::int2[]) WITH ORDINALITY AS k(attnum, place)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = s.stxrelid AND a.attnum = k.attnum ORDER BY k.place)
       AS columns,
       coalesce(pg_catalog.pg_get_statisticsobjdef_expressions(s.oid), '{}') AS expressions,
       nullif((pg_catalog.to_jsonb(s) ->> 'stxstattarget')::int, -1) AS target,
       pg_catalog.obj_description(s.oid, 'pg_statistic_ext') AS comment
FROM pg_catalog.pg_statistic_ext s JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace
WHERE s.stxrelid = %(oid)s ORDER BY 1, 2
"""

_CHILDREN: Final = """
WITH RECURSIVE child(oid) AS (
    SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
     WHERE i.inhparent = %(oid)s AND p.relkind = 'r'
    UNION
    SELECT i.inhrelid FROM child JOIN pg_catalog.pg_inherits i ON i.inhparent = child.oid
)
SELECT n.nspname, c.relname, CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END
FROM child JOIN pg_catalog.pg_class c ON c.oid = child.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
ORDER BY 1, 2
"""

_DEFAULTS: Final = """
SELECT d.adnum::int, pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = %(oid)s
"""

# A default depends on the sequence that it names, a sequence on the column that owns it ('a') or is its identity ('i').
# What is cast from text when it is evaluated leaves no trace in pg_depend.
_SEQUENCES: Final = """
WITH drawn AS (
    SELECT d.refobjid AS sequence, a.adnum AS attnum FROM pg_catalog.pg_attrdef a
      JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.objid = a.oid
       AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> a.adrelid
     WHERE a.adrelid = %(oid)s
    UNION
    SELECT coalesce(pg_catalog.to_regclass(late.name), (
               SELECT pg_catalog.to_regclass(pg_catalog.quote_ident(path.schema) || '.' || late.name)
                 FROM pg_catalog.unnest(%(path)s::text[]) WITH ORDINALITY AS path(schema, position)
                WHERE pg_catalog.to_regclass(pg_catalog.quote_ident(path.schema) || '.' || late.name) IS NOT NULL
                ORDER BY path.position LIMIT 1))::oid, late.attnum
      FROM ROWS FROM (pg_catalog.unnest(%(late_columns)s::int2[]), pg_catalog.unnest(%(late_names)s::text[]))
           AS late(attnum, name)
), owned AS (
    SELECT d.objid AS sequence, d.refobjid AS relation, d.refobjsubid::int2 AS attnum, d.deptype = 'i' AS identity
      FROM pg_catalog.pg_depend d
     WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
       AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
       AND (d.refobjid = %(oid)s OR d.objid IN (SELECT sequence FROM drawn))
)
SELECT n.nspname AS schema, c.relname AS name, pg_catalog.format_type(s.seqtypid, NULL) AS type,
       s.seqstart AS start, s.seqincrement AS increment, s.seqmin AS minimum, s.seqmax AS maximum,
       s.seqcache AS cache, s.seqcycle AS cycle, c.relpersistence = 'u' AS unlogged,
       coalesce(o.identity, false) AS identity,
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = %(oid)s
                AND (a.attnum IN (SELECT w.attnum FROM drawn w WHERE w.sequence = c.oid)
                     OR (o.identity AND o.relation = %(oid)s AND a.attnum = o.attnum)) ORDER BY a.attnum) AS columns,
       (SELECT a.attname FROM pg_catalog.pg_attribute a WHERE o.relation = %(oid)s AND a.attrelid = o.relation
           AND a.attnum = o.attnum) AS owned_by,
       (SELECT pg_catalog.jsonb_build_array(f.nspname, t.relname) FROM pg_catalog.pg_class t
          JOIN pg_catalog.pg_namespace f ON f.oid = t.relnamespace
         WHERE o.relation <> %(oid)s AND t.oid = o.relation) AS owned_elsewhere,
       pg_catalog.has_sequence_privilege(c.oid, 'SELECT') AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
           AND NOT (c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery()) AS readable
FROM (SELECT sequence FROM drawn UNION SELECT sequence FROM owned) AS u
JOIN pg_catalog.pg_class c ON c.oid = u.sequence AND c.relkind = 'S'
JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN owned o ON o.sequence = c.oid
ORDER BY 1, 2
"""
