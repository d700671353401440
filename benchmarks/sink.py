"""A partner that answers 200 to everything, as cheaply as Python can, in a process of its own.

    python benchmarks/sink.py [DELAY]       prints its port; DELAY in seconds before each answer

It reads the head of a request for `Content-Length` and counts the body away unread, so that what a
benchmark measures is the sender. A create call gets a list id, everything else the same bytes.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

BODY = b'{"listId": 1}'
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(BODY),
    BODY,
)
BUFFER = 1 << 20


class Sink(asyncio.BufferedProtocol):
    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.buffer = memoryview(bytearray(BUFFER))
        self.head = b""
        self.left = 0  # bytes of the body that are still to come

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, count: int) -> None:
        """Count a body away; a sender waits for its reply, so that no second request is in the buffer."""
        if self.left:
            self.left -= count
        else:
            self.head += self.buffer[:count]
            head, end, body = self.head.partition(b"\r\n\r\n")
            if not end:
                return
            self.head = b""
            length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
            self.left = int(length or 0) - len(body)
        if not self.left:
            self._answer()

    def _answer(self) -> None:
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, self.transport.write, REPLY)
        else:
            self.transport.write(REPLY)


@contextmanager
def running(delay: float = 0.0) -> Iterator[str]:
    """Run a sink in another process; give its base URL."""
    process = subprocess.Popen([sys.executable, __file__, str(delay)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait()


async def serve(delay: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Sink(delay), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0))
