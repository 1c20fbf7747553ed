"""Whatever is written while backups and truncates go on: every row is in the files or in the table."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import psycopg
import pytest

from pgvector_backup.engine.base.errors import Conflict, DatabaseFault
from tests.helpers.house import House

ROUNDS = 20


class Writer(threading.Thread):
    """Writes without a pause and remembers what has to be somewhere in the end.

    :param step: writes something in a transaction; returns the words that are there, and those that are not any more,
        once it is committed
    """

    def __init__(self, house: House, seed: int, step: Callable[[Writer], tuple[set[str], set[str]]]) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.name = f"writer{seed}"
        self.committed: set[str] = set()
        self.words = 0
        self.conn = house.database.connect()
        self.stopped = threading.Event()
        self.may_write = threading.Event()
        self.may_write.set()
        self.quiet = threading.Event()
        self.fault: BaseException | None = None
        self._step = step

    def word(self) -> str:
        """One that nobody has written before."""
        self.words += 1
        return f"{self.name}-{self.words}"

    def run(self) -> None:
        try:
            with self.conn as conn:
                while not self.stopped.is_set():
                    if not self.may_write.is_set():
                        self.quiet.set()
                        self.may_write.wait()
                        self.quiet.clear()
                    there, gone = self._step(self)
                    if self.random.random() < 0.15:
                        conn.rollback()
                        continue
                    conn.commit()
                    self.committed = (self.committed | there) - gone
        except BaseException as fault:
            self.fault = fault
            self.quiet.set()

    def pause(self) -> None:
        self.may_write.clear()
        assert self.quiet.wait(30)

    def stop(self) -> None:
        self.stopped.set()
        self.may_write.set()
        self.join()
        assert self.fault is None, repr(self.fault)


def inserting(writer: Writer) -> tuple[set[str], set[str]]:
    words = {writer.word() for _ in range(writer.random.randint(1, 5))}
    with writer.conn.cursor() as cursor:
        cursor.executemany("INSERT INTO t (word) VALUES (%s)", [(word,) for word in words])
    return words, set()


def doing_everything(writer: Writer) -> tuple[set[str], set[str]]:
    """Inserts, updates, deletes; in savepoints that are kept or not."""
    there: set[str] = set()
    gone: set[str] = set()
    execute = writer.conn.execute
    execute("SELECT 1")  # begins, so that what follows is a savepoint
    for _ in range(writer.random.randint(1, 4)):
        new, old = set[str](), set[str]()
        taken_back = writer.random.random() < 0.2
        with writer.conn.transaction():
            mine = execute("SELECT id, word FROM t WHERE word LIKE %s LIMIT 1", [f"{writer.name}-%"]).fetchone()
            match writer.random.randrange(4):
                case 2 if mine:
                    new, old = {writer.word()}, {mine[1]}
                    execute("UPDATE t SET word = %s WHERE id = %s", [*new, mine[0]])
                case 3 if mine:
                    old = {mine[1]}
                    execute("DELETE FROM t WHERE id = %s", [mine[0]])
                case _:
                    new, _none = inserting(writer)
            if taken_back:
                raise psycopg.Rollback
        if not taken_back:
            there = (there | new) - old
            gone |= old
    return there, gone


@pytest.mark.slow
@pytest.mark.parametrize(("step", "writers"), [(inserting, 1), (inserting, 3), (doing_everything, 3)])
def test_nothing_is_lost_in_twenty_rounds(
    house: House, step: Callable[[Writer], tuple[set[str], set[str]]], writers: int
) -> None:
    house.database.run("CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY, word text)")
    house.configure(tables="t", truncate_tables="t", lock_timeout=5)
    threads = [Writer(house, seed, step) for seed in range(writers)]
    for thread in threads:
        thread.start()
    emptied = refused = 0
    try:
        for number in range(ROUNDS):
            calm = number % 4 == 3
            result = None
            if not calm or number % 8 == 3:
                result = house.backup()  # with the writers at work
            if calm:
                for thread in threads:
                    thread.pause()
                if result is None or number % 8 == 7:
                    result = house.backup()
            assert result is not None
            assert result.failure is None
            try:
                house.truncate(result)
                emptied += 1
            except (Conflict, DatabaseFault):
                refused += 1
            for thread in threads:
                thread.may_write.set()
    finally:
        for thread in threads:
            thread.stop()
    assert emptied >= 2
    assert refused >= 5

    house.database.run("CREATE TABLE loaded (id bigint, word text)")
    for file in house.directory.glob("t_*.csv"):
        with (
            house.database.connect() as conn,
            conn.cursor().copy("COPY loaded FROM STDIN (FORMAT csv, HEADER MATCH)") as copy,
        ):
            copy.write(file.read_bytes())
    kept = {row[0] for row in house.database.run("SELECT word FROM t UNION SELECT word FROM loaded")}
    expected = set().union(*(thread.committed for thread in threads))
    assert len(expected) > 100
    assert expected - kept == set()
