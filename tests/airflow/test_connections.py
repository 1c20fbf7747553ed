"""Which database a run may name and how it is reached: rules and parameters alone, no server and no run."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import psycopg
import pytest
from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.sdk.exceptions import AirflowNotFoundException

from pgvector_backup.engine.base.errors import DatabaseFault, InvalidParams, NotFound
from pgvector_backup.installation import connections
from pgvector_backup.installation.configuration import ConnectionRules
from pgvector_backup.installation.connections import check_admitted, connect_to, of_restores
from pgvector_backup.installation.temporary import temporary_id

RULES = ConnectionRules(default="main", allowed=("vectors_*", "one?"), uri_allowed=False)
URIS = ConnectionRules(default="main", allowed=(), uri_allowed=True)
HOSTS = ConnectionRules(default="main", allowed=(), uri_allowed=True, uri_hosts=("h*",))
OWN, THEIRS = temporary_id("pgvector_backup", "run_1", "me"), temporary_id("pgvector_backup", "run_2", "me")
OF_THE_WORKER = {"passfile", "sslcertmode", "gssencmode", "require_auth"}


class Opened(psycopg.Connection[Any]):
    """Stands for a connection that was opened."""

    def __init__(self) -> None:
        pass

    def __del__(self) -> None:
        pass


class Hook:
    """Stands for Airflow's: it knows a few connections, and notes what it is to open."""

    stored: ClassVar[dict[str, Any]] = {}
    asked: ClassVar[list[Any]] = []
    opens: ClassVar[Callable[[], Any]] = Opened
    ignored_extra_options = PostgresHook.ignored_extra_options

    def __init__(self, connection: Any) -> None:
        Hook.asked.append(connection)

    @staticmethod
    def get_connection(connection_id: str) -> Any:
        found = Hook.stored.get(connection_id)
        if found is None:
            raise AirflowNotFoundException(connection_id)
        if isinstance(found, Exception):
            raise found
        return found

    def get_conn(self) -> Any:
        return Hook.opens()


def kept(connection_id: str, conn_type: str = "postgres", **extra: Any) -> Any:
    return SimpleNamespace(
        conn_id=connection_id,
        conn_type=conn_type,
        host=f"host-of-{connection_id}",
        login="u",
        password="p",
        schema="d",
        port=5433,
        extra_dejson=extra,
    )


@pytest.fixture(autouse=True)
def hook(monkeypatch: pytest.MonkeyPatch) -> type[Hook]:
    names = ("main", "vectors_a", "one1", "authors", OWN, THEIRS)
    monkeypatch.setattr(Hook, "stored", {name: kept(name) for name in names})
    monkeypatch.setattr(Hook, "asked", [])
    monkeypatch.setattr(Hook, "opens", Opened)
    monkeypatch.setattr(connections, "PostgresHook", Hook)
    return Hook


def reached(*args: Any, **more: Any) -> Any:
    """The connection that is opened."""
    assert isinstance(connect_to(*args, **more)(), Opened)
    (one,) = Hook.asked
    Hook.asked.clear()
    return one


def test_what_a_conf_names_comes_first_then_the_author_then_the_default() -> None:
    assert reached("vectors_a", "authors", RULES).host == "host-of-vectors_a"
    assert reached(None, "authors", RULES).host == "host-of-authors", "an author may name any"
    assert reached(None, None, RULES).host == "host-of-main"
    one = reached(None, None, RULES)
    assert (one.conn_id, one.conn_type, one.login, one.password, one.schema, one.port) == (
        "main", "postgres", "u", "p", "d", 5433,
    )  # fmt: skip


@pytest.mark.parametrize("named", ["main", "vectors_a", "vectors_", "one1"])
def test_a_conf_may_name_these(named: str) -> None:
    check_admitted(named, RULES)


@pytest.mark.parametrize(
    "named", ["other", "vectors", "xvectors_a", "one", "one12", "main\n", "mainx", "", "Main", "one1\n", THEIRS, OWN]
)
def test_a_conf_may_name_no_other(named: str) -> None:
    for refusing in (lambda: check_admitted(named, RULES), lambda: connect_to(named, None, RULES)):
        with pytest.raises(InvalidParams, match=r"may not be named; allowed are vectors_\*, one\?"):
            refusing()
    assert Hook.asked == []


def test_a_runs_own_temporary_connection_is_its_own() -> None:
    check_admitted(OWN, RULES, own=OWN)
    assert reached(OWN, None, RULES, own=OWN).host == f"host-of-{OWN}"
    for refused in (lambda: check_admitted(THEIRS, RULES, own=OWN), lambda: connect_to(THEIRS, None, RULES, own=OWN)):
        with pytest.raises(InvalidParams, match="may not be named"):
            refused()


def test_a_temporary_connection_takes_nothing_of_the_worker() -> None:
    extra = json.loads(reached(OWN, None, RULES, own=OWN).extra)
    assert set(extra) >= OF_THE_WORKER
    assert extra["password"] == "p"
    assert not OF_THE_WORKER & set(json.loads(reached("vectors_a", None, RULES).extra))


def test_an_extra_that_is_not_libpqs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for extra, words in (
        ({"schema": "app", "sslmode": "require"}, "libpq knows no parameter schema"),
        ({"pgbouncer": True}, "pgbouncer .of Prisma."),
    ):
        monkeypatch.setitem(Hook.stored, "main", kept("main", **extra))
        with pytest.raises(DatabaseFault, match=f"connection 'main': in its extra, .*{words}") as caught:
            connect_to(None, None, RULES)
        assert not caught.value.can_retry
    monkeypatch.setitem(Hook.stored, "main", kept("main", cursor="dictcursor", iam=False, keepalives_idle=5))
    assert reached(None, None, RULES).host == "host-of-main"


def test_a_uri_takes_nothing_of_the_worker() -> None:
    one = reached("postgresql://u:secret@h/d", None, URIS)
    extra = json.loads(one.extra)
    assert set(extra) >= OF_THE_WORKER
    assert (one.password, extra["password"], extra["host"], extra["dbname"]) == ("secret", "secret", "h", "d")
    assert json.loads(reached("postgresql://u@h/d", None, URIS).extra)["password"] == ""


def test_a_uri_is_refused_where_none_is_allowed() -> None:
    with pytest.raises(InvalidParams, match="a URI is not allowed here"):
        connect_to("postgresql://u@h/d", None, RULES)


def test_how_long_a_server_may_take() -> None:
    Hook.stored["main"] = kept("main", connect_timeout=77, keepalives=1)
    assert json.loads(reached(None, None, RULES).extra)["connect_timeout"] == 77
    extra = json.loads(reached(None, None, RULES, seconds=3).extra)
    assert (extra["connect_timeout"], extra["keepalives"]) == (3, 1)
    Hook.stored["main"] = kept("main")
    assert int(json.loads(reached(None, None, RULES).extra)["connect_timeout"]) > 0


def failing() -> Any:
    raise psycopg.OperationalError("port 22: connection refused")


@pytest.mark.parametrize(
    ("asked", "rules", "told"),
    [
        ("postgresql://u@h/d", URIS, False),
        ("postgresql://u@h/d", HOSTS, True),
        (OWN, URIS, False),
        (OWN, HOSTS, True),
        (None, URIS, True),
    ],
)
def test_what_a_server_says_is_told_only_of_one_that_may_be_named(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, rules: ConnectionRules, told: bool
) -> None:
    """Otherwise whoever may send a URI could find out which ports of the network are open."""
    monkeypatch.setattr(Hook, "opens", staticmethod(failing))
    with pytest.raises(psycopg.OperationalError) as caught:
        connect_to(asked, None, rules, own=OWN)()
    assert ("port 22" in str(caught.value)) is told
    assert ("did not let us in" in str(caught.value)) is not told
    if not told:
        assert caught.value.__suppress_context__


def test_an_older_driver_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hook, "opens", staticmethod(object))
    with pytest.raises(InvalidParams, match="does not use psycopg 3"):
        connect_to(None, None, RULES)()


def test_a_connection_that_is_not_there() -> None:
    with pytest.raises(NotFound, match="'vectors_b' that it can read; add it, or set AIRFLOW_CONN_VECTORS_B"):
        connect_to("vectors_b", None, RULES)


def test_a_connection_that_cannot_be_read() -> None:
    Hook.stored["vectors_b"] = ValueError("bad://secret")
    with pytest.raises(InvalidParams, match=r"'vectors_b' cannot be read \(ValueError\); store it anew") as caught:
        connect_to("vectors_b", None, RULES)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(("kind", "right"), [("postgres", True), ("postgresql", True), ("mysql", False), ("", False)])
def test_a_connection_of_another_kind(kind: str, right: bool) -> None:
    Hook.stored["vectors_b"] = kept("vectors_b", kind)
    if right:
        assert reached("vectors_b", None, RULES).conn_type == "postgres"
    else:
        with pytest.raises(InvalidParams, match=f"of type '{kind}'; postgres is needed"):
            connect_to("vectors_b", None, RULES)


def test_the_log_says_which_and_no_uri(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger=connections.__name__):
        reached("vectors_a", None, RULES)
        reached("postgresql://u:secret@h/d", None, URIS)
    assert [record.getMessage() for record in caplog.records] == [
        "using connection vectors_a",
        "using the URI of conf",
    ]


def test_the_connection_of_restores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "restore_connection", lambda: None)
    assert of_restores() is None
    Hook.stored["pgvector_restore"] = kept("pgvector_restore")
    assert of_restores() == "pgvector_restore"
    monkeypatch.setattr(connections, "restore_connection", lambda: "writer")
    assert of_restores() == "writer"
