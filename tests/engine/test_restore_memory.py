"""The memory that a restore takes does not grow with the table, whatever its file is and wherever it goes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.house import House
from tests.helpers.memory import MEBIBYTE, fill, measure

pytestmark = pytest.mark.slow


def peak(house: House, **request: Any) -> int:
    """Peak memory of a process that restores the newest set, in bytes."""
    told = measure(house, "restore", request=request)
    assert told["rows"] >= 4_000
    return told["peak"]


def test_ten_thousand_rows_or_four_times_as_many_take_the_same_memory(house: House) -> None:
    house.configure(tables="t")
    peaks = []
    for rows in (10_000, 30_000):
        fill(house, rows)
        house.backup()
        peaks.append(peak(house, truncate_before_restore=True))
    assert max(peaks) <= 96 * MEBIBYTE
    assert peaks[1] - peaks[0] <= 8 * MEBIBYTE


@pytest.mark.parametrize("file_format", ["csv", "binary"])
@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_other_files_stay_within_the_same_memory(house: House, file_format: str, compression: str) -> None:
    house.configure(tables="t")
    fill(house, 4_000)
    house.backup(file_format=file_format, compression=compression)
    assert peak(house, truncate_before_restore=True) <= 96 * MEBIBYTE


def test_rows_beside_others_stay_within_the_same_memory(house: House) -> None:
    house.configure(tables="t")
    fill(house, 4_000)
    house.backup()
    house.database.run("DELETE FROM t WHERE id > 0")
    assert peak(house, on_conflict="skip") <= 96 * MEBIBYTE


@pytest.mark.parametrize("request_", [{"compression": "zstd"}, {"file_format": "binary"}], ids=str)
def test_a_row_with_a_large_document_is_held_less_than_three_times(house: House, request_: dict[str, Any]) -> None:
    house.configure(tables="t")
    house.database.run("CREATE TABLE t (id int PRIMARY KEY, v vector(3), document text STORAGE EXTERNAL, b bytea)")
    house.database.run(
        "INSERT INTO t SELECT 1, '[1,2,3]', repeat('a \"quoted\" document ' || repeat(' and more', 220), 50000), 'x'"
    )
    assert house.database.run("SELECT octet_length(document) FROM t") == [(100_000_000,)]
    house.backup(**request_)
    house.database.run("TRUNCATE t")
    told = measure(house, "restore", request={})
    assert house.database.run("SELECT octet_length(document) FROM t") == [(100_000_000,)]
    assert told["peak"] <= 3 * 100_000_000


def test_a_large_row_of_an_increment_is_held_no_more_often(house: House) -> None:
    house.configure(tables="t")
    house.database.run("CREATE TABLE t (id int PRIMARY KEY, document text STORAGE EXTERNAL)")
    house.database.run(
        "INSERT INTO t SELECT 1, repeat('a \"quoted\" document ', 1500000); INSERT INTO t VALUES (2, 'x')"
    )
    for change in ("SELECT", "UPDATE t SET document = document || 'x' WHERE id = 1"):
        house.database.run(change)
        made = house.backup(mode="incremental")
    assert made.mode == "incremental"
    told = measure(house, "restore", request={"truncate_before_restore": True})
    assert told["peak"] <= 45 * MEBIBYTE + 3 * 30_000_000
