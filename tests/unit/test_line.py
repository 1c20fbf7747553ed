"""Whether a set may be an increment: each thing that could make rows be missed, at its bound and one beyond.

No server: the snapshot, the definitions and the keys are said, the base lies on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import Conflict, DatabaseFault, IntegrityFault
from pgvector_backup.engine.codec.compression import Compression
from pgvector_backup.engine.codec.file_kind import FileKind
from pgvector_backup.engine.codec.formats import FORMATS
from pgvector_backup.engine.dump import increment
from pgvector_backup.engine.dump.increment import Line, begin_line
from pgvector_backup.engine.dump.ranges import Estimate
from pgvector_backup.engine.postgres.keys_query import Seen
from pgvector_backup.engine.postgres.lineage import Fact, KeyColumn, Lineage
from pgvector_backup.engine.postgres.source import Source
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.postgres.tables import Column
from pgvector_backup.engine.postgres.transactions import NOT_TOLD, TransactionIds
from pgvector_backup.engine.sets.keys_entry import KeysEntry, Link
from pgvector_backup.engine.sets.keys_file import BrokenLine, Tally
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.table_entry import TableEntry
from pgvector_backup.engine.store.root import locate

ID = "20261125_020000"
NAME, OTHER = TableName(None, "t"), TableName(None, "u")
LINEAGE = Lineage(7, (KeyColumn("id", "int"),), (Fact("columns", "0" * 32),), True)
SOURCE = Source("18.0", 180000, "0.8.1", "db", 5, "7", 1)
THEN, NOW = TransactionIds(700, 710), TransactionIds(900, 910)
CSV = FileKind(FORMATS["csv"], Compression("none"))


def entry_of(name: str, backup_id: str = ID, **told: Any) -> TableEntry:
    """A table with its keys, and 30 bytes in each file."""
    keys = KeysEntry(
        file=f"{name}_{backup_id}.keys.csv",
        compression="none",
        rows=100,
        bytes=30,
        raw_bytes=30,
        sha256="0" * 64,
        index=f"{name}_{backup_id}.keys.csv.idx",
        index_sha256="0" * 64,
        deleted=0,
        lineage=LINEAGE,
    )
    whole = TableEntry(
        name=name,
        schema="public",
        table=name,
        kind="table",
        columns=(Column("id", "integer", None, True, None, False, None),),
        primary_key=("id",),
        constraints=(),
        indexes=(),
        file=f"{name}_{backup_id}.csv",
        format="csv",
        compression="none",
        rows=10,
        bytes=30,
        raw_bytes=60,
        sha256="0" * 64,
        fingerprint="0" * 32,
        index=f"{name}_{backup_id}.csv.idx",
        index_sha256="0" * 64,
        relations=(7,),
        late_transactions=(705,),
        keys=keys,
    )
    return replace(whole, **told)


def base(**told: Any) -> Manifest:
    whole = Manifest(
        backup_id=ID,
        created_at="2026-11-25T02:00:00+00:00",
        task_id=None,
        run_id=None,
        source=SOURCE,
        snapshot=THEN,
        tables=(entry_of("t"), entry_of("u")),
        failed_tables={},
        fingerprint_algorithm="sha256-sum128",
        wal_position=1000,
    )
    return replace(whole, **told)


@dataclass
class Scene:
    """What a backup meets, and what it decides then."""

    root: Path
    source: Source = SOURCE
    transactions: TransactionIds = NOW
    wal_position: int | None = 1000
    failures: dict[TableName, Any] = field(default_factory=dict)
    lineages: dict[TableName, Any] = field(default_factory=lambda: {NAME: LINEAGE, OTHER: LINEAGE})
    tally: dict[TableName, Any] = field(default_factory=lambda: {name: Tally(100, 5, 95, 5) for name in (NAME, OTHER)})
    full_every: int = 7
    kind: FileKind = CSV
    dropped: list[str] = field(default_factory=list)
    seen: list[Any] = field(default_factory=list)
    rejoined: int = 0
    held: ExitStack = field(default_factory=ExitStack)
    broken: bool = False

    @property
    def directory(self) -> Path:
        return self.root / "vector_bak"

    def lay(self, manifest: Manifest) -> Link:
        """Put a set there, its files no more than of the right length."""
        self.directory.mkdir(exist_ok=True)
        content = manifest.to_bytes()
        (self.directory / f"manifest_{manifest.backup_id}.json").write_bytes(content)
        for table in manifest.tables:
            assert table.keys is not None
            for name in (table.file, table.keys.file):
                (self.directory / name).write_bytes(b"x" * 30)
        stated = Manifest.read_stated(locate(self.root, None, "vector_bak"), f"manifest_{manifest.backup_id}.json")
        return Link(manifest.backup_id, stated[1])

    def decide(self) -> Line:
        @contextmanager
        def joined(*, kept: bool = False) -> Iterator[Any]:
            yield SimpleNamespace(broken=self.broken)

        def rejoin(conn: Any) -> None:
            self.rejoined += 1

        snapshot = SimpleNamespace(
            source=self.source,
            transactions=self.transactions,
            wal_position=self.wal_position,
            failures=self.failures,
            joined=joined,
            rejoin=rejoin,
        )
        return begin_line(
            cast("Any", snapshot),
            cast("Any", [SimpleNamespace(name=name) for name in self.lineages]),
            location=locate(self.root, None, "vector_bak"),
            claim=cast("Any", SimpleNamespace(drop=lambda *parts: self.dropped.extend(parts))),
            kind=self.kind,
            cancel=Cancel(),
            full_every=self.full_every,
            held=self.held,
        )

    def lineage_of(self, conn: Any, table: Any, form: Any) -> Any:
        return _given(self.lineages[table.name])

    def write_keys(self, conn: Any, table: Any, lineage: Any, **more: Any) -> Any:
        tally = _given(self.tally[table.name])
        seen = None if more["base"] is None else more["base"][2]
        self.seen.append(seen)
        return SimpleNamespace(tally=tally, seen=seen, parts=(table.name.label,), entry=lambda: tally)


def _given(value: Any) -> Any:
    if isinstance(value, Exception):
        raise value
    return value


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    monkeypatch.setattr(increment, "lineage_of", scene.lineage_of)
    monkeypatch.setattr(increment, "write_keys", scene.write_keys)
    with scene.held:
        yield scene


def test_an_increment_stands_on_the_base(scene: Scene) -> None:
    link = scene.lay(base())
    line = scene.decide()
    assert line.full_because is None
    assert line.links == (link,)
    assert line.wal_position == 1000
    assert scene.seen == [Seen(THEN, NOW, (7,), (705,))] * 2
    assert line.tally(NAME) == Tally(100, 5, 95, 5)
    assert line.tally(TableName(None, "v")) is None
    assert line.entry(TableName(None, "v")) is None
    assert line.entry(NAME) is not None
    # Rows of the base's file are 6 bytes long, 3 of them packed.
    assert line.expected(NAME) == Estimate(5, 30, 15)
    line.write_keys()
    assert len(scene.seen) == 2, "they are there already"
    # Until the backup is over nobody removes what it stands on.
    with pytest.raises(Conflict), locate(scene.root, None, "vector_bak").exclusive_lock(f"manifest_{ID}.json"):
        pass
    scene.held.close()
    with locate(scene.root, None, "vector_bak").exclusive_lock(f"manifest_{ID}.json"):
        pass


def test_what_is_expected_of_a_base_without_rows(scene: Scene) -> None:
    scene.lay(base(tables=(entry_of("t", rows=0), entry_of("u"))))
    line = scene.decide()
    assert line.expected(NAME) == Estimate(5, None, None)
    assert line.expected(TableName(None, "v")) is None
    assert Line().expected(NAME) is None


HARMLESS: dict[str, Callable[[Scene], Any]] = {
    "no transaction since": lambda scene: scene.__dict__.update(transactions=THEN),
    "as many transactions as can be told apart": lambda scene: scene.__dict__.update(
        transactions=TransactionIds(900, THEN.xmin + (1 << 31) - 1)
    ),
    "the log is where it was": lambda scene: scene.__dict__.update(wal_position=1000),
    "the log is not told": lambda scene: scene.__dict__.update(wal_position=None),
    "half was written": lambda scene: scene.tally.update({NAME: Tally(100, 95, 5, 0)}),
    "half was deleted": lambda scene: scene.tally.update({NAME: Tally(90, 0, 90, 180)}),
    "the last one of a chain": lambda scene: scene.__dict__.update(full_every=1),
    "the name of the server's release": lambda scene: scene.__dict__.update(
        source=replace(SOURCE, server_version="18.1")
    ),
}


@pytest.mark.parametrize("what", HARMLESS)
def test_what_does_no_harm(scene: Scene, what: str) -> None:
    scene.lay(base())
    HARMLESS[what](scene)
    line = scene.decide()
    assert line.full_because is None
    assert [link.backup_id for link in line.links] == [ID]


def _source(**told: Any) -> Callable[[Scene], Any]:
    return lambda scene: scene.__dict__.update(source=replace(SOURCE, **told))


def _set(**told: Any) -> Callable[[Scene], Any]:
    return lambda scene: scene.__dict__.update(told)


HARM: dict[str, tuple[Callable[[Scene], Any], str]] = {
    "a standby": (_source(standby=True), "the server is a standby"),
    "no identifier": (_source(system_identifier=None), "the server does not tell its system identifier"),
    "no timeline": (_source(timeline=None), "the server does not tell its timeline"),
    "no transactions": (_set(transactions=NOT_TOLD), "the server does not tell which transactions had ended"),
    "another server": (_source(system_identifier="8"), f"the base {ID} is of another server or database"),
    "another server of a smaller number": (_source(system_identifier="6"), f"the base {ID} is of another server"),
    "another database of a smaller number": (_source(database_oid=4), f"the base {ID} is of another server or data"),
    "another database of the name": (_source(database_oid=6), f"the base {ID} is of another server or database"),
    "another database": (_source(database="other"), "no earlier set here holds all of the tables with their keys"),
    "a later timeline": (_source(timeline=2), "the server has failed over or was restored"),
    "fewer transactions": (_set(transactions=TransactionIds(700, 709)), "the server has begun fewer transactions"),
    "too many transactions": (
        _set(transactions=TransactionIds(900, THEN.xmin + (1 << 31))),
        f"too many transactions since the base {ID}",
    ),
    "a shorter log": (_set(wal_position=999), "the server's log is shorter"),
    "another format": (_set(kind=FileKind(FORMATS["binary"], Compression("none"))), "a chain is of one format"),
    "a table that cannot be read": (
        lambda scene: scene.failures.update({TableName(None, "v"): "why"}),
        "v cannot be read",
    ),
    "a table that can have no key": (lambda scene: scene.lineages.update({OTHER: "it is a view"}), "u: it is a view"),
    "a table whose definition is not told": (
        lambda scene: scene.lineages.update({OTHER: DatabaseFault("denied", can_retry=False)}),
        "u: the server does not tell what has to be known of it: ",
    ),
    "a table more": (
        lambda scene: scene.lineages.update({TableName(None, "v"): LINEAGE}),
        "no earlier set here holds all of the tables with their keys",
    ),
    "another table of the name": (
        lambda scene: scene.lineages.update({OTHER: replace(LINEAGE, oid=8)}),
        "u: it is another table than the one that the base is of",
    ),
    "another key": (
        lambda scene: scene.lineages.update({OTHER: replace(LINEAGE, key=(KeyColumn("id", "text"),))}),
        "u: its key is another one than in the base",
    ),
    "another definition": (
        lambda scene: scene.lineages.update({OTHER: replace(LINEAGE, facts=(Fact("columns", "1" * 32),))}),
        "u: its definition has changed since the base was made: columns",
    ),
    "a fact more": (
        lambda scene: scene.lineages.update({OTHER: replace(LINEAGE, facts=(*LINEAGE.facts, Fact("x", "1" * 32)))}),
        "u: its definition has changed since the base was made: x",
    ),
    "a fact less": (
        lambda scene: scene.lineages.update({OTHER: replace(LINEAGE, facts=())}),
        "u: its definition has changed since the base was made: other facts",
    ),
    "a chain that is long enough": (_set(full_every=0), f"full_every: 0 increments stand on set {ID} already"),
    "more than half was written": (
        lambda scene: scene.tally.update({NAME: Tally(100, 96, 4, 0)}),
        "more than half has changed: 101 of 200 rows written, 5 deleted",
    ),
    "more than half was deleted": (
        lambda scene: scene.tally.update({NAME: Tally(90, 0, 90, 181)}),
        "more than half has changed: 5 of 190 rows written, 186 deleted",
    ),
    "keys in another order": (lambda scene: scene.tally.update({OTHER: BrokenLine("not sorted")}), "u: not sorted"),
    "damaged keys": (lambda scene: scene.tally.update({OTHER: IntegrityFault("not what was written")}), "u: "),
    "keys that the server does not give": (
        lambda scene: scene.tally.update({OTHER: DatabaseFault("u: no space", can_retry=True)}),
        "u: no space",
    ),
}


@pytest.mark.parametrize("what", HARM)
def test_a_full_set_is_made_where_rows_could_be_missed(scene: Scene, what: str) -> None:
    scene.lay(base())
    harm, said = HARM[what]
    harm(scene)
    line = scene.decide()
    assert line.full_because is not None
    assert said in line.full_because
    assert (line.links, line.base, dict(line.keys)) == ((), None, {})
    assert line.condition(cast("Any", SimpleNamespace(name=NAME))) is None, "every row is in a full set"
    written = [] if not scene.seen else ["t"] if len(scene.seen) == 1 else ["t", "u"]
    assert scene.dropped == written, "no keys file of the attempt is left"


BASES: dict[str, tuple[dict[str, Any], str]] = {
    "of a standby": ({"source": replace(SOURCE, standby=True)}, f"the base {ID}: its server is a standby"),
    "of a later timeline": ({"source": replace(SOURCE, timeline=2)}, "the server has failed over or was restored"),
    "of no timeline": ({"source": replace(SOURCE, timeline=None)}, f"the base {ID}: its server does not tell its time"),
    "of no identifier": (
        {"source": replace(SOURCE, system_identifier=None)},
        f"the base {ID}: its server does not tell its system identifier",
    ),
    "of no transactions": ({"snapshot": NOT_TOLD}, f"the base {ID}: its server does not tell which transactions"),
    "of transactions too many to list": (
        {"tables": (entry_of("t"), entry_of("u", late_transactions=None))},
        f"u: the base {ID} does not tell which transactions it has seen",
    ),
    "of the other format": (
        {"tables": (entry_of("t"), entry_of("u", format="binary"))},
        f"file_format: u is binary in the base {ID}",
    ),
    "without keys of one": (
        {"tables": (entry_of("t"), entry_of("u", keys=None))},
        "no earlier set here holds all of the tables with their keys",
    ),
    "of fewer tables": ({"tables": (entry_of("t"),)}, "no earlier set here holds all of the tables with their keys"),
}


@pytest.mark.parametrize("what", BASES)
def test_a_base_that_cannot_be_stood_on(scene: Scene, what: str) -> None:
    told, said = BASES[what]
    manifest = base(**told)
    if all(table.keys is not None for table in manifest.tables):
        scene.lay(manifest)
    else:
        scene.directory.mkdir()
        (scene.directory / f"manifest_{ID}.json").write_bytes(manifest.to_bytes())
    assert said in (scene.decide().full_because or "")


def test_a_base_whose_log_is_not_told_is_stood_on(scene: Scene) -> None:
    scene.lay(base(wal_position=None))
    assert scene.decide().full_because is None


def test_nothing_stands_on_a_base_that_is_being_removed(scene: Scene) -> None:
    scene.lay(base())
    with locate(scene.root, None, "vector_bak").exclusive_lock(f"manifest_{ID}.json"):
        said = scene.decide().full_because or ""
    assert f"set {ID}, which it would stand on, cannot be held: " in said


def test_a_chain_is_stood_on_as_long_as_all_of_it_is_there(scene: Scene) -> None:
    link = scene.lay(base())
    second = base(
        backup_id="20261125_020001",
        chain=(link,),
        tables=(entry_of("t", "20261125_020001"), entry_of("u", "20261125_020001")),
    )
    newer = scene.lay(second)
    line = scene.decide()
    assert (line.full_because, line.links) == (None, (link, newer))
    scene.full_every = 1
    assert scene.decide().full_because == f"full_every: 1 increments stand on set {ID} already"
    scene.full_every = 2
    for name in (f"t_{ID}.csv", "u_20261125_020001.keys.csv"):
        path = scene.directory / name
        for harm in (lambda path=path: path.write_bytes(b"x" * 29), path.unlink):
            scene.held.close()
            harm()
            assert "is damaged: " in (scene.decide().full_because or "")
        path.write_bytes(b"x" * 30)
        assert scene.decide().full_because is None
    scene.held.close()
    (scene.directory / f"verified_{ID}.json").write_text('{"ok": false, "errors": ["t: damaged"], "depth": "rows"}')
    (scene.directory / f"manifest_{ID}.json").unlink()
    assert scene.decide().full_because == f"set {ID}, which it would stand on, is missing"


def test_a_lost_connection_is_no_reason_for_a_full_set(scene: Scene) -> None:
    scene.lay(base())
    scene.broken = True
    scene.tally[OTHER] = DatabaseFault("the connection was lost", can_retry=True)
    with pytest.raises(DatabaseFault, match="lost"):
        scene.decide()
    assert scene.dropped == ["t"]
    scene.lineages[NAME] = DatabaseFault("the connection was lost", can_retry=True)
    with pytest.raises(DatabaseFault, match="lost"):
        scene.decide()


def test_a_full_set_gets_the_keys_that_can_be_had(scene: Scene) -> None:
    """They begin the next chain; a table without them is in the set all the same."""
    gone = TableName(None, "gone")
    scene.lineages |= {gone: LINEAGE, TableName(None, "v"): "it is a view"}
    scene.failures[gone] = "cannot be read"
    scene.tally |= {OTHER: DatabaseFault("denied", can_retry=False), gone: Tally()}
    line = scene.decide()
    assert line.full_because is not None
    assert dict(line.keys) == {}
    line.write_keys()
    assert list(line.keys) == [NAME]
    assert scene.seen == [None]
    assert scene.rejoined == 1
    assert line.condition(cast("Any", SimpleNamespace(name=NAME))) is None
