"""What libpq says where no connection comes about: what is in the way, what helps, and whether a retry is of use."""

from __future__ import annotations

from typing import Final

import psycopg

from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.errors import DatabaseFault


def unreachable(fault: psycopg.Error) -> DatabaseFault:
    """The error of a connection that did not come about; its cause may hold a password and is not to be chained."""
    said = str(fault)
    remedy = next((f"; {helps}" for words, helps in (_REMEDIES | _FINAL).items() if words in said), "")
    final = any(words in said for words in _FINAL)
    told = messages.CONNECTION_FAILED.followed_by(f"{_first_line(fault)}{remedy}")
    return DatabaseFault(told, can_retry=not final)


_NO_CONNECTION: Final = "the server has no connection to spare: lower jobs, end idle sessions, or raise max_connections"
_REMEDIES: Final = {
    "too many clients": _NO_CONNECTION,
    "too many connections for": "the role's or the database's CONNECTION LIMIT is reached: lower jobs, or raise it",
    "remaining connection slots": _NO_CONNECTION,
    "is starting up": "it will take connections soon",
    "is shutting down": "it takes no new connections until it has been started again",
    "not yet accepting connections": "it will take connections once it has recovered",
    "session is read-only": "target_session_attrs asks for a server that takes writes, and none of those named does",
    "no more connections allowed": _NO_CONNECTION,
    "max client connections": _NO_CONNECTION,
    "in recovery mode": "it will take connections once it has recovered from a crash",
    "password authentication failed": "the password is wrong, or its VALID UNTIL has passed",
    "Connection refused": "nothing listens there: start the server, or correct host and port",
    "server is not in hot standby mode": "target_session_attrs asks for a standby, and none of those named is one",
    "server is in hot standby mode": "target_session_attrs asks for a primary, and none of those named is one",
    "unsupported startup parameter": "a pooler refuses it: leave it out, or have it in its ignore_startup_parameters",
}
_FINAL: Final = {
    "is not permitted to log in": "give the role LOGIN",
    "permission denied for database": "have CONNECT on it granted to the role",
    "is not currently accepting connections": "ALTER DATABASE … ALLOW_CONNECTIONS true lets it",
    "no pg_hba.conf entry": "add a line for it to the server's pg_hba.conf, or, if it says no encryption, write "
    "sslmode=require",
    "pg_hba.conf rejects": "a line of the server's pg_hba.conf forbids it; if it says no encryption, write "
    "sslmode=require",
    "no password supplied": "give the connection its password",
    "unrecognized configuration parameter": "correct the connection's options",
    "invalid value for parameter": "correct the connection's options",
    "permission denied to set parameter": "leave it out of the connection's options, or have it granted",
    "definition of service": "write it into ~/.pg_service.conf, or PGSERVICEFILE",
    "server does not support SSL": "let the server have SSL, or write sslmode=prefer",
    "root certificate file": "correct sslrootcert",
    "certificate verify failed": "sslrootcert does not hold the authority that signed the server's certificate",
    "does not match host name": "connect by the name in the server's certificate",
}
"""What nothing but a change of server or connection cures."""


def _first_line(fault: psycopg.Error) -> str:
    """What libpq says, without what a misspelt connection string makes it take for something else."""
    line = next(iter(str(fault).strip().splitlines()), type(fault).__name__)
    if "connect_timeout" in line and not fault.sqlstate:
        return "connect_timeout is no whole number of seconds"
    # What cannot be parsed is quoted, and a password that holds an unescaped @ ends up in the host's name.
    unread = isinstance(fault, psycopg.ProgrammingError) or ": invalid " in line
    if unread or ("@" in line and "FATAL" not in line):
        return "its URI or an option cannot be read; percent-encode special characters in the password"
    return line
