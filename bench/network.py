"""The ways to reach the server: its socket, TCP on this machine, TCP over a line with 2 ms there and back."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from bench.contenders import Target
from bench.places import DIRECTORY
from demo.embedded import OpenedPostgres
from demo.ports import pick_free

Connection = Literal["socket", "tcp", "delay"]

_SETTINGS: Final[dict[str, str | int]] = {"autovacuum": "off", "max_wal_size": "4GB"}
"""Nothing of the server's own shall run meanwhile; everything else as PostgreSQL comes."""

_ONE_WAY_MS: Final = 1
_NAMESPACE: Final = "pgvector_bench"
_NEAR, _FAR = "pgvb0", "pgvb1"
_SERVER, _CLIENT = "10.213.7.1", "10.213.7.2"
_RELAY: Final = Path(__file__).with_name("relay.py")


@dataclass(frozen=True)
class Reached:
    """A running server and the way to it; ``note`` says what a reader of the results has to know of the way."""

    server: OpenedPostgres
    host: str
    port: int
    prefix: tuple[str, ...] = ()
    note: str = ""

    def target(self, database: str) -> Target:
        """What a contender is told."""
        host = quote(self.host, safe="")
        uri = f"postgresql://postgres@/{database}?host={host}&port={self.port}"
        return Target(uri, self.server.bin, self.prefix)


@contextmanager
def reach(version: int, connection: Connection) -> Iterator[Reached]:
    """Start the server so that it can be reached in this way; TCP is open to this machine's users meanwhile."""
    directory = DIRECTORY / f"postgres{version}"
    with ExitStack() as stack:
        if connection == "socket":
            server = stack.enter_context(OpenedPostgres(directory, version=version, settings=_SETTINGS))
            yield Reached(server, server.socket_directory, server.port)
            return
        port, relay_port = pick_free(2)
        settings: dict[str, str | int] = {**_SETTINGS, "listen_addresses": "127.0.0.1", "port": port}
        refused = None
        if connection == "delay":
            try:
                stack.enter_context(_line())
            except _NoLine as error:
                refused = str(error)
            else:
                settings |= {"listen_addresses": _SERVER, "hba_file": str(_access_rules())}
        server = stack.enter_context(OpenedPostgres(directory, version=version, settings=settings))
        if connection == "tcp":
            yield Reached(server, "127.0.0.1", port)
        elif refused is None:
            yield Reached(
                server,
                _SERVER,
                port,
                ("ip", "netns", "exec", _NAMESPACE),
                f"`tc netem`, {_ONE_WAY_MS} ms each way, between two network namespaces",
            )
        else:
            stack.enter_context(relay(relay_port, port, _ONE_WAY_MS))
            yield Reached(
                server,
                "127.0.0.1",
                relay_port,
                (),
                f"`tc netem` is not to be had here ({refused}); instead a relay process held everything for "
                f"{_ONE_WAY_MS} ms each way, and took its share of the processors for the copying",
            )


class _NoLine(Exception):
    """No line can be simulated; the message says why."""


@contextmanager
def _line() -> Iterator[None]:
    """A network namespace at the end of a slow line, for the clients."""
    if not (shutil.which("ip") and shutil.which("tc")):
        raise _NoLine("no `ip` and `tc`")
    steps = [
        f"ip netns add {_NAMESPACE}",
        f"ip link add {_NEAR} type veth peer name {_FAR} netns {_NAMESPACE}",
        f"ip addr add {_SERVER}/30 dev {_NEAR}",
        f"ip link set {_NEAR} up",
        f"ip netns exec {_NAMESPACE} ip addr add {_CLIENT}/30 dev {_FAR}",
        f"ip netns exec {_NAMESPACE} ip link set {_FAR} up",
        # Its default queue of 1,000 packets would drop some of what is on its way.
        f"tc qdisc add dev {_NEAR} root netem delay {_ONE_WAY_MS}ms limit 100000",
        f"ip netns exec {_NAMESPACE} tc qdisc add dev {_FAR} root netem delay {_ONE_WAY_MS}ms limit 100000",
    ]
    try:
        for step in steps:
            done = subprocess.run(step.split(), check=False, capture_output=True, text=True)
            if done.returncode != 0:
                said = done.stderr.strip().splitlines()
                raise _NoLine(f"`{step.split(' netns exec ')[0]}`: {said[0] if said else 'failed'}")
        yield
    finally:
        # With the namespace goes its end of the pair, and with that the other end.
        subprocess.run(["ip", "netns", "del", _NAMESPACE], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", _NEAR], check=False, capture_output=True)


def _access_rules() -> Path:
    rules = DIRECTORY / "pg_hba.conf"
    rules.write_text(f"local all all trust\nhost all all {_CLIENT}/32 trust\n")
    rules.chmod(0o644)
    return rules


@contextmanager
def relay(port: int, server_port: int, one_way_ms: float) -> Iterator[None]:
    """Stand in for a longer line to a server on this machine."""
    command = [sys.executable, "-I", str(_RELAY), str(port), "127.0.0.1", str(server_port), str(one_way_ms)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        try:
            if running.stdout.readline() != b"ready\n":
                raise RuntimeError("the relay did not start")
            yield
        finally:
            running.stdin.close()
