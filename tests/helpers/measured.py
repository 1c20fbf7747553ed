"""A backup, a restore or a verify in a process of its own, which tells how much memory it ever had.

Run as a script with one argument, JSON: ``story``, ``uri``, ``root``, keys of the request as ``request``, for a
backup ``tables``, and as ``apart`` whether its connections read in processes of their own. Prints JSON: ``peak`` in
bytes, ``children_peak`` of the largest of its processes, and ``rows``. The peak is ``VmHWM``: ``ru_maxrss`` would
count the parent's memory as well.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg

from pgvector_backup.engine.contract.requests import BackupRequest, RestoreRequest, VerifyRequest
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.postgres.table_name import parse_names

# Each story imports its own modules: another's would be measured as well.


def back_up(order: dict[str, Any], now: datetime) -> int:
    """Back up; the rows."""
    from pgvector_backup.engine.backup import backup
    from pgvector_backup.engine.dump import copy_out

    if order.get("apart"):
        copy_out._WORTH_PROCESSES = 0  # type: ignore[misc]
    result = backup(
        BackupRequest.from_mapping(order.get("request", {})),
        Settings(backup_root=order["root"], tables=parse_names(order["tables"]), truncate_tables=()),
        lambda: psycopg.connect(order["uri"]),
        now=now,
    )
    assert result.failure is None, result.failure
    assert not {"airflow", "sqlalchemy", "numpy"} & set(sys.modules)
    return sum(table.rows for table in result.tables.values())


def restore(order: dict[str, Any], now: datetime) -> int:
    """Restore the newest set; the rows."""
    from pgvector_backup.engine.restore import restore

    result = restore(
        RestoreRequest.from_mapping({"backup_path": "vector_bak", "timestamp": "latest"} | order["request"]),
        Settings(backup_root=order["root"], tables=parse_names(order.get("tables", "t")), truncate_tables=()),
        lambda: psycopg.connect(order["uri"]),
        now=now,
    )
    assert not {"airflow", "sqlalchemy"} & set(sys.modules)
    return sum(table.rows for table in result.tables.values())


def verify(order: dict[str, Any], now: datetime) -> int:
    """Verify every set to the depth of its rows; how many sets there are."""
    from pgvector_backup.engine.verify import verify

    result = verify(VerifyRequest(), Settings(backup_root=order["root"]), None, now=now)
    assert result.errors == [], result.errors
    assert not {"airflow", "sqlalchemy"} & set(sys.modules)
    return len(result.sets)


STORIES = {"backup": back_up, "restore": restore, "verify": verify}


def main() -> None:
    """Do as the argument says."""
    order = json.loads(sys.argv[1])
    rows = STORIES[order["story"]](order, datetime.now(timezone.utc))
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    children_peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(json.dumps({"peak": int(peak[1]) * 1024, "children_peak": children_peak, "rows": rows}))


if __name__ == "__main__":
    main()
