"""Keys by number: what is in is found, what is not is not, and each takes a few bytes."""

from __future__ import annotations

import random
import subprocess
import sys
import tracemalloc

from pgvector_backup.engine.sets.key_numbers import KeyNumbers, number_of
from tests.helpers.python import environment


def test_what_is_in_is_found_and_nothing_else() -> None:
    numbers = [number_of(b"%d" % n) for n in range(20_000)]
    held = KeyNumbers()
    for number in numbers[::2]:
        held.add(number)
    assert [number in held for number in numbers] == [n % 2 == 0 for n in range(20_000)]
    assert 0 not in KeyNumbers()


def test_numbers_that_lie_across_two_others() -> None:
    """Of one bucket, of few different bytes: many of them stand somewhere across the border of two that are in."""
    draw = random.Random(1)
    numbers = {int.from_bytes(bytes(draw.choice(b"\0\1") for _ in range(15)), "little") << 12 for _ in range(6000)}
    inside = {number for number in numbers if draw.random() < 0.5}
    held = KeyNumbers()
    for number in inside:
        held.add(number)
    assert {number for number in numbers if number in held} == inside


def test_a_number_takes_few_bytes_of_memory() -> None:
    held = KeyNumbers()
    tracemalloc.start()
    try:
        for n in range(100_000):
            held.add(n * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 24 * 100_000


def test_another_process_has_other_numbers() -> None:
    program = "from pgvector_backup.engine.sets.key_numbers import number_of; print(number_of(b'k'))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(), check=True
    )
    assert int(done.stdout) != number_of(b"k")
