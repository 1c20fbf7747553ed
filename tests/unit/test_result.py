"""The result says what happened, in the words and units of the contract."""

from __future__ import annotations

import io
import json
import re
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_backup.engine.base.errors import Conflict, DatabaseFault, NotFound
from pgvector_backup.engine.contract.backup_result import BackupResult, RunReport, TableBackup, TruncateResult
from pgvector_backup.engine.contract.run_log import section_of
from pgvector_backup.engine.contract.sizes import human_size

WHEN = datetime(2025, 7, 21, 23, 49, 14, 999, tzinfo=timezone(timedelta(hours=8)))
EMBEDDING = TableBackup(duration=0.3124, rows=58, bytes=782336, file="langchain_pg_embedding_1.csv", sha256="ab")
DONE = BackupResult("/x/vector_bak", "1", "manifest_1.json", {"langchain_pg_embedding": EMBEDDING}, 0.498)
EMPTIED = TruncateResult({"langchain_pg_embedding": 58}, {"langchain_pg_embedding": 0}, 0.068)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0.0 B"),
        (209, "209.0 B"),
        (1023, "1023.0 B"),
        (1024, "1.0 KB"),
        (782336, "764.0 KB"),
        (1024**2 - 1, "1.0 MB"),
        (1024**2, "1.0 MB"),
        (1288490189, "1.2 GB"),
        (1024**4, "1.0 TB"),
        (5 * 1024**5, "5.0 PB"),
        (5000 * 1024**5, "5000.0 PB"),
    ],
)
def test_sizes_read_well(size: int, text: str) -> None:
    assert human_size(size) == text


@given(st.integers(0, 1 << 60))
def test_every_size_is_at_most_four_digits_and_within_a_twentieth(size: int) -> None:
    match = re.fullmatch(r"(\d{1,4})\.(\d) (B|KB|MB|GB|TB|PB)", human_size(size))
    assert match
    power = ("B", "KB", "MB", "GB", "TB", "PB").index(match[3])
    amount = float(f"{match[1]}.{match[2]}")
    assert amount < 1024 or match[3] == "PB"
    assert abs(amount * 1024**power - size) <= 0.0501 * 1024**power
    assert power == 0 or amount >= 1.0


@given(st.integers(0, 1 << 60), st.integers(0, 1 << 60))
def test_a_larger_file_never_reads_as_smaller(one: int, other: int) -> None:
    def value(text: str) -> float:
        amount, unit = text.split()
        return float(amount) * 1024.0 ** ("B", "KB", "MB", "GB", "TB", "PB").index(unit)

    small, large = sorted((one, other))
    assert value(human_size(small)) <= value(human_size(large))


def test_the_result_is_the_contracts() -> None:
    report = RunReport(DONE.to_json(), EMPTIED.to_json(), truncate_asked=True, timestamp=WHEN)
    assert report.to_json() == {
        "response": "Vector表备份完成",
        "response_en": "Vector tables backed up",
        "backup_performed": True,
        "truncate_performed": True,
        "backup_directory": "/x/vector_bak",
        "backup_id": "1",
        "manifest_file": "manifest_1.json",
        "tables_backed_up": {
            "langchain_pg_embedding": {
                "success": True,
                "row_count": 58,
                "file_size": "764.0 KB",
                "backup_file": "langchain_pg_embedding_1.csv",
                "duration": 0.312,
                "bytes": 782336,
                "sha256": "ab",
            }
        },
        "truncate_results": {
            "langchain_pg_embedding": {"success": True, "rows_before": 58, "rows_after": 0, "duration": 0.068}
        },
        "errors": [],
        "duration": 0.566,
        "timestamp": "2025-07-21T23:49:14+08:00",
    }


def test_a_failed_table_says_why_and_the_others_say_what_they_have() -> None:
    tables = {"gone": TableBackup(duration=0.0, failure=NotFound("table gone does not exist")), "t": EMBEDDING}
    result = BackupResult("/x", "1", "manifest_1.json", tables, 0.5)
    body = result.to_json()
    assert body["backup_performed"] is False
    assert body["tables_backed_up"]["gone"] == {
        "success": False,
        "error": "table gone does not exist",
        "duration": 0.0,
    }
    assert body["tables_backed_up"]["t"]["success"] is True
    assert body["errors"] == ["table gone does not exist"]
    json.dumps(body)


def test_a_run_is_worth_a_retry_only_if_every_failure_is() -> None:
    cut = TableBackup(duration=0.0, failure=DatabaseFault("cut"))
    gone = TableBackup(duration=0.0, failure=NotFound("gone"))
    for tables, retry in (({"a": cut}, True), ({"a": cut, "b": gone}, False), ({"a": gone, "b": cut}, False)):
        failure = BackupResult("/x", None, None, tables, 0.0).failure
        assert failure is not None
        assert failure.can_retry is retry
    assert DONE.failure is None


def test_nothing_asked_for_is_said_so() -> None:
    report = RunReport(None, None, truncate_asked=False, timestamp=WHEN)
    body = report.to_json()
    assert (body["response"], body["backup_performed"], body["errors"]) == ("未执行任何操作", False, [])
    assert body["tables_backed_up"] == body["truncate_results"] == {}
    assert "nothing was done" in report.log_section(task_id=None, run_id="r")


def test_a_refused_truncate_is_a_failure_of_its_own() -> None:
    refusal = Conflict("t: 3 of 58 rows were written after the backup").message
    report = RunReport(
        DONE.to_json(), None, truncate_asked=True, timestamp=WHEN, faults=[refusal], truncate_fault=refusal
    )
    body = report.to_json()
    assert body["response"] == "Vector表清空失败"
    assert (body["backup_performed"], body["truncate_performed"]) == (True, False)
    assert body["errors"] == [refusal]
    section = report.log_section(task_id="task_1", run_id="r")
    assert "FAILED" in section.splitlines()[0]
    assert f"truncate:  REFUSED, the tables are as they were: {refusal}" in section


def test_the_log_section_tells_the_run_line_by_line() -> None:
    report = RunReport(DONE.to_json(), EMPTIED.to_json(), truncate_asked=True, timestamp=WHEN)
    assert report.log_section(task_id="task_1", run_id="manual__1") == (
        "==== 2025-07-21T23:49:14+08:00  OK  1\n"
        "task_id:   task_1\n"
        "run_id:    manual__1\n"
        "duration:  0.566 s\n"
        "table:     langchain_pg_embedding: 58 rows, 764.0 KB, 0.312 s, langchain_pg_embedding_1.csv, sha256 ab\n"
        "truncate:  langchain_pg_embedding: 58 rows -> 0\n"
        "\n"
    )


def test_the_section_of_a_set_is_that_of_its_backup() -> None:
    backup = "==== 2026-11-25T14:00:00+00:00  OK  20261125_140000\nrun_id:    one\n\n"
    verify = "==== 2026-11-25T15:00:00+00:00  VERIFY OK  20261125_140000\nrun_id:    two\n\n"
    assert section_of(io.BytesIO((verify + backup + verify).encode()), "20261125_140000") == backup.strip()
    assert section_of(io.BytesIO(verify.encode()), "20261125_140000") is None
