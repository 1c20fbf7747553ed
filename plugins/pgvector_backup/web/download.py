"""One file of a set as it is sent: whole or a range of it, known by its SHA-256."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO, Final
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from pgvector_backup.engine.base.errors import IntegrityFault, NotFound
from pgvector_backup.engine.sets.catalog import FoundLocation, FoundSet
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import LOG_FILE, STAGED, of_set, verification_name
from pgvector_backup.engine.store.store import Entry
from pgvector_backup.web.envelope import refused

_CHUNK: Final = 256 << 10

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


def find(found: FoundLocation, name: str) -> Downloadable:
    """A file of one of the location's sets, or its log.

    :raises NotFound: for every other file, whatever it is
    :raises IntegrityFault: for one that is not of the size its manifest tells
    """
    there = {entry.name: entry for entry in found.location.entries() if not entry.name.endswith(STAGED)}
    if (entry := there.get(name)) is not None:
        if name == LOG_FILE:
            return Downloadable(found.location, name, entry.bytes, _weak(entry), None)
        for one in found.sets:
            if name in _names(one, list(there)):
                etag = _etag(found.location, one, entry)
                return Downloadable(found.location, name, entry.bytes, etag, one.manifest_file)
    raise NotFound(f"{found.location.relative_path}: no set there has a file {name!r}")


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
            held.enter_context(file.location.kept(file.manifest))
        content = held.enter_context(file.location.open(file.name))
        content.seek(first)
    except BaseException:
        held.close()
        raise
    return StreamingResponse(
        _parts(held, content, end - first), status_code=code, headers=headers, media_type=_media_type(file.name)
    )


def _parts(held: ExitStack, content: BinaryIO, left: int) -> Iterator[bytes]:
    with held:
        while left > 0 and (part := content.read(min(_CHUNK, left))):
            left -= len(part)
            yield part


def _names(one: FoundSet, names: list[str]) -> list[str]:
    """What belongs to a set; of another tool's set only what the catalog lists."""
    return [table.file for table in one.tables] if one.manifest_file is None else of_set(names, one.backup_id)


def _etag(location: Location, one: FoundSet, entry: Entry) -> str:
    for table in one.tables:
        if table.file == entry.name and table.sha256 is not None:
            if entry.bytes != table.bytes:
                raise IntegrityFault(one.damaged or f"{entry.name}: not of the size that its manifest tells")
            return f'"{table.sha256}"'
    if entry.name in (one.manifest_file, verification_name(one.backup_id)):
        with location.open(entry.name) as file:
            return f'"{hashlib.sha256(file.read()).hexdigest()}"'
    if one.manifest_file is not None and one.damaged is None:
        for told in Manifest.read(location, one.manifest_file).tables:
            if told.index == entry.name:
                return f'"{told.index_sha256}"'
    return _weak(entry)


def _weak(entry: Entry) -> str:
    return f'W/"{entry.bytes}-{entry.modified:.6f}"'


def _tags(header: str) -> list[str]:
    return [tag.strip().removeprefix("W/") for tag in header.split(",")]


def _range(header: str, size: int) -> tuple[int, int] | None:
    """First byte and end of the one range that is asked for; None for what may be ignored, as several ranges may."""
    match = re.fullmatch(r"bytes\s*=\s*([0-9]*)\s*-\s*([0-9]*)", header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first == "":
        return max(size - int(last), 0), size
    if last != "" and int(last) < int(first):
        return None
    return int(first), size if last == "" else min(int(last) + 1, size)


def _media_type(name: str) -> str:
    return next((kind for suffix, kind in _TYPES.items() if name.endswith(suffix)), "application/octet-stream")
