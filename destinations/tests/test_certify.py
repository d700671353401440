"""Certification finds of each broken partner just what is broken, and nothing of one that is right."""

import json
import socket
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from destinations.addresses import parse_networks
from destinations.certify import checks
from destinations.certify.report import Level, State
from destinations.certify.run import certify, mock_call
from destinations.endpoint import AuthMode, Endpoint, Kind
from destinations.models import Destination
from destinations.tests.flawed_partner import KEY, served

pytestmark = pytest.mark.once
LOOPBACK = parse_networks(["127.0.0.0/8"])


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(checks, "BETWEEN", 0.01)
    monkeypatch.setattr(checks, "PATIENCE", 0.1)


def endpoint(url, **fields):
    return Endpoint("p", url, credential=fields.pop("key", KEY), allow_nets=LOOPBACK, **fields)


def found(report):
    return [(finding.name, finding.level) for finding in report.failed()]


@pytest.mark.parametrize("kind", [*Kind])
def test_a_right_partner_has_nothing_to_mend_and_nothing_is_left_there(kind, monkeypatch):
    monkeypatch.setattr(checks, "PATIENCE", 5.0)
    with served() as (url, state):
        report = certify(endpoint(url, kind=kind))
    assert report.failed() == [], report.as_text()
    assert [f.name for f in report.findings if f.state == State.UNSEEN] == []
    assert report.passed and "nothing to mend" in report.summary
    assert (state.lists, set().union(*state.on.values(), set())) == ({}, set())
    assert (report.profile.batch_size, report.profile.overlapping, report.profile.digest) == (
        10_000,
        True,
        True,
    )
    assert report.profile.settings == {"batch_size": 10_000, "threads": 4}


FLAWS = {
    "gives no list id": "create",
    "redirects to a final slash": "create",
    "one list id": "list_id",
    "adds once": "add_again",
    "removes once": "remove_again",
    "forgets removes": "remove_again",
    "trims ids": "odd_ids",
    "ascii only": "odd_ids",
    "short ids": "odd_ids",
    "no numbers": "numbers",
    "at most 1,000": "ten_thousand",
    "deadlocks": "overlapping",
    "takes any key": "wrong_key",
    "403 for a wrong key": "wrong_key",
    "takes any list": "unknown_list",
    "breaks on bad JSON": "malformed",
    "nameless strangers": "unknown_user",
    "html errors": "json_errors",
    "limits silently": "burst",
    "slow": "time",
    "closes connections": "keep_alive",
    "shows nothing": "digest",
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_broken_partner_is_found_as_just_that(flaw, monkeypatch):
    if flaw != "slow":
        monkeypatch.setattr(checks, "PATIENCE", 5.0)
    with served(flaw) as (url, _):
        report = certify(endpoint(url))
    wanted = [FLAWS[flaw]]
    if flaw == "html errors":
        wanted = ["unknown_user", "json_errors"]  # a page names nobody
    if flaw == "adds once":
        wanted = ["add_again", "overlapping", "burst"]  # they add the same users again, too
    if flaw == "forgets removes":
        wanted = ["remove_again", "order"]
    assert [f.name for f in report.failed()][: len(wanted)] == wanted, report.as_text()
    if flaw not in ("forgets removes",):
        assert [f.name for f in report.failed()] == wanted, report.as_text()
    for finding in report.failed():
        assert finding.advice
        assert finding.answer is not None or finding.name == "digest"
    assert KEY not in report.as_text() + report.as_html() + json.dumps(report.as_json())


def test_what_must_be_decides(monkeypatch):
    monkeypatch.setattr(checks, "PATIENCE", 5.0)
    for flaw, passes in (("one list id", True), ("takes any key", False)):
        with served(flaw) as (url, _):
            assert certify(endpoint(url)).passed is passes


def test_a_limit_that_says_when_to_come_back_is_no_flaw_and_gives_a_rate(monkeypatch):
    monkeypatch.setattr(checks, "PATIENCE", 5.0)
    with served("limits") as (url, _):
        report = certify(endpoint(url))
    assert report.failed() == [], report.as_text()
    assert 0 < report.profile.settings["rate"] <= 40


def test_names_of_strangers_are_part_of_the_profile(monkeypatch):
    monkeypatch.setattr(checks, "PATIENCE", 5.0)
    with served("names strangers") as (url, _):
        report = certify(endpoint(url))
    assert report.failed() == []
    assert report.profile.names_bad_users is True


@pytest.mark.parametrize(("flaw", "wanted"), [("two paths", ["paths"]), ("never false", ["remove_again"])])
def test_broken_property_partners(flaw, wanted, monkeypatch):
    monkeypatch.setattr(checks, "PATIENCE", 5.0)
    with served(flaw) as (url, _):
        report = certify(endpoint(url, kind=Kind.PROPERTY))
    assert [f.name for f in report.failed()][:1] == wanted, report.as_text()


def test_a_list_that_cannot_be_deleted_is_named(monkeypatch):
    with served("keeps lists") as (url, state):
        report = certify(endpoint(url))
    assert state.lists == {"1": set()}
    (left,) = report.left_behind
    assert left.startswith("the list 1 ") and "delete it by hand" in left


def test_a_server_that_is_down_is_one_finding():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        report = certify(endpoint(url))
    assert found(report) == [("reach", Level.MUST)]
    assert report.requests == 0 and not report.passed


def test_a_wrong_key_of_ones_own_stops_at_the_first_call():
    with served() as (url, _):
        report = certify(endpoint(url, key="another"))
    assert found(report) == [("create", Level.MUST)]
    assert "401" in report.failed()[0].what
    assert all("first mend" in f.what for f in report.findings if f.state == State.UNSEEN)


def test_a_run_whose_time_is_over_says_what_was_not_tried():
    with served() as (url, state):
        report = certify(endpoint(url), seconds=0.05)
    unseen = [finding for finding in report.findings if finding.state == State.UNSEEN]
    assert unseen and all("time was over" in finding.what for finding in unseen)
    assert state.lists == {}


def test_the_mock_call_is_the_protocols():
    assert mock_call(endpoint("https://p.example/api/", kind=Kind.PROPERTY)).startswith(
        "curl -X POST https://p.example/api/identify"
    )


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, "  --header 'api_key: KEY' --header 'app_id: APP' --header 'Content-Type"),
        ({"auth_mode": AuthMode.BEARER}, "  --header 'Authorization: Bearer KEY' --header 'Content-Type"),
        ({"auth_mode": AuthMode.HEADER, "auth_header": "X-Key"}, "  --header 'X-Key: KEY' --header"),
        ({"auth_mode": AuthMode.BASIC, "auth_username": "it's"}, """  --user 'it'"'"'s:KEY' --header"""),
        ({"auth_mode": AuthMode.NONE}, "  --header 'Content-Type"),
    ],
)
def test_the_mock_call_carries_the_key_as_the_destination_does_and_never_the_key(fields, wanted):
    call = mock_call(endpoint("https://p.example", **fields))
    assert call.splitlines()[1].startswith(wanted)
    assert KEY not in call


def test_what_cannot_be_seen_without_a_digest_is_not_said_to_be_right(monkeypatch):
    monkeypatch.setattr(checks, "PATIENCE", 5.0)
    with served("shows nothing") as (url, _):
        report = certify(endpoint(url))
    unseen = [finding.name for finding in report.findings if finding.state == State.UNSEEN]
    assert unseen == ["order", "odd_ids"]
    assert f"2 of {len(report.findings)} checks found nothing out" in report.summary


@pytest.mark.django_db
def test_the_command_prints_writes_and_says_by_its_exit_code(tmp_path, settings):
    settings.OUTBOUND_ALLOW_NETS = ["127.0.0.0/8"]
    page = tmp_path / "report.html"
    with served() as (url, _):
        out = StringIO()
        call_command("certify_partner", url, key=KEY, html=page, json=True, stdout=out)
        assert json.loads(out.getvalue())["passed"] is True
        assert "<h1>Certification of" in page.read_text()
        with pytest.raises(SystemExit) as ended:
            call_command("certify_partner", url, key="wrong", stdout=out)
        assert ended.value.code == 1
    for target in ("nobody", "ftp://x"):
        with pytest.raises(CommandError) as refused:
            call_command("certify_partner", target, stdout=out)
        assert refused.value.returncode == 2


@pytest.mark.django_db
def test_a_destination_is_certified_on_its_page_and_takes_what_was_found(admin_client, settings):
    settings.OUTBOUND_ALLOW_NETS = ["127.0.0.0/8"]
    with served("at most 1,000") as (url, state):
        row = Destination(name="acme", base_url=url, auth_mode="key", batch_size=500, threads=2)
        row.credential = KEY
        row.save()
        page = f"/admin/destinations/destination/{row.pk}/certify/"
        shown = admin_client.get(page)
        assert "Nothing" not in shown.content.decode() and state.lists == {}
        assert "curl -X POST" in shown.content.decode()
        done = admin_client.post(page, {"certify": "1", "users": ""})
    assert done.status_code == 200
    text = done.content.decode()
    assert "1 should" in text and "Takes 10,000 users in a call" in text and KEY not in text
    taken = admin_client.post(page, {"take": "1", "profile": done.context["signed"]}, follow=True)
    assert "Saved: batch size 1000, threads 4" in taken.content.decode()
    row.refresh_from_db()
    assert (row.batch_size, row.threads) == (1_000, 4)
    refused = admin_client.post(page, {"take": "1", "profile": "x"}, follow=True)
    assert "certify again" in refused.content.decode()
