"""No setting that a role or a database may be given changes a set's bytes or what a restore brings back."""

from __future__ import annotations

import psycopg
import pytest

from pgvector_backup.engine.contract.backup_result import BackupResult
from tests.engine.test_restore_states import definitions, rows, script
from tests.helpers.house import House

TEXTS = {
    "DateStyle": ["SQL, DMY", "German, YMD"],
    "TimeZone": ["Asia/Kathmandu", "America/St_Johns"],
    "application_name": ['it\'s "odd"'],
    "backtrace_functions": ["exec_simple_query"],
    "client_encoding": ["LATIN1", "SQL_ASCII"],
    "createrole_self_grant": ["set, inherit"],
    "default_table_access_method": ["heap"],
    "default_tablespace": ["pg_default"],
    "default_text_search_config": ["pg_catalog.simple"],
    "lc_messages": ["C.utf8"],
    "lc_monetary": ["C.utf8"],
    "lc_numeric": ["C.utf8"],
    "lc_time": ["C.utf8"],
    "restrict_nonsystem_relation_kind": ["view"],
    "search_path": ["odd, public", '"$user", odd, public'],
    "temp_tablespaces": ["pg_default"],
    "timezone_abbreviations": ["India"],
}
# Paths of libraries, which a session cannot start without, and what writes into the server's log or crashes it.
NO_VALUES = {
    "dynamic_library_path", "extension_control_path", "local_preload_libraries", "session_preload_libraries",
    "wal_consistency_checking",
}  # fmt: skip
NEVER = {
    "post_auth_delay": "a session that begins so late is taken for none",
    "allow_system_table_mods": "it only lets a superuser do more",
    "role": "no setting of ALTER ROLE",
    "session_authorization": "no setting of ALTER ROLE",
    "transaction_deferrable": "of one transaction",
    "transaction_isolation": "of one transaction",
    "transaction_read_only": "of one transaction",
    "max_stack_depth": "its bounds are the system's",
    "temp_file_limit": "the server may be told to sort nothing on its disk",
    "debug_discard_caches": "not built in",
    "vacuum_cost_delay": "only slow",
    "temp_buffers": "its upper bound is more than a machine has",
}


def values_of(kind: str, now: str, least: str | None, most: str | None, choices: list[str] | None) -> list[str]:
    """Other values that a setting may have: what is opposite, the bounds, every word."""
    if kind == "bool":
        return ["off" if now == "on" else "on"]
    if kind == "enum":
        return [choice for choice in choices or [] if choice != now]
    assert least is not None
    assert most is not None
    # Of a time or a size one step is as strange as the other end, and ends in this world.
    return [least, most]


def rounds(house: House) -> list[list[tuple[str, str]]]:
    """Every setting that a role or a database may be given, with its next other value in each round."""
    found = house.database.run(
        "SELECT name, vartype, setting, min_val, max_val, enumvals FROM pg_settings"
        " WHERE context IN ('user', 'superuser') ORDER BY name"
    )
    assert len(found) > 100
    tried: dict[str, list[str]] = {}
    for name, kind, now, least, most, choices in found:
        if name in NEVER or name in NO_VALUES:
            continue
        tried[name] = TEXTS[name] if kind == "string" else values_of(kind, now, least, most, choices)
    longest = max(map(len, tried.values()))
    return [[(name, values[at]) for name, values in tried.items() if at < len(values)] for at in range(longest)]


@pytest.mark.slow
def test_no_setting_of_a_role_or_a_database_changes_anything(house: House) -> None:
    script(
        house,
        "CREATE SCHEMA odd;\nCREATE TABLE odd.u (id int);\n"
        "CREATE TABLE t (id int PRIMARY KEY, f float8, r real, b bytea, at timestamptz, i interval, m money, a text[],"
        " w text DEFAULT 'a\\b', \"select\" int, v vector(3), d date, CHECK (w <> '\\'));\n"
        "CREATE INDEX ON t USING hnsw (v vector_l2_ops);\nCREATE INDEX ON t (lower(w)) WHERE w LIKE '%\\\\%';\n"
        "INSERT INTO t SELECT n, n / 3.0, n / 7.0, decode('00ff', 'hex'), '2026-03-29 01:30:00+00', '-1 mon 2 days',"
        " n, ARRAY['NULL', NULL, 'ü'], 'ü\\', NULL, '[0.1,0.2,0.3]', '2026-02-01' FROM generate_series(1, 20) AS n",
    )
    house.configure(tables="t", truncate_tables="t", jobs=1)
    database = house.database
    shape, held = definitions(database), rows(database, "t")

    def files(result: BackupResult) -> dict[str, bytes]:
        assert result.failure is None, result.failure
        told = {
            path.name.replace(str(result.backup_id), ""): path.read_bytes().replace(str(result.backup_id).encode(), b"")
            for path in house.directory.iterdir()
            if str(result.backup_id) in path.name and path.suffix != ".json"
        }
        made = next(name for name in told if name.endswith(".sql"))
        told[made] = told[made].partition(b"\n")[2]  # but for when it was made
        return told

    formats = ("csv", "binary")
    plain = [files(house.backup(file_format=file_format)) for file_format in formats]
    for number, settings in enumerate(rounds(house)):
        with psycopg.connect(database.server.dsn, autocommit=True) as conn:
            for name, value in settings:
                listed = value if name in ("search_path",) else "'" + value.replace("'", "''") + "'"
                conn.execute(f'ALTER DATABASE {database.name} SET "{name}" = {listed}'.encode())
        try:
            # The last one is restored.
            for one in (number, number + 1):
                result = house.backup(file_format=formats[one % 2])
                assert files(result) == plain[one % 2]
            assert house.truncate(result).rows_before == {"t": 20}
            assert house.restore().tables["t"].rows == 20
            assert house.restore(on_conflict="skip").tables["t"].rows_after == 20
            house.restore(schema="copied")
        finally:
            with psycopg.connect(database.server.dsn, autocommit=True) as conn:
                conn.execute(f"ALTER DATABASE {database.name} RESET ALL".encode())
        assert rows(database, "t") == rows(database, "copied.t") == held
        assert definitions(database) == shape
        copied = definitions(database, "copied")
        assert [one[:3] for one in copied] == [one[:3] for one in shape]
        database.run("DROP SCHEMA copied CASCADE")
