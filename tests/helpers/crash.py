"""A server that dies at once, as by a power cut, and recovers from its log."""

from __future__ import annotations

import os
import signal

from demo.embedded import OpenedPostgres


def crash(server: OpenedPostgres) -> None:
    """Kill the server's first process, and start it again; its sockets lie elsewhere from then on."""
    number = int((server.pgdata / "postmaster.pid").read_text().split("\n", 1)[0])
    os.kill(number, signal.SIGKILL)
    server.stop()
    server.start()
