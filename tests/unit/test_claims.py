"""A set's claim in a directory, and the sweep of what dead runs left: in one process, for a lock is of one opening."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pgvector_backup.engine.base.errors import StorageFault
from pgvector_backup.engine.store.local_claim import LocalClaim
from pgvector_backup.engine.store.staging import replace
from pgvector_backup.engine.store.sweep import sweep

ID, OTHER = "20260102_030405", "20260102_030406"
CLAIM, MANIFEST = f"manifest_{ID}.json.tmp", f"manifest_{ID}.json"


def listed(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def lay(directory: Path, *names: str, content: bytes = b"x") -> None:
    for name in names:
        (directory / name).write_bytes(content)


def claimed(directory: Path, backup_id: str = ID, **more: Any) -> LocalClaim:
    claim = LocalClaim.attempt(directory, backup_id, **more)
    assert claim is not None
    return claim


def staged(claim: LocalClaim, name: str, content: bytes = b"rows") -> Any:
    file = claim.stage_file(name)
    file.write(content)
    file.sync()
    return file


# --- a claim ---


def test_an_id_is_one_runs_only(tmp_path: Path) -> None:
    claim = claimed(tmp_path)
    for again in (False, True):
        assert LocalClaim.attempt(tmp_path, ID, again=again) is None
    other = claimed(tmp_path, OTHER)
    claim.discard()
    other.discard()
    assert listed(tmp_path) == []
    claimed(tmp_path).discard()


@pytest.mark.parametrize("name", [MANIFEST, f"t_{ID}.csv", f"verified_{ID}.json", f"t_{ID}.csv.idx.tmp"])
def test_an_id_of_which_anything_lies_there_is_taken(tmp_path: Path, name: str) -> None:
    lay(tmp_path, name, f"t_{OTHER}.csv")
    assert LocalClaim.attempt(tmp_path, ID) is None
    assert listed(tmp_path) == sorted([name, f"t_{OTHER}.csv"])


def test_a_set_is_there_once_it_is_committed_and_not_before(tmp_path: Path) -> None:
    claim = claimed(tmp_path)
    staged(claim, f"t_{ID}.csv", b"abc")
    assert listed(tmp_path) == sorted([CLAIM, f"t_{ID}.csv.tmp"])
    claim.commit(b"{}")
    assert listed(tmp_path) == sorted([MANIFEST, f"t_{ID}.csv"])
    assert (tmp_path / f"t_{ID}.csv").read_bytes() == b"abc"
    assert (tmp_path / MANIFEST).read_bytes() == b"{}"
    claim.discard()  # of a set that was committed nothing goes
    claim.abandon()
    assert listed(tmp_path) == sorted([MANIFEST, f"t_{ID}.csv"])


def test_what_is_dropped_is_no_part_of_the_set(tmp_path: Path) -> None:
    claim = claimed(tmp_path)
    gone, stays = staged(claim, f"gone_{ID}.csv"), staged(claim, f"t_{ID}.csv")
    claim.drop(gone)
    assert not (tmp_path / f"gone_{ID}.csv.tmp").exists()
    claim.commit(b"{}")
    assert stays.published
    assert listed(tmp_path) == sorted([MANIFEST, f"t_{ID}.csv"])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_commit_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    claim = claimed(tmp_path)
    for name in ("a", "b"):
        staged(claim, f"{name}_{ID}.csv")
    rename, done = os.rename, iter(range(9))

    def renaming(one: Any, other: Any) -> None:
        if next(done) == number:
            raise OSError(28, "No space left on device")
        rename(one, other)

    monkeypatch.setattr(os, "rename", renaming)
    with pytest.raises(StorageFault):
        claim.commit(b"{}")
    assert listed(tmp_path) == []


def test_a_manifest_is_written_anew_over_what_was_announced(tmp_path: Path) -> None:
    claim = claimed(tmp_path)
    claim.announce(b"a longer one than that which is committed")
    assert (tmp_path / CLAIM).read_bytes() == b"a longer one than that which is committed"
    claim.commit(b"{}")
    assert (tmp_path / MANIFEST).read_bytes() == b"{}"


def test_an_abandoned_claim_is_taken_over_with_what_was_published(tmp_path: Path) -> None:
    claim = claimed(tmp_path)
    staged(claim, f"a_{ID}.csv").publish()
    staged(claim, f"b_{ID}.csv")
    claim.announce(b"{}")
    claim.abandon()
    claim.discard()  # it is not this run's any more
    assert listed(tmp_path) == sorted([CLAIM, f"a_{ID}.csv"])
    assert LocalClaim.attempt(tmp_path, ID) is None
    taken = claimed(tmp_path, again=True)
    assert taken.resumed
    assert LocalClaim.attempt(tmp_path, ID, again=True) is None
    taken.adopt(f"a_{ID}.csv")
    taken.commit(b"{}")
    assert listed(tmp_path) == sorted([MANIFEST, f"a_{ID}.csv"])


def test_what_is_adopted_goes_with_a_set_that_is_given_up(tmp_path: Path) -> None:
    lay(tmp_path, f"a_{ID}.csv", f"a_{OTHER}.csv")
    claim = claimed(tmp_path, again=True)
    assert not claim.resumed
    claim.adopt(f"a_{ID}.csv")
    claim.discard()
    assert listed(tmp_path) == [f"a_{OTHER}.csv"]


def test_a_set_that_is_there_is_taken_over_by_nobody(tmp_path: Path) -> None:
    lay(tmp_path, MANIFEST)
    assert LocalClaim.attempt(tmp_path, ID, again=True) is None
    lay(tmp_path, CLAIM)
    assert LocalClaim.attempt(tmp_path, ID, again=True) is None
    assert listed(tmp_path) == [MANIFEST, CLAIM]


# --- a small file ---


@pytest.mark.parametrize("before", [None, b"an earlier one"])
def test_a_small_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes | None
) -> None:
    if before is not None:
        lay(tmp_path, "verified.json", content=before)
    there = listed(tmp_path)

    def failing(one: Any, other: Any) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing)
        with pytest.raises(OSError, match="Input/output"):
            replace(tmp_path, "verified.json", b"new")
    assert listed(tmp_path) == there
    replace(tmp_path, "verified.json", b"new")
    assert (tmp_path / "verified.json").read_bytes() == b"new"


@pytest.mark.parametrize(("swept", "written"), [(1, True), (2, True), (3, False)])
def test_a_small_file_that_a_sweep_took_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swept: int, written: bool
) -> None:
    rename, left = os.rename, iter(range(swept))

    def renaming(one: Any, other: Any) -> None:
        if next(left, None) is not None:
            os.unlink(one)
        rename(one, other)

    monkeypatch.setattr(os, "rename", renaming)
    if written:
        replace(tmp_path, "verified.json", b"new")
    else:
        with pytest.raises(FileNotFoundError):
            replace(tmp_path, "verified.json", b"new")
    assert listed(tmp_path) == (["verified.json"] if written else [])


# --- a sweep ---


def manifest(*files: str, keys: tuple[str, ...] = ()) -> bytes:
    tables = [{"file": name, "index": f"{name}.idx", "keys": None} for name in files]
    tables += [{"file": f"k{n}_{ID}.csv", "index": f"k{n}_{ID}.csv.idx", "keys": {"file": name, "index": f"{name}.idx"}}
               for n, name in enumerate(keys)]  # fmt: skip
    return json.dumps({"tables": tables}).encode()


def test_a_sweep_leaves_a_living_run_and_every_whole_set_alone(tmp_path: Path) -> None:
    lay(tmp_path, f"manifest_{OTHER}.json", f"t_{OTHER}.csv", "vector_backup_log.txt", "notes.tmp", "t.csv.tmp")
    claim = claimed(tmp_path)
    staged(claim, f"t_{ID}.csv")
    claim.announce(manifest(f"t_{ID}.csv"))
    before = listed(tmp_path)
    assert sweep(tmp_path) == []
    assert listed(tmp_path) == before
    claim.discard()


def test_a_sweep_removes_what_a_dead_run_has_staged_and_its_claim_last(tmp_path: Path) -> None:
    lay(tmp_path, f"t_{ID}.csv.tmp", f"t_{ID}.csv.idx.tmp", CLAIM, f"t_{OTHER}.csv", f"t_{ID}.csv")
    removed = sweep(tmp_path)
    assert removed[-1] == CLAIM
    assert sorted(removed) == sorted([f"t_{ID}.csv.tmp", f"t_{ID}.csv.idx.tmp", CLAIM])
    # What has its name, and no manifest that was whole tells of, may be anybody's.
    assert listed(tmp_path) == sorted([f"t_{OTHER}.csv", f"t_{ID}.csv"])


def test_a_sweep_removes_what_a_dead_run_was_committing(tmp_path: Path) -> None:
    """Its manifest was whole, so that its files are known whatever they are called by now."""
    own = [f"t_{ID}.csv", f"t_{ID}.csv.idx", f"t_{ID}.keys.csv", f"t_{ID}.keys.csv.idx", f"schema_{ID}.sql"]
    lay(tmp_path, *own, f"u_{ID}.csv", f"t_{OTHER}.csv")
    (tmp_path / CLAIM).write_bytes(manifest(f"t_{ID}.csv", f"t_{OTHER}.csv", keys=(f"t_{ID}.keys.csv",)))
    assert sorted(sweep(tmp_path)) == sorted([*own, CLAIM])
    assert listed(tmp_path) == sorted([f"u_{ID}.csv", f"t_{OTHER}.csv"])


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"7", b'{"tables": 7}', b'{"tables": [7]}', b'{"tables": [{"file": "t"}]}',
     b'{"tables": [{"file": 7, "index": 8}]}', b"[" * 100_000,
     json.dumps({"tables": [{"file": f"../x_{ID}.csv", "index": f"x_{ID}.csv.idx"}]}).encode()],
)  # fmt: skip
def test_of_a_claim_that_tells_nothing_only_the_claim_goes(tmp_path: Path, content: bytes) -> None:
    place = tmp_path / "place"
    place.mkdir()
    lay(tmp_path, f"x_{ID}.csv")
    lay(place, f"x_{ID}.csv.idx")
    (place / CLAIM).write_bytes(content)
    assert sweep(place) == [CLAIM]
    assert listed(place) == [f"x_{ID}.csv.idx"]
    assert listed(tmp_path) == sorted(["place", f"x_{ID}.csv"])


def test_a_sweep_removes_what_nobody_claims(tmp_path: Path) -> None:
    lay(tmp_path, f"t_{ID}.csv.tmp", f"verified_{OTHER}.json.abcdefgh.tmp", f"manifest_{OTHER}.json")
    living = claimed(tmp_path, "20260102_030407")
    staged(living, "t_20260102_030407.csv")
    assert sorted(sweep(tmp_path)) == sorted([f"t_{ID}.csv.tmp", f"verified_{OTHER}.json.abcdefgh.tmp"])
    living.commit(b"{}")
    assert (tmp_path / "t_20260102_030407.csv").exists()


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_what_only_has_the_name_of_a_claim_is_nobodys_and_stops_nobody(tmp_path: Path, kind: str) -> None:
    place, target = tmp_path / "place", tmp_path / "target"
    place.mkdir()
    target.write_bytes(manifest(f"t_{ID}.csv"))
    if kind == "link":
        (place / CLAIM).symlink_to(target)
    elif kind == "pipe":
        os.mkfifo(place / CLAIM)
    else:
        (place / CLAIM).mkdir()
    lay(place, f"t_{ID}.csv", f"t_{OTHER}.csv.tmp")
    assert sweep(place) == [f"t_{OTHER}.csv.tmp"]
    assert listed(place) == sorted([CLAIM, f"t_{ID}.csv"])
    assert target.exists()
