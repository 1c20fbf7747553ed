"""A relay in front of an S3 server that does to requests what networks and servers do to them, and kills who asks."""

from __future__ import annotations

import http.client
import os
import queue
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

ANSWERS = {
    "500": (500, "InternalError", "We encountered an internal error. Please try again."),
    "503": (503, "SlowDown", "Please reduce your request rate."),
    "expired": (400, "ExpiredToken", "The provided token has expired."),
    "403": (403, "AccessDenied", "Access Denied"),
    "409": (409, "ConditionalRequestConflict", "A conflicting conditional operation is in progress."),
    "412": (412, "PreconditionFailed", "At least one of the preconditions you specified did not hold."),
}
"""What a fault of that name is answered with, and the request is not passed on."""

FAULTS = [*ANSWERS, "reset in the body", "lost answer", "slow", "altered"]

SLOW = 0.3
"""Seconds that a slow answer takes longer."""

Decide = Callable[[int, str, str], "str | None"]
"""From the number of a request, from 1, its method and its path with the query to the name of a fault."""


class Relay:
    """Listens on a port of its own while the block runs.

    :param upstream: the server's address
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream)
        self.decide: Decide = lambda number, method, path: None
        self.victims: queue.Queue[int] = queue.Queue()
        self.seen: list[str] = []
        self.payloads: list[tuple[str, str]] = []
        """Of each request with a body, its path and what its signature says of the body."""
        self._lock = threading.Lock()
        relay = self

        class Handler(_Handler):
            owner = relay

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Connections that are cut are this relay's business."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Relay:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def begin(self, decide: Decide) -> None:
        """Count from 1 again."""
        with self._lock:
            self.seen.clear()
            self.payloads.clear()
            self.decide = decide

    def next(self, method: str, path: str) -> str | None:
        with self._lock:
            self.seen.append(f"{method} {path}")
            return self.decide(len(self.seen), method, path)

    def forward(self, handler: _Handler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """What the server answers to a request."""
        return handler.forward(body)

    def kill(self) -> None:
        """Kill the process whose id comes, or has come, over `victims`."""
        with suppress(ProcessLookupError):
            os.kill(self.victims.get(timeout=30), signal.SIGKILL)


class _Handler(BaseHTTPRequestHandler):
    owner: Relay
    protocol_version = "HTTP/1.1"

    def _relay(self) -> None:
        fault = self.owner.next(self.command, self.path)
        size = int(self.headers.get("Content-Length") or 0)
        if fault == "reset in the body" and size:
            self.rfile.read(size // 2)
            self._reset()
            return
        body = self.rfile.read(size) if size else b""
        if size:
            self.owner.payloads.append((self.path, self.headers.get("x-amz-content-sha256", "")))
            if fault == "403 unless signed":
                fault = "403" if self.owner.payloads[-1][1] == "UNSIGNED-PAYLOAD" else None
        if fault == "altered" and size:
            body = body[:-1] + bytes([body[-1] ^ 1])
        if fault == "kill before":
            self.owner.kill()
            self._reset()
            return
        if fault in ANSWERS:
            status, code, message = ANSWERS[fault]
            content = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
            self._answer(status, [("Content-Type", "application/xml")], content)
            return
        if fault == "slow":
            time.sleep(SLOW)
        status, headers, content = self.owner.forward(self, body)
        if fault == "kill after":
            self.owner.kill()
            self._reset()
        elif fault == "lost answer" or (fault == "reset in the body" and not content):
            self._reset()
        elif fault == "reset in the body":
            self._answer(status, headers, content, sent=len(content) // 2)
            self._reset()
        else:
            self._answer(status, headers, content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _relay  # noqa: N815

    def forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        assert self.owner.upstream.hostname
        connection = http.client.HTTPConnection(self.owner.upstream.hostname, self.owner.upstream.port, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            connection.request(self.command, self.path, body=body or None, headers=headers)
            answer = connection.getresponse()
            content = answer.read()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _OWN]
            if self.command == "HEAD":
                kept.append(("Content-Length", answer.getheader("Content-Length") or "0"))
            return answer.status, kept, content
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, *, sent: int | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:sent])

    def _reset(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Tests say what they want to know."""


_OWN = ("connection", "content-length", "transfer-encoding", "keep-alive")
