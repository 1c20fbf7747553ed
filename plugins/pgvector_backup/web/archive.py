"""A whole set as one download: a tar archive made while it is sent, each file held against its SHA-256 on the way.

The manifest comes last, as it does on disk: an archive that breaks off, for a file of it is not what the manifest says,
holds no set. An increment brings the sets that it stands on.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from pgvector_backup.engine.base.errors import IntegrityFault, NotFound
from pgvector_backup.engine.sets.copies import Source
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import manifest_name
from pgvector_backup.web.threads import in_thread

_CHUNK: Final = 256 << 10
_NAME: Final = re.compile(r"set_(?P<id>[A-Za-z0-9_-]+)\.tar")
_END: Final = bytes(2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True)
class _Member:
    """A file of the archive; ``sha256`` is what it has to be, ``head`` its tar header."""

    name: str
    size: int
    sha256: str
    head: bytes

    @property
    def padding(self) -> bytes:
        return bytes(-self.size % tarfile.BLOCKSIZE)


@dataclass(frozen=True)
class Archive:
    """All files of a set, those of the sets that it stands on before them."""

    location: Location
    name: str
    manifests: tuple[str, ...]
    members: tuple[_Member, ...]

    @property
    def size(self) -> int:
        """Bytes of the whole archive."""
        return sum(len(one.head) + one.size + len(one.padding) for one in self.members) + len(_END)


def id_in(name: str) -> str | None:
    """The id of the set whose archive a file's name asks for, if it is such a name."""
    match = _NAME.fullmatch(name)
    return None if match is None else match["id"]


def find(location: Location, backup_id: str) -> Archive:
    """What the archive of a set will hold.

    :raises NotFound: when there is no such set
    :raises IntegrityFault: when a manifest is damaged, a set that it stands on is another one, or a file is missing
    """
    sources = Source.read_chain(location, manifest_name(backup_id))
    members = tuple(member for source in sources for member in _members(source))
    return Archive(location, f"set_{backup_id}.tar", tuple(source.manifest_file for source in sources), members)


def _members(source: Source) -> Iterator[_Member]:
    for file in source.files:
        if file.sha256 is not None:
            yield _member(file.name, file.bytes, file.sha256)
    yield _member(source.manifest_file, len(source.content), hashlib.sha256(source.content).hexdigest())


def _member(name: str, size: int, sha256: str) -> _Member:
    about = tarfile.TarInfo(name)
    about.size = size
    return _Member(name, size, sha256, about.tobuf(tarfile.PAX_FORMAT))


def send(request: Request, archive: Archive) -> Response:
    """The archive, of a length that is known; it breaks off where a file is not what the manifest says."""
    headers = {
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f"attachment; filename*=utf-8''{quote(archive.name, safe='')}",
        "Content-Encoding": "identity",
        "Content-Length": str(archive.size),
        "X-Content-Type-Options": "nosniff",
    }
    if request.method == "HEAD":
        return Response(headers=headers, media_type="application/x-tar")
    held = ExitStack()
    try:
        _hold(held, archive.location, archive.manifests)
    except BaseException:
        held.close()
        raise
    return StreamingResponse(_parts(held, archive), headers=headers, media_type="application/x-tar")


def _hold(held: ExitStack, location: Location, manifests: Sequence[str]) -> None:
    for name in manifests:
        held.enter_context(location.shared_lock(name))


async def _parts(held: ExitStack, archive: Archive) -> AsyncIterator[bytes]:
    with held:
        for one in archive.members:
            yield one.head
            try:
                file = await in_thread(archive.location.open, one.name)
            except NotFound:
                raise IntegrityFault(f"{one.name}: it went missing while the archive was sent") from None
            with file:
                digest, left = hashlib.sha256(), one.size
                while left > 0 and (part := await in_thread(file.read, min(_CHUNK, left))):
                    digest.update(part)
                    left -= len(part)
                    if left > 0:
                        yield part
                    else:
                        last = part
            if left or digest.hexdigest() != one.sha256:
                # What has been sent cannot be taken back: without its last bytes nobody takes it for the set.
                raise IntegrityFault(f"{one.name}: it is not what the manifest says; the archive was broken off")
            if one.size:
                yield last
            yield one.padding
        yield _END
