"""ClickHouse's HTTP interface on loopback, in front of the engine inside this process."""

import json
import threading
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


class ClickHouseHTTP:
    """Answers a POST as a server does: settings in the address, query and external tables in the form."""

    def __init__(self, engine: Any) -> None:
        self.last: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                parameters = dict(parse_qsl(urlsplit(self.path).query))
                outer.last = parameters | dict(self.headers.items())
                body = self.rfile.read(int(self.headers["Content-Length"]))
                # With the query in the address, the body is what is inserted.
                inserts = "query" in parameters
                kind = self.headers["Content-Type"] or ""
                parts = form(kind, body) if kind.startswith("multipart/") else {}
                sql = parameters["query"] if inserts else parts.pop("query", body).decode()
                try:
                    for name in parameters.keys() & {"param_of"}:
                        engine.run(f"SET {name} = '{parameters[name]}'")
                    if inserts:
                        sql = f"{sql}\n{body.decode()}"
                    for name, content in parts.items():
                        columns = parameters[f"{name}_structure"]
                        engine.run(f"CREATE OR REPLACE TABLE {name} ({columns}) ENGINE Memory")
                        engine.insert(name, [json.loads(line) for line in content.splitlines()])
                    self.answer(200, engine.run(sql.removesuffix(" FORMAT JSONCompactEachRow")))
                except RuntimeError as error:
                    self.answer(500, str(error))

            def answer(self, status: int, text: str) -> None:
                content = text.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: Any) -> None:
                """Say nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self) -> "ClickHouseHTTP":
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def form(kind: str, body: bytes) -> dict[str, bytes]:
    message = BytesParser().parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
    parts: Any = message.get_payload()
    return {
        str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True)
        for part in parts
    }
