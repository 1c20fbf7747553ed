"""LangChain itself is the judge: a search gives the same ids and scores after a restore as before the backup."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_postgres import PGVector
from sqlalchemy import create_engine

from demo.embedded import OpenedPostgres

# PGVector keeps the table's classes for the whole process, with the dimension it saw first: there is one dimension.
from demo.sample import DIMENSIONS
from tests.helpers.database import Database, fresh
from tests.helpers.house import House

QUESTIONS = ("how do I borrow a book", "开馆时间", "late fees", "the reading room on Sundays")
HNSW = "CREATE INDEX by_cosine ON langchain_pg_embedding USING hnsw (embedding vector_cosine_ops)"


class Fake(Embeddings):
    """The same vector for the same text, whoever asks and whenever."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        digest = hashlib.shake_256(text.encode()).digest(2 * DIMENSIONS)
        numbers = [int.from_bytes(digest[n : n + 2], "big") - 32768 for n in range(0, len(digest), 2)]
        length = math.hypot(*numbers)
        return [number / length for number in numbers]


class Store:
    """A collection of LangChain's in a database, closed in the end."""

    def __init__(self, database: Database, collection: str) -> None:
        self._engine = create_engine(database.server.uri(database.name, scheme="postgresql+psycopg"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.store = PGVector(
                embeddings=Fake(),
                connection=self._engine,
                collection_name=collection,
                embedding_length=DIMENSIONS,
                use_jsonb=True,
            )

    def __enter__(self) -> PGVector:
        return self.store

    def __exit__(self, *args: object) -> None:
        self._engine.dispose()


def fill(database: Database, collection: str, number: int) -> None:
    with Store(database, collection) as store:
        store.add_documents(
            [
                Document(
                    f'{collection}: {n}. "quoted", 第{n}页\nsecond line', metadata={"page": n, "tags": ["a", None]}
                )
                for n in range(number)
            ],
            ids=[f"{collection}-{n}" for n in range(number)],
        )


def answers(database: Database, collection: str) -> list[Any]:
    """Ids, scores, texts and metadata of what every question finds, with a filter and without."""
    with Store(database, collection) as store:
        return [
            [
                (found.id, score, found.page_content, found.metadata)
                for found, score in store.similarity_search_with_score(question, k=5, filter=wanted)
            ]
            for question in QUESTIONS
            for wanted in (None, {"page": {"$lt": 20}})
        ]


@pytest.fixture(scope="module", params=["without HNSW", "with HNSW"])
def filled(server: OpenedPostgres, request: pytest.FixtureRequest) -> Iterator[Database]:
    """Two collections, with an index or without, for each test to copy: LangChain takes its time."""
    with fresh(server) as database:
        fill(database, "library", 300)
        fill(database, "archive", 200)
        if request.param == "with HNSW":
            database.run(f"ALTER TABLE langchain_pg_embedding ALTER embedding TYPE vector({DIMENSIONS})")
            database.run(HNSW)
        yield database


@pytest.fixture
def library(filled: Database, elsewhere: Database, backup_root: Path) -> Iterator[House]:
    """The two collections."""
    with fresh(filled.server, filled.name) as own:
        if own.run("SELECT 1 FROM pg_class WHERE relname = 'by_cosine'"):
            for database in (own, elsewhere):
                # The index answers, and looks at every row: what it finds does not hang on how it was built.
                database.run(f"ALTER DATABASE {database.name} SET enable_seqscan = off")
                database.run(f"ALTER DATABASE {database.name} SET hnsw.ef_search = 1000")
        yield House(own, backup_root)


@pytest.mark.parametrize("file_format", ["csv", "binary"])
def test_after_truncate_and_restore(library: House, file_format: str) -> None:
    before = {name: answers(library.database, name) for name in ("library", "archive")}
    assert all(before["library"])
    library.backup(file_format=file_format)
    library.database.run("TRUNCATE langchain_pg_embedding, langchain_pg_collection")
    assert not any(answers(library.database, "library"))
    # Asking has made the collection anew, empty: it goes with what else is there.
    library.restore(truncate_before_restore=True)
    assert {name: answers(library.database, name) for name in before} == before


def test_after_the_pipeline_backed_up_and_emptied_the_embeddings(library: House) -> None:
    before = answers(library.database, "library")
    library.truncate(library.backup())
    assert library.count("langchain_pg_embedding") == 0
    library.restore(tables=["langchain_pg_embedding"])
    assert answers(library.database, "library") == before


def test_in_an_empty_database(library: House, elsewhere: Database) -> None:
    before = {name: answers(library.database, name) for name in ("library", "archive")}
    library.backup()
    library.restore(into=elsewhere)
    assert {name: answers(elsewhere, name) for name in before} == before
    fill(elsewhere, "library", 301)
    with Store(elsewhere, "library") as store:
        assert [found.id for found in store.similarity_search("library: 300", k=400)].count("library-300") == 1


def test_a_renamed_collection_in_an_empty_database(library: House, elsewhere: Database) -> None:
    before = answers(library.database, "library")
    library.backup()
    library.restore(collections=["library"], rename_collection={"library": "copy"}, into=elsewhere)
    assert answers(elsewhere, "copy") == before


def test_a_renamed_collection_beside_the_original(library: House) -> None:
    before = answers(library.database, "library")
    library.backup()
    library.restore(collections=["library"], rename_collection={"library": "copy"})
    assert answers(library.database, "library") == before, "the original is as it was"
    copied = answers(library.database, "copy")
    # LangChain's key is the id alone, so the copy has ids of its own; all else is the same, in the same order.
    assert [[found[1:] for found in answer] for answer in copied] == [
        [found[1:] for found in answer] for answer in before
    ]
    ids = {found[0] for answer in before for found in answer}
    assert not ids & {found[0] for answer in copied for found in answer}
