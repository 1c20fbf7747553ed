"""A store in a bucket of S3, Google Cloud Storage or Azure, spoken to natively."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar, cast

import obstore
from obstore import exceptions

from pgvector_backup.engine.base.cancel import pause
from pgvector_backup.engine.base.errors import BackupError, IntegrityFault, NotFound, StorageFault
from pgvector_backup.engine.store import liveness, object_lock, plain_listing, s3_requests, uploads, versions
from pgvector_backup.engine.store.bucket import CONDITIONS, Bucket
from pgvector_backup.engine.store.endpoints import ObjectUrl
from pgvector_backup.engine.store.hold import Hold
from pgvector_backup.engine.store.leases import RemoteLeases
from pgvector_backup.engine.store.naming import STAGED
from pgvector_backup.engine.store.object_reader import open_object
from pgvector_backup.engine.store.object_writer import ObjectWriter
from pgvector_backup.engine.store.options import RemoteRoot, StorageOptions
from pgvector_backup.engine.store.remote import SMALL_BYTES, RemoteStore, Upload, Version
from pgvector_backup.engine.store.store import Entry
from pgvector_backup.engine.store.urls import without_login

if TYPE_CHECKING:
    from obstore import PutMode

_log: Final = logging.getLogger(__name__)

_CREATE_TRIES: Final = 5
_Found = TypeVar("_Found")


class ObjectStore(RemoteStore):
    """What lies below one prefix of a bucket, up to the next slash.

    :param prefix: without slashes around it
    :param shown: see `Store`
    """

    at_once = 32

    def __init__(self, bucket: Bucket, prefix: str, shown: str) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self.shown = shown

    @classmethod
    def at(cls, url: str, root: RemoteRoot | None) -> ObjectStore:
        """The place that a URL names.

        :raises InvalidParams: when it names no bucket
        """
        parsed = ObjectUrl.parse(url)
        return cls(_opened(parsed, root), parsed.prefix, without_login(url).rstrip("/"))

    def below(self, name: str) -> ObjectStore:
        """See `Store`."""
        return ObjectStore(self._bucket, self._at(name), f"{self.shown}/{name}")

    def exists(self) -> bool:
        """See `Store`; a prefix is there when something lies below it, be it an empty object of its own name."""
        with self._bucket.translated(self.shown):
            pages = obstore.list(self._bucket.handle, self._prefix or None, chunk_size=1)
            return self._listed(lambda: any(page for page in pages), lambda: True) or not self._prefix

    def make(self) -> None:
        """See `Store`; a prefix is made by what is put below it."""

    def entries(self) -> list[Entry]:
        """See `Store`."""
        with self._bucket.translated(self.shown):
            objects = self._listed(
                self._bucket.listing(self._prefix).objects, lambda: plain_listing.below(self._bucket, self._prefix)[0]
            )
        return [
            Entry(one["path"].rpartition("/")[2], one["size"], one["last_modified"].timestamp())
            for one in objects
            if one["path"] != self._prefix  # how a console shows an empty directory
        ]

    def directories(self) -> list[str]:
        """See `Store`."""

        def ordinary() -> list[str]:
            listed = obstore.list_with_delimiter(self._bucket.handle, self._prefix or None)
            return [path.rstrip("/").rpartition("/")[2] for path in listed["common_prefixes"]]

        with self._bucket.translated(self.shown):
            return self._listed(ordinary, lambda: plain_listing.below(self._bucket, self._prefix)[1])

    def open(self, name: str) -> BinaryIO:
        """See `Store`."""
        return open_object(self._bucket, self._at(name), f"{self.shown}/{name}")

    def put(self, name: str, content: bytes) -> None:
        """See `Store`; an object appears whole by its nature."""
        self._put(name, content, None)

    def writer(self, name: str, *, expected: int | None = None) -> ObjectWriter:
        """See `Store`."""

        def abort() -> None:
            for upload in uploads.unfinished(self._bucket, self._at(name)):
                if not upload.name:
                    uploads.abort(self._bucket, self._at(name), upload.upload_id)

        def delete() -> None:
            self.delete(name)

        return ObjectWriter(self._bucket, self._at(name), f"{self.shown}/{name}", expected, abort=abort, delete=delete)

    def delete(self, name: str) -> None:
        """See `Store`; with its versions where that was asked for. What is held goes out of sight, and that alone."""
        every = self._bucket.kind == "s3" and self._bucket.options.remove_versions
        if every and versions.remove_all(self._bucket, self._at(name)):
            return
        with self._bucket.translated(f"{self.shown}/{name}", FileNotFoundError), suppress(FileNotFoundError):
            try:
                obstore.delete(self._bucket.handle, self._at(name))
            except exceptions.BaseError as fault:
                # Objects are removed by the request for many at once, which not all stores know.
                if self._bucket.kind != "s3" or not self._bucket.says_unknown(fault):
                    raise
                s3_requests.request(self._bucket, "DELETE", self._at(name), {}, missing_is_none=True)

    def require_lock(self) -> None:
        """See `Store`."""
        if self._bucket.kind != "s3":
            super().require_lock()
        object_lock.require(self._bucket)

    def held(self, name: str) -> Hold | None:
        """See `Store`."""
        return object_lock.held(self._bucket, self._at(name)) if self._bucket.kind == "s3" else None

    def hold(self, name: str, hold: Hold) -> None:
        """See `Store`."""
        self.require_lock()
        object_lock.hold(self._bucket, self._at(name), f"{self.shown}/{name}", hold)

    def require_space(self, needed: int) -> None:
        """See `Store`; a bucket takes what comes, and nothing lies on the worker's disk in between."""

    def free_bytes(self) -> None:
        """See `Store`; a bucket does not tell."""

    def require_writable(self) -> None:
        """See `Store`; that it answers is all that can be learned without writing."""
        self.exists()

    def leases(self) -> RemoteLeases:
        """See `Store`."""
        return RemoteLeases(self)

    def is_conditional(self) -> bool:
        """See `RemoteStore`; tried once for a bucket in each process, by an object that is removed again."""
        if self._bucket.conditional is None:
            self._bucket.conditional = self._probed()
            if not self._bucket.conditional:
                _log.warning(
                    "%s: this store has no conditional writes: one backup at a time can be at work there",
                    self.shown,
                )
        return self._bucket.conditional

    def entry(self, name: str) -> Entry | None:
        """See `RemoteStore`."""
        with self._bucket.translated(f"{self.shown}/{name}"):
            try:
                about = obstore.head(self._bucket.handle, self._at(name))
            except FileNotFoundError:
                return None
            return Entry(name, about["size"], about["last_modified"].timestamp())

    def read(self, name: str, *, limit: int = SMALL_BYTES) -> tuple[bytes, Version]:
        """See `RemoteStore`."""
        with self._bucket.translated(f"{self.shown}/{name}"):
            try:
                got = obstore.get(self._bucket.handle, self._at(name))
                if got.meta["size"] > limit:
                    raise IntegrityFault(f"{self.shown}/{name}: {got.meta['size']:,} bytes are too many for what it is")
                return bytes(got.bytes()), _version(got.meta)
            except FileNotFoundError:
                raise NotFound(f"{self.shown}/{name} does not exist") from None

    def create(self, name: str, content: bytes) -> Version | None:
        """See `RemoteStore`."""
        for number in range(_CREATE_TRIES):
            try:
                version = self._put(name, content, "create")
            except (exceptions.AlreadyExistsError, StorageFault) as fault:
                # A request whose answer got lost, or that was sent again because of that, meets its own object.
                with suppress(NotFound):
                    there, version = self.read(name)
                    if there == content:
                        return version
                    if isinstance(fault, exceptions.AlreadyExistsError):
                        return None
                if isinstance(fault, StorageFault):
                    raise
                # Two at once, and the store told both of them to begin anew.
                pause(0.05 * 2**number)
                continue
            if self._bucket.kind == "s3":
                tag = json.loads(version).get("e_tag") or ""
                self._bucket.etags_are_md5 = tag.strip('"') == hashlib.md5(content, usedforsecurity=False).hexdigest()
            return version
        raise StorageFault(f"{self.shown}/{name}: the store calls it there and not there; run again")

    def replace(self, name: str, content: bytes, version: Version) -> Version | None:
        """See `RemoteStore`."""
        try:
            return self._put(name, content, cast("PutMode", json.loads(version)))
        except (*CONDITIONS, StorageFault) as fault:
            with suppress(NotFound):
                there, version = self.read(name)
                if there == content:
                    return version
            if isinstance(fault, StorageFault):
                raise
            return None

    def unfinished(self) -> list[Upload]:
        """See `RemoteStore`."""
        found = uploads.unfinished(self._bucket, f"{self._prefix}/" if self._prefix else "")
        return [upload for upload in found if "/" not in upload.name]

    def abort(self, upload: Upload) -> None:
        """See `RemoteStore`."""
        uploads.abort(self._bucket, self._at(upload.name), upload.upload_id)

    def _listed(self, ordinary: Callable[[], _Found], plain: Callable[[], _Found]) -> _Found:
        """What a list gives; where there is a key in it that `obstore` does not take, by another way."""
        try:
            return ordinary()
        except exceptions.BaseError as fault:
            if not plain_listing.takes_over(self._bucket, fault):
                raise
            return plain()

    def _put(self, name: str, content: bytes, mode: PutMode | None) -> Version:
        # Without a condition to fail, what is not there is the bucket.
        passing = CONDITIONS if mode is not None else ()
        with self._bucket.translated(f"{self.shown}/{name}", *passing):
            return _version(obstore.put(self._bucket.handle, self._at(name), content, mode=mode, use_multipart=False))

    def _probed(self) -> bool:
        token = secrets.token_hex(8)
        name = f"probe_0{token}.json{STAGED}"
        one, two, three, four = (liveness.signature(token, number) for number in range(4))
        try:
            first = self._tried(name, one, "create")
            if first is None or self._tried(name, two, "create") is not None:
                return False
            second = self._tried(name, three, cast("PutMode", json.loads(first)))
            if second is None or self._tried(name, four, cast("PutMode", json.loads(first))) is not None:
                return False
            self._bucket.takes_unsigned = self._takes_unsigned(name, four)
            return True
        finally:
            with suppress(BackupError):
                self.delete(name)

    def _takes_unsigned(self, name: str, content: bytes) -> bool:
        """Whether a payload may stay out of the signature; where the environment has an opinion, that counts."""
        if self._bucket.kind != "s3" or "AWS_UNSIGNED_PAYLOAD" in os.environ:
            return False
        try:
            obstore.put(self._bucket.unsigned, self._at(name), content, use_multipart=False)
        except Exception:  # whatever is said against it, by a policy of the bucket's or by the store: not so, then
            return False
        return True

    def _tried(self, name: str, content: bytes, mode: PutMode) -> Version | None:
        """A conditional write; None where the store says that the condition, or the kind of request, does not hold."""
        with self._bucket.translated(self.shown):
            try:
                done = obstore.put(self._bucket.handle, self._at(name), content, mode=mode, use_multipart=False)
                return _version(done)
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError, exceptions.NotSupportedError):
                return None
            except exceptions.GenericError as fault:
                # Other refusals, such as of a token that has run out, say nothing about what the store can do.
                if self._bucket.says_unknown(fault):
                    return None
                raise

    def _at(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name


def _version(about: Any) -> Version:
    return json.dumps({key: about[key] for key in ("e_tag", "version") if about[key] is not None})


_RESOLVED_FOR: Final = 300.0
"""Seconds after which a connection is looked up anew: its password may have been changed."""

_open: Final[dict[tuple[Any, ...], tuple[float, Bucket]]] = {}
_opening: Final = Lock()


def _opened(url: ObjectUrl, root: RemoteRoot | None) -> Bucket:
    """The bucket of a URL; the same one for some minutes, for it has connections open."""
    key = (
        url.kind,
        url.bucket,
        url.account,
        os.getpid(),
        root,
        hash(frozenset((k, v) for k, v in os.environ.items() if k.startswith(("AWS_", "GOOGLE_", "AZURE_")))),
    )
    with _opening:
        opened, bucket = _open.get(key, (0.0, None))
        if bucket is None or time.monotonic() - opened > _RESOLVED_FOR:
            bucket = Bucket(url, StorageOptions() if root is None else root.resolved())
            for old in [one for one in _open if one[:5] == key[:5]]:
                del _open[old]
            _open[key] = time.monotonic(), bucket
        return bucket
