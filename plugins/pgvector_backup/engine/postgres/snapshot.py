"""One read-only transaction that several connections share, so that all tables are of one moment."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

import psycopg
from psycopg import Connection, sql

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import BackupError, DatabaseFault, NotFound
from pgvector_backup.engine.postgres import description, tables
from pgvector_backup.engine.postgres.errors import database_fault, translated
from pgvector_backup.engine.postgres.locks import holders_named
from pgvector_backup.engine.postgres.session import Connect, parameters_of, pinned, require_settings, session
from pgvector_backup.engine.postgres.source import Source, source_of
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.postgres.tables import Table
from pgvector_backup.engine.postgres.transactions import NOT_TOLD, TransactionIds
from pgvector_backup.engine.postgres.untold import told
from pgvector_backup.engine.postgres.wal import await_disk, wal_position

_log: Final = logging.getLogger(__name__)

_BEGIN = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_BACK = "ROLLBACK TO SAVEPOINT described"


class Snapshot:
    """A moment of the database, with a description of each table asked for.

    :param exported: what other connections join it by; None: none can, and each waits for the first one to be free
    :param described: the tables that can be read
    :param failures: those that cannot, and why
    :param user: the role that reads
    :param superuser: whether it may do whatever it likes
    :param wal_position: where the server's log was, every transaction that it sees before it; None: not told
    """

    def __init__(
        self,
        *,
        exported: str | None,
        source: Source,
        transactions: TransactionIds,
        described: dict[TableName, Table],
        failures: dict[TableName, BackupError],
        leader: Connection[Any],
        user: str,
        superuser: bool,
        connect: Connect,
        cancel: Cancel,
        lock_timeout: float,
        views: bool,
        wal_position: int | None,
    ) -> None:
        self._begun = time.monotonic()
        self._turns = threading.RLock()
        self.wal_position = wal_position
        self.exported = exported
        self.source = source
        self.transactions = transactions
        self.described = described
        self.failures = failures
        self.user = user
        self.superuser = superuser
        self._leader = leader
        self.lock_timeout = lock_timeout
        self.views = views
        self._connect = connect
        self._cancel = cancel
        self._kept: list[tuple[ExitStack, Connection[Any]]] = []

    @contextmanager
    def joined(self, *, kept: bool = False) -> Iterator[Connection[Any]]:
        """Another connection that sees exactly the same rows, or the first one itself while nobody else has it.

        :param kept: whether another one is then there for the next who asks, in a transaction of its own; it holds no
            lock meanwhile
        """
        if self.exported is None:
            with self._turns, translated():
                self._leader.execute(_BACK)
                yield self._leader
                self._leader.execute(_BACK)
            return
        held, conn = ExitStack(), None
        with suppress(IndexError):
            held, conn = self._kept.pop()
        with translated(), held:
            if conn is None:
                connect = pinned(self._connect, self._leader)
                opened = session(connect, self._cancel, lock_timeout=self.lock_timeout, views=self.views)
                conn = held.enter_context(opened)
            join(conn, self.exported)
            yield conn
            if kept and not conn.broken:
                conn.execute("ROLLBACK")
                self._kept.append((held.pop_all(), conn))

    def leave(self) -> None:
        """Close the connections that were kept."""
        while self._kept:
            self._kept.pop()[0].close()

    @contextmanager
    def aside(self) -> Iterator[Connection[Any]]:
        """The first connection itself, for a question beside the rows; whatever comes of it, the snapshot stands."""
        with self._turns:
            self._leader.execute("SAVEPOINT aside")
            try:
                yield self._leader
            finally:
                if not self._leader.broken:
                    self._leader.execute("ROLLBACK TO SAVEPOINT aside")
                    self._leader.execute("RELEASE SAVEPOINT aside")

    def await_disk(self) -> None:
        """Before anything is done on a set's word: see that no transaction which it has seen can be lost any more."""
        if self.transactions != NOT_TOLD:
            with translated(), self.aside() as conn:
                await_disk(conn, self.wal_position, self._begun, self._cancel)

    def parameters(self) -> dict[str, str]:
        """What another process reaches the same server by, see `parameters_of`."""
        return parameters_of(self._leader)

    def rejoin(self, conn: Connection[Any]) -> None:
        """Bring a connection back into the snapshot after a statement of it has failed."""
        if self.exported is None:
            conn.execute(_BACK)
        else:
            conn.execute("ROLLBACK")
            join(conn, self.exported)


def join(conn: Connection[Any], exported: str) -> None:
    """Begin a transaction that sees exactly the rows of a snapshot."""
    conn.execute(_BEGIN)
    conn.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(exported))
    require_settings(conn)


@contextmanager
def take(
    connect: Connect,
    names: Iterable[TableName],
    cancel: Cancel,
    *,
    lock_timeout: float,
    with_children: bool = False,
    views: bool = False,
) -> Iterator[Snapshot]:
    """Lock the tables against TRUNCATE and DROP, then fix the moment, then describe the tables as of it.

    The lock comes first: an older snapshot reads a table that was truncated meanwhile as empty. A table that
    cannot be locked or described is listed in ``failures``; it does not stop the others.

    :param with_children: whether rows of inheriting tables are read as their parent's
    :param views: whether views and foreign tables may be read, which runs what their owners wrote
    """
    with translated(), session(connect, cancel, lock_timeout=lock_timeout, views=views) as leader:
        # By the role's own search path, before there is a snapshot.
        places = {name: tables.place(leader, name) for name in names}
        described: dict[TableName, Table] = {}
        failures, absent = _locked(leader, cancel, places)
        exported = _export(leader)
        if exported is None:
            # The transaction has failed by that, and a savepoint would have forbidden it.
            leader.execute("ROLLBACK")
            failures, absent = _locked(leader, cancel, places)
        user, superuser = _role(leader)
        for name in absent:
            failures[name] = NotFound(tables.missing(leader, name))
        for name, place in places.items():
            if name not in failures:
                with _collected(leader, cancel, name, failures):
                    table = description.describe(leader, name, at=place, with_children=with_children)
                    if not views:
                        _require_no_code(table)
                    leader.execute(sql.SQL("SELECT FROM {} LIMIT 0").format(table.source))
                    described[name] = description.recorded(leader, table)
        if with_children:
            _exclude_separate_children(leader, described)
        source = source_of(leader)
        leader.execute("SAVEPOINT described")
        snapshot = Snapshot(
            exported=exported,
            source=source,
            transactions=NOT_TOLD if source.standby else _ids(leader),
            described=described,
            failures=failures,
            leader=leader,
            user=user,
            superuser=superuser,
            connect=connect,
            cancel=cancel,
            lock_timeout=lock_timeout,
            views=views,
            wal_position=wal_position(leader),
        )
        try:
            yield snapshot
        finally:
            snapshot.leave()
        # Fails if the connection was lost on the way: with it went the locks, and what was read since may be of a
        # table that somebody had truncated.
        leader.execute("COMMIT")


def _locked(
    conn: Connection[Any], cancel: Cancel, places: Mapping[TableName, TableName | None]
) -> tuple[dict[TableName, BackupError], list[TableName]]:
    """Begin, and lock every table; what cannot be locked, and what is not there."""
    conn.execute(_BEGIN)
    require_settings(conn)
    failures: dict[TableName, BackupError] = {}
    absent: list[TableName] = []
    for name, place in places.items():
        if place is None:
            absent.append(name)
            continue
        with _collected(conn, cancel, name, failures):
            try:
                # LOCK TABLE is one of the few statements that take no snapshot.
                with holders_named(conn, [place], "ACCESS SHARE", label=name.label):
                    conn.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(place.identifier))
            except psycopg.errors.UndefinedTable:
                absent.append(name)
                raise
            except psycopg.errors.WrongObjectType:
                # A foreign table or a materialized view: reading it, below, is all the lock there is.
                conn.execute("ROLLBACK TO SAVEPOINT a_table")
    return failures, absent


def _export(conn: Connection[Any]) -> str | None:
    """What other connections join the snapshot by; None where the server does not give it away."""
    try:
        row = conn.execute("SELECT pg_export_snapshot()").fetchone()
    except psycopg.Error as fault:
        if conn.broken or isinstance(fault, psycopg.errors.QueryCanceled):
            raise
        _log.debug("the server exports no snapshot: %s", fault)
        return None
    assert row is not None
    return str(row[0])


def _role(conn: Connection[Any]) -> tuple[str, bool]:
    """The role that reads, and whether it is a superuser."""
    user, superuser = conn.execute("SELECT current_user").fetchone(), conn.execute("SHOW is_superuser").fetchone()
    assert user is not None
    return user[0], superuser == ("on",)


def _exclude_separate_children(conn: Connection[Any], described: dict[TableName, Table]) -> None:
    """Read a parent alone where a child of it is backed up by itself: no row is to be in a set twice."""
    for name, table in described.items():
        others = {one.oid for one in described.values()} - {table.oid}
        if table.kind == tables.WITH_CHILDREN and others & set(table.relations):
            described[name] = description.recorded(conn, description.describe(conn, name))


@contextmanager
def _collected(
    conn: Connection[Any], cancel: Cancel, name: TableName, failures: dict[TableName, BackupError]
) -> Iterator[None]:
    """Keep one table's failure from ending the transaction."""
    conn.execute("SAVEPOINT a_table")
    try:
        yield
    except (BackupError, psycopg.Error) as fault:
        cancel.check()
        if conn.broken:
            raise
        failures[name] = fault if isinstance(fault, BackupError) else database_fault(fault, table=name.label)
        conn.execute("ROLLBACK TO SAVEPOINT a_table")
    conn.execute("RELEASE SAVEPOINT a_table")


def _require_no_code(table: Table) -> None:
    """Refuse what computes its rows: whoever owns it would have it computed with the rights of the backup's role."""
    if table.kind in ("view", "foreign table"):
        raise DatabaseFault(
            f"{table.name.label} is a {table.kind}: what its owner wrote would run with the rights of the backup's "
            "role; name the tables that it reads, or set back_up_views if you trust its owner",
            can_retry=False,
        )


def _ids(conn: Connection[Any]) -> TransactionIds:
    """Which transactions had ended; a server that does not tell is one that no truncate can go by."""
    ids = told(conn, lambda: TransactionIds.current(conn))
    return NOT_TOLD if ids is None else ids
