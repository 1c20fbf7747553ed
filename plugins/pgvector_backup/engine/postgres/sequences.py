"""The sequences that a table's columns count by: what they are, and what they have reached.

Source of the queries: the `pg_catalog` chapter of the PostgreSQL manual.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Final

from psycopg import Connection, sql
from psycopg.rows import dict_row

from pgvector_backup.engine.postgres.session import own_path
from pgvector_backup.engine.postgres.untold import is_standby

_LATE_BOUND: Final = re.compile(r"nextval\(\('(?P<name>(?:[^']|'')+)'::text\)::regclass\)")


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
    comment: str | None = None

    @property
    def label(self) -> str:
        """The name for people."""
        return f"{self.schema}.{self.name}"


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
                "standby": is_standby(conn),
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
           AND NOT (c.relpersistence = 'u' AND %(standby)s) AS readable,
       pg_catalog.obj_description(c.oid, 'pg_class') AS comment
FROM (SELECT sequence FROM drawn UNION SELECT sequence FROM owned) AS u
JOIN pg_catalog.pg_class c ON c.oid = u.sequence AND c.relkind = 'S'
JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN owned o ON o.sequence = c.oid
ORDER BY 1, 2
"""
