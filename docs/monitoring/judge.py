"""Has the rules judged by a real Prometheus: `python docs/monitoring/judge.py [URL]`.

First `promtool` checks the rules and runs their tests. With the address of an installation, e.g.
``http://airflow:8080/api/v0/data_pipeline/vector/metrics``, a Prometheus of its own then scrapes that for half a minute
with the same rules, without their waiting times, and prints which alerts fire. The token is taken from the environment
variable ``METRICS_TOKEN``. Nothing is left behind. Both programs have to be on the path (Debian: ``apt install
prometheus``).
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HERE = Path(__file__).parent
SCRAPED_FOR = 30.0
EVERY = "2s"


def main(address: str | None) -> int:
    """Judge; the exit code is promtool's."""
    for words in (["check", "rules", "rules.yml"], ["test", "rules", "rules_test.yml"]):
        code = subprocess.run(["promtool", *words], cwd=HERE, check=False).returncode
        if code:
            return code
    if address is not None:
        for alert in firing(address, os.environ.get("METRICS_TOKEN", "")):
            print(
                f"{alert['labels'].pop('alertname')} {json.dumps(alert['labels'])}: {alert['annotations']['summary']}"
            )
    return 0


def firing(address: str, token: str) -> list[dict[str, Any]]:
    """The alerts that fire after some scrapes of an address."""
    url = urlsplit(address)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        rules = re.sub(r"for: [0-9]+[smhd]", "for: 0s", (HERE / "rules.yml").read_text())
        (directory / "rules.yml").write_text(rules)
        job: dict[str, Any] = {
            "job_name": "pgvector_backup",
            "scheme": url.scheme,
            "metrics_path": url.path,
            "static_configs": [{"targets": [url.netloc]}],
        }
        if token:
            job["authorization"] = {"credentials": token}
        configuration = {
            "global": {"scrape_interval": EVERY, "evaluation_interval": EVERY},
            "rule_files": ["rules.yml"],
            "scrape_configs": [job],
        }
        (directory / "prometheus.yml").write_text(json.dumps(configuration))  # JSON is YAML too
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            own = f"127.0.0.1:{free.getsockname()[1]}"
        command = ["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"]
        with open(directory / "log", "wb") as log:
            prometheus = subprocess.Popen([*command, f"--web.listen-address={own}"], stdout=log, stderr=log)
        try:
            time.sleep(SCRAPED_FOR)
            with urllib.request.urlopen(f"http://{own}/api/v1/alerts", timeout=10) as answer:
                return list(json.load(answer)["data"]["alerts"])
        finally:
            prometheus.kill()
            prometheus.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else None))
