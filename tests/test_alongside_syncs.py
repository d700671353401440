"""The worker and `prune_history` also serve the partners' side, which syncs does not know."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from receiving import search
from receiving.models import BodySearch, RequestLog, SeenMessage, Workspace
from receiving.record import compress

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def workspace() -> Workspace:
    return Workspace.objects.create(slug="acme", log_days=14)


def logged(workspace: Workspace, age: timedelta = timedelta()) -> RequestLog:
    return RequestLog.objects.create(
        workspace=workspace,
        received_at=timezone.now() - age,
        duration_ms=1,
        method="POST",
        path="/lists/1/add",
        status=200,
        body=compress(b'{"userIds": ["u1"]}'),
    )


def test_prune_history_keeps_the_request_log_to_its_own_limits(workspace: Workspace) -> None:
    logged(workspace, timedelta(days=15))
    kept = logged(workspace, timedelta(days=13))
    SeenMessage.objects.create(
        workspace_id=workspace.pk, message="m", seen_at=timezone.now() - timedelta(days=8)
    )
    out = StringIO()
    call_command("prune_history", "--days", "365", "--json", stdout=out)
    assert json.loads(out.getvalue())["receiving"] == {
        "requests": 1, "messages": 1, "replacements": 0, "members": 0,
    }  # fmt: skip
    assert RequestLog.objects.get() == kept
    out = StringIO()
    call_command("prune_history", stdout=out)
    assert "receiving: 0 requests, 0 messages" in out.getvalue()


def work_until(done: Callable[[], bool]) -> bool:
    """Run `sync_worker` in this thread until something is done, or 60 s are over; return whether it was."""
    found: list[bool] = []

    def watch() -> None:
        deadline = time.monotonic() + 60
        while not (is_done := done()) and time.monotonic() < deadline:
            time.sleep(0.05)
        found.append(is_done)
        connection.close()
        os.kill(os.getpid(), signal.SIGTERM)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    watcher = threading.Thread(target=watch)
    watcher.start()
    call_command("sync_worker")
    watcher.join()
    for number, handler in before.items():
        signal.signal(number, handler)
    return found[0]


def test_the_worker_searches_for_the_calls_that_touched_a_user(workspace: Workspace) -> None:
    entry = logged(workspace)
    BodySearch.objects.create(workspace=workspace, user_id="u1")
    assert work_until(lambda: BodySearch.objects.get().state == BodySearch.State.DONE)
    assert BodySearch.objects.get().found == [entry.pk]


def test_a_search_that_fails_stops_neither_the_worker_nor_the_next_search(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logged(workspace)
    names_user = search.names_user

    def fails_for_one(body: bytes, user_id: str) -> Any:
        if user_id == "poison":
            raise RuntimeError("a body that cannot be read")
        return names_user(body, user_id)

    monkeypatch.setattr(search, "names_user", fails_for_one)
    for user in ("poison", "u1"):
        BodySearch.objects.create(workspace=workspace, user_id=user)
    assert work_until(lambda: BodySearch.objects.get(user_id="u1").state == BodySearch.State.DONE)
    assert "search_requests failed" in caplog.text
    assert BodySearch.objects.get(user_id="poison").state == BodySearch.State.RUNNING
