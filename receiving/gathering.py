"""A worker of gunicorn that gives a request to a thread when all of it has come.

gunicorn's own reads the body in the thread, so that as many slow senders as there are threads silence a site.
Here the loop that watches all connections gathers what comes, large bodies in a file, and a sender that is
slower than a bad line is shown out. gunicorn parses what was gathered; this reads no more of it than where it
ends, and leaves what is malformed to gunicorn to refuse.
"""

import re
import selectors
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Any

from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import ThreadWorker

CHUNK = 256 * 1024
IN_MEMORY = 256 * 1024
# gunicorn refuses longer heads without reading on.
MOST_HEAD = 1024 * 1024
# What is longer is an upload of a person, and read by its thread from here on.
MOST_GATHERED = 256 * 1024 * 1024
LONGEST_LINE = 4096
# Seconds that a sender has, and the bytes with which it earns one more.
PATIENCE, BYTES_A_SECOND = 20.0, 4_096
LINGER = 2.0
FIELD = re.compile(rb"^(content-length|transfer-encoding|expect):[ \t]*([^\r\n]*?)[ \t]*\r?$", re.I | re.M)
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Chunks:
    """Finds the end of a chunked body."""

    def __init__(self) -> None:
        self.rest, self.left, self.trailers = bytearray(), 0, False

    def feed(self, data: bytes) -> bool:
        """Return whether the body has ended, or is no chunked body."""
        self.rest += data
        while True:
            passed = min(self.left, len(self.rest))
            del self.rest[:passed]
            self.left -= passed
            end = self.rest.find(b"\r\n")
            if self.left or end < 0:
                return not self.left and len(self.rest) > LONGEST_LINE
            line = bytes(self.rest[:end])
            del self.rest[: end + 2]
            if self.trailers:
                if not line:
                    return True
            elif not self._begin(line):
                return True

    def _begin(self, line: bytes) -> bool:
        digits = line.split(b";")[0].strip()
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,16}", digits):
            return False
        size = int(digits, 16)
        self.left = size + 2 if size else 0
        self.trailers = not size
        return True


@dataclass
class Gathered:
    """What has come of a request so far."""

    began: float = field(default_factory=time.monotonic)
    head: bytearray = field(default_factory=bytearray)
    file: IO[bytes] = field(default_factory=lambda: tempfile.SpooledTemporaryFile(IN_MEMORY))  # noqa: SIM115
    size: int = 0
    needed: int | None = None  # bytes, head and body, as soon as that is known
    chunks: Chunks | None = None
    expects: bool = False

    def feed(self, data: bytes) -> bool:
        """Take what came; return whether a thread can have the request."""
        self.file.write(data)
        self.size += len(data)
        if self.needed is not None:
            return self.size >= self.needed
        if self.chunks is not None:
            return self.chunks.feed(data) or self.size > MOST_GATHERED
        self.head += data
        end = self.head.find(b"\r\n\r\n")
        if end < 0:
            return len(self.head) > MOST_HEAD
        return self._measure(end + 4)

    def _measure(self, end: int) -> bool:
        fields = FIELD.findall(bytes(self.head[:end]))
        lengths = [value for name, value in fields if name.lower() == b"content-length"]
        codings = [value for name, value in fields if name.lower() == b"transfer-encoding"]
        self.expects = any(name.lower() == b"expect" for name, _ in fields)
        rest = bytes(self.head[end:])
        if codings and not lengths:
            self.chunks = Chunks()
            return self.chunks.feed(rest)
        length = int(lengths[0]) if len(lengths) == 1 and lengths[0].isdigit() and len(lengths[0]) < 16 else 0
        self.needed = end + min(length, MOST_GATHERED)
        return self.size >= self.needed

    def is_late(self, now: float) -> bool:
        return now > self.began + PATIENCE + self.size / BYTES_A_SECOND


class Held(SocketUnreader):  # type: ignore[misc]  # gunicorn has no types
    """Reads what was gathered, and then the socket."""

    def __init__(self, connection: Any, file: IO[bytes]) -> None:
        super().__init__(connection)
        file.seek(0)
        self.file = file

    def chunk(self, size_hint: int | None = None) -> bytes:
        # The hint is the whole rest of the body. What is read of it beyond the need is held in memory, and
        # copied once for each small read that follows.
        data = self.file.read(min(max(size_hint or 0, self.mxchunk), self.max_body_chunk))
        return data or bytes(super().chunk(size_hint))

    def recover(self) -> None:
        """Keep what came behind the request where gunicorn looks for the next one."""
        if left := self.file.read():
            self.unread(self.take_buffered() + left)
        self.file.close()


class GatheringWorker(ThreadWorker):  # type: ignore[misc]
    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.gathering: dict[Any, Gathered] = {}

    def enqueue_req(self, conn: Any) -> None:
        """A connection has a request, or will have one."""
        if self.cfg.is_ssl:
            super().enqueue_req(conn)
            return
        gathered = Gathered()
        conn.gathered = None
        conn.sock.setblocking(False)
        ahead = b"" if conn.parser is None else conn.parser.unreader.take_buffered()
        if ahead and gathered.feed(ahead):
            self._hand_over(conn, gathered)
            return
        self.gathering[conn] = gathered
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_readable, conn))

    def _on_readable(self, conn: Any, client: Any) -> None:
        gathered = self.gathering[conn]
        try:
            data = client.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._drop(conn)
            return
        if not data and not gathered.size:
            self._drop(conn)
        elif not data or gathered.feed(data):
            self._forget(conn)
            self._hand_over(conn, gathered)
        elif gathered.expects:
            gathered.expects = False
            self._say(client, CONTINUE)

    def _hand_over(self, conn: Any, gathered: Gathered) -> None:
        conn.gathered = gathered
        super().enqueue_req(conn)

    def handle(self, conn: Any) -> Any:
        """In a thread."""
        gathered = getattr(conn, "gathered", None)
        if gathered is not None:
            conn.sock.setblocking(True)
            conn.init()
            conn.parser.unreader = Held(conn.sock, gathered.file)
        return super().handle(conn)

    def finish_request(self, conn: Any, future: Any) -> None:
        unreader = getattr(conn.parser, "unreader", None)
        if isinstance(unreader, Held):
            unreader.recover()
        super().finish_request(conn, future)

    def murder_pending(self) -> None:
        """gunicorn calls this about once a second."""
        super().murder_pending()
        now = time.monotonic()
        for conn, gathered in list(self.gathering.items()):
            if gathered.is_late(now) or (not self.alive and now > gathered.began + LINGER):
                if gathered.size:
                    self._say(conn.sock, TOO_SLOW)
                self._drop(conn)

    def _forget(self, conn: Any) -> None:
        del self.gathering[conn]
        self.poller.unregister(conn.sock)

    def _drop(self, conn: Any) -> None:
        self.gathering[conn].file.close()
        self._forget(conn)
        self.nr_conns -= 1
        conn.close()

    def _say(self, client: Any, text: bytes) -> None:
        try:
            client.send(text)
        except OSError:
            self.log.debug("A sender that expects a 100 is not there any more")
