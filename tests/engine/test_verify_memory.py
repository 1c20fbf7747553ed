"""A verify's memory does not grow with the table."""

from __future__ import annotations

import pytest

from tests.helpers.house import House
from tests.helpers.memory import MEBIBYTE, fill, measure

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("request_", [{}, {"file_format": "binary", "compression": "zstd"}])
def test_two_thousand_rows_or_five_times_as_many_take_the_same_memory(house: House, request_: dict[str, str]) -> None:
    house.configure(tables="t")
    fill(house, 2_000)
    house.backup(**request_)
    few = measure(house, "verify")["peak"]
    fill(house, 8_000)
    house.backup(**request_)
    many = measure(house, "verify")["peak"]
    assert many <= 96 * MEBIBYTE
    assert many - few <= 8 * MEBIBYTE
