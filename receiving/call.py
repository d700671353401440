"""One call of a partner, from its headers to its reply; the views say what is done with it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import orjson
from django.db import transaction
from django.http import HttpRequest, HttpResponse

from receiving.body import parse_object, read_body, too_large
from receiving.budget import check_values, reserve
from receiving.incoming import Receipt, receipt_of
from receiving.models import Workspace
from receiving.record import Counted, Entry, write_entry


@dataclass(slots=True)
class Call:
    """What a view is given. `request` is None when a stored call is replayed."""

    workspace: Workspace
    entry: Entry
    request: HttpRequest | None = None
    replayed: Receipt | None = None
    judges_body: bool = False

    def document(self) -> dict[str, Any]:
        """Return the body as an object. Raises NotJson, TooLarge, BadRequest."""
        if self.entry.raw is None:
            assert self.request is not None
            self.entry.raw = read_body(
                self.request, self.workspace.max_body_bytes, judges_body=self.judges_body
            )
        if len(self.entry.raw) > self.workspace.max_body_bytes:  # it was read before its workspace was known
            raise too_large(self.workspace.max_body_bytes)
        if self.entry.document is None:
            check_values(self.entry.raw, self.workspace.max_items)
            self.entry.reserved += reserve(self.entry.raw)
            self.entry.document = parse_object(self.entry.raw)
        return self.entry.document

    def query(self, name: str, default: str = "") -> str:
        return default if self.request is None else self.request.GET.get(name, default)

    @property
    def is_replay(self) -> bool:
        return self.replayed is not None

    @property
    def idempotency_key(self) -> str | None:
        """A person who replays a call wants its effect again, so a replay has none."""
        return None if self.request is None else self.request.headers.get("Idempotency-Key")

    def receipt(self) -> Receipt:
        """Return what names the call's events that have no id: a replay has that of the call itself."""
        receipt = self.replayed or receipt_of(self.entry.received_at, self.idempotency_key)
        self.entry.receipt = receipt
        return receipt

    @contextmanager
    def writing(self, *, anything: bool = True) -> Iterator[dict[str, Any]]:
        """A transaction around the writes of a call; the block fills the counts of the reply.

        The log's row is its last statement, if anything was changed; if not, the transaction has nothing
        that must reach the disk, and the log waits for none. The reply goes out after the commit. Without
        `anything` to write there is no transaction but the log's.
        """
        counts: dict[str, Any] = {"received": 0, "changed": 0}
        self.entry.pack()
        with transaction.atomic() if anything else nullcontext():
            yield counts
            if counts["changed"]:
                self.log(counts)
        if not counts["changed"]:
            self.log(counts)

    def log(self, counts: dict[str, Any]) -> None:
        """Log that the call was answered with 200, and why items of it were not taken."""
        refused = counts.get("refused", 0)
        message = f"{refused:,} not taken: {counts['errors'][0]['message']}" if refused else ""
        counted = Counted(counts["received"], counts["changed"], counts.get("ignored", 0), refused)
        write_entry(self.entry, 200, message=message, counted=counted)


def json_reply(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(
        orjson.dumps(document), status=status, content_type="application/json", headers=headers
    )


def entry_of(request: HttpRequest) -> Entry:
    return Entry(
        method=request.method or "",
        path=request.path,
        remote_address=request.META.get("REMOTE_ADDR", ""),
        user_agent=request.META.get("HTTP_USER_AGENT", ""),
        began=time.perf_counter(),
    )
