"""Azurite, the emulator of Azure's storage that Microsoft maintains, from npm; `tests/azurite` pins it.

`python -m tests.helpers.azurite` installs it and prints where.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from demo.ports import pick_free
from pgvector_backup.engine.store.options import RemoteRoot, StorageOptions, from_connection
from tests.helpers import npm
from tests.helpers.object_stores import BIN, running

PINNED = Path(__file__).resolve().parents[1] / "azurite"
ACCOUNT = "demo"
KEY = "ZGVtbyBrZXkgb2YgYSBzZXJ2ZXIgdGhhdCBsaXN0ZW5zIG9uIHRoaXMgbWFjaGluZSBvbmx5"


@dataclass(frozen=True)
class Azure:
    """A server that speaks Azure's Blob service; `rclone` is the other client that looks at what is in it."""

    endpoint: str
    account: str = ACCOUNT
    key: str = field(default=KEY, repr=False)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": self.account,
            "AZURE_STORAGE_ACCOUNT_KEY": self.key,
            "AZURE_STORAGE_ENDPOINT": self.endpoint,
        }

    def root(self, url: str) -> RemoteRoot:
        """A root on this server, whatever the environment says."""

        def options() -> StorageOptions:
            extra = {"endpoint_url": self.endpoint}
            return from_connection("wasb", login=self.account, password=self.key, host=None, extra=extra)

        return RemoteRoot(url, self.endpoint, options)

    def rclone(self, verb: str, path: str, *options: str, content: bytes | None = None) -> bytes:
        """Do something to what lies there."""
        login = [f"--azureblob-account={self.account}", f"--azureblob-key={self.key}"]
        login += [f"--azureblob-endpoint={self.endpoint}", "--config=", "--retries=1"]
        command = [str(BIN / "rclone"), verb, *login, *options, f":azureblob:{path}"]
        return subprocess.run(command, check=True, input=content, capture_output=True).stdout


@dataclass(frozen=True)
class Container:
    """A container of one test's own: what a bucket is with S3."""

    server: Azure
    name: str

    @property
    def url(self) -> str:
        return f"az://{self.name}/sets"

    @property
    def root(self) -> RemoteRoot:
        return self.server.root(self.url)

    def names(self, prefix: str = "sets/vector_bak/") -> list[str]:
        """Names of blobs below a prefix, without it; those that were never committed are not among them."""
        found = self.server.rclone("lsf", self.name, "--recursive", "--files-only").decode().splitlines()
        return sorted(one.removeprefix(prefix) for one in found if one.startswith(prefix))

    def get(self, name: str, prefix: str = "sets/vector_bak/") -> bytes:
        return self.server.rclone("cat", f"{self.name}/{prefix}{name}")

    def put(self, name: str, content: bytes, prefix: str = "sets/vector_bak/") -> None:
        self.server.rclone("rcat", f"{self.name}/{prefix}{name}", content=content)


@contextmanager
def azurite(directory: Path) -> Iterator[Azure]:
    """Run one on a free port, with nothing on the disk."""
    (port,) = pick_free(1)
    address = f"http://127.0.0.1:{port}"
    program = _installed() / "node_modules/azurite/dist/src/blob/main.js"
    command = [npm.wheel_node()[0], str(program), "--blobHost=127.0.0.1", f"--blobPort={port}"]
    command += ["--inMemoryPersistence", "--disableTelemetry", "--silent", "--skipApiVersionCheck"]
    environment = {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
    with running(command, address, directory / "azurite.log", **environment):
        yield Azure(f"{address}/{ACCOUNT}")


def _installed() -> Path:
    lock = (PINNED / "package-lock.json").read_bytes()
    return npm.installed(npm.INSTALL_DIR / "azurite" / hashlib.sha256(lock).hexdigest()[:12], _install)


def _install(part: Path) -> Path:
    tree = part / "tree"
    shutil.copytree(PINNED, tree)
    answer = npm.run_npm("ci", "--omit=dev", "--no-audit", "--no-fund", part=part, directory=tree)
    if answer.returncode != 0:
        raise RuntimeError(f"npm could not fetch Azurite:\n{answer.stderr}")
    return tree


if __name__ == "__main__":
    print(_installed())
