"""The read call: pages of members by each way of paging, and replies that must not pass for a list."""

import json

import pytest

from destinations.endpoint import Kind, ListIdFrom
from destinations.errors import DeliveryError, ListGone, Misconfigured, Temporary
from destinations.partners.fake import Answer, FakePartner
from destinations.partners.serve import served
from destinations.reading import known_as, read_members
from destinations.tests.partner import answer, partner, says

MEMBERS = {f"u{number}" for number in range(61)} | {"a/b", 'say "hi"', "ü 2", "x&page=9"}
WAYS = {
    "cursor": {"by": "cursor", "next": "paging.next.after", "parameter": "after"},
    "cursor in a header": {"by": "cursor", "next": "header:X-Next", "parameter": "page[cursor]"},
    "link": {"by": "link", "next": "links.next"},
    "link in a header": {"by": "link", "next": "header:Link"},
    "page": {"by": "page", "parameter": "page"},
    "page from 0, with a total": {"by": "page", "parameter": "page", "first": 0, "total": "meta.total"},
    "offset": {"by": "offset", "parameter": "offset", "total": "total_items"},
    "one page": {},
}
PATH = "/lists/$list_id/members?limit=25"


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("rows", [{"rows": "data.members", "id": "user.id"}, {"rows": "members"}])
def test_every_page_of_a_list_is_read(make_endpoint, name, rows):
    paths = rows | WAYS[name]
    with served() as server:
        endpoint = make_endpoint(
            base_url=server.url, list_id_from=ListIdFrom.NAMED, read_path=PATH, read_places=paths
        )
        server.partner = FakePartner(endpoint, {"page": 20})
        server.partner.lists["7"] = set(MEMBERS)
        read = list(read_members(endpoint, "7"))
        assert sorted(read) == sorted(MEMBERS)
        assert len(server.partner.calls) >= (1 if name == "one page" else 4)
        server.partner.lists["7"] = set()
        assert list(read_members(endpoint, "7")) == []


def test_a_property_is_read_by_its_name_and_lines_are_ids(make_endpoint):
    with served() as server:
        endpoint = make_endpoint(
            base_url=server.url,
            kind=Kind.PROPERTY,
            read_path="/having?name=$external_name",
            read_places={"lines": True},
        )
        server.partner = FakePartner(endpoint, {})
        server.partner.on["Buyers & more"] = {"u1", "u2"}
        assert list(read_members(endpoint, external_name="Buyers & more")) == ["u1", "u2"]


def reading(make_endpoint, reply, **paths):
    with partner(says(reply)) as server:
        endpoint = make_endpoint(base_url=server.url, read_path=PATH, read_places={"rows": "members"} | paths)
        return list(read_members(endpoint, "7", scale=0.0))


LIES = {
    "no rows": ({"items": []}, {}, "nothing at 'members'"),
    "a failure": ({"success": False, "members": []}, {}, "success"),
    "a row without its id": ({"members": [{"id": "u1"}, {"name": "u2"}]}, {"id": "id"}, "without an id"),
    "rows that are no ids": ({"members": [{"id": "u1"}]}, {}, "no ids"),
    "too few": ({"members": ["u1"], "total": 5}, {"total": "total"}, "says 5 members and gives 1"),
    "the same cursor again": (
        {"members": ["u1"], "next": "c"},
        {"by": "cursor", "next": "next", "parameter": "after"},
        "leads back",
    ),
    "the same page again": ({"members": ["u1"]}, {"by": "page", "parameter": "page"}, "leads back"),
    "another host": (
        {"members": ["u1"], "next": "https://elsewhere.example/x"},
        {"by": "link", "next": "next"},
        "another host",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_reply_that_is_no_page_never_passes_for_an_empty_list(make_endpoint, name):
    body, paths, words = LIES[name]
    with pytest.raises(Misconfigured, match=words):
        reading(make_endpoint, answer(body=json.dumps(body).encode()), **paths)


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><p>Log in", b"oops", b""])
def test_what_is_not_json_is_no_page(make_endpoint, body):
    with pytest.raises(Misconfigured):
        reading(make_endpoint, answer(body=body))


def test_nobody_is_an_empty_list_and_numbers_keep_their_digits(make_endpoint):
    assert reading(make_endpoint, answer(body=b'{"members": null}')) == []
    ids = b'{"members": [12345678901234567890123, 7]}'
    assert reading(make_endpoint, answer(body=ids)) == ["12345678901234567890123", "7"]


@pytest.mark.parametrize(
    ("status", "error"), [("410 Gone", ListGone), ("503 Busy", Temporary), ("401 No", DeliveryError)]
)
def test_an_error_is_judged_as_one_of_a_delivery(make_endpoint, status, error):
    with pytest.raises(error):
        reading(make_endpoint, answer(status))


def test_a_page_is_asked_for_again_when_the_partner_is_busy(make_endpoint):
    with served() as server:
        endpoint = make_endpoint(
            base_url=server.url,
            list_id_from=ListIdFrom.NAMED,
            read_path=PATH,
            read_places={"rows": "members", "by": "page", "parameter": "page"},
        )
        server.partner = FakePartner(endpoint, {"page": 20})
        server.partner.lists["7"] = set(MEMBERS)
        left = [Answer(429, None, {"Retry-After": "1"}), None, Answer(503, None)]
        server.partner.fault = lambda name: left.pop(0) if left else None
        assert sorted(read_members(endpoint, "7", scale=0.0)) == sorted(MEMBERS)


def test_an_id_is_compared_as_the_partner_knows_it(make_endpoint):
    hashed = make_endpoint(list_item_template='{"id": "${user_id|trim|lower}"}')
    assert known_as(hashed)(" A@B.example ") == "a@b.example"
    assert known_as(make_endpoint())("A") == "A"
