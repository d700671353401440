"""A test system has a workspace of its own: what it sends is shown as such, and counts only for who asks."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from cohorts.behavioral import members
from cohorts.definitions import parse
from events.arrivals import take_in
from events.models import CatalogueEntry
from receiving.keys import create_key
from receiving.models import Workspace

pytestmark = pytest.mark.django_db(transaction=True)

PLAYED = parse({"version": 1, "where": {"performed": {"event": "play"}}})


def send(workspace: str, user: str) -> None:
    key = create_key(Workspace.objects.create(slug=workspace))[1]
    track = {"type": "track", "userId": user, "event": "play", "messageId": f"m {user}"}
    traits = {"type": "identify", "userId": user, "traits": {"plan": workspace}}
    answer = Client().post(
        "/v1/batch",
        json.dumps({"batch": [track, traits]}),
        content_type="application/json",
        headers={"Authorization": f"Bearer {key}"},
    )
    assert answer.status_code == 200


def test_test_events_count_only_for_cohorts_that_ask_for_them(settings: Any, tmp_path: Path) -> None:
    settings.EVENTS_DIR = tmp_path / "events"
    send("acme", "customer")
    send("acme-test", "tester")
    file = tmp_path / "a.csv"
    file.write_text("user_id,event,time\nrobot,play,2024-05-01\n")
    call_command("import_events", str(file), "--workspace", "acme-test")
    found = {}
    for workspace in ("acme", "acme-test"):
        take_in(workspace)
        at = CatalogueEntry.objects.get(workspace=workspace, event="play", property_name="").last_seen
        as_of = at.replace(year=at.year + 1)
        found[workspace] = list(members(PLAYED, as_of, cohorts=lambda key: [], workspace=workspace))
    assert found == {"acme": ["customer"], "acme-test": ["robot", "tester"]}
