"""Other ways from Python to a CSV file, each as one process: ``python readers.py WAY URI``, into the current directory.

Nothing of this project is imported: this runs in an environment of its own.
"""

import csv
import importlib.util
import sys
from pathlib import Path

_TABLES = {
    "langchain_pg_collection": ("uuid", "name", "cmetadata"),
    "langchain_pg_embedding": ("id", "collection_id", "embedding", "document", "cmetadata"),
}
# What these readers have no type for is asked for as text.
_AS_TEXT = {"uuid", "collection_id", "embedding", "cmetadata"}


def client_cursor(uri: str) -> None:
    """Go through psycopg 2: an ordinary cursor, which holds the whole result; csv.writer, a thousand rows at a time."""
    import psycopg2  # noqa: PLC0415

    connection = psycopg2.connect(uri)
    for table, columns in _TABLES.items():
        with connection.cursor() as cursor, open(f"{table}.csv", "w", newline="", encoding="utf-8") as file:
            cursor.execute(f"SELECT * FROM {table}")
            writer = csv.writer(file)
            writer.writerow(columns)
            while rows := cursor.fetchmany(1000):
                writer.writerows(rows)


def pandas(uri: str) -> None:
    """read_sql into a data frame, then to_csv."""
    import pandas as pd  # noqa: PLC0415
    from sqlalchemy import create_engine  # noqa: PLC0415

    engine = create_engine(uri.replace("postgresql://", "postgresql+psycopg://", 1))
    for table in _TABLES:
        pd.read_sql(f"SELECT * FROM {table}", engine).to_csv(f"{table}.csv", index=False)


def duckdb(uri: str) -> None:
    """DuckDB's reader for PostgreSQL, then its own CSV writer."""
    import duckdb as duck  # noqa: PLC0415

    connection = duck.connect()
    connection.execute(f"LOAD '{_duckdb_extension()}'")
    # A type that it does not know, such as vector, is read as text.
    connection.execute(f"ATTACH '{uri}' AS source (TYPE postgres, READ_ONLY)")
    for table in _TABLES:
        connection.execute(f"COPY source.public.{table} TO '{table}.csv' (HEADER)")


def adbc(uri: str) -> None:
    """ADBC's reader for PostgreSQL, batch by batch into Arrow's CSV writer."""
    import adbc_driver_postgresql.dbapi as adbc_postgresql  # noqa: PLC0415
    from pyarrow import csv as arrow_csv  # noqa: PLC0415

    with adbc_postgresql.connect(uri) as connection, connection.cursor() as cursor:
        for table, columns in _TABLES.items():
            wanted = ", ".join(f"{name}::text" if name in _AS_TEXT else name for name in columns)
            cursor.execute(f"SELECT {wanted} FROM {table}")
            reader = cursor.fetch_record_batch()
            with arrow_csv.CSVWriter(f"{table}.csv", reader.schema) as writer:
                for batch in reader:
                    writer.write(batch)


def _duckdb_extension() -> Path:
    spec = importlib.util.find_spec("duckdb_extension_postgres_scanner")
    assert spec is not None
    assert spec.origin is not None
    return next(Path(spec.origin).parent.rglob("*.duckdb_extension"))


if __name__ == "__main__":
    {"client_cursor": client_cursor, "pandas": pandas, "duckdb": duckdb, "adbc": adbc}[sys.argv[1]](sys.argv[2])
