"""Which database a connection is to, as a set records it and a truncate compares it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from pgvector_backup.engine.postgres.untold import is_standby, told


@dataclass(frozen=True)
class Source:
    """Which database a snapshot is of, without a word about how it is reached.

    :param system_identifier: given to a server's data directory by initdb, the same on its standbys
    :param timeline: another one after each failover and each restore to an earlier moment
    :param pgvector_schema: where the extension's types, functions and operators are
    :param standby: whether it was replaying another server's log, and so does not know which transactions are open
    """

    server_version: str
    server_version_num: int
    pgvector_version: str | None
    database: str
    database_oid: int
    system_identifier: str | None
    timeline: int | None
    pgvector_schema: str | None = None
    standby: bool = False

    def is_database_of(self, other: Source | None) -> bool:
        """Whether both are one database; where a server does not tell who it is, the databases' names decide."""
        if other is None or self.database != other.database:
            return False
        known = self.system_identifier, other.system_identifier
        return None in known or known[0] == known[1]

    def describe(self) -> str:
        """The database in words: its name, and which server it is on as far as that is known."""
        server = "" if self.system_identifier is None else f", server {self.system_identifier}"
        return f"database {self.database} (PostgreSQL {self.server_version.partition(' ')[0]}{server})"


def source_of(conn: Connection[Any]) -> Source:
    """Which database a connection is to."""
    # No function in it, which somebody may have forbidden.
    row = conn.execute(
        "SELECT e.extversion, current_catalog, (SELECT oid::bigint FROM pg_database WHERE datname = current_catalog),"
        " n.nspname"
        " FROM (SELECT) AS always LEFT JOIN pg_extension e ON e.extname = 'vector'"
        " LEFT JOIN pg_namespace n ON n.oid = e.extnamespace"
    ).fetchone()
    version = conn.execute("SHOW server_version").fetchone()
    assert row is not None
    assert version is not None
    pgvector_version, database, database_oid, pgvector_schema = row
    standby = is_standby(conn)
    timeline = (
        "SELECT timeline_id FROM pg_control_checkpoint()"
        if standby
        # Of the WAL being written: the last checkpoint may be older than a promotion.
        else "SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int"
    )
    return Source(
        server_version=version[0],
        server_version_num=conn.info.server_version,
        pgvector_version=pgvector_version,
        database=database,
        database_oid=database_oid,
        system_identifier=_asked(conn, "SELECT system_identifier::text FROM pg_control_system()"),
        timeline=_asked(conn, timeline),
        pgvector_schema=pgvector_schema,
        standby=standby,
    )


def _asked(conn: Connection[Any], query: str) -> Any:
    row = told(conn, lambda: conn.execute(query.encode()).fetchone())
    return None if row is None else row[0]
