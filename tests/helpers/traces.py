"""Where a password could have left a trace."""

from __future__ import annotations

import json
from urllib.parse import quote

from tests.helpers.installation import Installation

# What both passwords hold in every spelling, percent-encoded, escaped or cut short.
TRACES = ("s3cret", "wr0ng")


def kept(installation: Installation, dag_id: str, run_id: str) -> dict[str, str]:
    """All that Airflow and we keep of a run, except its conf, by where it was found."""
    client = installation.client
    run_path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"
    run = client.request("GET", run_path)
    del run["conf"]  # documented to be stored as it came
    found = {"run": json.dumps(run, ensure_ascii=False)}
    found["logs"] = installation.logs(run_id, dag_id=dag_id)
    found["task instances"] = json.dumps(client.task_instances(dag_id, run_id), ensure_ascii=False)
    entries = client.request("GET", f"{run_path}/taskInstances/~/xcomEntries?limit=100")["xcom_entries"]
    for entry in entries:
        value = client.xcom(dag_id, run_id, entry["task_id"], entry["key"])
        found[f"XCom {entry['task_id']} {entry['key']}"] = json.dumps(value, ensure_ascii=False)
    found["assets"] = json.dumps(client.request("GET", "/api/v2/assets/events?limit=100"), ensure_ascii=False)
    for path in (installation.airflow.home / "logs").rglob("*"):
        if path.is_file():
            found[str(path)] = path.read_text(encoding="utf-8", errors="replace")
    found["airflow.log"] = installation.airflow.log.read_text(encoding="utf-8", errors="replace")
    for path in installation.root.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".txt"):
            found[str(path)] = path.read_text(encoding="utf-8")
    return found


def leaks(found: dict[str, str]) -> list[str]:
    return [
        f"{where}: …{text[max(0, text.index(trace) - 60) : text.index(trace) + 40]!r}…"
        for where, text in found.items()
        for trace in TRACES
        if trace in text
    ]
