"""What a table has besides columns, constraints, indexes and sequences: storage, row security, and what hangs on it.

Source of the queries: the `pg_catalog` chapter of the PostgreSQL manual. Catalog columns that not every supported
version has are read through `to_jsonb`, which gives NULL where there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection
from psycopg.rows import dict_row

_EXPRESSIONS: Final = 140000
"""The first server version that keeps statistics of expressions, and the call that lists them."""
_OF_EXPRESSIONS: Final = "pg_catalog.pg_get_statisticsobjdef_expressions(s.oid)"


@dataclass(frozen=True)
class Policy:
    """A row security policy; ``command`` is ``all``, ``select``, ``insert``, ``update`` or ``delete``."""

    name: str
    command: str
    permissive: bool
    roles: tuple[str, ...]
    using: str | None
    check: str | None
    comment: str | None = None


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
    :param of_type: the composite type that it was made OF
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
    of_type: str | None = None


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
       pg_catalog.obj_description(c.oid, 'pg_class') AS comment,
       CASE WHEN c.reloftype <> 0 THEN pg_catalog.format_type(c.reloftype, NULL) END AS of_type
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
       pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) AS check,
       pg_catalog.obj_description(p.oid, 'pg_policy') AS comment
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
