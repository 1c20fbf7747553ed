"""The page for everybody: axe finds nothing, in both themes and both languages, whatever is open on it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import delete

from pgvector_backup.engine.store.root import locate
from tests.helpers import langchain
from tests.helpers.api import Api, data_of
from tests.helpers.browser import open_browser
from tests.helpers.database import Database
from tests.helpers.made_sets import make_set
from tests.helpers.served import served

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
LOOK = os.environ.get("PGVECTOR_BACKUP_PICTURES")
"""A directory for pictures of what is looked at, for whoever changes the page."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as started:
        yield started


@pytest.fixture
def address(house: Path, app: Any, as_: Callable[[str], Api], database: Database, elsewhere: Database) -> Iterator[str]:
    """The page over sets of two databases, one damaged, with runs that ended and one that waits."""
    with create_session() as session:
        session.execute(delete(DagRun))
    (house / ("a_task_with_a_name_that_is_longer_than_any_column_" * 3)).mkdir()
    (house / "t1").mkdir()
    now = datetime.now(timezone.utc)
    elsewhere.run("CREATE EXTENSION vector")
    elsewhere.run(langchain.filled(5))
    make_set(elsewhere, now=now - timedelta(days=2))
    good, bad = make_set(database, now=now - timedelta(days=1)), make_set(database)
    make_set(database, task_id="a_task_with_a_name_that_is_longer_than_any_column_" * 3)
    for made, ok in ((good, True), (bad, False)):
        told = {"verified_at": now.isoformat(), "depth": "rows", "ok": ok, "damaged": not ok, "run_id": "v"}
        told |= {"errors": [] if ok else ["langchain_pg_embedding: block 3: checksum"]}
        locate(house, None, "vector_bak").write(f"verified_{made.backup_id}.json", json.dumps(told).encode())
    for state, conf in (("success", {}), ("failed", {"task_id": "t1"}), ("failed", {"task_id": "t1"}), (None, {})):
        run_id = data_of(as_("op").call("POST", "/backup?wait=0", conf), 202)["run_id"]
        if state is not None:
            with create_session() as session:
                session.query(DagRun).filter_by(run_id=run_id).one().set_state(state)
    with served(app) as address:
        yield address
    with create_session() as session:
        session.execute(delete(DagRun))


@pytest.fixture(params=["light", "dark"])
def page(browser: Browser, address: str, as_: Callable[[str], Api], request: pytest.FixtureRequest) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, color_scheme=request.param, locale="en-US")
    context.add_cookies([{"name": "_token", "value": as_("op").token or "", "url": address}])
    context.set_default_timeout(10_000)
    opened = context.new_page()
    opened.goto(f"{address}/pgvector-backup/")
    expect(opened.locator("#page")).to_have_attribute("aria-busy", "false")
    yield opened
    context.close()


def check(page: Page, name: str) -> None:
    """No violation, as axe sees it; nothing wider than the window."""
    if LOOK:
        theme = page.evaluate("document.documentElement.dataset.theme")
        page.screenshot(path=f"{LOOK}/{theme}-{name}.png", full_page=True)
    found = Axe().run(page, options=RULES).response["violations"]
    told = [(one["id"], one["help"], [node["html"][:200] for node in one["nodes"]][:4]) for one in found]
    assert told == [], name
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name


def test_axe_finds_nothing(page: Page) -> None:
    check(page, "page")
    page.locator("summary", has_text="The last").click()
    page.locator("tbody.set .opener").first.click()
    expect(page.locator(".set-detail .toolbar")).to_be_visible()
    check(page, "set")
    page.locator(".tick input").nth(0).check()
    page.locator(".tick input").nth(1).check()
    page.get_by_role("button", name="Delete these").click()
    check(page, "delete")
    page.get_by_role("button", name="Cancel", exact=True).click()
    for action in ("restore", "verify", "download", "remove"):
        page.locator(f".set-detail [data-action={action}]").click()
        check(page, action)
        page.locator("dialog footer button").first.click()
    page.locator("[data-action=backup]").click()
    check(page, "backup")
    page.locator("dialog footer button").first.click()
    page.locator(".running-card button").click()
    check(page, "cancel")
    page.get_by_role("button", name="Let it run").click()
    page.set_viewport_size({"width": 420, "height": 900})
    check(page, "narrow")


def test_what_an_operator_sees_of_two_databases_and_a_damaged_set(
    page: Page, database: Database, elsewhere: Database
) -> None:
    sets = page.locator("tbody.set")
    expect(sets).to_have_count(4)
    page.locator("#filter-database").select_option(elsewhere.name)
    expect(sets).to_have_count(1)
    expect(sets.first).to_contain_text(elsewhere.name)
    page.locator("#filter-database").select_option("")
    page.locator("#filter-words").fill(elsewhere.name)
    expect(sets).to_have_count(1)
    page.locator("#filter-words").fill("csv")
    expect(sets).to_have_count(4)
    page.locator("#filter-words").fill("")
    expect(page.locator("[data-code=LAST_FAILED]")).to_contain_text("failed 2 times in a row")
    expect(page.locator("[data-code=VERIFY_FAILED]")).to_be_visible()
    expect(page.locator(".legend .chip")).to_have_count(4)
    expect(page.locator("[data-tile=storage]")).to_contain_text("free")
    expect(page.locator(".running-card .route")).to_contain_text("pgvector_default → ")
    damaged = page.locator("tbody.set", has_text="Damaged")
    damaged.locator(".opener").click()
    page.locator(".set-detail [data-action=restore]").click()
    dialog = page.locator("dialog")
    expect(dialog).to_contain_text("This set is not whole: its last verification found damage")
    expect(dialog.locator(".consequence")).to_contain_text(f"which is of database {database.name} (PostgreSQL")
    expect(dialog.locator(".consequence")).to_contain_text(f"of database {database.name} (PostgreSQL")
    expect(dialog.locator(".consequence")).to_contain_text("pgvector_default")
    dialog.locator("input[value=missing]").check()
    expect(dialog.locator(".consequence")).to_contain_text("Puts back what is missing of the 62 rows")
    dialog.locator("input[value=copy]").check()
    names = dialog.locator("[data-key=rename_collection] input")
    names.nth(0).fill("collection 1")
    names.nth(1).fill("collection 1 as it was")
    expect(dialog.locator(".consequence")).to_contain_text("Writes 15 rows")
    expect(dialog.locator(".consequence")).to_contain_text("Only these collections: collection 1.")
    dialog.get_by_text("Put back what is missing").click()
    expect(dialog.locator("[data-key=on_conflict] select")).to_have_value("skip")
    expect(dialog.locator(".consequence")).to_contain_text("also where the backup has one of the same key")
    dialog.get_by_text("Make the tables equal").click()
    expect(dialog.locator("[data-key=truncate_before_restore] input")).to_be_checked()
    # What destroys has the database's own name typed, and keeps what was there first unless told not to.
    expect(dialog.locator(".guard code")).to_have_text(database.name)
    expect(dialog.get_by_label("Back up first")).to_be_checked()
    expect(dialog.locator(".consequence")).to_contain_text("are backed up as one more set")
    dialog.get_by_label("Back up first").uncheck()
    expect(dialog.locator(".consequence")).to_contain_text("NOT backed up first")
    dialog.get_by_text("Put back what is missing").click()
    expect(dialog.get_by_label("Back up first")).to_be_hidden()
    expect(dialog.locator(".guard input")).to_have_count(0)


def test_several_sets_are_deleted_at_once_by_their_number(page: Page, house: Path) -> None:
    sets = page.locator("tbody.set")
    expect(sets).to_have_count(4)
    for index in (1, 2):
        page.locator(".tick input").nth(index).check()
    page.get_by_role("button", name="Delete these").click()
    dialog = page.locator("dialog")
    dialog.locator(".guard input").press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("delete 2")
    dialog.locator(".guard input").fill("delete 2")
    dialog.get_by_role("button", name="Delete", exact=True).click()
    expect(dialog).to_have_count(0)
    expect(sets).to_have_count(2)
