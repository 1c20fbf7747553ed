"""LangChain's two tables with made-up documents and embeddings, the same ones each time."""

from __future__ import annotations

import json
import random
import re
import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import psycopg

from pgvector_backup.embedded.server import EmbeddedPostgres

TABLES: Final = """
CREATE TABLE langchain_pg_collection (uuid uuid PRIMARY KEY, name varchar NOT NULL UNIQUE, cmetadata json);
CREATE TABLE langchain_pg_embedding (
    id varchar NOT NULL, collection_id uuid, embedding vector({dimensions}), document varchar, cmetadata jsonb);
"""
KEYS: Final = """
ALTER TABLE langchain_pg_embedding
    ADD PRIMARY KEY (id),
    ADD FOREIGN KEY (collection_id) REFERENCES langchain_pg_collection (uuid) ON DELETE CASCADE;
"""
_COLLECTIONS: Final = 4
_BATCH: Final = 1000
_DOCUMENT: Final = 500
"""Characters of a document, about: a text splitter's usual chunk."""

_WORDS: Final = re.findall(
    r"\S+",
    """
    the of a and to in is that it for on with as by an be are from at which or this was not have has can will
    system memory vector index query table backup document answer model library reader question page chapter
    search result number value time data point language text word context recall similar distance cosine
    however, therefore, "quoted" (for example) it's, 图书馆 检索 备份 naïve café ½ 3.14 2025 a/b C++ e.g.
    """,
)


@dataclass(frozen=True)
class Dataset:
    """So many embeddings of so many dimensions."""

    rows: int
    dimensions: int

    @property
    def database(self) -> str:
        """The name of the database that holds it."""
        return f"bench_{self.rows}x{self.dimensions}"

    def __str__(self) -> str:
        return f"{self.rows:,} rows × {self.dimensions:,} dimensions"


def provide(server: EmbeddedPostgres, dataset: Dataset) -> None:
    """Fill a database, unless an earlier run has."""
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        if conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", [dataset.database]).fetchone():
            return
        print(f"filling {dataset} …", flush=True)
        conn.execute("DROP DATABASE IF EXISTS bench_filling WITH (FORCE)")
        conn.execute("CREATE DATABASE bench_filling")
        with psycopg.connect(server.uri("bench_filling"), autocommit=True) as filled:
            _fill(filled, dataset)
        # A database of this name is a whole one.
        conn.execute(f"ALTER DATABASE bench_filling RENAME TO {dataset.database}")
        conn.execute("CHECKPOINT")


def _fill(conn: psycopg.Connection[tuple[object, ...]], dataset: Dataset) -> None:
    chance = random.Random(dataset.dimensions)
    collections = [uuid.UUID(int=chance.getrandbits(128), version=4) for _ in range(_COLLECTIONS)]
    conn.execute("CREATE EXTENSION vector")
    with conn.transaction():
        for statement in TABLES.format(dimensions=dataset.dimensions).split(";"):
            conn.execute(statement)
        for number, collection in enumerate(collections):
            conn.execute(
                "INSERT INTO langchain_pg_collection VALUES (%s, %s, %s)",
                [collection, f"collection {number}", json.dumps({"number": number})],
            )
        # FREEZE spares the first reader the hint bits that it would otherwise have to set.
        copy_in = "COPY langchain_pg_embedding FROM STDIN (FORMAT binary, FREEZE)"
        with conn.cursor() as cursor, cursor.copy(copy_in) as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
            for batch in _batches(dataset, chance, collections):
                copy.write(batch)
            copy.write(b"\xff\xff")
    conn.execute(KEYS)
    conn.execute("VACUUM (ANALYZE)")


def _batches(dataset: Dataset, chance: random.Random, collections: list[uuid.UUID]) -> Iterator[bytes]:
    """The rows in PostgreSQL's binary COPY format."""
    generator = np.random.default_rng(dataset.dimensions)
    # pgvector's vector_send: dimensions, two unused bytes, the numbers.
    head = struct.pack(">ihh", 4 + 4 * dataset.dimensions, dataset.dimensions, 0)
    for first in range(0, dataset.rows, _BATCH):
        count = min(_BATCH, dataset.rows - first)
        vectors = generator.standard_normal((count, dataset.dimensions), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        numbers = vectors.astype(">f4")
        parts: list[bytes] = []
        for offset in range(count):
            number = first + offset
            row_id = str(uuid.UUID(int=chance.getrandbits(128), version=4)).encode()
            collection = collections[number % _COLLECTIONS].bytes
            parts.append(struct.pack(">hi", 5, len(row_id)) + row_id + struct.pack(">i", 16) + collection + head)
            parts.append(numbers[offset].tobytes())
            metadata = b"\1" + json.dumps(_metadata(number)).encode()  # jsonb_recv: a version, then text
            for value in (_document(chance).encode(), metadata):
                parts.append(struct.pack(">i", len(value)) + value)
        yield b"".join(parts)


def _document(chance: random.Random) -> str:
    words = chance.choices(_WORDS, k=_DOCUMENT // 6)
    for break_at in range(17, len(words), 23):
        words[break_at] += ".\n"
    return " ".join(words)


def _metadata(number: int) -> dict[str, object]:
    return {"source": f"library/volume-{number // 400}.pdf", "page": number % 400, "language": "en", "tags": ["a", "b"]}
