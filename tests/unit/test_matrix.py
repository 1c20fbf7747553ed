"""The table of versions: what a partial run leaves of the rows that it does not run."""

from __future__ import annotations

from matrix.__main__ import CHECKS, ROWS, TABLE, find_postgres, kept, known, table

RAN = {"airflow": "3.3.2", "python": "3.11.7", "psycopg": "3", "postgres": 17, "day": "2026-01-01"}


def test_a_row_that_cannot_run_here_keeps_the_outcome_that_it_had() -> None:
    missing = {"missing": "no PostgreSQL 17 with pgvector on this machine"}
    assert kept(RAN, missing) == RAN
    assert kept(None, missing) == missing
    assert kept(missing, RAN) == RAN
    assert kept(RAN, {**RAN, "day": "2026-02-02"})["day"] == "2026-02-02"


def test_each_row_says_when_it_ran_or_that_it_did_not() -> None:
    good, bad = {**RAN, "checks": dict.fromkeys(CHECKS, True)}, {**RAN, "checks": {"plugin": True}}
    page = table({ROWS[0].name: good, ROWS[1].name: bad})
    assert page.count("2026-01-01") == 2
    assert page.count("**no**") == len(CHECKS) - 1
    assert page.count("not run") == len(ROWS) - 2


def test_the_page_is_of_the_outcomes_that_are_kept() -> None:
    assert TABLE.read_text("utf-8") == table(known())


def test_a_postgres_that_is_not_there_is_none() -> None:
    assert find_postgres(1) is None
