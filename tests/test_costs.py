"""What the main paths cost is counted: statements, not seconds, so that a dearer path is seen in a diff.

The numbers may only fall. Who needs more says so in the commit and raises the number here; who needs
less writes the smaller one down. What a batch and a refresh cost stands beside their own code.
"""

import base64
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from cohortsite.tests.test_pages import grow
from receiving.keys import create_key
from receiving.models import Workspace

pytestmark = pytest.mark.django_db

USERS = [f"u{number:04d}" for number in range(1000)]
IDENTIFIES = [{"type": "identify", "userId": user, "traits": {"buyers:1": True}} for user in USERS]
ADD, REMOVE = "/lists/{}/add", "/lists/{}/remove"
TRACK = {"type": "track", "userId": "u1", "event": "bought", "messageId": "m1"}
# One after the other: what it is, the call, the status, and the statements that it may take.
CALLS: list[tuple[str, str, Any, int, int]] = [
    ("create", "/lists", {"name": "Buyers"}, 200, 8),
    ("add 1,000 new", ADD, {"userIds": USERS}, 200, 7),
    ("add 1,000 present", ADD, {"userIds": USERS}, 200, 3),
    ("remove 1,000", REMOVE, {"userIds": USERS}, 200, 6),
    ("identify 1,000 new", "/batch", {"batch": IDENTIFIES}, 200, 14),
    ("identify 1,000 present", "/batch", {"batch": IDENTIFIES}, 200, 7),
    ("track", "/v1/track", TRACK, 200, 2),
    ("refused", ADD, {"userIds": [None]}, 400, 2),
]
PAGES = {
    # Three of them count what waits for a worker, since there is none here;
    # one asks whether anybody is alerted.
    "/admin/": 30,
    # Of each list, one reads the person's views of it. Of cohorts, two more are for the filters by tag and
    # owner, two for the trend and where it goes; of destinations and syncs, for health and trends.
    "/admin/cohorts/cohort/": 10,
    "/admin/destinations/destination/": 10,
    "/admin/syncs/sync/": 9,
    "/admin/syncs/run/": 5,
}


@pytest.fixture
def partner(client: Client) -> Any:
    """Calls an address with a key, and returns the reply and the number of statements that it took."""
    _, key = create_key(Workspace.objects.create(slug="acme"), name="k")
    basic = base64.b64encode(f"{key}:".encode()).decode()

    def call(path: str, body: Any) -> tuple[Any, int]:
        with CaptureQueriesContext(connection) as asked:
            reply = client.post(
                path,
                json.dumps(body),
                content_type="application/json",
                headers={"Authorization": f"Basic {basic}"},
            )
        return reply, len(asked)

    return call


def test_a_received_call_takes_no_more_statements_than_it_did(partner, settings, tmp_path):
    settings.EVENTS_DIR = tmp_path
    dearer, number = [], 0
    for name, path, body, status, most in CALLS:
        reply, took = partner(path.format(number), body)
        assert reply.status_code == status, reply.content
        number = reply.json().get("listId", number)
        if took > most:
            dearer.append(f"{name}: {took} statements instead of {most}")
    assert not dearer, "\n".join(dearer)


def test_the_main_pages_take_no_more_statements_than_they_did(client):
    client.force_login(User.objects.create_superuser("ann"))
    grow(1, 4)
    dearer = []
    for path, most in PAGES.items():
        client.get(path)  # what is asked once a process is asked now
        with CaptureQueriesContext(connection) as asked:
            assert client.get(path).status_code == 200
        if len(asked) > most:
            dearer.append(f"{path}: {len(asked)} statements instead of {most}")
    assert not dearer, "\n".join(dearer)
