"""LangChain indexes the same documents anew each night, a few of them changed: every night's set is the table."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, index

from pgvector_backup.engine.diff import diff
from pgvector_backup.engine.find_key import find_key
from pgvector_backup.engine.sets.catalog import Catalog
from tests.engine.test_restore_langchain import Store, answers
from tests.helpers.chains import increment, restored
from tests.helpers.database import contents
from tests.helpers.house import House
from tests.helpers.langchain import PAIR

pytestmark = pytest.mark.slow

EMBEDDINGS = "langchain_pg_embedding"
NIGHTS = 7
PAGES = 200
EACH = PAGES // 100
MONDAY = datetime(2026, 3, 2, 2, tzinfo=timezone.utc)


class Library:
    """A collection and LangChain's memory of what is in it; a page in a hundred is another one each night."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._records = InMemoryRecordManager(namespace="library")
        self._records.create_schema()

    def index(self, night: int) -> Any:
        """Index every page as it is that night; what LangChain says that it did."""
        pages = [
            Document(f"page {n}, as of night {night if n % 100 == night else 0}", metadata={"source": f"page-{n}"})
            for n in range(PAGES)
        ]
        with Store(self._house.database, "library") as store:
            return index(pages, self._records, store, cleanup="full", source_id_key="source", key_encoder="blake2b")


@pytest.fixture
def week(house: House) -> tuple[House, list[str], list[dict[str, Any]]]:
    """A house, its sets from the first to the last night, and what the tables held at each."""
    library = Library(house)
    house.configure(tables=",".join(PAIR))
    sets, held = [], []
    for night in range(NIGHTS + 1):
        said = library.index(night)
        result = increment(house, now=MONDAY + timedelta(days=night))
        if night:
            before = EACH if night > 1 else 0  # last night's pages go back to what they were
            assert (said["num_added"], said["num_deleted"]) == (EACH + before, EACH + before)
            assert result.mode == "incremental", result.full_because
            assert result.tables[EMBEDDINGS].rows_written == said["num_added"]
            assert result.tables[EMBEDDINGS].rows_deleted == said["num_deleted"]
        sets.append(str(result.backup_id))
        held.append(contents(house.database, *PAIR))
    return house, sets, held


def test_a_week_of_nights(week: tuple[House, list[str], list[dict[str, Any]]]) -> None:
    house, sets, held = week
    for backup_id, wanted in zip(sets, held, strict=True):
        with restored(house, backup_id) as target:
            assert contents(target, *PAIR) == wanted
            if backup_id == sets[-1]:
                assert answers(target, "library") == answers(house.database, "library")
    catalog = Catalog(house.settings)
    place = catalog.at(catalog.place("vector_bak", None))
    pair = [catalog.find(place.location, name) for name in (sets[0], sets[-1])]
    again = EACH * (NIGHTS - 1)  # taken out, and put in again as they were
    table = diff(place.location, *pair).to_json()["tables"][EMBEDDINGS]
    assert (table["added"], table["removed"], table["changed"], table["unchanged"]) == (
        EACH,
        EACH,
        again,
        PAGES - EACH - again,
    )
    assert len(table["collections"]) == 1
    (key,) = house.database.run(f"SELECT id FROM {EMBEDDINGS} WHERE document LIKE 'page 7, %'")
    (version,) = find_key(place, list(key)).to_json()["tables"][EMBEDDINGS]
    assert version["sets"] == sets[-1:]
    gone = table["keys"]["removed"][0]
    (version,) = find_key(place, [gone]).to_json()["tables"][EMBEDDINGS]
    assert version["sets"] == sets[:-1]
