"""Files held against their manifest."""

from __future__ import annotations

import hashlib
from typing import Final

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import IntegrityFault, NotFound
from pgvector_backup.engine.postgres.errors import translated
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.store.location import Location

_READ_BYTES: Final = 1 << 20


def read_manifest(location: Location, name: str) -> Manifest:
    """Read a set's manifest.

    :raises NotFound: when there is no such set
    :raises IntegrityFault: when the manifest is damaged
    """
    with location.open(name) as file, translated():
        content = file.read()
    try:
        return Manifest.from_bytes(content)
    except IntegrityFault as fault:
        raise IntegrityFault(f"{name}: {fault.message}") from None


def check_files(location: Location, manifest: Manifest, cancel: Cancel) -> None:
    """Read every file of a set and compare its size and SHA-256.

    :raises IntegrityFault: naming the first file that is missing or differs, and in what
    """
    for entry in manifest.tables:
        _check_file(location, entry.file, entry.sha256, entry.bytes, cancel)
        _check_file(location, entry.index, entry.index_sha256, None, cancel)


def _check_file(location: Location, name: str, wanted_sha256: str, wanted_size: int | None, cancel: Cancel) -> None:
    sha256, size = hashlib.sha256(), 0
    try:
        file = location.open(name)
    except NotFound:
        raise IntegrityFault(f"{name}: the manifest lists it, and it is missing") from None
    with file, translated():
        while block := file.read(_READ_BYTES):
            cancel.check()
            sha256.update(block)
            size += len(block)
    if wanted_size is not None and size != wanted_size:
        raise IntegrityFault(f"{name}: {size:,} bytes on disk, {wanted_size:,} in the manifest")
    if sha256.hexdigest() != wanted_sha256:
        raise IntegrityFault(f"{name}: its SHA-256 is not the manifest's; the file was altered")
