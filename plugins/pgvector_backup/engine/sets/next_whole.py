"""Which set to take instead, told with the damage that somebody meets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pgvector_backup.engine.base.errors import IntegrityFault
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.choice import in_place_of
from pgvector_backup.engine.store.location import Location


@contextmanager
def naming_next(catalog: Catalog, location: Location, backup_id: str) -> Iterator[None]:
    """Add to what turns out to be wrong with a set which one is whole."""
    try:
        yield
    except IntegrityFault as fault:
        if fault.of_set:
            sets = catalog.at(location).sets
            one = next((one for one in sets if one.backup_id == backup_id), None)
            if one is not None:
                fault.add(in_place_of(sets, one))
        raise
