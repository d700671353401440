"""A partner on loopback whose every byte a test chooses."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Script = Callable[[socket.socket], None]


@dataclass
class Partner:
    """`requests` are the raw bytes of what came in; `connections` counts connections."""

    port: int
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def answer(status: str = "200 OK", body: bytes = b"{}", headers: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    )
    return head.encode() + body


def says(*parts: bytes) -> Script:
    def script(sock: socket.socket) -> None:
        for part in parts:
            sock.sendall(part)

    return script


def read_request(sock: socket.socket) -> bytes:
    """Return one whole request, or nothing when the sender hung up."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = sock.recv(65536)
        if not chunk:
            return b""
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ),
        0,
    )
    while len(body) < length:
        chunk = sock.recv(65536)
        if not chunk:
            return b""
        body += chunk
    return head + b"\r\n\r\n" + body


@contextmanager
def partner(
    script: Script, *, keep_alive: bool = False, tls: ssl.SSLContext | None = None
) -> Iterator[Partner]:
    """Serve: read a request, run the script on its socket, hang up (or go on with `keep_alive`)."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = Partner(listener.getsockname()[1])
    threads: list[threading.Thread] = []

    def serve(sock: socket.socket) -> None:
        with suppress(OSError):
            if tls:
                sock = tls.wrap_socket(sock, server_side=True)
            while request := read_request(sock):
                server.requests.append(request)
                script(sock)
                if not keep_alive:
                    break
        # shutdown first: unread bytes would otherwise turn the close into a reset.
        with suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        sock.close()

    def accept() -> None:
        with suppress(OSError):
            while True:
                sock, _ = listener.accept()
                server.connections += 1
                threads.append(threading.Thread(target=serve, args=(sock,), daemon=True))
                threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield server
    finally:
        server.stopping.set()
        # A closed listener does not wake its accept: shutdown does.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(5)
        for thread in threads:
            thread.join(5)
