"""A restore in a process of its own, which tells how much memory it ever had.

Run as a script with one argument, JSON: ``uri``, ``root``, and keys of the request as ``request``. Prints JSON:
``peak`` in bytes and ``rows``. The peak is ``VmHWM``: ``ru_maxrss`` would count the parent's memory as well.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime, timezone
from pathlib import Path

import psycopg

from pgvector_backup.engine.contract.requests import RestoreRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.restore import restore


def main() -> None:
    """Restore as the argument says."""
    order = json.loads(sys.argv[1])
    result = restore(
        RestoreRequest.from_mapping({"backup_path": "vector_bak", "timestamp": "latest"} | order["request"]),
        Settings(backup_root=order["root"]),
        lambda: psycopg.connect(order["uri"]),
        now=datetime.now(timezone.utc),
    )
    assert not {"airflow", "sqlalchemy"} & set(sys.modules)
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    print(json.dumps({"peak": int(peak[1]) * 1024, "rows": sum(table.rows for table in result.tables.values())}))


if __name__ == "__main__":
    main()
