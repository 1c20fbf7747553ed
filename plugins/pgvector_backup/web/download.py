"""One file of a set as it is sent: whole or a range of it, known by its SHA-256."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import BinaryIO, Final
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from pgvector_backup.engine.base.errors import IntegrityFault, InvalidParams, NotFound
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.table_entry import TableEntry
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import (
    LOG_FILE,
    SAFE,
    STAGED,
    manifest_name,
    of_set,
    verification_name,
    without_manifest,
)
from pgvector_backup.web.envelope import refused
from pgvector_backup.web.threads import in_thread

_CHUNK: Final = 256 << 10

_DIGITS: Final = 30
"""Of a range's numbers, at most: more than any file has bytes, and few enough to be read as a number."""

_UNDERSCORES: Final = 40
"""In a file's name: each may be the one that a set's id follows."""

_SMALL: Final = 64 << 20
"""Bytes of what is read whole: manifests and verifications."""

_TYPES: Final = {
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".gz": "application/gzip",
    ".zst": "application/zstd",
}


@dataclass(frozen=True)
class Downloadable:
    """A file that may be had.

    :param bytes: its size
    :param etag: its SHA-256 where a manifest tells it, or where it is a small file; else a weak tag of size and time
    :param manifest: of the set that has to stay while it is read
    """

    location: Location
    name: str
    bytes: int
    etag: str
    manifest: str | None


def find(location: Location, name: str) -> Downloadable:
    """A file of one of the location's sets, or its log.

    Only what its name says it belongs to is looked at, so that it costs the same however many sets lie there.

    :raises NotFound: for every other file, whatever it is
    :raises IntegrityFault: for one that is not of the size its manifest tells
    """
    if name.endswith(STAGED) or "/" in name or "\0" in name:
        raise _none(location, name)
    if name == LOG_FILE:
        return _as_it_lies(location, name, None)
    for backup_id in _ids_in(name):
        with suppress(NotFound):
            return _of_a_set(location, name, backup_id)
    if (foreign := without_manifest(name)) is not None and not _is_being_made(location, foreign[1]):
        return _as_it_lies(location, name, None)
    raise _none(location, name)


def _is_being_made(location: Location, backup_id: str) -> bool:
    """Whether a set of that id is not committed yet, though files of it may have their names already."""
    try:
        location.open(manifest_name(backup_id) + STAGED).close()
    except NotFound:
        return False
    return True


def _of_a_set(location: Location, name: str, backup_id: str) -> Downloadable:
    """A file of a set that has a manifest; of a damaged set too, for whoever has to find out what it was."""
    manifest_file = manifest_name(backup_id)
    tables: tuple[TableEntry, ...] = ()
    with suppress(IntegrityFault):
        tables = Manifest.read(location, manifest_file).tables
    if name in (manifest_file, verification_name(backup_id)):
        with _opened(location, name) as file:
            sha256 = hashlib.sha256(file.read(_SMALL)).hexdigest()
        return _tagged(location, name, sha256, manifest_file)
    for table in tables:
        if name == table.file:
            found = _tagged(location, name, table.sha256, manifest_file)
            if found.bytes != table.bytes:
                raise IntegrityFault(f"{name}: {found.bytes:,} bytes on disk, {table.bytes:,} in the manifest")
            return found
        if name == table.index:
            return _tagged(location, name, table.index_sha256, manifest_file)
    if of_set([name], backup_id):
        return _as_it_lies(location, name, manifest_file)
    raise _none(location, name)


def _ids_in(name: str) -> Iterator[str]:
    """What may be the id of the set that a file belongs to: what stands between some ``_`` and the next dot."""
    for match in reversed(list(re.finditer("_", name))[-_UNDERSCORES:]):
        candidate = name[match.end() :].partition(".")[0]
        if SAFE.fullmatch(candidate):
            yield candidate


def _tagged(location: Location, name: str, sha256: str, manifest: str | None) -> Downloadable:
    with _opened(location, name) as file:
        return Downloadable(location, name, file.seek(0, io.SEEK_END), f'"{sha256}"', manifest)


def _as_it_lies(location: Location, name: str, manifest: str | None) -> Downloadable:
    with _opened(location, name) as file:
        size = file.seek(0, io.SEEK_END)
        try:
            when = os.fstat(file.fileno()).st_mtime
        except (OSError, AttributeError):  # no file of this machine: its size has to tell it from another
            when = 0.0
    return Downloadable(location, name, size, f'W/"{size}-{when:.6f}"', manifest)


def _opened(location: Location, name: str) -> BinaryIO:
    try:
        return location.open(name)
    except (NotFound, IntegrityFault):  # what is no regular file is no file of a set
        raise _none(location, name) from None


def _none(location: Location, name: str) -> NotFound:
    return NotFound(f"{location.relative_path}: no set there has a file {name!r}")


def send(request: Request, file: Downloadable) -> Response:
    """The answer: 200, 206 for one range, 304 for a copy that is current, 416 for a range that is none of it."""
    headers = {
        "ETag": file.etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f"attachment; filename*=utf-8''{quote(file.name, safe='')}",
        # So that no one in between compresses it: the tag and the ranges are of these very bytes.
        "Content-Encoding": "identity",
        "X-Content-Type-Options": "nosniff",
    }
    if file.etag.removeprefix("W/") in _tags(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    first, end, code = 0, file.bytes, 200
    asked = request.headers.get("range")
    current = request.headers.get("if-range", file.etag) == file.etag
    if asked is not None and current and (wanted := _range(asked, file.bytes)):
        first, end = wanted
        if first >= end:
            return refused(
                request,
                416,
                "RANGE_NOT_SATISFIABLE",
                f"{file.name} has {file.bytes:,} bytes",
                headers={"Content-Range": f"bytes */{file.bytes}"},
            )
        code, headers["Content-Range"] = 206, f"bytes {first}-{end - 1}/{file.bytes}"
    headers["Content-Length"] = str(end - first)
    if request.method == "HEAD":
        return Response(status_code=code, headers=headers, media_type=_media_type(file.name))
    held = ExitStack()
    try:
        if file.manifest is not None:
            held.enter_context(file.location.shared_lock(file.manifest))
        content = held.enter_context(file.location.open(file.name))
        content.seek(first)
    except BaseException:
        held.close()
        raise
    return StreamingResponse(
        _parts(held, content, end - first), status_code=code, headers=headers, media_type=_media_type(file.name)
    )


async def _parts(held: ExitStack, content: BinaryIO, left: int) -> AsyncIterator[bytes]:
    with held:
        while left > 0 and (part := await in_thread(content.read, min(_CHUNK, left))):
            left -= len(part)
            yield part


def _tags(header: str) -> list[str]:
    return [tag.strip().removeprefix("W/") for tag in header.split(",")]


def _range(header: str, size: int) -> tuple[int, int] | None:
    """First byte and end of the one range that is asked for; None for what may be ignored, as several ranges may.

    :raises InvalidParams: for numbers that no size of a file has
    """
    match = re.fullmatch(r"bytes\s*=\s*([0-9]*)\s*-\s*([0-9]*)", header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if max(len(first), len(last)) > _DIGITS:
        raise InvalidParams(f"Range: a number of {max(len(first), len(last)):,} digits is no place in a file")
    if first == "":
        return max(size - int(last), 0), size
    if last != "" and int(last) < int(first):
        return None
    return int(first), size if last == "" else min(int(last) + 1, size)


def _media_type(name: str) -> str:
    return next((kind for suffix, kind in _TYPES.items() if name.endswith(suffix)), "application/octet-stream")
