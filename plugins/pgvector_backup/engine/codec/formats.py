"""How rows are written: PostgreSQL's CSV or its binary COPY format.

Source: the manual's page on COPY, "File Formats".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Final
from uuid import UUID

from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.codec import copy_data
from pgvector_backup.engine.codec.format_names import BINARY_HEADER, BINARY_TRAILER, FormatName
from pgvector_backup.engine.codec.rows import Field, csv_fields, rows_of
from pgvector_backup.engine.codec.vectors import Vector, VectorType, parse

if TYPE_CHECKING:
    from psycopg import Copy
    from psycopg.abc import Buffer


class Format(ABC):
    """One of PostgreSQL's COPY formats, as a whole file that several connections write.

    :param suffix: what file names end in
    :param options: of COPY, for rows alone
    :param file_options: of COPY, for a whole file
    :param is_text: whether values are written as text, which a server has to parse
    :param any_value: the type whose values come back as they were, whatever type they were of
    :param header: bytes before the first row; None: the server writes them, from the names of the columns
    :param trailer: bytes after the last row
    """

    name: ClassVar[FormatName]
    any_value: ClassVar[str]
    suffix: ClassVar[str]
    options: ClassVar[str]
    file_options: ClassVar[str]
    is_text: ClassVar[bool]
    header: ClassVar[bytes | None]
    trailer: ClassVar[bytes]

    def rows(self, data: bytes) -> Iterator[tuple[bytes, list[Field]]]:
        """The rows of whole unpacked blocks, each as it stands there and as its fields.

        :raises IntegrityFault: where they cannot be told apart
        """
        return rows_of(data, self.name)

    def copied(self, copy: Copy) -> Iterator[Buffer]:
        """The rows that a connection sends, without what belongs to a file as a whole; see `copy_data.messages`."""
        return copy_data.rows(copy, self.name)

    def vector(self, field: bytes, kind: VectorType) -> Vector:
        """Read a field that holds a vector; see `vectors.parse`."""
        return parse(field, kind, self.name)

    @abstractmethod
    def row(self, fields: Sequence[Field]) -> bytes:
        """A row of these fields."""

    @abstractmethod
    def uuid(self, field: bytes) -> UUID:
        """Read a field that holds a UUID.

        :raises ValueError: when it is none
        """

    @abstractmethod
    def uuid_field(self, value: UUID) -> bytes:
        """A field that holds a UUID, as the server writes it."""

    @abstractmethod
    def check_header(self, data: bytes, columns: Sequence[str]) -> None:
        """Hold what comes before the first row against the names of the columns.

        :raises IntegrityFault: when it is something else
        """


class _Csv(Format):
    name = "csv"
    any_value = "text"
    suffix = "csv"
    options = "FORMAT csv, HEADER false"
    file_options = "FORMAT csv, HEADER true"
    is_text = True
    header = None
    trailer = b""

    def row(self, fields: Sequence[Field]) -> bytes:
        """See `Format`; every value is in quotes, so that none is taken for NULL."""
        return b",".join(b"" if one is None else b'"' + one.replace(b'"', b'""') + b'"' for one in fields) + b"\n"

    def uuid(self, field: bytes) -> UUID:
        """See `Format`."""
        return UUID(field.decode())

    def uuid_field(self, value: UUID) -> bytes:
        """See `Format`."""
        return str(value).encode()

    def check_header(self, data: bytes, columns: Sequence[str]) -> None:
        """See `Format`."""
        names = [] if data == b"\n" else csv_fields(data.removesuffix(b"\n"))
        if names != [name.encode() for name in columns] or not data.endswith(b"\n"):
            raise IntegrityFault("its header does not name the table's columns")


class _Binary(Format):
    name = "binary"
    any_value = "bytea"
    suffix = "pgcopy"
    options = file_options = "FORMAT binary"
    is_text = False
    header = BINARY_HEADER
    trailer = BINARY_TRAILER

    def row(self, fields: Sequence[Field]) -> bytes:
        """See `Format`."""
        parts = [len(fields).to_bytes(2, "big")]
        for one in fields:
            parts.append(b"\xff\xff\xff\xff" if one is None else len(one).to_bytes(4, "big") + one)
        return b"".join(parts)

    def uuid(self, field: bytes) -> UUID:
        """See `Format`."""
        return UUID(bytes=field)

    def uuid_field(self, value: UUID) -> bytes:
        """See `Format`."""
        return value.bytes

    def check_header(self, data: bytes, columns: Sequence[str]) -> None:
        """See `Format`; it names no columns."""
        if data != BINARY_HEADER:
            raise IntegrityFault("it is not the header of PostgreSQL's binary COPY format")


CSV: Final = _Csv()
BINARY: Final = _Binary()

FORMATS: Final[dict[str, Format]] = {one.name: one for one in (CSV, BINARY)}
