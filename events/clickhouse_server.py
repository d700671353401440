"""Statements to a ClickHouse server, over HTTP."""

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson
import requests

from events.event_tables import NotInserted, Unreachable, missing

# Seconds that a connection, and an insert, may take.
PATIENCE = (5, 30)
# Written to the disk before an insert is answered.
DURABLE = "SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"


class Server:
    """The database at an address: clickhouse://USER:PASSWORD@HOST/DATABASE, or clickhouses://… by TLS."""

    called = "The database of events"

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "clickhouses"
        port = parts.port or (8443 if secure else 8123)
        self.address = f"{'https' if secure else 'http'}://{parts.hostname}:{port}/"
        self.database = unquote(parts.path.lstrip("/")) or "default"
        self.headers = {
            "X-ClickHouse-User": unquote(parts.username or "default"),
            "X-ClickHouse-Key": unquote(parts.password or ""),
        }
        self.kept = threading.local()

    def close(self) -> None:
        if hasattr(self.kept, "session"):
            self.kept.session.close()

    def select(self, query: str) -> list[Sequence[Any]]:
        lines = self.post(f"{query} FORMAT JSONCompactEachRow").splitlines()
        return [orjson.loads(line) for line in lines]

    def post(
        self,
        query: str,
        rows: bytes | None = None,
        settings: Mapping[str, str | int] | None = None,
        patience: tuple[int, int] = PATIENCE,
    ) -> bytes:
        """Run a statement, or insert rows by it. Raises NotInserted, Refused."""
        given: dict[str, str | int] = {"database": self.database, "wait_end_of_query": 1, **(settings or {})}
        # An address is too short for a statement with many ids.
        body = query.strip().encode() if rows is None else rows
        if rows is not None:
            given["query"] = query
        try:
            if not hasattr(self.kept, "session"):
                self.kept.session = requests.Session()
                self.kept.session.trust_env = False
            reply = self.kept.session.post(
                self.address,
                params=given,
                data=body,
                headers=self.headers,
                timeout=patience,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise Unreachable(f"{self.called} does not answer: {error}") from None
        if reply.status_code == 200:
            return bytes(reply.content)
        code = reply.headers.get("X-ClickHouse-Exception-Code", "")
        # UNKNOWN_TABLE, NO_SUCH_COLUMN_IN_TABLE.
        if code in ("60", "16") or "UNKNOWN_TABLE" in reply.text or "NO_SUCH_COLUMN" in reply.text:
            raise missing(reply.text)
        raise NotInserted(f"{self.called} refused: {reply.text[:200].strip()}")


def lines_of(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return rows for an INSERT … FORMAT JSONEachRow."""
    return b"\n".join(map(_line, rows))


def _line(row: Mapping[str, Any]) -> bytes:
    texts = {name: text_of(value) for name, value in row.items() if isinstance(value, datetime)}
    return orjson.dumps({**row, **texts})


def text_of(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
