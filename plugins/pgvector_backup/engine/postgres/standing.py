"""What server and role are to a backup: whether a truncate can go by the set, whether the role may do too much."""

from __future__ import annotations

from typing import Final

from psycopg import sql

from pgvector_backup.engine.postgres.snapshot import Snapshot
from pgvector_backup.engine.postgres.source import Source

_NO_TRUNCATE: Final = "no truncate can go by this set"


def unproven(source: Source, *, ids_told: bool = True) -> str | None:
    """Why no truncate can go by a set of this source; None: one can.

    :param ids_told: whether the server told which transactions had ended
    """
    if source.standby:
        return (
            f"the server is a standby, which does not know which transactions are open, so {_NO_TRUNCATE}; back up the "
            "primary before emptying tables"
        )
    if source.system_identifier is None:
        return (
            f"the server does not tell its system identifier, so {_NO_TRUNCATE}; have EXECUTE on function "
            "pg_control_system() granted to the connection's role, if the server is your own"
        )
    if source.timeline is None:
        return (
            f"the server does not tell its timeline, so {_NO_TRUNCATE}, for it may have failed over since; have "
            "EXECUTE on functions pg_current_wal_lsn() and pg_walfile_name(pg_lsn) granted to the connection's role; "
            "some managed services support neither"
        )
    if not ids_told:
        return (
            f"the server does not tell which transactions had ended, so {_NO_TRUNCATE}; have EXECUTE on function "
            "pg_current_snapshot() granted to the connection's role"
        )
    return None


def unshared(snapshot: Snapshot) -> str | None:
    """What is to be said of a snapshot that one connection alone sees; None: others can join it."""
    if snapshot.exported is not None:
        return None
    return (
        "the server does not export its snapshot, so one connection has read everything, whatever jobs says; have "
        "EXECUTE on function pg_export_snapshot() granted to the connection's role"
    )


def too_powerful(snapshot: Snapshot) -> str | None:
    """What to give a backup instead of a superuser; None where its role is none."""
    if not snapshot.superuser or not snapshot.described:
        return None
    tables = sorted({(table.schema, table.table) for table in snapshot.described.values()})
    schemas = sql.SQL(", ").join(sql.Identifier(schema) for schema in sorted({schema for schema, _ in tables}))
    lines = sql.SQL(
        "CREATE ROLE pgvector_backup LOGIN PASSWORD '…'; GRANT CONNECT ON DATABASE {} TO pgvector_backup; "
        "GRANT USAGE ON SCHEMA {} TO pgvector_backup; GRANT SELECT ON {} TO pgvector_backup;"
    ).format(
        sql.Identifier(snapshot.source.database),
        schemas,
        sql.SQL(", ").join(sql.Identifier(*one) for one in tables),
    )
    return (
        f"role {snapshot.user} is a superuser, which a backup does not need: what the tables' owners wrote may run "
        f"with its rights. Give the connection a role that may read them and nothing else: {lines.as_string(None)}"
    )
