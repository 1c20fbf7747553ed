"""What a store without locks offers, so that runs can agree on things: small objects that are created and renewed."""

from __future__ import annotations

import abc
from typing import Final, NamedTuple

from pgvector_backup.engine.store.store import Entry, Store

Version = str
"""What tells one content of an object from the next; of use to the store that gave it only."""


SMALL_BYTES: Final = 64 << 20
"""What is read whole into memory at most: whoever may write there could have put anything under a name of ours."""


class Upload(NamedTuple):
    """An upload that was begun and is not ended: nobody sees it, but it is paid for."""

    name: str
    upload_id: str


class RemoteStore(Store):
    """A store that other machines write to as well, and that has no locks."""

    @abc.abstractmethod
    def is_conditional(self) -> bool:
        """Whether `create` and `replace` are atomic here, as was found out by trying."""

    @abc.abstractmethod
    def entry(self, name: str) -> Entry | None:
        """One file; None where it is not there."""

    @abc.abstractmethod
    def read(self, name: str, *, limit: int = SMALL_BYTES) -> tuple[bytes, Version]:
        """A small file whole, and its version.

        :raises NotFound: when it is not there
        :raises IntegrityFault: when it has more bytes than ``limit``; then it is not read
        """

    @abc.abstractmethod
    def create(self, name: str, content: bytes) -> Version | None:
        """Write a small file unless there is one of that name; then None. Atomic where `is_conditional`."""

    @abc.abstractmethod
    def replace(self, name: str, content: bytes, version: Version) -> Version | None:
        """Write a small file anew if it still is of that version; otherwise None. Atomic where `is_conditional`."""

    @abc.abstractmethod
    def unfinished(self) -> list[Upload]:
        """Uploads that were begun here and are not ended, where the store tells of them."""

    @abc.abstractmethod
    def abort(self, upload: Upload) -> None:
        """Give an upload up."""
