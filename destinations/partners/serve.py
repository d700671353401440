"""A fake partner over HTTP, for tests and for rehearsing a destination before there is a contract."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from destinations.partners.fake import FakePartner


class PartnerServer(ThreadingHTTPServer):
    """Serves on loopback. Set `partner` before the first request; `quiet` is False to log each one."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, *, quiet: bool = True) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.quiet = quiet
        self.lock = threading.Lock()
        self.partner: FakePartner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: PartnerServer

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value.encode("latin-1").decode() for name, value in self.headers.items()}
        assert self.server.partner
        with self.server.lock:
            answer = self.server.partner.answer(self.command, self.path, headers, body)
        is_text = isinstance(answer.body, str)
        sent = b"" if answer.body is None else (answer.body if is_text else json.dumps(answer.body)).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(b"" if answer.status == 204 else sent)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def log_message(self, format: str, *args: object) -> None:
        if not self.server.quiet:
            super().log_message(format, *args)


@contextmanager
def served() -> Iterator[PartnerServer]:
    """Serve in a thread, on a free port."""
    server = PartnerServer(0)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
