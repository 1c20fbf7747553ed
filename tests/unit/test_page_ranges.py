"""A table's pages are cut into ranges that cover each once, large ones first."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pgvector_backup.engine.dump import ranges
from pgvector_backup.engine.dump.ranges import PageRange
from pgvector_backup.engine.postgres.tables import Heap

MEBIBYTE = 1 << 20


def cut(pages: list[int], expected_bytes: int, jobs: int) -> list[PageRange]:
    heaps = [Heap("public", f"part_{number}", count) for number, count in enumerate(pages)]
    return list(ranges._cut_heaps(heaps, expected_bytes, jobs))


@given(
    pages=st.lists(st.integers(0, 3_000), min_size=1, max_size=5),
    expected_bytes=st.integers(1, 1 << 36),
    jobs=st.integers(1, 16),
)
def test_every_page_is_in_exactly_one_range(pages: list[int], expected_bytes: int, jobs: int) -> None:
    ranges = cut(pages, expected_bytes, jobs)
    for number, count in enumerate(pages):
        of_heap = [one for one in ranges if one.heap is not None and one.heap.table == f"part_{number}"]
        assert [one.first for one in of_heap] == [0, *(one.end for one in of_heap[:-1])]
        assert all(one.end is not None and one.first < one.end < count for one in of_heap[:-1])
        # Pages that were added since belong to somebody as well.
        assert of_heap[-1].end is None
        assert of_heap[-1].first < max(count, 1)


def test_a_large_table_begins_with_large_ranges_and_ends_with_small_ones() -> None:
    pages, page = 1 << 18, 8192
    ranges = cut([pages], pages * page, jobs=2)
    sizes = [((pages if one.end is None else one.end) - one.first) * page / MEBIBYTE for one in ranges]
    assert sizes[0] == 64
    assert all(one >= other for one, other in pairwise(sizes))
    assert sizes[-1] <= 8
    assert len(sizes) < 70  # of 8 MiB it were 256


def test_where_many_read_none_is_left_with_much() -> None:
    pages, page = 1 << 16, 8192
    ranges = cut([pages], pages * page, jobs=16)
    assert max((pages if one.end is None else one.end) - one.first for one in ranges) * page == 8 * MEBIBYTE


def test_a_small_table_is_one_range() -> None:
    assert cut([3], 20_000, jobs=4) == [PageRange(Heap("public", "part_0", 3), 0, None)]
    assert cut([0], 0, jobs=4) == [PageRange(Heap("public", "part_0", 0), 0, None)]
