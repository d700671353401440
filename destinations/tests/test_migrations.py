"""Destinations of the last release go on as they were: the same place, the same bytes."""

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from destinations.models import Destination
from destinations.payloads import Encoder, Operation


@pytest.fixture
def migrate():
    """Migrate destinations to a state by its name, or the newest; to that at the end."""

    def to(name):
        executor = MigrationExecutor(connection)
        name = name or executor.loader.graph.leaf_nodes("destinations")[0][1]
        executor.migrate([("destinations", name)])
        return MigrationExecutor(connection).loader.project_state([("destinations", name)]).apps

    yield to
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


@pytest.mark.django_db(transaction=True)
def test_a_destination_of_the_last_release_sends_the_same_bytes(migrate):
    old = migrate("0002_permissions").get_model("destinations", "Destination")
    rules = [{"status": 404, "then": "recreate", "reason": "gone", "message": "Gone."}]
    old.objects.create(
        name="list", base_url="https://a.example", auth_mode="none", rules=rules, preset="flagsmith"
    )
    old.objects.create(
        name="prop", base_url="https://a.example", auth_mode="none", kind="property", accepted_place="p"
    )
    old.objects.create(
        name="named", base_url="https://a.example", auth_mode="none", extra_headers={"X-Price": "$5"}
    )
    migrate(None)
    sent = {}
    for row in Destination.objects.all():
        row.full_clean()
        encoder = Encoder(row.endpoint(), cohort_name="B", cohort_key="b", external_name="B: b", list_id="7")
        sent[row.name] = encoder.batch(Operation.ADD, ["u1"])
    context = b'"context":{"integration":{"name":"Amplitude Cohort Sync","version":"1.0.0"}}'
    assert sent["list"].body == b'{"userIds":["u1"],' + context + b"}"
    item = b'{"type":"identify","userId":"u1","traits":{"B: b":true},' + context + b"}"
    assert sent["prop"].body == b'{"batch":[' + item + b"]}"
    assert (sent["list"].method, sent["named"].headers["X-Price"]) == ("POST", "$5")
    assert Destination.objects.get(name="list").rules == rules
    assert Destination.objects.get(name="prop").accepted_fingerprint == "p"
