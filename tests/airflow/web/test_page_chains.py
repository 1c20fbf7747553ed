"""What the page shows of increments, collections, comparisons and previews, in a browser."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import delete, select

from pgvector_backup.engine.contract.requests import RestoreRequest
from pgvector_backup.engine.restore import restore
from pgvector_backup.installation import configuration
from tests.airflow.web.test_page_access import check
from tests.airflow.web.test_runs import finish
from tests.helpers.api import Api
from tests.helpers.browser import open_browser
from tests.helpers.database import Database
from tests.helpers.made_sets import make_set
from tests.helpers.served import served

EMBEDDING = "langchain_pg_embedding"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as started:
        yield started


@pytest.fixture
def made(house: Path, database: Database) -> list[str]:
    """Ids of a full set and two increments on it."""
    now = datetime.now(timezone.utc) - timedelta(hours=3)
    ids = []
    for number, change in enumerate(("SELECT 1", "DELETE FROM {0} WHERE id = 'id-3'", "UPDATE {0} SET document = ''")):
        database.run(change.format(EMBEDDING) + (" WHERE id = 'id-5'" if number == 2 else ""))
        ids.append(str(make_set(database, now=now + timedelta(hours=number), mode="incremental").backup_id))
    return ids


@pytest.fixture
def look(
    browser: Browser, house: Path, app: Any, as_: Callable[[str], Api], made: list[str]
) -> Iterator[Callable[..., Page]]:
    contexts = []
    with create_session() as session:
        session.execute(delete(DagRun))
    with served(app) as address:

        def looker(theme: str = "light", language: str = "en") -> Page:
            context = browser.new_context(viewport={"width": 1280, "height": 1000}, color_scheme=theme, locale="en-US")
            context.add_init_script(f"localStorage.i18nextLng = '{language}';")
            context.add_cookies([{"name": "_token", "value": as_("op").token or "", "url": address}])
            context.set_default_timeout(20_000)
            contexts.append(context)
            page = context.new_page()
            page.goto(f"{address}/pgvector-backup/")
            expect(page.locator("tbody.set")).to_have_count(3)
            return page

        yield looker
        for context in contexts:
            context.close()
    with create_session() as session:
        session.execute(delete(DagRun))


def test_chains_what_changed_and_where_a_row_lies(look: Callable[..., Page], made: list[str]) -> None:
    full, second, third = made
    page = look()
    newest = page.locator(f'[data-set="vector_bak/{third}"]')
    expect(newest.locator("[data-chain=increment]")).to_have_text(f"Increment 2 on {full}")
    expect(page.locator(f'[data-set="vector_bak/{full}"] [data-chain=base]')).to_have_text("Base of 2 increments")
    page.locator("#filter-words").fill("collection 4")
    expect(page.locator("tbody.set")).to_have_count(3)

    newest.locator(".opener").click()
    chain = newest.locator("[data-fold=chain]")
    expect(chain).to_contain_text("Chain of 3 sets")
    expect(chain.locator("li").nth(2)).to_contain_text(f"{third} increment · 1 row")
    expect(newest.locator("[data-fold=collections] li")).to_have_count(4)
    expect(newest.locator("[data-fold=collections] li").first).to_have_text("collection 1 14 rows")
    expect(newest.locator(f'[data-table="{EMBEDDING}"]')).to_contain_text("1 written, 0 deleted since the base")
    check(page, "chain")
    chain.get_by_role("button", name=second).click()
    expect(page.locator(f'[data-set="vector_bak/{second}"] .set-detail')).to_be_visible()

    newest.get_by_role("button", name="Compare", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("To", exact=True)).to_have_value(third)
    dialog.get_by_label("From", exact=True).select_option(full)
    dialog.get_by_role("button", name="Compare", exact=True).click()
    part = dialog.locator(f'[data-table="{EMBEDDING}"]')
    expect(part.locator(".figures")).to_contain_text("Added: 0")
    expect(part.locator(".figures")).to_contain_text("Changed: 1Removed: 1Unchanged: 56")
    # id-3 was of the fourth collection, id-5 is of the second.
    expect(part.locator("tbody tr").filter(has_text="collection 4")).to_have_text("collection 4001")
    expect(part.locator("tbody tr").filter(has_text="collection 2")).to_have_text("collection 2010")
    part.get_by_text("Removed: 1 of 1 keys").click()
    expect(part.locator(".keys").last).to_have_text("id-3")
    check(page, "compare")
    dialog.get_by_role("button", name="Close", exact=True).last.click()

    page.get_by_role("button", name="Find a row …").click()
    dialog.get_by_role("button", name="Find", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("key is missing")
    dialog.get_by_label("Key", exact=True).fill("nobody")
    dialog.get_by_role("button", name="Find", exact=True).click()
    expect(dialog.locator(".dialog-shown")).to_contain_text("In none of the 3 sets")
    dialog.get_by_label("Key", exact=True).fill("id-5")
    dialog.get_by_role("button", name="Find", exact=True).click()
    expect(dialog.locator(".versions li")).to_have_count(2)
    expect(dialog.locator(".versions li").nth(1)).to_contain_text("still there in the newest set")
    check(page, "find")
    dialog.get_by_role("button", name=full).click()
    expect(dialog).to_have_count(0)
    expect(page.locator(f'[data-set="vector_bak/{full}"] .set-detail')).to_be_visible()


def rehearsed(database: Database) -> None:
    """Do what a worker does of the restore that was asked for: tell its plan."""
    for _ in range(600):
        with create_session() as session:
            run = session.scalar(select(DagRun).where(DagRun.dag_id == "pgvector_restore", DagRun.state == "queued"))
            asked = None if run is None else (run.run_id, dict(run.conf))
        if asked is not None:
            break
        threading.Event().wait(0.05)
    assert asked is not None
    run_id, conf = asked
    now = datetime.now(timezone.utc)
    result = restore(RestoreRequest.from_mapping(conf), configuration.settings(), database.connect, now=now)
    told = {"return_value": result.to_json()}
    finish(run_id, "success", dag_id="pgvector_restore", **told)


@pytest.mark.parametrize(("theme", "language"), [("light", "en"), ("dark", "zh-CN")])
def test_a_restore_of_picked_collections_is_previewed(
    look: Callable[..., Page], made: list[str], database: Database, theme: str, language: str
) -> None:
    page = look(theme, language)
    words = {
        "en": ("Preview", "Rows now", "Only these collections: collection 4.", "Working it out"),
        "zh-CN": ("预演", "现有行数", "仅这些集合：collection 4。", "正在预演"),
    }
    preview, column, only, waiting = words[language]
    page.locator(f'[data-set="vector_bak/{made[0]}"] .opener').click()
    page.locator("[data-action=restore]").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".consequence")).to_contain_text(f"{database.name}")
    dialog.locator("[data-key=aim] input").first.check()
    box = dialog.locator("[data-key=collections] label").filter(has_text="collection 4")
    expect(box).to_contain_text("14")
    box.get_by_role("checkbox").check()
    expect(dialog.locator(".consequence")).to_contain_text(only)
    dialog.get_by_role("button", name=preview, exact=True).click()
    expect(dialog.locator(".dialog-shown")).to_contain_text(waiting)
    rehearsed(database)
    shown = dialog.locator(".preview")
    expect(shown).to_contain_text(column)
    # One row of the fourth collection was deleted since; 13 of its 14 and all others stay as they are.
    row = shown.locator("tbody tr").filter(has_text=EMBEDDING)
    expect(row.locator("td").nth(1)).to_have_text("57")
    expect(row.locator("td").nth(2)).to_have_text("1")
    expect(row.locator("td").last).to_have_text("58")
    check(page, f"preview-{language}")
    expect(page.locator(".part-now [data-notice]")).to_have_count(0)
    assert database.run(f"SELECT count(*) FROM {EMBEDDING}") == [(57,)]
