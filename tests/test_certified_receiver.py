"""Our own receiving side, certified over HTTP: nothing to mend, and nothing is left behind."""

from dataclasses import replace

import pytest

from destinations.addresses import parse_networks
from destinations.certify.run import certify
from destinations.endpoint import Endpoint, Kind
from receiving.keys import create_key
from receiving.models import List, ListMember, Workspace

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def receiver(live_server, settings, tmp_path):
    settings.EVENTS_DIR = tmp_path / "events"
    workspace = Workspace.objects.create(slug="acme")
    key = create_key(workspace)[1]
    return Endpoint("us", live_server.url, credential=key, allow_nets=parse_networks(["127.0.0.0/8", "::1"]))


@pytest.mark.parametrize("kind", [*Kind])
def test_our_receiver_has_nothing_to_mend(receiver, kind):
    report = certify(replace(receiver, kind=kind))
    # Of this machine under other tests, and of Django's own server, which closes each connection.
    others = ("time", "keep_alive")
    assert [f.name for f in report.failed() if f.name not in others] == [], report.as_text()
    assert (List.objects.count(), ListMember.objects.count()) == (0, 0)
    assert (report.profile.batch_size, report.profile.idempotent) == (10_000, True)


def test_a_workspace_of_known_users_names_strangers(receiver):
    Workspace.objects.update(known_users_only=True)
    report = certify(receiver)
    assert [f.name for f in report.failed()] == ["add"]
    assert "give it some" in report.failed()[0].what
    assert report.profile.names_bad_users is True


@pytest.mark.parametrize(
    ("fault", "wanted"),
    [
        # Whom it refuses is named by each call that names them.
        ({"fault_rejected_percent": 100}, {"add"}),
        ({"fault_429_percent": 100}, {"create"}),
        ({"fault_reset_percent": 100}, {"create"}),
        ({"fault_delay_ms": 2_500}, {"time"}),
    ],
    ids=["rejects", "429", "resets", "slow"],
)
def test_a_fault_that_a_workspace_is_set_to_is_found_as_that(receiver, fault, wanted):
    Workspace.objects.update(**fault)
    # A slow one uses the time up, and is told so from what it did answer.
    report = certify(receiver, seconds=12)
    assert {f.name for f in report.failed()} - {"keep_alive"} == wanted, report.as_text()
