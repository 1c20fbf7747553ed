"""One set on its way from its store to another one: what lies there, what is missing, what arrived.

What a try that died has left at the other root is taken over, read, and kept where it is right. Until its manifest is
there, nothing of a copy is seen as a set.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import Conflict, IntegrityFault, NotFound, StorageFault, storage_translated
from pgvector_backup.engine.base.progress import Progress
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.contract.sizes import human_size
from pgvector_backup.engine.sets.base_set import chain_of
from pgvector_backup.engine.sets.copies import SetFile, Source, digest
from pgvector_backup.engine.sets.documents import MANIFEST_BYTES, read_bounded, read_outcome, tells_damage
from pgvector_backup.engine.sets.holding import Holding, place_of
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.store.claim import Claim
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import (
    LEASE,
    STAGED,
    emptied_name,
    manifest_name,
    of_set,
    pin_name,
    verification_name,
)
from pgvector_backup.engine.store.root import Root, make_for_copies, place_of_copy

_log: Final = logging.getLogger(__name__)

_READ_BYTES: Final = 1 << 20
_TRIES: Final = 3
"""How often a set that changes its state at the other root in between is looked at anew."""

_BESIDE_BYTES: Final = 1 << 16
"""Of a pin, or of the note that tables were emptied."""


@dataclass
class Copying:
    """Sets of one place on their way to one root.

    :param whole: what is known to lie there whole: roots, places and ids
    :param copies: whether copies lie there; at the backup root sets are held by its own lock and policy
    """

    here: Location
    root: Root
    settings: Settings
    quick: bool
    cancel: Cancel
    watched: list[Progress]
    whole: set[tuple[Root, str, str]]
    now: datetime
    copies: bool = True
    files: int = 0
    bytes: int = 0
    repaired: bool = False
    _there: Location = field(init=False)

    def run(self, backup_id: str) -> None:
        """Bring one set, unless it lies there whole.

        :raises Conflict: when another set of that id lies there, or another run is making it
        :raises IntegrityFault: when the set is not what its manifest says
        """
        known = (self.root, self.here.relative_path, backup_id)
        if known in self.whole:
            return
        manifest_file = manifest_name(backup_id)
        with self.here.shared_lock(manifest_file):
            source = Source.read(self.here, manifest_file)
            chain_of(self.here, source.manifest)
            make_for_copies(self.root, self.here.task_id)
            self._there = place_of_copy(self.root, self.here.task_id, self.settings.backup_directory)
            for _ in range(_TRIES):
                if self._is_there(source):
                    break
                claim = self._there.claim_again(backup_id)
                if claim is not None:
                    self._bring(source, claim)
                    break
            else:
                raise Conflict(
                    f"{self._there.directory}: another run is making set {backup_id} there; wait for it to end, then "
                    "run again",
                    can_retry=True,
                )
            self._bring_beside(backup_id)
        self.whole.add(known)

    def _is_there(self, source: Source) -> bool:
        """Whether the set lies there whole. One that is damaged there stops being a set, so that it is made again.

        :raises Conflict: when it is another one
        """
        there = self._there
        try:
            content = read_bounded(there, source.manifest_file, MANIFEST_BYTES)
        except NotFound:
            return False
        except IntegrityFault as fault:
            content, wrong = b"", fault.message
        if content == source.content:
            told = self._differs(source)
            if told is None:
                return True
            wrong = told
        elif content:
            try:
                other = Manifest.from_bytes(content)
            except IntegrityFault as fault:
                wrong = fault.message
            else:
                raise Conflict(
                    f"{there.directory}: another set {other.backup_id} lies there, of {other.created_at}, run "
                    f"{other.run_id}; it is left alone"
                )
        _log.warning("%s: set %s is damaged there (%s): making it again", there.directory, source.backup_id, wrong)
        # What is there may still hold what is damaged here.
        for file in source.files:
            self._prove(self.here, file)
        with there.exclusive_lock(source.manifest_file):
            there.let_go(there.retire(source.manifest_file))
        self.repaired = True
        return False

    def _differs(self, source: Source) -> str | None:
        """What is wrong with the set as it lies there; None: nothing."""
        entries = {entry.name: entry for entry in self._there.entries()}
        if source.manifest_file + STAGED in entries:
            self._sweep()  # of a run that died between the set's last word and its own
        told = source.differs(entries)
        if told is not None or (self.quick and not self._is_known_damaged(source.backup_id)):
            return told
        for file in source.files:
            try:
                self._prove(self._there, file)
            except (IntegrityFault, NotFound) as fault:
                return fault.message
        return None

    def _sweep(self) -> None:
        for name in self._there.sweep():
            _log.warning("removed %s from %s, left over by a run that died", name, self._there.directory)

    def _is_known_damaged(self, backup_id: str) -> bool:
        """Whether a verify has found the copy damaged."""
        try:
            told = read_outcome(self._there, verification_name(backup_id))
        except NotFound:
            return False
        return told is not None and tells_damage(told)

    def _prove(self, location: Location, file: SetFile) -> None:
        """Read a file from end to end and hold it against the manifest.

        :raises IntegrityFault: naming it
        """
        wanted = file.sha256 or digest(self.here, file.name, self.cancel)
        if digest(location, file.name, self.cancel) != wanted:
            raise IntegrityFault(f"{location.directory}/{file.name}: its SHA-256 is not the manifest's; it was altered")

    def _bring(self, source: Source, claim: Claim) -> None:
        try:
            holding = Holding.of(self.settings, self._there, copies=self.copies)
            left = self._left(source, claim)
            claim.announce(source.content)
            self._sweep()
            missing = []
            for file in source.files:
                if left.get(file.name) == file.bytes and self._is_right(file):
                    claim.adopt(file.name)
                    _log.info("%s: %s is there already", self._there.directory, file.name)
                else:
                    missing.append(file)
            self._there.require_space(sum(file.bytes for file in missing))
            on_way = {file.name: self._progress(file) for file in missing}
            for file in missing:
                if file.name in left:
                    self._there.remove(file.name)
                self._send(file, claim, on_way[file.name])
            if holding is not None:
                there = replace(self.settings, backup_root=self.root, copy_roots=())
                holding.begin(claim, place_of(there, self._there), source.manifest, self.now)
            claim.commit(source.content)
        except StorageFault:
            # What has arrived needs not be sent again by whoever tries next.
            claim.abandon()
            raise
        except BaseException:
            claim.discard()
            raise
        _log.info("set %s lies whole in %s", source.backup_id, self._there.directory)

    def _left(self, source: Source, claim: Claim) -> dict[str, int]:
        """Sizes of the set's files that a try before this one has left; what else it left there goes."""
        backup_id = source.backup_id
        names = {entry.name: entry.bytes for entry in self._there.store.entries()}
        own = manifest_name(backup_id) + STAGED
        beside = (pin_name(backup_id), emptied_name(backup_id))
        there = [
            one
            for one in of_set(list(names), backup_id)
            if one != own and one not in beside and not LEASE.fullmatch(one)
        ]
        if there and not claim.resumed:
            raise Conflict(
                f"{self._there.directory}: files named as those of set {backup_id} lie there without a manifest, e.g. "
                f"{there[0]}; move them away"
            )
        wanted = {file.name for file in source.files}
        for name in there:
            if name not in wanted:
                self._there.remove(name)
        return {name: names[name] for name in there if name in wanted}

    def _is_right(self, file: SetFile) -> bool:
        try:
            self._prove(self._there, file)
        except (IntegrityFault, NotFound):
            return False
        return True

    def _send(self, file: SetFile, claim: Claim, progress: Progress) -> None:
        """Stream one file to where it is to lie, and compare what was read, what was sent and what arrived."""
        progress.start()
        started = time.monotonic()
        with self.here.open(file.name) as coming, storage_translated():
            writer = claim.stage_file(file.name, expected=file.bytes)
            size = 0
            while size <= file.bytes and (piece := coming.read(_READ_BYTES)):
                self.cancel.check()
                writer.write(piece)
                size += len(piece)
                progress.advance(0, len(piece))
            writer.sync()
            sent = writer.sha256
        if size != file.bytes or sent != (file.sha256 or sent):
            raise IntegrityFault(
                f"{self.here.directory}/{file.name}: it is not what the manifest says; verify the set, and copy "
                "another one"
            )
        with storage_translated():
            writer.publish()
        if not writer.proven and digest(self._there, file.name, self.cancel) != sent:
            raise StorageFault(f"{self._there.directory}/{file.name}: what arrived is not what was sent; run again")
        self.files += 1
        self.bytes += size
        seconds = time.monotonic() - started
        _log.info("%s to %s: %s in %.3f s", file.name, self._there.directory, human_size(size), seconds)

    def _bring_beside(self, backup_id: str) -> None:
        """What holds the set where it is, holds its copy too; a pin that is there already stays."""
        for name in (pin_name(backup_id), emptied_name(backup_id)):
            with suppress(NotFound, IntegrityFault):
                content = read_bounded(self.here, name, _BESIDE_BYTES)
                if all(entry.name != name for entry in self._there.entries()):
                    self._there.write(name, content)

    def _progress(self, file: SetFile) -> Progress:
        one = Progress(_log, f"{file.name} to {self.root}", None, 1, expected_bytes=file.bytes)
        self.watched.append(one)
        return one
