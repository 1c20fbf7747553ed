"""Keys compared by the operators that their index goes by, wherever those are.

The search path has pg_catalog alone, so that ``a = b`` would not find the operator of a type such as citext, and would
quietly compare its text instead.
"""

from __future__ import annotations

from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.postgres.tables import Table


def same_key(conn: Connection[Any], table: Table, one: str, other: str) -> sql.Composed:
    """The condition under which two rows have the same primary key, see `same_row`."""
    row = conn.execute("SELECT indexrelid FROM pg_index WHERE indrelid = %s AND indisprimary", [table.oid]).fetchone()
    assert row is not None
    return same_row(conn, row[0], one, other)


def same_row(conn: Connection[Any], index: int, one: str, other: str, *, nulls_equal: bool = False) -> sql.Composed:
    """The condition under which a unique index takes two rows for the same.

    :param index: its oid
    :param one: alias of the one relation, whose columns are called as the table's
    :param other: alias of the other one
    """
    comparisons = []
    for name, operator_schema, operator, type_name, own in conn.execute(_OPERATORS, [index]):
        # To the type that the operator is of: a domain might have an operator of somebody's own.
        cast = sql.SQL("" if own else f"::{type_name}")
        pair = sql.SQL("{}{} OPERATOR({}.{}) {}{}").format(
            sql.Identifier(one, name),
            cast,
            sql.Identifier(operator_schema),
            sql.SQL(operator),
            sql.Identifier(other, name),
            cast,
        )
        if nulls_equal:
            none = sql.SQL("{} IS NULL AND {} IS NULL").format(sql.Identifier(one, name), sql.Identifier(other, name))
            pair = sql.SQL("({} OR {})").format(pair, none)
        comparisons.append(pair)
    return sql.SQL("({})").format(sql.SQL(" AND ").join(comparisons))


# Equality is the third strategy of every B-tree. An operator of pg_catalog needs no cast: nobody else has one there.
# A key over ranges is no B-tree, and its operators are the server's.
_OPERATORS: Final = """
SELECT a.attname, coalesce(n.nspname, 'pg_catalog'), coalesce(o.oprname, '='), format_type(c.opcintype, NULL),
       coalesce(n.nspname, 'pg_catalog') = 'pg_catalog'
FROM pg_index i
CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indclass::oid[]) WITH ORDINALITY AS k(attnum, opclass, position)
JOIN pg_opclass c ON c.oid = k.opclass
LEFT JOIN pg_amop p ON p.amopfamily = c.opcfamily AND p.amoplefttype = c.opcintype AND p.amoprighttype = c.opcintype
    AND p.amopstrategy = 3 AND p.amopmethod = (SELECT oid FROM pg_am WHERE amname = 'btree')
LEFT JOIN pg_operator o ON o.oid = p.amopopr
LEFT JOIN pg_namespace n ON n.oid = o.oprnamespace
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indexrelid = %s
ORDER BY k.position
"""
