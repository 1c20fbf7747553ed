"""A password is nowhere but where its owner put it, whatever becomes of the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from demo.rest import RestError
from pgvector_backup.installation.runs import ERROR_IN_ENGLISH
from tests.helpers.installation import DAG_ID, PASSWORD, URI_DAG_ID, WRONG_PASSWORD, Installation, keeper_uri
from tests.helpers.traces import kept, leaks


def uri_with(password: str, address: str = "127.0.0.1") -> str:
    return f"postgresql://keeper:{password}@{address}/library"


ENCODED = quote(PASSWORD, safe="")


@pytest.mark.parametrize(
    ("dag_id", "connection", "error_type"),
    [
        (DAG_ID, None, None),
        (DAG_ID, "pgvector_wrong_password", "DATABASE_ERROR"),
        (DAG_ID, "pgvector_unreachable", "DATABASE_ERROR"),
        (DAG_ID, "pgvector_bad_option", "DATABASE_ERROR"),
        (URI_DAG_ID, PASSWORD, None),
        (URI_DAG_ID, WRONG_PASSWORD, "DATABASE_ERROR"),
        (URI_DAG_ID, uri_with(ENCODED, "127.0.0.1:1"), "DATABASE_ERROR"),
        (URI_DAG_ID, uri_with(ENCODED, "no-such-host.invalid"), "DATABASE_ERROR"),
        (URI_DAG_ID, uri_with(f"{ENCODED}%zz"), "INVALID_PARAMS"),
        (URI_DAG_ID, uri_with(ENCODED, "[::1"), "INVALID_PARAMS"),
        (URI_DAG_ID, f"{uri_with(ENCODED)}?nosuchoption=1", "INVALID_PARAMS"),
        (URI_DAG_ID, f"{uri_with(ENCODED)}?connect_timeout=s3cret", "INVALID_PARAMS"),
        (URI_DAG_ID, f"postgresql://127.0.0.1:1/library?user=keeper&password={ENCODED}", "DATABASE_ERROR"),
    ],
    ids=[
        "connection",
        "connection with a wrong password",
        "connection to nowhere",
        "connection with an unknown option",
        "URI",
        "URI with a wrong password",
        "URI to a closed port",
        "URI to an unknown host",
        "URI with a bad percent sign",
        "URI with a bad host",
        "URI with an unknown option",
        "URI with the password where a number belongs",
        "URI with the password as an option",
    ],
)
def test_a_password_is_nowhere(
    installation: Installation, dag_id: str, connection: str | None, error_type: str | None
) -> None:
    if connection in (PASSWORD, WRONG_PASSWORD):
        connection = keeper_uri(installation.server, connection)
    run_id, outcome = installation.run({"db_connection": connection}, dag_id=dag_id)
    found = kept(installation, dag_id, run_id)
    assert leaks(found) == []
    assert outcome.state == ("success" if error_type is None else "failed")
    if error_type is None:
        assert "is on disk" in found["logs"]
    else:
        error = json.loads(found["XCom backup error"])
        assert error["error_type"] == error_type
        # The task's log is in English, and each line of it is JSON.
        english = json.loads(found.get(f"XCom backup {ERROR_IN_ENGLISH}", found["XCom backup error"]))
        logged = english if isinstance(english, str) else error["response"]
        assert any(words in found["logs"] for words in (logged, json.dumps(logged)[1:-1], "***"))
        if error_type == "DATABASE_ERROR":
            assert error["response"].startswith("数据库连接失败,请检查连接配置: ")


def test_a_refused_uri_is_quoted_to_its_sender_alone(installation: Installation) -> None:
    for dag_id, uri in ((DAG_ID, uri_with(ENCODED)), (URI_DAG_ID, f"mysql://keeper:{ENCODED}@127.0.0.1/library")):
        with pytest.raises(RestError) as refused:
            installation.client.trigger(dag_id, {"db_connection": uri})
        assert refused.value.status == 400
    log: Path = installation.airflow.log
    assert leaks({"airflow.log": log.read_text(encoding="utf-8", errors="replace")}) == []


def test_the_settings_page_of_a_connection_hides_it(installation: Installation) -> None:
    connection: dict[str, Any] = {
        "connection_id": "pgvector_stored",
        "conn_type": "postgres",
        "host": installation.server.socket_directory,
        "login": "keeper",
        "password": PASSWORD,
        "schema": "library",
    }
    installation.client.request("POST", "/api/v2/connections", connection)
    run_id, outcome = installation.run({"db_connection": "pgvector_stored"})
    assert outcome.state == "success"
    assert leaks(kept(installation, DAG_ID, run_id)) == []
    shown = installation.client.request("GET", "/api/v2/connections/pgvector_stored")
    assert leaks({"connection": json.dumps(shown, ensure_ascii=False)}) == []
