"""The story of a consolidation: an increment and all that it stands on, written as one full set; no server is asked."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import IntegrityFault, InvalidParams
from pgvector_backup.engine.codec import fingerprint
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.contract.sizes import human_size
from pgvector_backup.engine.load import by_hand
from pgvector_backup.engine.sets import block_index, keys_entry
from pgvector_backup.engine.sets.block_index import BlockIndexWriter
from pgvector_backup.engine.sets.blocks import BlockFile, FileFacts, Gatherer, blocks_of_lines
from pgvector_backup.engine.sets.chain import TableChain, chains
from pgvector_backup.engine.sets.found import FoundSet
from pgvector_backup.engine.sets.holding import Holding, place_of
from pgvector_backup.engine.sets.keys_entry import KeysEntry
from pgvector_backup.engine.sets.keys_file import read_keys
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.stored_file import StoredFile
from pgvector_backup.engine.sets.stored_set import shared_lock
from pgvector_backup.engine.sets.table_entry import TableEntry
from pgvector_backup.engine.store.claim import Claim
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import manifest_name
from pgvector_backup.engine.store.writer import Writer

_log: Final = logging.getLogger(__name__)

_MARGIN: Final = 1.05
"""Space asked for over what is known: a row may be packed otherwise in another block."""


@dataclass(frozen=True)
class ConsolidateResult:
    """A new full set and what it was made of. Seconds.

    :param timestamp: of the increment
    :param chain: the sets that it stood on
    """

    backup_path: str
    timestamp: str
    chain: tuple[str, ...]
    backup_id: str
    tables: tuple[TableEntry, ...]
    duration: float
    finished_at: datetime

    def to_json(self) -> dict[str, Any]:
        """The result as programs read it."""
        return {
            **messages.beside("response", messages.CONSOLIDATED),
            "consolidate_performed": True,
            "backup_path": self.backup_path,
            "timestamp": self.timestamp,
            "chain": list(self.chain),
            "backup_id": self.backup_id,
            "manifest_file": manifest_name(self.backup_id),
            "tables": {
                entry.name: {
                    "row_count": entry.rows,
                    "file_size": human_size(entry.bytes),
                    "backup_file": entry.file,
                    "bytes": entry.bytes,
                    "sha256": entry.sha256,
                }
                for entry in self.tables
            },
            "errors": [],
            "duration": round(self.duration, 3),
            "finished_at": self.finished_at.isoformat(timespec="seconds"),
        }


def consolidate(
    location: Location,
    found: FoundSet,
    settings: Settings,
    *,
    now: datetime,
    run_id: str | None = None,
    cancel: Cancel | None = None,
) -> ConsolidateResult:
    """Write an increment as a full set of the same moment; increments can stand on it as on any other.

    Every file of the chain is held against its manifest, and the rows against the keys. The chain is left as it is: it
    may go once the new set has been verified.

    :param now: with a time zone; the new set is named after it
    :raises InvalidParams: when the set is no increment
    :raises IntegrityFault: when the chain is damaged; no file is left
    """
    started = time.monotonic()
    cancel = cancel or Cancel()
    if found.manifest_file is None or (not found.chain and found.damaged is None):
        raise InvalidParams(f"timestamp: set {found.backup_id} is no increment; it stands on no other set")
    holding = Holding.of(settings, location)
    with shared_lock(location, found):
        manifest = Manifest.read(location, found.manifest_file)
        chained = chains(location, manifest)
        for chain in chained.values():
            chain.glance(cancel)
        location.require_space(round(_MARGIN * sum(entry.bytes for one in chained.values() for _, entry in one.parts)))
        claim = location.claim(now, settings.timestamp_format)
        try:
            entries = tuple(_table(location, claim, chained[entry.name], cancel) for entry in manifest.tables)
            full = replace(
                manifest,
                backup_id=claim.backup_id,
                run_id=run_id,
                tables=entries,
                fingerprint_algorithm=fingerprint.best().name,
                chain=(),
                script=None,
                script_sha256=None,
                full_because=f"consolidated from set {manifest.backup_id} and the {len(manifest.chain)} it stood on",
            )
            full = by_hand.stage(claim, full, by_hand.script(full).encode())
            if holding is not None:
                holding.begin(claim, place_of(settings, location), full, now)
            claim.commit(full.to_bytes())
        except BaseException:
            claim.discard()
            raise
    _log.info("set %s holds what %s and its chain hold", claim.backup_id, found.backup_id)
    return ConsolidateResult(
        backup_path=found.relative_path,
        timestamp=found.backup_id,
        chain=found.chain,
        backup_id=claim.backup_id,
        tables=entries,
        duration=time.monotonic() - started,
        finished_at=now,
    )


def _table(location: Location, claim: Claim, chain: TableChain, cancel: Cancel) -> TableEntry:
    entry = chain.entry
    kind = entry.file_kind
    full = chain.parts[0][1]
    expected = sum(part.bytes for _, part in chain.parts)
    staged = claim.stage(entry.name, kind.suffix, expected=expected)
    index = claim.stage(entry.name, kind.suffix + block_index.SUFFIX)
    file = BlockFile(staged, BlockIndexWriter(index), kind, StoredFile(location, full).header())
    rows = (row for block in chain.blocks(cancel, prove=True) for row, _ in kind.format.rows(block.data))
    with closing(Gatherer().blocks(rows, kind, fingerprint.best())) as blocks:
        for block in blocks:
            cancel.check()
            file.append(block)
    facts = file.finish()
    if facts.rows != entry.row_count:
        raise IntegrityFault(f"{entry.name}: {facts.rows:,} rows of the chain, {entry.row_count:,} in the manifest")
    return _entry(entry, facts, _keys(location, claim, chain, cancel))


def _entry(entry: TableEntry, facts: FileFacts, keys: KeysEntry) -> TableEntry:
    return replace(
        entry,
        file=facts.name,
        rows=facts.rows,
        bytes=facts.bytes,
        raw_bytes=facts.raw_bytes,
        sha256=facts.sha256,
        fingerprint=facts.fingerprint,
        index=facts.index,
        index_sha256=facts.index_sha256,
        keys=keys,
    )


def _keys(location: Location, claim: Claim, chain: TableChain, cancel: Cancel) -> KeysEntry:
    """The keys of the increment, each of whose origin is now the new set."""
    keys = chain.keys
    suffix = f"{keys_entry.SUFFIX}{keys.file_kind.compression.suffix}"
    staged: Writer = claim.stage(chain.entry.name, suffix, expected=keys.bytes)
    index = claim.stage(chain.entry.name, suffix + block_index.SUFFIX)
    file = BlockFile(staged, BlockIndexWriter(index), keys.file_kind, StoredFile(location, keys).header())
    origin = claim.backup_id.encode()

    def lines() -> Iterator[bytes]:
        for line in read_keys(location, keys, cancel):
            yield b"%b,%b,%b,%b\n" % (line.key, line.xmin, origin, line.row_hash)

    for block in blocks_of_lines(lines(), keys.file_kind):
        cancel.check()
        file.append(block)
    facts = file.finish()
    return replace(
        keys,
        file=facts.name,
        rows=facts.rows,
        bytes=facts.bytes,
        raw_bytes=facts.raw_bytes,
        sha256=facts.sha256,
        index=facts.index,
        index_sha256=facts.index_sha256,
        deleted=0,
    )
