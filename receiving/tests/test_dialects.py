"""Senders of other makes: their real clients, unmodified, and Mixpanel's webhook as its docs print it."""

import json
import threading
from typing import Any

import pytest

from receiving.tests.conftest import Partner, Site

TRAIT = "[Amplitude] buyers: 1"


def test_segments_python_client(partner: Partner):
    from segment.analytics.client import Client  # type: ignore[import-untyped]

    for gzip in (False, True):
        client = Client(partner.key, host=partner.url, sync_mode=True, gzip=gzip, max_retries=0)
        client.identify(f"u-{gzip}", {TRAIT: True, "email": "é@example.com"})
        client.track(f"u-{gzip}", "Order Completed", {"total": 1})
        assert partner.traits(f"u-{gzip}") == {TRAIT: True, "email": "é@example.com"}


def test_segments_python_client_in_batches_from_its_own_thread(partner: Partner):
    from segment.analytics.client import Client

    errors: list[Any] = []
    client = Client(partner.key, host=partner.url, on_error=lambda *error: errors.append(error))
    for n in range(250):
        client.identify(f"u{n}", {TRAIT: True})
    client.flush()
    client.join()
    assert errors == []
    assert partner.get("/traits", params={"name": TRAIT}).json()["size"] == 250


def test_rudderstacks_python_client(partner: Partner):
    """It sends gzip, and traits under `context.traits`."""
    from rudderstack.analytics.client import Client  # type: ignore[import-untyped]

    client = Client(partner.key, host=partner.url, sync_mode=True, max_retries=0)
    client.identify("u", {TRAIT: True})
    client.track("u", "Order Completed", {"total": 1})
    assert partner.traits("u") == {TRAIT: True}


@pytest.mark.parametrize("path", ["/2/httpapi", "/batch"])
def test_amplitudes_clients_find_the_code_of_a_refusal_in_its_body(site: Site, path: str):
    """They go by it and not by the status: without one, they give the events up."""
    limited = site.partner(rate_limit=1, rate_window_seconds=600)
    body = {"api_key": limited.key, "events": [{"user_id": "u", "event_type": "x"}]}

    def sent(**more: Any) -> tuple[int, Any]:
        reply = limited.post(path, {**body, **more}, auth=lambda request: request)
        return reply.status_code, reply.json()["code"]

    assert sent() == (200, 200)
    assert sent() == (429, 429)
    assert sent(api_key="wrong") == (401, 401)


def test_amplitudes_http_v2_brings_its_key_in_the_body(partner: Partner):
    body = {
        "api_key": partner.key,
        "events": [
            {"user_id": "u", "event_type": "order", "time": 1767225600000, "insert_id": "1",
             "event_properties": {"total": 2}, "user_properties": {"plan": "free"}},
            {"user_id": "u", "event_type": "$identify", "user_properties": {"$set": {"plan": "paid"}}},
            {"device_id": "d", "event_type": "order"},
        ],
    }  # fmt: skip
    reply = partner.post("/2/httpapi", body, auth=lambda request: request)
    assert (reply.status_code, reply.json()["code"]) == (200, 200)
    assert partner.traits("u") == {"plan": "paid"}
    wrong = partner.post("/2/httpapi", {**body, "api_key": "x"}, auth=lambda request: request)
    assert wrong.status_code == 401
    bodies: list[dict[str, Any]] = [{}, {"events": []}, {"events": [1]}, {"events": [{"user_id": "u"}]},
                {"events": [{"user_id": None, "event_type": "x"}]},
                {"events": [{"user_id": "u", "event_type": "x", "time": 1e300}]},
                {"events": [{"user_id": "u", "event_type": "x", "time": "now"}]}]  # fmt: skip
    for bad in bodies:
        reply = partner.post("/2/httpapi", {"api_key": partner.key, **bad}, auth=lambda request: request)
        assert reply.status_code == 400, bad


# --- Mixpanel ------------------------------------------------------------------------------


def page(action: str, users: list[Any], number: int = 1, total: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "action": action,
        "parameters": {
            "mixpanel_project_id": "42",
            "mixpanel_cohort_name": "Buyers",
            "mixpanel_cohort_id": "1478097",
            "mixpanel_cohort_description": "",
            "mixpanel_session_id": "s1",
            "page_info": {"total_pages": total, "page_count": number},
            "members": [{"mixpanel_distinct_id": user, "email": f"{user}@example.com"} for user in users],
            **more,
        },
    }


def send(partner: Partner, document: Any) -> dict[str, Any]:
    """As Mixpanel does: Basic with any user name, and the key as password."""
    reply = partner.post("/mixpanel", document, auth=("mixpanel", partner.key))
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def only_list(partner: Partner) -> dict[str, Any]:
    (found,) = partner.get("/lists").json()["lists"]
    return dict(found)


def members(partner: Partner) -> list[str]:
    return partner.members(only_list(partner)["listId"])


def test_mixpanels_three_actions(partner: Partner):
    assert send(partner, page("members", ["a", "b"])) == {"action": "members", "status": "success"}
    assert send(partner, page("add_members", ["c"]))["status"] == "success"
    assert send(partner, page("remove_members", ["a", "x"]))["status"] == "success"
    assert members(partner) == ["b", "c"]
    assert only_list(partner)["name"] == "Buyers"


def test_mixpanels_pages_replace_the_cohort_when_the_last_has_come(partner: Partner):
    send(partner, page("members", ["old"], mixpanel_session_id="s0"))
    number = only_list(partner)["listId"]
    send(partner, page("members", ["a"], 3, 3))
    send(partner, page("members", ["b"], 1, 3))
    send(partner, page("members", ["b"], 1, 3))
    assert members(partner) == ["old"]
    send(partner, page("members", ["c", "a"], 2, 3))
    assert members(partner) == ["a", "b", "c"]
    assert only_list(partner)["listId"] == number
    send(partner, page("add_members", ["d"]))
    send(partner, page("members", ["b"], 1, 3))  # sent again after the end
    assert members(partner) == ["a", "b", "c", "d"]


def test_an_interrupted_mixpanel_session_changes_nothing(partner: Partner):
    send(partner, page("members", ["old"], mixpanel_session_id="s0"))
    send(partner, page("members", ["a"], 1, 2))
    assert members(partner) == ["old"]
    send(partner, page("members", ["z"], 1, 1, mixpanel_session_id="s2"))
    assert members(partner) == ["z"]


def test_a_mixpanel_cohort_can_become_empty(partner: Partner):
    send(partner, page("members", ["old"], mixpanel_session_id="s0"))
    send(partner, page("members", []))
    assert members(partner) == []


def test_mixpanels_pages_may_come_at_once(partner: Partner):
    total = 8
    threads = [
        threading.Thread(target=send, args=(partner, page("members", [f"u{n}", "both"], n, total)))
        for n in range(1, total + 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert members(partner) == sorted([f"u{n}" for n in range(1, total + 1)] + ["both"])


def test_a_mixpanel_cohort_that_was_never_sent_is_a_failure_and_makes_no_list(partner: Partner):
    for action in ("add_members", "remove_members"):
        reply = partner.post("/mixpanel", page(action, ["a"]))
        assert (reply.status_code, reply.json()["status"], reply.json()["action"]) == (404, "failure", action)
    assert partner.get("/lists").json()["lists"] == []


def test_a_mixpanel_call_that_fails_says_so_in_its_dialect(partner: Partner):
    send(partner, page("members", ["old"], mixpanel_session_id="s0"))
    good = page("add_members", ["a"])
    bad: list[Any] = [
        {**good, "action": "other"}, {**good, "action": ["add_members"]}, {**good, "parameters": None},
        page("add_members", ["a", None]), page("add_members", [""]), page("members", ["a"], 0, 1),
        page("members", ["a"], 3, 2), page("members", ["a"], True, 1),
        page("add_members", ["a"], page_info=[]),
        page("add_members", ["a"], members=None), page("add_members", ["a"], members=[1]),
        page("add_members", ["a"], mixpanel_cohort_id=None),
        page("members", [], 1, 2, mixpanel_session_id=""),
    ]  # fmt: skip
    for document in bad:
        reply = partner.post("/mixpanel", document)
        assert reply.status_code == 400, json.dumps(document)
        assert reply.json()["status"] == "failure"
        assert set(reply.json()["error"]) == {"code", "message"}
    assert members(partner) == ["old"]
    send(partner, page("members", ["a"], 1, 2))
    assert partner.post("/mixpanel", page("members", ["b"], 2, 3)).status_code == 400
    assert partner.post("/mixpanel", good, auth=("mixpanel", "wrong")).status_code == 401


def test_events_on_their_own_addresses_need_no_type(partner: Partner):
    """Segment's HTTP API says the type by the address alone."""
    for path in ("/track", "/v1/track"):
        reply = partner.post(path, {"userId": "u", "event": "Order Completed", "properties": {"total": 1}})
        assert (reply.status_code, reply.json()["received"]) == (200, 1)
    assert partner.post("/v1/identify", {"userId": "u", "traits": {TRAIT: True}}).status_code == 200
    assert partner.traits("u") == {TRAIT: True}
