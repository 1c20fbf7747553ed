"""Memory does not grow with the table."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.house import House
from tests.helpers.memory import MEBIBYTE, fill, measure

pytestmark = pytest.mark.slow


def backed_up(house: House, **more: Any) -> dict[str, int]:
    """What a process that backs the table up tells of itself; the set is removed."""
    told = measure(house, "backup", tables="t", **more)
    for path in house.directory.iterdir():
        path.unlink()
    return told


def peak(house: House, **request: Any) -> tuple[int, int]:
    """Peak memory of a process that backs the table up, in bytes; the rows it wrote."""
    told = backed_up(house, request=request)
    return told["peak"], told["rows"]


def test_ten_thousand_rows_or_four_times_as_many_take_the_same_memory(house: House) -> None:
    fill(house, 10_000)
    few, rows = peak(house)
    assert rows == 10_000
    fill(house, 30_000)
    many, rows = peak(house)
    assert rows == 40_000
    assert max(few, many) <= 64 * MEBIBYTE
    assert many - few <= 8 * MEBIBYTE


@pytest.mark.parametrize("request_", [{"compression": "zstd"}, {"compression": "gzip"}, {"file_format": "binary"}])
def test_other_files_stay_within_the_same_memory(house: House, request_: dict[str, str]) -> None:
    fill(house, 5_000)
    memory, _ = peak(house, **request_)
    assert memory <= 64 * MEBIBYTE


@pytest.mark.parametrize("request_", [{}, {"compression": "zstd"}, {"file_format": "binary"}])
def test_a_process_that_reads_stays_within_it_as_well(house: House, request_: dict[str, str]) -> None:
    fill(house, 5_000)
    told = backed_up(house, apart=True, request=request_)
    assert told["rows"] == 5_000
    assert told["peak"] <= 64 * MEBIBYTE
    # With its own interpreter and its own libpq it cannot take less than this.
    assert 20 * MEBIBYTE < told["children_peak"] <= 64 * MEBIBYTE


def test_an_increment_and_a_chain_take_no_more_for_many_rows(house: House) -> None:
    """Of small rows, for it is their number that a merge and a restore have to do with; nearly half are dead."""
    house.database.run("CREATE TABLE t (id bigint PRIMARY KEY, v vector(2))")
    house.database.run("INSERT INTO t SELECT g, '[1,2]' FROM generate_series(1, 100000) g")
    incremental = {"tables": "t", "request": {"mode": "incremental"}}
    peaks = [measure(house, "backup", **incremental)["peak"]]
    house.database.run("DELETE FROM t WHERE id % 20 < 9; UPDATE t SET v = '[3,4]' WHERE id % 50 = 11")
    told = measure(house, "backup", **incremental)
    assert told["rows"] == 55_000
    peaks.append(told["peak"])
    assert max(peaks) <= 64 * MEBIBYTE
    house.configure(tables="t")
    told = measure(house, "restore", request={"truncate_before_restore": True})
    assert told["rows"] == 55_000
    assert told["peak"] <= 96 * MEBIBYTE
