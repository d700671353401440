"""A workspace that is set to misbehave does, and only that one."""

import time

import pytest
import requests

from receiving.tests.conftest import Site


def test_slow_answers(site: Site):
    slow, quick = site.partner(fault_delay_ms=300), site.partner()
    began = time.monotonic()
    assert slow.get("/lists").status_code == 200
    assert time.monotonic() - began >= 0.3
    began = time.monotonic()
    assert quick.get("/lists").status_code == 200
    assert time.monotonic() - began < 0.3


def test_a_storm_of_429(site: Site):
    partner = site.partner(fault_429_percent=100)
    reply = partner.post("/lists", {"name": "n"})
    assert (reply.status_code, reply.headers["Retry-After"]) == (429, "1")
    assert reply.json()["error"]["code"] == "rate_limited"


def test_resets_come_before_and_after_a_call_took_effect(site: Site):
    partner = site.partner(fault_reset_percent=100)
    calls = 24
    for _ in range(calls):
        with pytest.raises(requests.exceptions.ConnectionError):
            partner.post("/lists", {"name": "n"})
    from receiving.models import List

    made = List.objects.using("served").filter(workspace=partner.workspace).count()
    assert 0 < made < calls


def test_rejected_users_are_always_the_same(site: Site):
    partner = site.partner(fault_rejected_percent=20)
    number = partner.make_list()
    ids = [f"u{n}" for n in range(1000)]
    first = partner.post(f"/lists/{number}/add", {"userIds": ids})
    assert first.status_code == 404
    refused = first.json()["invalidUserIds"]
    assert 120 < len(refused) < 280
    assert partner.post(f"/lists/{number}/add", {"userIds": ids}).json()["invalidUserIds"] == refused
    taken = sorted(set(ids) - set(refused))
    assert partner.post(f"/lists/{number}/add", {"userIds": taken}).status_code == 200
    item = {"type": "identify", "userId": refused[0], "traits": {"t": True}}
    assert partner.post("/identify", item).json()["invalidUserIds"] == [refused[0]]
    assert partner.post(f"/lists/{number}/remove", {"userIds": refused}).status_code == 200
