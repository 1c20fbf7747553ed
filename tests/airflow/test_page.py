"""What the plugin adds to Airflow for the page: its files, its place in the navigation, links that lead there."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient

from pgvector_backup.installation.addresses import PAGE_PREFIX, page_url
from pgvector_backup.operators.links import VectorBackupsLink
from pgvector_backup.plugin import PgVectorBackupPlugin
from pgvector_backup.web.page import HEADERS, create_page

RUN_ID = "manual__2026-11-25T13:48:38.735287+00:00_zVWx&r=5"


def test_the_navigation_shows_what_the_plugin_serves() -> None:
    plugin = PgVectorBackupPlugin()
    (view,) = plugin.external_views
    prefixes = [app["url_prefix"] for app in plugin.fastapi_apps]
    # Relative to Airflow's root, which a proxy may have moved.
    assert f"/{view['href']}" == f"{PAGE_PREFIX}/"
    assert PAGE_PREFIX in prefixes
    assert len(set(prefixes)) == len(prefixes) == 2
    page = TestClient(create_page())
    for name in ("icon", "icon_dark_mode"):
        answer = page.get(f"/{view[name]}".removeprefix(PAGE_PREFIX))
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/svg+xml"


@pytest.mark.parametrize("path", ["/", "/page.js", "/words/zh.js", "/style.css", "/vendor/uplot/LICENSE", "/nothing"])
def test_every_answer_has_the_headers_that_keep_strangers_out(path: str) -> None:
    answer = TestClient(create_page()).get(path)
    assert answer.status_code == (404 if path == "/nothing" else 200)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def test_an_unchanged_file_is_not_sent_again() -> None:
    page = TestClient(create_page())
    tag = page.get("/page.js").headers["etag"]
    assert page.get("/page.js", headers={"If-None-Match": tag}).status_code == 304


@pytest.mark.parametrize("path", ["/../page.py", "/%2e%2e/page.py", "/..%2fpage.py", "/static/../../app.py"])
def test_nothing_but_the_pages_files_is_served(path: str) -> None:
    assert TestClient(create_page()).get(path).status_code == 404


@pytest.mark.parametrize(
    ("base", "start"),
    [
        ("", "/plugin/vector-backups"),
        ("https://airflow.example", "https://airflow.example/plugin/vector-backups"),
        ("https://example/team/airflow/", "https://example/team/airflow/plugin/vector-backups"),
    ],
)
def test_links_lead_below_airflows_base_url(monkeypatch: pytest.MonkeyPatch, base: str, start: str) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base)
    assert page_url() == start
    link = page_url(dag_id="pgvector_backup", run_id=RUN_ID)
    # The page's frame is given what follows the route, as a path from the server's root.
    framed = urlsplit(link.removeprefix(start))
    assert framed.path == f"{urlsplit(base).path.rstrip('/')}/pgvector-backup/"
    assert parse_qs(framed.query) == {"dag_id": ["pgvector_backup"], "run_id": [RUN_ID]}


def test_every_task_has_the_link() -> None:
    from pgvector_backup.operators.backup import PgVectorBackupOperator
    from pgvector_backup.operators.report import PgVectorReportOperator
    from pgvector_backup.operators.restore import PgVectorRestoreOperator

    for operator in (PgVectorBackupOperator, PgVectorReportOperator, PgVectorRestoreOperator):
        (link,) = operator(task_id="any").operator_extra_links
        assert isinstance(link, VectorBackupsLink)
