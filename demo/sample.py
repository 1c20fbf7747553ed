"""Sample data, written the way an application does: by LangChain's own ``PGVector`` class.

``documents.json`` holds what a city library's question-answering assistant has read: four collections, 58
documents, Chinese and English, with whatever makes a CSV careless: quotes, commas, line breaks of both kinds,
tabs, backslashes, braces, emoji; and metadata that nests.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_postgres import PGVector
from sqlalchemy import create_engine

DIMENSIONS = 1536


class HashedWords(Embeddings):
    """Deterministic embeddings without a model: texts with words in common point in similar directions.

    Each word, each Chinese character and each pair of neighbouring ones has a direction, which is its hash;
    a text's vector is the sum of these directions, brought to length 1.
    """

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector per text."""
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """The text's vector: 1,536 numbers, length 1."""
        total = np.zeros(DIMENSIONS)
        for word in _words(text.lower()):
            digest = hashlib.shake_256(word.encode()).digest(DIMENSIONS)
            total += np.frombuffer(digest, dtype=np.int8)
        length = np.linalg.norm(total)
        return [float(x) for x in (total / length if length else total)]


def load_sample(connection: str) -> int:
    """Write the sample collections and return the number of documents; those already there are replaced.

    :param connection: a SQLAlchemy URL, ``postgresql+psycopg://…``
    """
    collections = json.loads(Path(__file__).with_name("documents.json").read_text(encoding="utf-8"))
    engine = create_engine(connection)
    try:
        for collection in collections:
            with warnings.catch_warnings():
                # PGVector recommends its successor, which keeps other tables.
                warnings.simplefilter("ignore")
                store = PGVector(
                    embeddings=HashedWords(),
                    connection=engine,
                    collection_name=collection["name"],
                    collection_metadata=collection["metadata"],
                    embedding_length=DIMENSIONS,
                    use_jsonb=True,
                )
            store.add_documents(
                [Document(document["text"], metadata=document["metadata"]) for document in collection["documents"]],
                # The same ids each time, so that loading again replaces.
                ids=[f"{collection['name']}-{number:03}" for number in range(1, len(collection["documents"]) + 1)],
            )
    finally:
        engine.dispose()
    return sum(len(collection["documents"]) for collection in collections)


def _words(text: str) -> Iterator[str]:
    for run in re.findall(r"[\u4e00-\u9fff]+|\w+|[^\w\s]", text):
        if "\u4e00" <= run[0] <= "\u9fff":
            yield from run
            yield from (run[i : i + 2] for i in range(len(run) - 1))
        else:
            yield run
