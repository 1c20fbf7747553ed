"""A fingerprint is of the rows, whatever their order, and its algorithm is known by name."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import xxhash
from hypothesis import given
from hypothesis import strategies as st

from pgvector_backup.engine.codec import fingerprint
from tests.helpers.python import environment

ROWS = [b"1,one\n", b"2,two\n", b"2,two\n", "3,三\n".encode(), b""]


def of(algorithm: fingerprint.Algorithm, rows: list[bytes]) -> str:
    return fingerprint.of_sum(sum(algorithm.of_row(row) for row in rows))


def test_new_ones_are_made_with_xxh3() -> None:
    assert fingerprint.best().name == "xxh3-128-sum128"
    total = sum(int.from_bytes(xxhash.xxh3_128_digest(row), "big") for row in ROWS)
    assert of(fingerprint.best(), ROWS) == f"{total % 2**128:032x}"


def test_those_of_earlier_releases_can_be_checked() -> None:
    algorithm = fingerprint.named("sha256-sum128")
    assert algorithm is not None
    total = sum(int.from_bytes(hashlib.sha256(row).digest()[:16], "little") for row in ROWS)
    assert of(algorithm, ROWS) == f"{total % 2**128:032x}"


def test_one_that_nobody_knows() -> None:
    assert fingerprint.named("md5-sum128") is None


def test_every_kind_of_buffer_gives_the_same() -> None:
    for algorithm in (fingerprint.SHA256, fingerprint.best()):
        numbers = {algorithm.of_row(kind(b"a row\n")) for kind in (bytes, bytearray, memoryview)}
        assert len(numbers) == 1


@given(st.lists(st.binary()), st.randoms())
def test_the_order_does_not_matter(rows: list[bytes], chance: object) -> None:
    shuffled = sorted(rows, key=lambda _: chance.random())  # type: ignore[attr-defined]
    for algorithm in (fingerprint.SHA256, fingerprint.best()):
        assert of(algorithm, rows) == of(algorithm, shuffled)


def test_a_row_twice_does_matter() -> None:
    for algorithm in (fingerprint.SHA256, fingerprint.best()):
        assert of(algorithm, ROWS) != of(algorithm, [*ROWS, ROWS[0]]) != of(algorithm, [*ROWS, ROWS[1]])


def test_without_xxhash_it_is_sha256() -> None:
    script = (
        "import sys; sys.modules['xxhash'] = None\n"
        "from pgvector_backup.engine.codec import fingerprint\n"
        "print(fingerprint.best().name, fingerprint.named('xxh3-128-sum128'), fingerprint.named('sha256-sum128').name)"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["sha256-sum128", "None", "sha256-sum128"]
