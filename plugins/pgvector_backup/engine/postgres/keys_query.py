"""The statements that an increment asks: which rows a table holds, by key, and which of them a base has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.postgres.lineage import KeyColumn, Lineage
from pgvector_backup.engine.postgres.tables import Table
from pgvector_backup.engine.postgres.transactions import TransactionIds

_WRAP: Final = 1 << 32
COMPARABLE: Final = 1 << 31
"""So many transactions after a snapshot, its ids begin to be given again to those before it."""

_FIRST_NORMAL: Final = 3
_ONE_OF: Final = 100
"""The whole row of one of so many keys is hashed, always of the same ones."""

ADDED_COLUMNS: Final = ("xmin", "origin", "row_hash")
"""What follows the key's own columns in a keys file."""


@dataclass(frozen=True)
class Seen:
    """What the snapshot of a base saw of a table.

    :param base: the base's transaction ids
    :param now: those of the snapshot that is read
    :param relations: oids of the relations that the base read
    :param late: the ids at or above ``base.xmin`` whose rows the base holds
    """

    base: TransactionIds
    now: TransactionIds
    relations: tuple[int, ...]
    late: tuple[int, ...]

    def unseen(self) -> sql.Composed:
        """The condition under which a row is written to an increment.

        A row that the base has not seen always fulfils it. So does one that was written 2**32 transactions ago or so,
        whose number is one of those since the base: it is written again, which does no harm.
        """
        offset = sql.SQL("((xmin::text::bigint - {low} + {wrap}) % {wrap})").format(
            low=self.base.xmin % _WRAP, wrap=_WRAP
        )
        return sql.SQL(
            "(xmin::text::bigint < {first} OR ({offset} < {span} AND NOT {offset} = ANY({late}::bigint[]))"
            " OR NOT tableoid = ANY({relations}::oid[]))"
        ).format(
            first=_FIRST_NORMAL,
            offset=offset,
            span=self.now.xmax - self.base.xmin,
            late=[one - self.base.xmin for one in self.late],
            relations=list(self.relations),
        )


def keys_header(key: Sequence[KeyColumn]) -> list[str]:
    """The names of a keys file's columns."""
    return [*(column.name for column in key), *ADDED_COLUMNS]


def keys_query(
    conn: Connection[Any], table: Table, line: Lineage, *, origin: str, seen: tuple[Seen, str] | None
) -> sql.Composed:
    """``COPY (SELECT …) TO STDOUT`` of a table's keys in the order of a keys file, one line a row.

    The order is that of the bytes of the key's text in UTF-8, which no collation changes and which can be compared on
    this side.

    :param origin: the set that is made
    :param seen: what its base saw, and what is to stand as the origin of a row that it has seen; None: there is no
        base, and every row's origin is the set itself
    """
    encoding = conn.execute("SELECT current_setting('server_encoding')").fetchone()
    types = {column.name: column.type for column in table.columns}
    texts = [_text_of(column, types[column.name]) for column in line.key]
    if encoding in (("UTF8",), ("SQL_ASCII",)):
        order = [sql.SQL('{} COLLATE "C"').format(text) for text in texts]
    else:
        order = [sql.SQL("convert_to({}, 'UTF8')").format(text) for text in texts]
    written: sql.Composable = sql.Literal(origin)
    if seen is not None:
        by_base, known = seen
        written = sql.SQL("CASE WHEN {} THEN {} ELSE {} END").format(by_base.unseen(), written, sql.Literal(known))
    row = sql.SQL("ROW({})").format(table.column_list)
    sent = sql.SQL("record_send({})" if line.sendable else "convert_to({}::text, 'UTF8')").format(row)
    whole = texts[0] if len(texts) == 1 else sql.SQL("concat_ws(',', {})").format(sql.SQL(", ").join(texts))
    sampled = sql.SQL('hashtext({} COLLATE "C") % {} = 0').format(whole, _ONE_OF)
    digest = sql.SQL("CASE WHEN {} THEN left(encode(sha256({}), 'hex'), 32) END").format(sampled, sent)
    columns = [sql.Identifier(column.name) for column in line.key]
    columns_sql = sql.SQL(", ").join([*columns, sql.SQL("xmin"), written, digest])
    return sql.SQL("COPY (SELECT {} FROM {} ORDER BY {}) TO STDOUT (FORMAT csv, HEADER false)").format(
        columns_sql, table.source, sql.SQL(", ").join(order)
    )


def _text_of(column: KeyColumn, type_name: str) -> sql.Composed:
    """A column as COPY writes it: a cast may write it otherwise, and of an enum be a function of its owner's.

    :param type_name: with its schema, unless it is one of the server's own
    """
    name = sql.Identifier(column.name)
    if column.kind in ("text", "uuid", "int") and "." not in type_name:
        return sql.SQL("{}::text").format(name)
    return sql.SQL("format('%s', {})").format(name)
