"""What a task reads and writes, for OpenLineage: tables of a database, sets in a place, with rows and bytes.

Nobody asks for it unless the package apache-airflow-providers-openlineage is installed. Names follow OpenLineage's own
convention, so that a table is the same one in the events of whatever else reads or writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.postgres.table_name import TableName

if TYPE_CHECKING:
    import psycopg

    from pgvector_backup.engine.postgres.session import Connect

_PORT: Final = 5432
_PRODUCER: Final = "pgvector_backup"


@dataclass(frozen=True)
class Dataset:
    """A table, or the sets of a place.

    :param rows: of it that were read or written; None: nobody counted
    :param bytes: likewise
    :param version: of a place, which set
    :param emptied: of a table, whether all its rows were taken away
    """

    namespace: str
    name: str
    rows: int | None = None
    bytes: int | None = None
    version: str | None = None
    emptied: bool = False


@dataclass
class Lineage:
    """What one try of a task has read and written so far.

    :param server: namespace of the database that was connected to, and its name; None before that
    """

    server: tuple[str, str] | None = None
    inputs: list[Dataset] = field(default_factory=list)
    outputs: list[Dataset] = field(default_factory=list)

    def noting(self, connect: Connect) -> Connect:
        """The same way to connect, which notes where to."""

        def connected() -> psycopg.Connection[Any]:
            conn = connect()
            if self.server is None:
                info = conn.info
                # A socket is named by its directory, which is a place on one machine.
                host = "localhost" if not info.host or info.host.startswith(("/", "@")) else info.host
                self.server = f"postgres://{host}:{info.port or _PORT}", info.dbname
            return conn

        return connected

    def tables(
        self, rows: Mapping[str, int], sizes: Mapping[str, int | None] | None = None, *, schema: str | None = None
    ) -> list[Dataset]:
        """Tables of the database that was connected to; a label that is no table's name, of a foreign set, is left out.

        :param rows: by label, as the settings name tables; one without a schema is taken to be in ``public``
        :param schema: in place of what the labels say
        """
        if self.server is None:
            return []
        namespace, database = self.server
        found = []
        for label, count in rows.items():
            try:
                name = TableName.parse(label)
            except InvalidParams:  # the work is done, and is not to fail by what is told of it
                continue
            full = f"{database}.{schema or name.schema or 'public'}.{name.table}"
            found.append(Dataset(namespace, full, count, (sizes or {}).get(label)))
        return found

    def emptied(self, rows: Mapping[str, int]) -> list[Dataset]:
        """The same, of tables that were emptied."""
        return [replace(one, emptied=True) for one in self.tables(rows)]


def sets_at(directory: str, backup_id: str | None, rows: int | None = None, size: int | None = None) -> Dataset:
    """A set of a place.

    :param directory: path or URL, without any secret
    """
    scheme, separator, rest = directory.partition("://")
    if not separator or scheme == "file":
        return Dataset("file", rest if separator else directory, rows, size, backup_id)
    authority, _, path = rest.partition("/")
    return Dataset(f"{scheme}://{authority}", path or "/", rows, size, backup_id)


def facets(told: Lineage) -> Any:
    """What the provider makes an event of; None where it is not installed."""
    try:
        from airflow.providers.openlineage.extractors import OperatorLineage  # noqa: PLC0415 (where it is installed)
        from openlineage.client.generated.base import InputDataset, OutputDataset  # noqa: PLC0415
        from openlineage.client.generated.dataset_version_dataset import DatasetVersionDatasetFacet  # noqa: PLC0415
        from openlineage.client.generated.input_statistics_input_dataset import (  # noqa: PLC0415
            InputStatisticsInputDatasetFacet,
        )
        from openlineage.client.generated.lifecycle_state_change_dataset import (  # noqa: PLC0415
            LifecycleStateChange,
            LifecycleStateChangeDatasetFacet,
        )
        from openlineage.client.generated.output_statistics_output_dataset import (  # noqa: PLC0415
            OutputStatisticsOutputDatasetFacet,
        )
    except ImportError:
        return None

    def about(one: Dataset) -> dict[str, Any]:
        known: dict[str, Any] = {}
        if one.version is not None:
            known["version"] = DatasetVersionDatasetFacet(one.version, producer=_PRODUCER)
        if one.emptied:
            change = LifecycleStateChange.TRUNCATE
            known["lifecycleStateChange"] = LifecycleStateChangeDatasetFacet(change, producer=_PRODUCER)
        return known

    def counted(kind: Any, one: Dataset) -> Any:
        return kind(rowCount=one.rows, size=one.bytes, producer=_PRODUCER)

    return OperatorLineage(
        inputs=[
            InputDataset(
                one.namespace,
                one.name,
                inputFacets={"inputStatistics": counted(InputStatisticsInputDatasetFacet, one)},
                facets=about(one),
            )
            for one in told.inputs
        ],
        outputs=[
            OutputDataset(
                one.namespace,
                one.name,
                outputFacets={"outputStatistics": counted(OutputStatisticsOutputDatasetFacet, one)},
                facets=about(one),
            )
            for one in told.outputs
        ],
    )
