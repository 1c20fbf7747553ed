"""Copies on request over HTTP and on the page: where a set lies, made again, brought back from one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import delete, select

from tests.airflow.web.test_page_access import check
from tests.helpers.api import Api, data_of
from tests.helpers.browser import open_browser
from tests.helpers.database import Database
from tests.helpers.made_sets import make_set
from tests.helpers.own_airflow import Configure
from tests.helpers.served import served


@pytest.fixture
def made(house: Path, database: Database, configure: Configure) -> Iterator[str]:
    """A set that lies at the backup root alone; two other roots."""
    with create_session() as session:
        session.execute(delete(DagRun))
    for name in ("one", "two"):
        (house.parent / name).mkdir()
    configure(copy_roots=f"{house.parent}/one, {house.parent}/two")
    yield str(make_set(database).backup_id)
    with create_session() as session:
        session.execute(delete(DagRun))


def asked() -> list[Any]:
    with create_session() as session:
        return list(session.scalars(select(DagRun.conf).where(DagRun.dag_id == "pgvector_copy")))


def test_a_copy_is_triggered_with_its_conf(house: Path, api: Api, made: str) -> None:
    conf = {"backup_path": "vector_bak", "timestamp": made, "from_copy": f"{house.parent}/two"}
    run_id = data_of(api.call("POST", "/copy?wait=0", conf), 202)["run_id"]
    run = api.get(f"/copy/{run_id}")
    assert (run["kind"], run["dag_id"], run["asked"]) == ("copy", "pgvector_copy", conf)
    assert api.get("/overview")["running"][0]["kind"] == "copy"
    assert data_of(api.call("DELETE", f"/copy/{run_id}"))["cancelled"] is True


@pytest.mark.parametrize(
    ("body", "code", "word"),
    [
        ({"al": True}, 400, "did you mean 'all'?"),
        ({"quick": "yes"}, 400, "quick"),
        ({"backup_path": "vector_bak", "task_id": "t1"}, 400, "task_id"),
        ({"timestamp": "20250101_000000", "all": True}, 400, "all"),
        ({"from_copy": "s3://elsewhere/sets"}, 400, "one of copy_roots"),
        ({"to": "s3://elsewhere/sets"}, 400, "to"),
        ({"copy_roots": "/etc"}, 400, "copy_roots"),
        ({"task_id": "nowhere"}, 404, "nowhere"),
        ({"task_id": "nowhere", "all": True}, 404, "nowhere"),
        ({"backup_path": "../vector_bak"}, 400, "backup_path"),
        ({"backup_path": "vector_bak", "timestamp": "20250101_000000"}, 404, "20250101_000000"),
    ],
)
def test_a_bad_copy_is_refused_before_there_is_a_run(
    api: Api, made: str, body: dict[str, Any], code: int, word: str
) -> None:
    assert word in data_of(api.call("POST", "/copy?wait=0", body), code)["response"]
    assert asked() == []


def test_without_other_roots_there_is_nothing_to_ask_for(api: Api, made: str, configure: Configure) -> None:
    configure(copy_roots="")
    assert "copy_roots" in data_of(api.call("POST", "/copy?wait=0", {}), 400)["response"]


def test_a_set_that_is_damaged_here_is_still_told_where_it_lies_whole(
    house: Path, api: Api, made: str, configure: Configure
) -> None:
    for name in ("one", "two"):
        (house.parent / name / "vector_bak").mkdir()
        for file in (house / "vector_bak").iterdir():
            (house.parent / name / "vector_bak" / file.name).write_bytes(file.read_bytes())
    (table,) = (house / "vector_bak").glob("langchain_pg_embedding_*.csv")
    table.unlink()
    with (house.parent / "two/vector_bak" / table.name).open("ab") as cut:
        cut.truncate(10)
    manifest = house / "vector_bak" / f"manifest_{made}.json"
    for broken in (False, True):
        if broken:
            manifest.write_text("{")
        told = api.get(f"/sets/vector_bak/{made}")
        assert [one["state"] for one in told["copies"]] == ["whole", "damaged"]
        assert table.name in told["copies"][1]["problem"]


def test_a_list_of_sets_tells_where_each_lies(
    house: Path, api: Api, database: Database, made: str, configure: Configure
) -> None:
    second = str(make_set(database).backup_id)
    one = house.parent / "one"
    shutil.copytree(house / "vector_bak", one / "vector_bak")
    (one / "vector_bak" / f"manifest_{made}.json").unlink()
    (table,) = (one / "vector_bak").glob(f"langchain_pg_embedding_{second}.csv")
    configure(copy_roots=f"{one}, s3://no-such-bucket-anywhere/x, {house.parent}/two")
    monkey = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    with pytest.MonkeyPatch.context() as patch:
        for key, value in monkey.items():
            patch.setenv(key, value)
        for content, state in ((None, "whole"), (table.read_bytes()[:-1], "damaged"), (b"", "damaged")):
            if content is not None:
                table.write_bytes(content)
            told = api.get("/copies?backup_path=vector_bak")
            assert told["roots"] == [str(one), "s3://no-such-bucket-anywhere/x", f"{house.parent}/two"]
            assert [each["state"] for each in told["sets"][made]] == ["missing", "unknown", "missing"]
            assert [each["state"] for each in told["sets"][second]] == [state, "unknown", "missing"]
    assert table.name in told["sets"][second][0]["problem"]
    configure(copy_roots="")
    assert api.get("/copies?backup_path=vector_bak") == {
        "backup_path": "vector_bak",
        "roots": [],
        "sets": {made: [], second: []},
    }
    data_of(api.call("GET", "/copies?backup_path=nowhere/vector_bak"), 404)
    data_of(api.call("GET", "/copies?backup_path=../x"), 400)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as started:
        yield started


def page_of(browser: Browser, address: str, user: Api, language: str) -> Page:
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, locale="en-US")
    context.add_init_script(f"localStorage.i18nextLng = '{language}';")
    context.add_cookies([{"name": "_token", "value": user.token or "", "url": address}])
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.goto(f"{address}/pgvector-backup/")
    return page


def test_the_page_brings_a_set_to_the_other_roots_and_back(
    house: Path, app: Any, as_: Any, browser: Browser, made: str
) -> None:
    one, two = (str(house.parent / name) for name in ("one", "two"))
    with served(app) as address:
        page = page_of(browser, address, as_("op"), "en")
        expect(page.locator("td.col-verified")).to_contain_text("0 of 2 copies")
        page.goto(f"{address}/pgvector-backup/?set=vector_bak/{made}")
        opened = page.locator(f'[data-set="vector_bak/{made}"]')
        expect(opened.locator('[data-state="missing"]')).to_have_count(2)
        opened.get_by_role("button", name="Copies …").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.locator(".consequence")).to_contain_text(f"Brings vector_bak/{made} to {one}, {two}.")
        dialog.get_by_label("Every set").check()
        expect(dialog.locator(".consequence")).to_contain_text(f"Brings every set of vector_bak to {one}, {two}.")
        dialog.get_by_label("Every set").uncheck()
        dialog.get_by_label("From a copy").fill(two)
        expect(dialog.locator(".consequence")).to_contain_text(f"from {two} to {house}, {one}.")
        check(page, "copies")
        dialog.get_by_role("button", name="Copy", exact=True).click()
        expect(dialog).to_have_count(0)
        assert asked() == [{"backup_path": "vector_bak", "timestamp": made, "from_copy": two}]
        expect(page.locator(".running-card")).to_contain_text("Copy is waiting to start")

        page = page_of(browser, address, as_("viewer"), "zh-CN")
        page.goto(f"{address}/pgvector-backup/?set=vector_bak/{made}")
        button = page.get_by_role("button", name="副本……")
        expect(button).to_have_attribute("aria-disabled", "true")
