"""Real object stores, each a process of its own on a free port, and what is in them as another client sees it."""

from __future__ import annotations

import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from demo.ports import pick_free
from pgvector_backup.embedded.keeper import end_kept, start_kept
from pgvector_backup.engine.store.options import RemoteRoot, StorageOptions, from_connection

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class S3:
    """A server that speaks S3, or says so."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
        }

    @cached_property
    def _client(self) -> Any:
        """To make one takes longer than what a test asks of it."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 8}),
        )

    def client(self) -> Any:
        """AWS's own client, the same one each time."""
        return self._client

    def root(self, url: str) -> RemoteRoot:
        """A root on this server, whatever the environment says."""
        extra = {"endpoint_url": self.endpoint, "region_name": self.region}

        def options() -> StorageOptions:
            return from_connection("aws", login=self.access_key, password=self.secret_key, host=None, extra=extra)

        return RemoteRoot(url, self.endpoint, options)


@dataclass(frozen=True)
class Bucket:
    """A bucket of one test's own."""

    server: S3
    name: str

    @property
    def url(self) -> str:
        return f"s3://{self.name}/sets"

    @property
    def root(self) -> RemoteRoot:
        return self.server.root(self.url)

    def names(self, prefix: str = "sets/vector_bak/") -> list[str]:
        """Keys below a prefix, without it."""
        pages = self.server.client().get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return sorted(one["Key"].removeprefix(prefix) for page in pages for one in page.get("Contents", []))

    def get(self, name: str, prefix: str = "sets/vector_bak/") -> bytes:
        return bytes(self.server.client().get_object(Bucket=self.name, Key=prefix + name)["Body"].read())

    def put(self, name: str, content: bytes, prefix: str = "sets/vector_bak/") -> None:
        self.server.client().put_object(Bucket=self.name, Key=prefix + name, Body=content)

    def uploads(self) -> list[str]:
        """Keys of uploads that are not ended."""
        found = self.server.client().list_multipart_uploads(Bucket=self.name)
        return sorted(one["Key"] for one in found.get("Uploads", []))


@contextmanager
def running(command: list[str], address: str, log: Path, **environment: str) -> Iterator[None]:
    """A server, from its first answer on; it ends with the block, or with this process."""
    with open(log, "wb") as output:
        process = start_kept(
            command, environment={**os.environ, **environment}, output=output, options=["--signal=KILL"]
        )
    try:
        until = time.monotonic() + 60
        while not _answers(address):
            assert process.poll() is None, log.read_text(errors="replace")[-2000:]
            assert time.monotonic() < until, log.read_text(errors="replace")[-2000:]
            time.sleep(0.1)
        yield
    finally:
        end_kept(process)


@contextmanager
def moto(directory: Path) -> Iterator[S3]:
    (port,) = pick_free(1)
    address = f"http://127.0.0.1:{port}"
    with running([str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)], address, directory / "moto.log"):
        yield S3(address, "anybody", "anything")


@contextmanager
def rclone(directory: Path) -> Iterator[S3]:
    """One that knows little: no conditional writes."""
    (port,) = pick_free(1)
    address = f"http://127.0.0.1:{port}"
    (directory / "served").mkdir()
    command = [str(BIN / "rclone"), "serve", "s3", str(directory / "served"), "--addr", f"127.0.0.1:{port}"]
    command += ["--auth-key", "somebody,something", "--config", str(directory / "none.conf"), "--vfs-cache-mode", "off"]
    with running(command, address, directory / "rclone.log"):
        yield S3(address, "somebody", "something")


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except urllib.error.HTTPError as fault:
        return fault.code < 500
    except OSError:
        return False
    return True
