"""The types that a database has made for itself and that columns are of: enums, domains, composites, ranges.

Source of the queries: the `pg_catalog` chapter of the PostgreSQL manual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection
from psycopg.rows import dict_row

_KINDS: Final = {"e": "enum", "d": "domain", "c": "composite", "r": "range"}


@dataclass(frozen=True)
class OwnType:
    """A type; ``kind`` is ``enum``, ``domain``, ``composite`` or ``range``.

    :param labels: of an enum, in their order
    :param base: of a domain what it is over, of a range what it is of
    :param columns: of a composite: names and types
    :param checks: of a domain: names and definitions
    """

    schema: str
    name: str
    kind: str
    labels: tuple[str, ...] = ()
    base: str | None = None
    not_null: bool = False
    default: str | None = None
    columns: tuple[tuple[str, str], ...] = ()
    checks: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """The name for people."""
        return f"{self.schema}.{self.name}"


def own_types_of(conn: Connection[Any], table: int) -> tuple[OwnType, ...]:
    """The types that a table's columns need, each after those that it needs itself.

    Those of the server and of extensions are not among them, nor the row types of tables.
    """
    waiting = [row[0] for row in conn.execute(_COLUMNS, [table]).fetchall()]
    found: dict[int, OwnType] = {}
    needed: list[int] = []
    with conn.cursor(row_factory=dict_row) as cursor:
        while waiting:
            oid = waiting.pop(0)
            row = cursor.execute(_TYPE, {"oid": oid}).fetchone()
            if row is None:
                continue
            waiting += row.pop("needs")
            if row.pop("made") and oid not in found:
                row["kind"], row["labels"] = _KINDS[row["kind"]], tuple(row["labels"])
                for key in ("columns", "checks"):
                    row[key] = tuple((one[0], one[1]) for one in row[key])
                found[oid] = OwnType(**row)
            if oid in needed:
                needed.remove(oid)
            needed.append(oid)
    return tuple(found[oid] for oid in reversed(needed) if oid in found)


# The server's own types are below 16384, and most tables have no others but pgvector's.
_COLUMNS: Final = """
SELECT DISTINCT a.atttypid::bigint FROM pg_catalog.pg_attribute a
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 16384
"""

# As columns name their types: with the schema, but pgvector's without.
_NAMED: Final = """
(SELECT CASE WHEN e.oid IS NULL OR n.nspname = 'pg_catalog' THEN pg_catalog.format_type({0}, {1})
             ELSE substr(pg_catalog.format_type({0}, {1}), length(quote_ident(n.nspname)) + 2) END
   FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
   LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_type'::regclass AND d.deptype = 'e'
        AND d.objid = CASE WHEN t.typcategory = 'A' AND t.typelem <> 0 THEN t.typelem ELSE t.oid END
   LEFT JOIN pg_catalog.pg_extension e ON d.refclassid = 'pg_catalog.pg_extension'::regclass AND e.oid = d.refobjid
        AND e.extname = 'vector'
  WHERE t.oid = {0})
"""

_TYPE: Final = f"""
SELECT n.nspname AS schema, y.typname AS name, y.typtype::text AS kind,
       y.typtype IN ('e', 'd', 'r') OR c.relkind = 'c' AS made,
       ARRAY(SELECT e.enumlabel::text FROM pg_catalog.pg_enum e WHERE e.enumtypid = y.oid ORDER BY e.enumsortorder)
       AS labels,
       CASE y.typtype WHEN 'd' THEN {_NAMED.format("y.typbasetype", "y.typtypmod")}
                      WHEN 'r' THEN {_NAMED.format("r.rngsubtype", "NULL")} END AS base,
       y.typnotnull AS not_null,
       CASE WHEN y.typtype = 'd' THEN pg_catalog.pg_get_expr(y.typdefaultbin, 0) END AS default,
       coalesce((SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(
                           a.attname, {_NAMED.format("a.atttypid", "a.atttypmod")}) ORDER BY a.attnum)
                   FROM pg_catalog.pg_attribute a
                  WHERE a.attrelid = c.oid AND c.relkind = 'c' AND a.attnum > 0 AND NOT a.attisdropped), '[]')
       AS columns,
       coalesce((SELECT pg_catalog.jsonb_agg(
                           pg_catalog.jsonb_build_array(k.conname, pg_catalog.pg_get_constraintdef(k.oid))
                           ORDER BY k.conname)
                   FROM pg_catalog.pg_constraint k WHERE k.contypid = y.oid AND k.contype = 'c'), '[]') AS checks,
       ARRAY(SELECT need::bigint FROM (
           SELECT y.typelem WHERE y.typcategory = 'A' UNION SELECT y.typbasetype WHERE y.typtype = 'd'
           UNION SELECT r.rngsubtype WHERE y.typtype = 'r'
           UNION SELECT m.rngtypid FROM pg_catalog.pg_range m
                  WHERE y.typtype = 'm' AND (pg_catalog.to_jsonb(m) ->> 'rngmultitypid')::oid = y.oid
           UNION SELECT a.atttypid FROM pg_catalog.pg_attribute a
                  WHERE a.attrelid = c.oid AND c.relkind = 'c' AND a.attnum > 0 AND NOT a.attisdropped
       ) AS needs(need) WHERE need >= 16384) AS needs
FROM pg_catalog.pg_type y
JOIN pg_catalog.pg_namespace n ON n.oid = y.typnamespace
LEFT JOIN pg_catalog.pg_class c ON c.oid = y.typrelid
LEFT JOIN pg_catalog.pg_range r ON r.rngtypid = y.oid
WHERE y.oid = %(oid)s AND y.oid >= 16384
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_type'::regclass
                  AND d.objid = y.oid AND d.deptype = 'e')
"""
