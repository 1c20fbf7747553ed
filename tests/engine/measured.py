"""A backup in a process of its own, which tells how much memory it ever had.

Run as a script with one argument, JSON: ``uri``, ``root``, ``tables``, keys of the request as ``request``, and as
``apart`` whether connections read in processes of their own. Prints JSON: ``peak`` in bytes, ``readers_peak`` of the
largest of those processes, and ``rows``. The peak is ``VmHWM``: ``ru_maxrss`` would count the parent's memory as well.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from datetime import datetime, timezone
from pathlib import Path

import psycopg

from pgvector_backup.engine.backup import backup
from pgvector_backup.engine.contract.requests import BackupRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.dump import copy_out
from pgvector_backup.engine.postgres.table_name import parse_names


def main() -> None:
    """Back up as the argument says."""
    order = json.loads(sys.argv[1])
    if order.get("apart"):
        copy_out._WORTH_PROCESSES = 0  # type: ignore[misc]
    result = backup(
        BackupRequest.from_mapping(order.get("request", {})),
        Settings(backup_root=order["root"], tables=parse_names(order["tables"]), truncate_tables=()),
        lambda: psycopg.connect(order["uri"]),
        now=datetime.now(timezone.utc),
    )
    assert result.failure is None, result.failure
    assert not {"airflow", "sqlalchemy", "numpy"} & set(sys.modules)
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    rows = sum(table.rows for table in result.tables.values())
    readers_peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(json.dumps({"peak": int(peak[1]) * 1024, "readers_peak": readers_peak, "rows": rows}))


if __name__ == "__main__":
    main()
