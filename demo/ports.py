"""TCP ports of this machine: whether one is free, and who has it when it is not."""

from __future__ import annotations

import contextlib
import socket

import psutil


class PortTakenError(Exception):
    """The port is not free; the message says which, and by whom where the system tells."""

    def __init__(self, port: int) -> None:
        self.port = port
        owner = _owner(port)
        super().__init__(f"port {port} is taken" + (f" by {owner}" if owner else ""))


def require_free(port: int, host: str = "127.0.0.1") -> None:
    """Return when ``port`` can be listened on.

    :raises PortTakenError: somebody listens there
    :raises PermissionError: the port is one of those kept for root
    """
    with socket.socket() as probe:
        # Connections of an earlier server that linger (TIME_WAIT) are no obstacle; a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise PermissionError(f"port {port} may only be used by root") from None
        except OSError:
            raise PortTakenError(port) from None


def pick_free(count: int) -> list[int]:
    """Different ports that nobody listens on, on any address."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _owner(port: int) -> str | None:
    """The process that listens on the port; None when it belongs to another user who does not show it."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                name = psutil.Process(connection.pid).name()
                return f"{name} (process {connection.pid})"
    return None
