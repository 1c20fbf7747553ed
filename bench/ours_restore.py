"""This engine's restore as one process: ``python -m bench.ours_restore --dsn URI --root DIRECTORY``."""

from __future__ import annotations

import argparse
from datetime import datetime, timezone
from functools import partial

import psycopg

from pgvector_backup.engine.codec import vector_text
from pgvector_backup.engine.contract.requests import RestoreRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.restore import restore


def main() -> None:
    """Restore the one set that lies in the directory."""
    parser = argparse.ArgumentParser(prog="python -m bench.ours_restore", description=__doc__)
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--root", required=True)
    parser.add_argument("--by-server", action="store_true", help="leave the parsing of vectors to the server")
    asked = parser.parse_args()
    if asked.by_server:
        vector_text.packages = lambda: None  # type: ignore[assignment]
    restore(
        RestoreRequest.from_mapping({"backup_path": "vector_bak", "timestamp": "latest", "into_other_database": True}),
        Settings(backup_root=asked.root),
        partial(psycopg.connect, asked.dsn),
        now=datetime.now(timezone.utc),
    )


if __name__ == "__main__":
    main()
