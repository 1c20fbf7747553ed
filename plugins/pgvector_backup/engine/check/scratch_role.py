"""The role that a drill is held as: it owns one database, and may do nothing outside of it.

What a set defines (checks, defaults, generated columns, expressions of indexes) runs with the rights of whoever
restores it, and who wrote the set may be anybody. So that role is no superuser and a member of nothing, and it logs in
as itself: what a superuser takes up with SET ROLE can be put down again. Of the functions that everybody may call,
those are taken away in its database that write outside of tables, or run SQL that they are given as text.
"""

from __future__ import annotations

from typing import Any, Final

from psycopg import Connection, sql

NAME_PREFIX: Final = "pgvector_drill_"
CONNECTIONS: Final = 16

_FUNCTIONS: Final = """
SELECT p.oid::regprocedure::text FROM pg_catalog.pg_proc p
WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind IN ('f', 'w')
  AND (p.proname LIKE 'lo\\_%' OR p.proname LIKE 'pg\\_advisory%' OR p.proname LIKE 'pg\\_sleep%'
    OR p.proname LIKE '%\\_to\\_xml%'
    OR p.proname IN ('loread', 'lowrite', 'ts_stat', 'pg_notify', 'pg_logical_emit_message', 'pg_cancel_backend',
                     'pg_terminate_backend', 'pg_ls_dir', 'pg_read_file', 'pg_read_binary_file', 'pg_stat_file'))
"""
"""Large objects; SQL given as text; whatever waits, speaks to other sessions or names files."""

_DANGEROUS: Final = """
SELECT r.rolsuper, r.rolcreaterole, array(
    SELECT g.rolname::text FROM pg_catalog.pg_roles g
    WHERE g.rolname IN ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program',
                        'pg_read_all_data', 'pg_write_all_data', 'pg_maintain', 'pg_signal_backend',
                        'pg_read_all_settings', 'pg_monitor', 'pg_checkpoint', 'pg_create_subscription')
      AND pg_catalog.pg_has_role(r.oid, g.oid, 'MEMBER'))
FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
"""


def create(conn: Connection[Any], name: str, password: str) -> None:
    """Make a role that can log in, and nothing else.

    A member of no other role, it inherits nothing; but on PostgreSQL 15 a database's owner may make tables in its
    schema ``public`` by a membership that is implied, and inherited only by who may inherit.
    """
    conn.execute(
        sql.SQL(
            "CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT"
            " CONNECTION LIMIT {} PASSWORD {}"
        ).format(sql.Identifier(name), sql.Literal(CONNECTIONS), sql.Literal(password))
    )


def prepare_database(conn: Connection[Any]) -> None:
    """In the scratch database, as whoever may: pgvector, and nothing for the drill's role to reach outside with.

    pgvector is made here, beforehand: some installations let only a superuser make it.
    """
    if conn.execute("SELECT 1 FROM pg_catalog.pg_available_extensions WHERE name = 'vector'").fetchone():
        conn.execute("CREATE EXTENSION IF NOT EXISTS vector")
    superuser, _, _ = powers_of(conn)
    if not superuser:
        return  # nobody else can take anything away from everybody
    for (signature,) in conn.execute(_FUNCTIONS).fetchall():
        conn.execute(sql.SQL("REVOKE EXECUTE ON FUNCTION {} FROM PUBLIC").format(sql.SQL(signature)))
    # A set defines no functions; and what could be written in one is beyond what can be foreseen.
    for (language,) in conn.execute("SELECT lanname FROM pg_catalog.pg_language WHERE lanpltrusted").fetchall():
        conn.execute(sql.SQL("REVOKE USAGE ON LANGUAGE {} FROM PUBLIC").format(sql.Identifier(language)))


def powers_of(conn: Connection[Any]) -> tuple[bool, bool, list[str]]:
    """What a connection's role may do beyond its own database.

    :return: whether it is a superuser, whether it may make roles, and which powerful roles it is a member of
    """
    row = conn.execute(_DANGEROUS).fetchone()
    assert row is not None
    return row[0], row[1], row[2]
