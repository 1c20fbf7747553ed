"""The connection that a request's URI becomes: there with its run, encrypted, and gone with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.models import crypto
from airflow.models.connection import Connection
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from fastapi.testclient import TestClient
from sqlalchemy import delete, select, text

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.installation.configuration import connection_rules
from pgvector_backup.installation.connections import check_admitted
from pgvector_backup.installation.temporary import is_temporary, temporary_id
from pgvector_backup.web.app import create_app
from pgvector_backup.web.temporary_connection import sweep
from tests.helpers.api import Api, data_of

URI = "postgresql://some%40body:hi%2Fdden@db.example.com:6543/vectors?sslmode=require"


@pytest.fixture(autouse=True)
def clean(dags: None) -> Iterator[None]:
    yield
    with create_session() as session:
        session.execute(delete(DagRun))
    sweep()


@pytest.fixture
def begin(house: Any, as_: Callable[[str], Api]) -> Callable[[], tuple[str, str]]:
    """Trigger with the URI; the run's id and its connection's."""

    def beginner() -> tuple[str, str]:
        run_id = data_of(as_("op").call("POST", "/backup?wait=0", {"db_connection": URI}), 202)["run_id"]
        return run_id, temporary_id("pgvector_backup", run_id, "op")

    return beginner


def stored() -> list[str]:
    with create_session() as session:
        return [one for one in session.scalars(select(Connection.conn_id)) if is_temporary(one)]


def finish(run_id: str, state: str) -> None:
    with create_session() as session:
        session.query(DagRun).filter_by(run_id=run_id).one().set_state(state)


def wait_until_gone(connection_id: str) -> None:
    deadline = time.monotonic() + 20
    while connection_id in stored():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_it_says_what_the_uri_says_and_conf_names_it(begin: Any) -> None:
    run_id, connection_id = begin()
    with create_session() as session:
        connection = session.scalar(select(Connection).where(Connection.conn_id == connection_id))
        run = session.scalar(select(DagRun).where(DagRun.run_id == run_id))
        assert connection is not None
        assert run is not None
        assert run.conf == {"db_connection": connection_id}
        assert connection.password == "hi/dden"
        assert connection.extra_dejson == {
            "user": "some@body",
            "host": "db.example.com",
            "port": "6543",
            "dbname": "vectors",
            "sslmode": "require",
        }


def test_nothing_of_it_is_readable_in_the_database(begin: Any) -> None:
    _, connection_id = begin()
    with create_session() as session:
        row = session.execute(text("SELECT * FROM connection WHERE conn_id = :id"), {"id": connection_id}).one()
    for word in ("hidden", "hi/dden", "hi%2Fdden", "some@body", "example.com", "6543", "sslmode"):
        assert word not in str(row)


@pytest.mark.parametrize("state", ["success", "failed"])
def test_it_goes_with_its_run(begin: Any, state: str) -> None:
    (first, gone), (_, kept) = begin(), begin()
    time.sleep(3)  # a sweep comes and goes
    assert set(stored()) == {gone, kept}
    finish(first, state)
    wait_until_gone(gone)
    assert stored() == [kept]


def test_it_goes_with_a_run_that_was_deleted(begin: Any) -> None:
    run_id, gone = begin()
    with create_session() as session:
        session.execute(delete(DagRun).where(DagRun.run_id == run_id))
    wait_until_gone(gone)


def test_a_run_that_somebody_else_gives_the_same_id_has_no_use_of_it(begin: Any) -> None:
    """The attack: delete somebody's run, make one of the same id and conf, and back up whatever their URI leads to."""
    run_id, theirs = begin()
    with create_session() as session:
        run = session.scalar(select(DagRun).where(DagRun.run_id == run_id))
        assert run is not None
        assert run.triggering_user_name == "op"
        conf = dict(run.conf or {})
        run.triggering_user_name = "user"  # as the run that Airflow creates for another user is
    assert conf == {"db_connection": theirs}
    with pytest.raises(InvalidParams, match="may not be named"):
        check_admitted(theirs, connection_rules(), own=temporary_id("pgvector_backup", run_id, "user"))
    sweep()
    assert stored() == []


def test_what_an_api_server_that_went_down_has_left_is_swept_by_the_next(dags: None) -> None:
    left = temporary_id("pgvector_backup", "of a run that is over", "op")
    with create_session() as session:
        session.add(Connection(conn_id=left, conn_type="postgres", password="hidden"))
        session.add(Connection(conn_id="pgvector_tmp_of_somebody", conn_type="postgres"))
    try:
        with TestClient(create_app()):
            wait_until_gone(left)
        with create_session() as session:
            assert session.scalar(select(Connection).where(Connection.conn_id == "pgvector_tmp_of_somebody"))
    finally:
        with create_session() as session:
            session.execute(delete(Connection).where(Connection.conn_id == "pgvector_tmp_of_somebody"))


def test_refused_where_nothing_is_encrypted(
    house: Any, as_: Callable[[str], Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "")
    crypto.get_fernet.cache_clear()
    try:
        data = data_of(as_("op").call("POST", "/backup?wait=0", {"db_connection": URI}), 400)
    finally:
        monkeypatch.undo()
        crypto.get_fernet.cache_clear()
    assert "fernet_key" in data["response"]
    assert stored() == []


def test_no_run_no_connection(house: Any, as_: Callable[[str], Api], monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.serialization.definitions.dag import SerializedDAG

    def refuse(*_: Any, **__: Any) -> Any:
        raise ValueError("not like this")

    monkeypatch.setattr(SerializedDAG, "create_dagrun", refuse)
    data = data_of(as_("op").call("POST", "/backup?wait=0", {"db_connection": URI}), 400)
    assert data["response"] == "not like this"
    assert stored() == []


def test_each_run_has_its_own_id() -> None:
    ids = {temporary_id(dag, run, user) for dag in "ab" for run in ("r1", "r2") for user in ("u1", "u2", None)}
    assert len(ids) == 12
    assert all(is_temporary(one) for one in ids)
    assert not is_temporary("pgvector_tmp_" + "g" * 32)
    assert not is_temporary("pgvector_default")
