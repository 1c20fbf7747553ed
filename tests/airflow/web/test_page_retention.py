"""The page's panel about how long sets stay, in a browser: policy, calendar, pins, a prune rehearsed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import delete, select

from tests.airflow.web.test_page_access import check
from tests.helpers.api import Api
from tests.helpers.browser import open_browser
from tests.helpers.database import Database
from tests.helpers.made_sets import make_set, multiply
from tests.helpers.own_airflow import Configure
from tests.helpers.served import served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as started:
        yield started


@pytest.fixture
def address(house: Path, app: Any, database: Database, configure: Configure) -> Iterator[str]:
    """The page over a year of nightly sets."""
    with create_session() as session:
        session.execute(delete(DagRun))
    newest = datetime.now(timezone.utc) - timedelta(hours=1)
    made = make_set(database, now=newest).backup_id
    assert made is not None
    multiply(house / "vector_bak", made, [newest - timedelta(days=day) for day in range(1, 365)])
    configure(keep_daily=7, keep_weekly=4, keep_monthly=12, schedule="@daily")
    with served(app) as address:
        yield address
    with create_session() as session:
        session.execute(delete(DagRun))


@pytest.fixture
def look(browser: Browser, address: str, as_: Callable[[str], Api]) -> Iterator[Callable[..., Page]]:
    contexts = []

    def looker(role: str = "op", theme: str = "light", language: str = "en") -> Page:
        context = browser.new_context(viewport={"width": 1280, "height": 1000}, color_scheme=theme, locale="en-US")
        context.add_init_script(f"localStorage.i18nextLng = '{language}';")
        context.add_cookies([{"name": "_token", "value": as_(role).token or "", "url": address}])
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.goto(f"{address}/pgvector-backup/")
        expect(page.locator(".calendar")).to_be_visible()
        return page

    yield looker
    for context in contexts:
        context.close()


def test_a_year_on_the_calendar_a_pin_and_a_rehearsed_prune(look: Callable[..., Page], as_: Any) -> None:
    page = look()
    expect(page.locator(".policy")).to_have_text(
        "Stays: 7 daily, 4 weekly, and 12 monthly; and at least 1 good one, whatever else is said."
    )
    plan = as_("op").get("/retention?backup_path=vector_bak", headers={"Accept-Language": "en"})["locations"][0]["sets"]
    going = [one for one in plan if not one["keep"]]
    assert page.locator(".calendar .day.go").count() == len(going) > 330
    assert page.locator(".calendar .day.keep").count() == len(plan) - len(going)
    page.get_by_text("What stays, and why").click()
    first = page.locator(f'[data-fate="{plan[0]["timestamp"]}"]')
    expect(first).to_contain_text("; ".join(plan[0]["reasons"]))
    expect(first).to_contain_text("until about")
    check(page, "retention")

    doomed = going[3]["timestamp"]
    page.get_by_text("What would go, and why").click()
    page.locator(f'[data-fate="{doomed}"] button').click()
    opened = page.locator(f'[data-set="vector_bak/{doomed}"]')
    expect(opened.locator("[data-part=fate]")).to_contain_text("Would go: no rule keeps it")
    opened.get_by_role("button", name="Pin", exact=True).click()
    page.get_by_role("dialog").get_by_label("Reason").fill("audit <b>2026</b>")
    page.get_by_role("dialog").get_by_label("Up to and including").fill("2099-03-01")
    page.get_by_role("dialog").get_by_role("button", name="Pin", exact=True).click()
    expect(opened.locator("[data-part=pin]")).to_contain_text("Pinned by op")
    expect(opened.locator("[data-part=pin]")).to_contain_text("audit <b>2026</b>")
    expect(opened.locator("[data-part=fate]")).to_contain_text("Stays: pinned until 2099-03-01 by op")
    expect(page.locator(".calendar .day.pin")).to_have_count(1)
    check(page, "pinned")

    page.get_by_role("button", name="Prune …").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".consequence")).to_contain_text("Only says what would go")
    dialog.get_by_label("Dry run").uncheck()
    expect(dialog.locator(".consequence")).to_contain_text(f"REMOVES {len(going) - 1} sets of vector_bak for good")
    expect(dialog.locator(".consequence")).to_contain_text("More than half")
    check(page, "prune")
    expect(dialog.get_by_role("button", name="Prune", exact=True)).to_have_attribute("aria-disabled", "true")
    expect(dialog.locator(".guard code")).to_have_text(f"delete {len(going) - 1}")
    dialog.get_by_label("Dry run").check()
    dialog.get_by_role("button", name="Prune", exact=True).click()
    expect(dialog).to_have_count(0)
    with create_session() as session:
        (run,) = session.scalars(select(DagRun).where(DagRun.dag_id == "pgvector_prune")).all()
        assert run.conf == {"backup_path": "vector_bak", "dry_run": True}
    expect(page.locator(".running-card")).to_contain_text("Prune is waiting to start")

    opened.get_by_role("button", name="Unpin", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Unpin", exact=True).click()
    expect(opened.locator("[data-part=pin]")).to_have_count(0)
    expect(opened.locator("[data-part=fate]")).to_contain_text("Would go")


def test_in_chinese_and_in_the_dark(look: Callable[..., Page]) -> None:
    page = look("viewer", "dark", "zh-CN")
    expect(page.locator(".policy")).to_contain_text("每日 7 个")
    page.get_by_text("保留的，及原因").click()
    expect(page.locator('[data-fold="retention.list.stay"] li').first).to_contain_text("最新的完好备份")
    check(page, "retention-zh")
    # A viewer is told why not.
    button = page.get_by_role("button", name="清理……")
    expect(button).to_have_attribute("aria-disabled", "true")
    expect(button).to_have_attribute("title", "您的角色只能查看备份，不能更改。请向管理员申请运行或编辑该 DAG 的权限。")
