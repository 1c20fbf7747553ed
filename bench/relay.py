"""A TCP relay that holds everything for a while: ``python relay.py PORT HOST PORT MILLISECONDS``.

Stands in for a longer line where the kernel cannot simulate one. Round trips take twice as many milliseconds longer;
throughput is limited by nothing but its own copying. Ends with its standard input.
"""

import contextlib
import queue
import socket
import sys
import threading
import time

_PIECE = 1 << 18
_HELD = 64  # pieces in one direction


def _pass_on(source: socket.socket, sink: socket.socket, delay: float) -> None:
    pieces: queue.Queue[tuple[float, bytes]] = queue.Queue(_HELD)

    def send() -> None:
        with contextlib.suppress(OSError):
            while True:
                due, piece = pieces.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not piece:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(piece)
        while piece:  # so that the other side never waits for room
            _, piece = pieces.get()

    threading.Thread(target=send, daemon=True).start()
    piece = b"-"
    while piece:
        try:
            piece = source.recv(_PIECE)
        except OSError:
            piece = b""
        pieces.put((time.monotonic() + delay, piece))


def main() -> None:
    """Listen on 127.0.0.1."""
    port, host, target, delay = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]) / 1000
    listener = socket.create_server(("127.0.0.1", port))
    print("ready", flush=True)

    def accept() -> None:
        while True:
            near, _ = listener.accept()
            far = socket.create_connection((host, target))
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pass_on, args=(source, sink, delay), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
