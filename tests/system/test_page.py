"""The page "Vector backups" in Airflow: each test is one visit of a user with a browser."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from tests.helpers.browser import open_browser
from tests.helpers.gate import WAITING_AT_GATE, closed_gate, data_files
from tests.helpers.installation import DAG_ID, LONG_ROWS, RESTORE_DAG_ID, VERIFY_DAG_ID, Installation, until
from tests.helpers.visits import Visitors

LABELS = ("langchain_pg_collection", "langchain_pg_embedding")

MadeSet = tuple[str, dict[str, Any], Path]
"""Its key, ``{relative_path}/{timestamp}``; its manifest; its directory."""

MARKUP = "<img src=x onerror=window.top.taken=1>"


@pytest.fixture(scope="module")
def visit(installation: Installation) -> Iterator[Visitors]:
    """Opens visits in the one browser of these tests, once the run that was due at the start is over.

    The page tells of every run that it saw end, and these tests ask it about their own.
    """
    until(lambda: list(installation.directory.glob("manifest_*.json")), "the scheduled run to make its set")
    until(lambda: not installation.client.unfinished_runs(DAG_ID), "all runs to end")
    with open_browser() as browser:
        yield Visitors(installation, browser)


@pytest.fixture(scope="module")
def one_set(installation: Installation) -> MadeSet:
    """A set of the sample, for looking only."""
    return made_set(installation, "one_set")


def made_set(installation: Installation, task_id: str) -> MadeSet:
    """A new set of the sample, in the directory of that task."""
    directory = installation.root / task_id / "vector_bak"
    if not directory.exists():
        installation.make_task_directory(task_id)
    _, outcome = installation.run({"task_id": task_id})
    result = outcome.results["report"]
    manifest = json.loads((directory / result["manifest_file"]).read_bytes())
    return f"{task_id}/vector_bak/{result['backup_id']}", manifest, directory


def table_of(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    (table,) = (table for table in manifest["tables"] if table["name"] == name)
    return dict(table)


# --- the way to the page, and from it ---


def test_airflows_navigation_leads_to_the_page(installation: Installation, visit: Visitors) -> None:
    with visit() as seen:
        seen.window.goto(installation.airflow.url)
        seen.window.get_by_role("button", name="Browse").click()
        seen.window.get_by_role("menuitem", name="Vector backups").click()
        expect(seen.frame.get_by_role("heading", name="Vector backups", level=1)).to_be_visible()
        # Its own answer says that nothing from elsewhere may run in it, nor show it.
        answer = seen.window.request.get(f"{installation.airflow.url}/pgvector-backup/")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'self'" in policy
        assert "unsafe" not in policy


def test_a_run_leads_to_its_set_and_a_set_to_its_run(
    installation: Installation, visit: Visitors, one_set: MadeSet
) -> None:
    key, manifest, _ = one_set
    run = f"/dags/{DAG_ID}/runs/{quote(manifest['run_id'], safe='')}"
    with visit() as seen:
        for task in ("backup", "report"):
            seen.window.goto(f"{installation.airflow.url}{run}/tasks/{task}/details")
            seen.window.get_by_role("link", name="Vector backups").click()
            expect(seen.set_of(key).locator(".set-detail")).to_be_visible()
        expect(seen.set_of(key).locator(".opener")).to_be_focused()
        assert seen.frame.locator("tbody.open").count() == 1

        seen.window.reload()
        expect(seen.set_of(key).locator(".set-detail")).to_be_visible()

        seen.set_of(key).get_by_role("link", name="Run", exact=True).click()
        seen.window.wait_for_url(lambda url: urlsplit(url).path == run)
        assert seen.window.locator("iframe").count() == 0


def test_the_dags_own_text_leads_to_the_page(installation: Installation, visit: Visitors) -> None:
    with visit() as seen:
        seen.window.goto(f"{installation.airflow.url}/dags/{DAG_ID}")
        seen.window.get_by_role("button", name="Dag Docs").click()
        link = seen.window.get_by_role("dialog").get_by_role("link", name="Vector backups")
        assert link.get_attribute("href") == f"{installation.airflow.url}/pgvector-backup/open"


def test_a_run_without_a_set_says_why(installation: Installation, visit: Visitors) -> None:
    run_id, outcome = installation.run({"task_id": "not_there"})
    assert outcome.state == "failed"
    with visit() as seen:
        seen.open(f"?dag_id={DAG_ID}&run_id={quote(run_id, safe='')}")
        expect(seen.notice).to_contain_text("Backup failed")
        expect(seen.notice).to_contain_text("not_there")
        # One for each connection and location of which the last backup failed.
        expect(seen.frame.locator('[data-code="LAST_FAILED"]').filter(has_text="not_there")).to_have_count(1)
        expect(seen.frame.locator('[data-tile="last"]')).to_contain_text("Failed")


# --- a backup, from the button to the set ---


def test_a_backup_is_seen_to_progress(installation: Installation, visit: Visitors) -> None:
    directory = installation.make_task_directory("seen_to_progress")
    with visit() as seen:
        seen.button("Back up now").click()
        seen.dialog.get_by_label("Task directory").fill("seen_to_progress")
        seen.dialog.get_by_label("Database connection").fill("pgvector_long")
        told = seen.dialog.locator(".consequence")
        for word in (*LABELS, "pgvector_long", "seen_to_progress"):
            expect(told).to_contain_text(word)
        seen.dialog.get_by_role("button", name="Back up", exact=True).click()
        expect(seen.dialog).to_have_count(0)

        bar = seen.running.get_by_role("progressbar").first
        shares: list[float] = []

        def watched() -> bool:
            value = bar.get_attribute("value", timeout=500) if bar.count() else None
            if value is not None:
                shares.append(float(value))
            return len(set(shares)) >= 2

        until(watched, "the progress bar to move")
        assert shares == sorted(shares)
        assert 0 < shares[0] < shares[-1] <= 1
        expect(seen.running).to_contain_text(re.compile(r"[\d,]+ of about [\d,]+ rows"))
        expect(seen.running).to_contain_text("MB/s")

        expect(seen.notice).to_contain_text("Backup done", timeout=60_000)
        expect(seen.notice).to_contain_text(f"{LONG_ROWS:,} rows")
        expect(seen.running).to_have_count(0)
        (manifest,) = directory.glob("manifest_*.json")
        timestamp = manifest.stem.removeprefix("manifest_")
        row = seen.set_of(f"seen_to_progress/vector_bak/{timestamp}")
        expect(row.locator(".col-rows")).to_have_text(f"{LONG_ROWS:,}")
        expect(row.locator(".col-where")).to_contain_text("seen_to_progress")
        expect(row.locator(".col-duration")).to_contain_text("s")
        expect(seen.frame.locator('[data-tile="last"]')).to_contain_text(f"{LONG_ROWS:,} rows")
        assert seen.posted() == ["POST /api/v0/data_pipeline/vector/backup"]


def test_a_backup_can_be_cancelled(installation: Installation, visit: Visitors) -> None:
    directory = installation.make_task_directory("can_be_cancelled")
    with visit() as seen, closed_gate(installation):
        seen.button("Back up now").click()
        seen.dialog.get_by_label("Task directory").fill("can_be_cancelled")
        seen.dialog.get_by_label("Database connection").fill("pgvector_gate")
        seen.dialog.get_by_role("button", name="Back up", exact=True).click()
        until(lambda: installation.query("gate", WAITING_AT_GATE), "the backup's query to wait at the gate")

        seen.button("Cancel run").click()
        expect(seen.dialog).to_contain_text("The database is not changed")
        seen.dialog.get_by_role("button", name="Let it run", exact=True).click()
        expect(seen.dialog).to_have_count(0)
        assert installation.query("gate", WAITING_AT_GATE)

        seen.button("Cancel run").click()
        seen.dialog.get_by_role("button", name="Cancel the run").click()
        expect(seen.notice).to_contain_text("Backup cancelled", timeout=60_000)
        assert data_files(directory) == []
        assert installation.query("gate", WAITING_AT_GATE) == []


def test_emptying_tables_has_to_be_confirmed_by_name(installation: Installation, visit: Visitors) -> None:
    installation.make_task_directory("confirmed_by_name")
    count = "SELECT count(*) FROM langchain_pg_embedding"
    before = installation.query("small", count)
    assert before == [(9,)]
    with visit() as seen:
        seen.button("Back up now").click()
        seen.dialog.get_by_label("Task directory").fill("confirmed_by_name")
        seen.dialog.get_by_label("Database connection").fill("pgvector_small")
        go = seen.dialog.get_by_role("button", name="Back up", exact=True)
        expect(go).to_have_attribute("aria-disabled", "false")
        seen.dialog.get_by_label("Empty the vector tables afterwards").check()
        expect(seen.dialog.locator(".consequence")).to_contain_text("EMPTIES langchain_pg_embedding of database")
        expect(seen.dialog.locator(".consequence")).to_contain_text("pgvector_small")
        ((name,),) = installation.query("small", "SELECT current_database()")
        word = seen.dialog.get_by_label(f"type {name}")
        for wrong in ("", "langchain_pg_embedding", f"{name} "):
            word.fill(wrong)
            expect(go).to_have_attribute("aria-disabled", "true")
            word.press("Enter")
            expect(seen.dialog.get_by_role("alert")).to_contain_text(name)
        assert seen.posted() == []
        word.fill(name)
        go.click()
        expect(seen.notice).to_contain_text("langchain_pg_embedding was emptied", timeout=60_000)
    assert installation.query("small", count) == [(0,)]


def test_what_the_api_refuses_is_told_in_the_dialog(visit: Visitors) -> None:
    with visit() as seen:
        seen.button("Back up now").click()
        seen.dialog.get_by_label("Task directory").fill("no/such task")
        seen.dialog.get_by_role("button", name="Back up", exact=True).click()
        expect(seen.dialog.get_by_role("alert")).to_contain_text("task_id")
        seen.dialog.get_by_label("Task directory").fill("never_made")
        seen.dialog.get_by_role("button", name="Back up", exact=True).click()
        expect(seen.dialog.get_by_role("alert")).to_contain_text("never_made")
        seen.window.keyboard.press("Escape")
        expect(seen.dialog).to_have_count(0)


# --- a set: what it holds, its files, its end ---


def test_a_set_opens_to_tables_columns_checksums_and_log(visit: Visitors, one_set: MadeSet) -> None:
    key, manifest, _ = one_set
    with visit() as seen:
        part = seen.open_set(key)
        for name in LABELS:
            table = table_of(manifest, name)
            shown = part.locator(f'[data-table="{name}"]')
            for word in (table["sha256"], table["fingerprint"], table["file"], f"{table['rows']:,} rows"):
                expect(shown).to_contain_text(word)
            names = shown.locator(".plain tbody td:first-child code").all_inner_texts()
            assert names == [column["name"] for column in table["columns"]]
        embedding = part.locator('[data-table="langchain_pg_embedding"]')
        expect(embedding.locator(".plain tr", has_text="embedding")).to_contain_text("vector(")
        expect(part.locator("pre").last).to_contain_text(f"run_id:    {manifest['run_id']}")
        expect(part).to_contain_text(f"PostgreSQL {manifest['source']['server_version']}")
        part.locator(".opener").click()
        expect(part.locator(".set-detail")).to_have_count(0)


def test_files_arrive_as_they_were_written(visit: Visitors, one_set: MadeSet) -> None:
    key, manifest, directory = one_set
    table = table_of(manifest, "langchain_pg_embedding")
    with visit() as seen:
        seen.open_set(key).get_by_role("button", name="Download").click()
        expect(seen.dialog).to_contain_text(table["sha256"])
        offered = seen.dialog.get_by_role("link").all_inner_texts()
        archive = f"set_{manifest['backup_id']}.tar"
        assert {text.strip() for text in offered} == {path.name for path in directory.iterdir()} | {archive}
        with seen.window.expect_download() as started:
            seen.dialog.get_by_role("link", name=archive, exact=True).click()
        with tarfile.open(started.value.path()) as together:
            assert together.getnames()[-1] == f"manifest_{manifest['backup_id']}.json"
            assert f"schema_{manifest['backup_id']}.sql" in together.getnames()
        for file in (table["file"], f"manifest_{manifest['backup_id']}.json"):
            with seen.window.expect_download() as started:
                seen.dialog.get_by_role("link", name=file, exact=True).click()
            arrived = Path(started.value.path()).read_bytes()
            assert started.value.suggested_filename == file
            assert arrived == (directory / file).read_bytes()
        assert hashlib.sha256((directory / table["file"]).read_bytes()).hexdigest() == table["sha256"]


def test_a_set_is_deleted_only_when_told_so(installation: Installation, visit: Visitors) -> None:
    key, _, directory = made_set(installation, "told_so")
    with visit() as seen:
        part = seen.open_set(key)
        part.get_by_role("button", name="Delete").click()
        expect(seen.dialog).to_contain_text(key)
        expect(seen.dialog.get_by_role("button", name="Cancel", exact=True)).to_be_focused()
        seen.window.keyboard.press("Enter")
        expect(seen.dialog).to_have_count(0)
        assert len(data_files(directory)) == 6
        assert seen.posted() == []

        part.get_by_role("button", name="Delete").click()
        seen.dialog.get_by_role("button", name="Delete", exact=True).click()
        expect(seen.set_of(key)).to_have_count(0)
        assert data_files(directory) == []
        assert seen.posted() == [f"DELETE /api/v0/data_pipeline/vector/sets/{key}"]


def test_the_newest_good_set_is_deleted_only_by_its_name(installation: Installation, visit: Visitors) -> None:
    _, outcome = installation.run({})
    timestamp = outcome.results["report"]["backup_id"]
    with visit() as seen:
        seen.open_set(f"vector_bak/{timestamp}").get_by_role("button", name="Delete").click()
        expect(seen.dialog).to_contain_text("newest good set")
        expect(seen.dialog.get_by_role("button", name="Delete", exact=True)).to_have_attribute("aria-disabled", "true")
        seen.window.keyboard.press("Escape")
        assert seen.posted() == []


def test_a_damaged_set_is_marked_and_offers_no_restore(installation: Installation, visit: Visitors) -> None:
    key, manifest, directory = made_set(installation, "damaged")
    (directory / table_of(manifest, "langchain_pg_embedding")["file"]).unlink()
    with visit() as seen:
        part = seen.open_set(key)
        expect(part.locator(".col-verified")).to_have_text("Damaged")
        expect(part.locator(".set-detail")).to_contain_text("is missing")
        expect(part.get_by_role("button", name="Restore")).to_have_attribute("aria-disabled", "true")
        warning = seen.frame.locator('[data-code="DAMAGED"]', has_text=manifest["backup_id"])
        expect(warning).to_be_visible()


# --- a restore ---

CONTENT = "SELECT id, document FROM langchain_pg_embedding ORDER BY length(id), id"


@pytest.fixture
def changed(installation: Installation, request: pytest.FixtureRequest) -> tuple[str, list[Any], list[Any]]:
    """A set of the database `changing`, which has changed since: the set's key, the rows then, the rows now."""
    name = request.node.name.removeprefix("test_")
    directory = installation.make_task_directory(name)
    before = installation.query("changing", CONTENT)
    _, outcome = installation.run({"task_id": name, "db_connection": "pgvector_changing"})
    assert outcome.state == "success"
    installation.query("changing", "UPDATE langchain_pg_embedding SET document = 'later' WHERE id <> 'id-1'")
    installation.query("changing", "DELETE FROM langchain_pg_embedding WHERE id = 'id-2'")
    key = f"{name}/{directory.name}/{outcome.results['report']['backup_id']}"
    return key, before, installation.query("changing", CONTENT)


def test_a_restore_replaces_rows_only_by_their_databases_name(
    installation: Installation, visit: Visitors, changed: tuple[str, list[Any], list[Any]]
) -> None:
    key, before, now = changed
    assert before != now
    with visit() as seen:
        seen.open_set(key).get_by_role("button", name="Restore").click()
        seen.dialog.get_by_label("Database connection").fill("pgvector_changing")
        told = seen.dialog.locator(".consequence")
        for word in (*LABELS, "pgvector_changing", key, f"{len(before)} rows", "Rows that are there now stay"):
            expect(told).to_contain_text(word)
        seen.dialog.get_by_label("Empty the tables first").check()
        expect(told).to_contain_text("REMOVES every row that langchain_pg_collection, langchain_pg_embedding of")
        # What was planned is the same as from the command line.
        seen.dialog.get_by_role("button", name="Preview", exact=True).click()
        shown = seen.dialog.locator(".preview")
        expect(shown).to_contain_text("langchain_pg_embedding", timeout=60_000)
        expect(seen.notice).to_have_count(0)
        assert seen.posted() == ["POST /api/v0/data_pipeline/vector/restore"]
        assert installation.query("changing", CONTENT) == now
        go = seen.dialog.get_by_role("button", name="Restore", exact=True)
        expect(go).to_have_attribute("aria-disabled", "true")
        go.click(force=True)
        assert len(seen.posted()) == 1
        ((name,),) = installation.query("changing", "SELECT current_database()")
        seen.dialog.get_by_label(f"type {name}").fill(name)
        go.click()
        expect(seen.notice).to_contain_text("Restore done", timeout=60_000)
        expect(seen.notice).to_contain_text(f"{len(before)} rows restored")
        expect(seen.notice).to_contain_text("What was there before is kept as set")
        assert seen.posted() == ["POST /api/v0/data_pipeline/vector/restore"] * 2
        run = seen.notice.get_attribute("data-notice")

        # The link of the restore's own task leads to the set that it restored.
        seen.window.goto(
            f"{installation.airflow.url}/dags/{RESTORE_DAG_ID}/runs/{quote(str(run), safe='')}/tasks/restore/details"
        )
        seen.window.get_by_role("link", name="Vector backups").click()
        expect(seen.notice).to_contain_text("Restore done")
        expect(seen.set_of(key).locator(".set-detail")).to_be_visible()
    assert installation.query("changing", CONTENT) == before


def test_a_restore_that_meets_rows_of_the_same_key_says_so_and_changes_nothing(
    installation: Installation, visit: Visitors, changed: tuple[str, list[Any], list[Any]]
) -> None:
    key, _, now = changed
    with visit() as seen:
        seen.open_set(key).get_by_role("button", name="Restore").click()
        seen.dialog.get_by_label("Database connection").fill("pgvector_changing")
        seen.dialog.get_by_role("button", name="Restore", exact=True).click()
        expect(seen.notice).to_contain_text("Restore failed", timeout=60_000)
        expect(seen.notice).to_contain_text("id-1")
        expect(seen.notice).to_contain_text("The tables are as they were before.")
    assert installation.query("changing", CONTENT) == now


def test_a_restore_of_one_table_leaves_the_others_out(visit: Visitors, one_set: MadeSet) -> None:
    key, manifest, _ = one_set
    rows = table_of(manifest, "langchain_pg_collection")["rows"]
    with visit() as seen:
        seen.open_set(key).get_by_role("button", name="Restore").click()
        told = seen.dialog.locator(".consequence")
        seen.dialog.get_by_role("checkbox", name="langchain_pg_embedding").uncheck()
        expect(told).to_contain_text(f"{rows} rows")
        expect(told).not_to_contain_text("langchain_pg_embedding")
        seen.dialog.get_by_label("Rows with a key that is there already").select_option("update")
        expect(told).to_contain_text("OVERWRITTEN")
        expect(seen.dialog.locator(".guard code")).to_have_text(manifest["source"]["database"])
        seen.dialog.get_by_role("checkbox", name="langchain_pg_collection").uncheck()
        expect(told).to_contain_text("No table is chosen")
        seen.dialog.get_by_role("button", name="Restore", exact=True).click()
        expect(seen.dialog.get_by_role("alert")).to_contain_text("tick at least one")
        assert seen.posted() == []


# --- a verification ---


def test_a_verification_says_what_it_will_read(visit: Visitors, one_set: MadeSet) -> None:
    key, _, _ = one_set
    with visit() as seen:
        seen.open_set(key).get_by_role("button", name="Verify").click()
        told = seen.dialog.locator(".consequence")
        for depth, words in (
            ("files", "checksums are compared. The database is not touched"),
            ("rows", "every row is decoded"),
            ("drill", "restored into a scratch database"),
        ):
            seen.dialog.get_by_label("Depth").select_option(depth)
            expect(told).to_contain_text(key)
            expect(told).to_contain_text(words)
            expect(seen.dialog.get_by_label("Database for the drill")).to_be_visible(visible=depth == "drill")
        seen.window.keyboard.press("Escape")
        seen.button("Verify newest").click()
        expect(told).to_contain_text("the newest set of every location")
        assert seen.posted() == []


def test_a_verified_set_is_marked_so(installation: Installation, visit: Visitors) -> None:
    key, _, directory = made_set(installation, "verified")
    with visit() as seen:
        expect(seen.set_of(key).locator(".col-verified")).to_have_text("Not yet")
        seen.open_set(key).get_by_role("button", name="Verify").click()
        seen.dialog.get_by_label("Depth").select_option("rows")
        seen.dialog.get_by_role("button", name="Verify", exact=True).click()
        expect(seen.notice).to_contain_text(f"Every row decoded: {key} is whole.", timeout=60_000)
        expect(seen.set_of(key).locator(".col-verified")).to_have_text("Every row")
        run = str(seen.notice.get_attribute("data-notice"))
        (outcome,) = directory.glob("verified_*.json")
        assert json.loads(outcome.read_bytes())["run_id"] == run
        # The link of the verify's own task leads to the set that it read.
        seen.open(f"?dag_id={VERIFY_DAG_ID}&run_id={quote(run, safe='')}")
        expect(seen.set_of(key).locator(".set-detail")).to_contain_text("Verification")


def test_a_verification_names_what_is_damaged(installation: Installation, visit: Visitors) -> None:
    key, manifest, directory = made_set(installation, "names_what_is_damaged")
    file = directory / table_of(manifest, "langchain_pg_embedding")["file"]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with visit() as seen:
        seen.open_set(key).get_by_role("button", name="Verify").click()
        seen.dialog.get_by_label("Depth").select_option("files")
        seen.dialog.get_by_role("button", name="Verify", exact=True).click()
        expect(seen.notice).to_contain_text("Verification failed", timeout=60_000)
        expect(seen.notice).to_contain_text("langchain_pg_embedding")
        expect(seen.notice).to_contain_text("langchain_pg_collection")  # which is whole
        expect(seen.set_of(key).locator(".col-verified")).to_have_text("Damaged")


# --- the list and its history ---


def test_the_list_is_filtered_by_task_and_by_words(installation: Installation, visit: Visitors) -> None:
    here, _, _ = made_set(installation, "filtered_here")
    there, _, _ = made_set(installation, "filtered_there")
    with visit() as seen:
        expect(seen.set_of(here)).to_be_visible()
        expect(seen.set_of(there)).to_be_visible()
        seen.frame.get_by_label("Where").select_option(label="filtered_here (1)")
        expect(seen.frame.locator("tbody.set")).to_have_count(1)
        expect(seen.set_of(here)).to_be_visible()
        seen.frame.get_by_label("Where").select_option(label="Everywhere")
        seen.frame.get_by_label("Search").fill("filtered_THERE")
        expect(seen.frame.locator("tbody.set")).to_have_count(1)
        expect(seen.set_of(there)).to_be_visible()
        seen.frame.get_by_label("Search").fill("nothing is called so")
        expect(seen.frame.get_by_text("No set matches the filter.")).to_be_visible()


def test_charts_show_each_tables_history(visit: Visitors, one_set: MadeSet) -> None:
    key, manifest, _ = one_set
    rows = table_of(manifest, "langchain_pg_embedding")["rows"]
    with visit() as seen:
        seen.frame.get_by_label("Where").select_option(key.rsplit("/", 1)[0])
        for chart in ("rows", "bytes", "duration", "throughput"):
            figure = seen.frame.locator(f'[data-chart="{chart}"]')
            expect(figure.locator("canvas")).to_be_visible()
            expect(figure.get_by_role("img")).to_have_attribute("aria-label", re.compile("langchain_pg_embedding"))
            # Something is drawn: not all of the canvas is empty.
            drawn = figure.locator("canvas").evaluate(
                "c => new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)"
                ".filter((pixel) => pixel !== 0).length"
            )
            assert drawn > 100
        # Of the values alone: the time beside them may hold any number.
        values = seen.frame.locator('[data-chart="rows"] .readout .value')
        expect(values.filter(has_text=str(rows))).to_have_count(1)
        chip = seen.button("langchain_pg_embedding")
        expect(chip).to_have_attribute("aria-pressed", "true")
        chip.click()
        expect(chip).to_have_attribute("aria-pressed", "false")
        expect(values.filter(has_text=str(rows))).to_have_count(0)


# --- whoever looks, and however ---


def test_a_viewer_may_look_and_is_told_why_no_more(visit: Visitors, one_set: MadeSet) -> None:
    key, _, _ = one_set
    with visit("eve") as seen:
        part = seen.open_set(key)
        for button in (
            seen.button("Back up now"),
            seen.button("Verify newest"),
            part.get_by_role("button", name="Restore"),
            part.get_by_role("button", name="Verify"),
            part.get_by_role("button", name="Delete"),
        ):
            expect(button).to_have_attribute("aria-disabled", "true")
            expect(button).to_have_attribute("title", re.compile("role may look"))
            button.click(force=True)
            expect(seen.dialog).to_have_count(0)
        expect(seen.frame.get_by_text("Your role may look at backups").first).to_be_visible()
        # Files hold rows: they are for those who may trigger (`download_needs`).
        expect(part.get_by_role("button", name="Download")).to_have_attribute("aria-disabled", "true")
        assert seen.posted() == []


def test_everything_can_be_reached_by_keyboard(visit: Visitors, one_set: MadeSet) -> None:
    key, _, _ = one_set
    with visit() as seen:
        press = seen.window.keyboard.press

        def focused() -> str:
            return str(seen.frame.locator("html").evaluate("() => document.activeElement.dataset.focus ?? ''"))

        def tab_to(wanted: str) -> None:
            for _ in range(80):
                if focused() == wanted:
                    return
                press("Tab")
            raise AssertionError(f"the Tab key does not lead to {wanted}")

        seen.frame.locator("body").focus()
        seen.frame.locator("body").evaluate("body => { body.tabIndex = -1; body.focus(); }")
        tab_to("head-backup")
        outline = seen.button("Back up now").evaluate("e => getComputedStyle(e).outlineStyle")
        assert outline == "solid"
        press("Enter")
        expect(seen.dialog).to_be_visible()
        expect(seen.dialog.get_by_label("Task directory")).to_be_focused()
        # Inside the dialog the focus goes round; what lies behind it cannot be reached.
        for _ in range(25):
            press("Tab")
            inside = "() => document.activeElement === document.body || !!document.activeElement.closest('dialog')"
            assert seen.frame.locator("html").evaluate(inside)
        press("Escape")
        expect(seen.dialog).to_have_count(0)
        assert focused() == "head-backup"

        tab_to(f"open-{key}")
        press("Enter")
        expect(seen.set_of(key).locator(".set-detail")).to_be_visible()
        expect(seen.set_of(key).locator(".opener")).to_have_attribute("aria-expanded", "true")
        assert focused() == f"open-{key}"
        tab_to(f"download-{key}")
        press("Space")
        expect(seen.dialog.get_by_role("link").first).to_be_focused()
        press("Escape")
        tab_to(f"remove-{key}")
        press("Enter")
        expect(seen.dialog.get_by_role("button", name="Cancel", exact=True)).to_be_focused()
        press("Enter")
        expect(seen.dialog).to_have_count(0)
        assert seen.posted() == []


@pytest.mark.parametrize("width", [400, 768, 1280])
def test_nothing_is_wider_than_the_window(visit: Visitors, one_set: MadeSet, width: int) -> None:
    key, _, _ = one_set
    with visit(width=width) as seen:
        assert seen.overflow() <= 0
        part = seen.open_set(key)
        assert seen.overflow() <= 0
        wide = part.evaluate(
            "part => [...part.querySelectorAll('*')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1)"
            ".map((e) => e.outerHTML.slice(0, 80))"
        )
        assert wide == []
        part.get_by_role("button", name="Delete").click()
        box = seen.dialog.bounding_box()
        frame = seen.window.locator("iframe").bounding_box()
        assert box is not None
        assert frame is not None
        assert box["x"] >= frame["x"]
        assert box["x"] + box["width"] <= frame["x"] + frame["width"]


def test_it_follows_airflows_theme(visit: Visitors) -> None:
    background = "() => getComputedStyle(document.body).backgroundColor"
    with visit(theme="dark") as seen:
        html = seen.frame.locator("html")
        expect(html).to_have_attribute("data-theme", "dark")
        dark = html.evaluate(background)
        seen.window.get_by_role("button", name="User").click()
        seen.window.get_by_role("menuitem", name=re.compile("Appearance")).hover()
        seen.window.get_by_role("menuitemradio", name=re.compile("Light")).click()
        expect(html).to_have_attribute("data-theme", "light")
        assert html.evaluate(background) != dark


def test_it_follows_airflows_language(visit: Visitors, one_set: MadeSet) -> None:
    key, _, _ = one_set
    with visit(language="zh") as seen:
        expect(seen.frame.get_by_role("heading", level=1)).to_have_text("向量备份")
        expect(seen.frame.locator('[data-code="UNVERIFIED"]').first).to_contain_text(re.compile("[\u4e00-\u9fff]"))
        expect(seen.frame.locator("html")).to_have_attribute("lang", "zh-CN")
        part = seen.open_set(key)
        expect(part.get_by_role("button", name="恢复")).to_be_visible()
        seen.button("立即备份").click()
        expect(seen.dialog.get_by_label("任务目录")).to_be_visible()
        seen.window.keyboard.press("Escape")

        # Chosen in Airflow's own UI, around the page.
        seen.window.get_by_role("button", name="用户").click()
        seen.window.get_by_role("menuitem", name="选择语言").click()
        seen.window.get_by_role("dialog").get_by_role("combobox").click()
        seen.window.get_by_role("option", name="English").click()
        expect(seen.frame.get_by_role("heading", level=1)).to_have_text("Vector backups")
        expect(part.get_by_role("button", name="Restore")).to_be_visible()


def test_times_are_the_users_own(visit: Visitors, one_set: MadeSet) -> None:
    key, manifest, _ = one_set
    with visit() as seen:
        shown = seen.set_of(key).locator(".opener time")
        assert shown.get_attribute("title") == manifest["created_at"]
        first = shown.inner_text()
        seen.window.evaluate("localStorage.timezone = JSON.stringify('Pacific/Kiritimati')")
        seen.open()
        assert shown.inner_text() != first


# --- when things are not as they should be ---


def test_names_from_outside_cannot_become_markup(installation: Installation, visit: Visitors) -> None:
    directory = installation.make_task_directory("from_outside")
    directory.mkdir()
    (directory / f"{MARKUP}_20250721_234914.csv").write_bytes(b"id\n1\n")
    (directory / "vector_backup_log.txt").write_text(f"{MARKUP}\n", encoding="utf-8")
    run_id = installation.client.trigger(DAG_ID, {"db_connection": f"pgvector{MARKUP.replace(' ', '/')}"})
    assert installation.wait(run_id).state == "failed"
    with visit() as seen:
        expect(seen.frame.locator('[data-code="LAST_FAILED"]').filter(has_text="<img/src=x")).to_have_count(1)
        part = seen.open_set("from_outside/vector_bak/20250721_234914")
        expect(part.locator(".table-part h3")).to_have_text(MARKUP)
        part.get_by_role("button", name="Download").click()
        expect(seen.dialog).to_contain_text(MARKUP)
        assert seen.frame.locator("img").count() == 0
        assert seen.window.evaluate("window.taken") is None


def refuse_overview(window: Page) -> None:
    window.route("**/vector/overview", lambda route: route.abort())


def test_a_server_that_does_not_answer_is_told_and_asked_again(visit: Visitors) -> None:
    with visit(before=refuse_overview) as seen:
        problem = seen.frame.get_by_role("alert")
        expect(problem).to_contain_text("does not answer")
        seen.window.unroute("**/vector/overview")
        seen.button("Try again").click()
        expect(problem).to_have_count(0)
        expect(seen.frame.locator('[data-tile="last"]')).to_be_visible()


def test_a_session_that_has_ended_leads_to_the_login(visit: Visitors) -> None:
    with visit() as seen:
        seen.window.context.clear_cookies()
        seen.window.route("**/vector/overview", unauthenticated)
        seen.frame.locator("html").evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
        expect(seen.frame.get_by_role("alert")).to_be_visible()
        seen.button("Log in").click()
        seen.window.wait_for_url(lambda url: "/auth/login" in url)


def unauthenticated(route: Route) -> None:
    """The request as it is without a cookie, which is gone."""
    answer = route.fetch(headers={name: value for name, value in route.request.headers.items() if name != "cookie"})
    assert answer.status == 401
    route.fulfill(response=answer)


def test_without_any_set_it_says_what_to_do_first(visit: Visitors) -> None:
    with visit(before=without_sets) as seen:
        expect(seen.frame.get_by_text("No backup yet")).to_be_visible()
        expect(seen.frame.locator('[data-tile="good"]')).to_contain_text("None")
        seen.frame.locator(".empty").get_by_role("button", name="Back up now").click()
        expect(seen.dialog).to_be_visible()


def without_sets(window: Page) -> None:
    """The real answers, less the sets: an installation that is new."""

    def emptied(route: Route) -> None:
        body = route.fetch().json()
        for name, value in (("backup_locations", []), ("newest_good", None), ("last", None), ("warnings", [])):
            if name in body["data"]:
                body["data"][name] = value
        route.fulfill(json=body)

    window.route("**/vector/overview", emptied)
    window.route("**/vector/restore/list", emptied)
