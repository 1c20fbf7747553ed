"""What airflow-init does before Airflow starts: look at what people get wrong, and make the two roles of daily work.

Whatever is wrong is said in one line with its remedy, within seconds, and ends the start: `docker-compose logs
airflow-init` shows it.
"""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

import psycopg
from psycopg import sql

BACKUPS = os.environ["AIRFLOW__PGVECTOR_BACKUP__BACKUP_ROOT"]
EMPTIED = ["langchain_pg_embedding"]


def end(text: str) -> NoReturn:
    """End the start with one line."""
    sys.exit(f"error: {text}")


def connect(service: str, user: str, database: str, variable: str) -> psycopg.Connection[Any]:
    """Connect as .env says, and explain the one failure that everybody meets: volumes older than .env."""
    try:
        return psycopg.connect(
            host=service,
            user=user,
            dbname=database,
            password=os.environ[variable],
            connect_timeout=10,
            autocommit=True,
        )
    except psycopg.OperationalError as fault:
        text = str(fault).strip().splitlines()[-1]
        if "authentication failed" in text or "does not exist" in text:
            end(
                f"{service} does not accept {variable} of .env for the role {user}: its volume was made with another "
                f".env. Put that .env back; or give the role the new password, docker-compose exec {service} psql -U "
                f"{user} -d {database} -c '\\password'; or begin anew with docker-compose down -v, which deletes all "
                "databases and backups. A volume from before there was a role postgres needs it first: docs/compose.md"
            )
        end(f"{service}: {text}")


def make_roles(conn: psycopg.Connection[Any]) -> None:
    """The owner of the tables, who backs up, who restores; none of them a superuser. Repeated without harm."""
    for role, variable, inherits in (
        ("vectors", "PGVECTOR_PASSWORD", []),
        ("pgvector_backup", "PGVECTOR_BACKUP_PASSWORD", []),
        ("pgvector_restore", "PGVECTOR_RESTORE_PASSWORD", ["vectors"]),
    ):
        name, password = sql.Identifier(role), sql.Literal(os.environ[variable])
        known = conn.execute("SELECT rolsuper FROM pg_roles WHERE rolname = %s", [role]).fetchone()
        if known is None:
            conn.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
        conn.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, password))
        for other in inherits:
            conn.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(other), name))
    superuser = conn.execute("SELECT rolsuper FROM pg_roles WHERE rolname = 'vectors'").fetchone()
    if superuser == (True,):
        sys.stdout.write("note: vectors is a superuser, as older versions of this file made it; see docs/compose.md\n")
    conn.execute("ALTER DATABASE vectors OWNER TO vectors")
    conn.execute("ALTER SCHEMA public OWNER TO vectors")
    conn.execute("CREATE EXTENSION IF NOT EXISTS vector")
    # Reads every table, those to come as well, and writes none.
    conn.execute("GRANT CONNECT ON DATABASE vectors TO pgvector_backup")
    conn.execute("GRANT pg_read_all_data TO pgvector_backup")
    for table in EMPTIED:
        exists = conn.execute("SELECT to_regclass(%s)", [f"public.{table}"]).fetchone()
        if exists != (None,):
            conn.execute(sql.SQL("GRANT TRUNCATE ON {} TO pgvector_backup").format(sql.Identifier("public", table)))
    conn.execute(
        "ALTER DEFAULT PRIVILEGES FOR ROLE vectors IN SCHEMA public GRANT TRUNCATE ON TABLES TO pgvector_backup"
    )


def main() -> None:
    """Look, prepare, or say what is in the way."""
    if not os.access(BACKUPS, os.W_OK | os.X_OK):
        end(
            f"the user {os.getuid()} of group 0 cannot write to the backups. If BACKUPS in .env names a directory of "
            "the host: make it before the start (Docker made it as root if it was missing), and let AIRFLOW_UID own "
            'it: sudo chown "$(id -u)" DIRECTORY, with AIRFLOW_UID=$(id -u) in .env'
        )
    connect("metadata", "airflow", "airflow", "METADATA_PASSWORD").close()
    with connect("pgvector", "postgres", "vectors", "PGVECTOR_ADMIN_PASSWORD") as conn:
        make_roles(conn)


if __name__ == "__main__":
    main()
