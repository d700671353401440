"""Changes to be pulled: pages about one version, who came and went, what is gone, and the digest."""

import hashlib

import pytest
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from cohorts import members, prune, refresh
from cohorts.models import Cohort, CohortVersion
from cohorts.tests.ids import WEIRD, make_cohort
from cohorts.tests.test_api import client_of

pytestmark = pytest.mark.django_db
URL = "/api/v1/cohorts/buyers/changes"


@pytest.fixture
def cohort():
    return make_cohort(source_kind="api", hold_if_emptied=False, hold_if_halved=False)


@pytest.fixture
def client():
    return client_of("view_cohort")


def publish(cohort, ids):
    return refresh.replace(cohort.pk, sorted(ids), source="s").number


def pull(client, since, limit=1000):
    """Return the pages until the last."""
    pages, cursor = [], ""
    while True:
        reply = client.get(URL, {"since": since, "limit": limit, "cursor": cursor})
        assert reply.status_code == 200, reply.content
        pages.append(reply.json())
        cursor = pages[-1]["next"]
        if cursor is None:
            return pages


def digest_of(ids):
    return f"{sum(int.from_bytes(hashlib.sha256(i.encode()).digest()) for i in ids) % 2**256:064x}"


def error(reply):
    return reply.status_code, reply.json()["error"]["code"]


def test_all_members_come_in_pages_with_the_digest_at_the_end(client, cohort):
    publish(cohort, set(WEIRD))
    pages = pull(client, 0, limit=7)
    assert len(pages) > 3
    assert sum((page["entered"] for page in pages), []) == sorted(set(WEIRD))
    assert {(p["since"], p["version"], p["size"]) for p in pages} == {(0, 1, len(set(WEIRD)))}
    assert [page["digest"] for page in pages] == [None] * (len(pages) - 1) + [digest_of(set(WEIRD))]


@pytest.mark.parametrize("kept", [True, False])
def test_changes_name_who_moved_and_who_came_and_went(client, cohort, kept):
    first = publish(cohort, ["a", "b", "c"])
    publish(cohort, ["a", "c", "x"])
    publish(cohort, ["a", "c", "d"])
    if kept:
        pull(client, 0)
    (page,) = pull(client, first)
    assert (page["entered"], page["left"]) == (["d"], ["b", "x"])
    assert page["digest"] == digest_of(["a", "c", "d"])
    (page,) = pull(client, 3)
    assert (page["entered"], page["left"], page["digest"]) == ([], [], digest_of(["a", "c", "d"]))


def test_pages_stay_with_their_version_while_another_is_published(client, cohort):
    publish(cohort, ["a"])
    publish(cohort, ["b", "c", "d"])
    first = client.get(URL, {"since": 1, "limit": 2}).json()
    publish(cohort, ["z"])
    second = client.get(URL, {"since": 1, "limit": 2, "cursor": first["next"]}).json()
    third = client.get(URL, {"since": 1, "limit": 2, "cursor": second["next"]}).json()
    assert [p["version"] for p in (first, second, third)] == [2, 2, 2]
    assert third["digest"] == digest_of(["b", "c", "d"])


def test_a_version_that_was_pruned_or_never_was_is_gone_and_the_whole_is_offered(client, cohort):
    for ids in (["a", "b"], ["b", "c"], ["c", "d"]):
        publish(cohort, ids)
    cursor = client.get(URL, {"since": 1, "limit": 1}).json()["next"]
    prune.prune(cohort.pk, floor=3, before=timezone.now())
    for query in ({"since": 1}, {"since": 1, "cursor": cursor}, {"since": 9}):
        reply = client.get(URL, query)
        assert error(reply) == (410, "version_gone")
        assert "begin again with since=0" in reply.json()["error"]["message"]
    assert pull(client, 0)[0]["entered"] == ["c", "d"]


def test_a_held_version_is_not_given_out(client, cohort):
    publish(cohort, ["a", "b"])
    Cohort.objects.update(guard_users=0)
    assert publish(cohort, ["a"]) == 2
    assert error(client.get(URL, {"since": 2})) == (410, "version_gone")
    assert pull(client, 1)[0]["version"] == 1


def test_pruning_that_overtakes_a_page_is_noticed(client, cohort, monkeypatch):
    for ids in (["a", "b"], ["b", "c"], ["c", "d"]):
        publish(cohort, ids)
    read = members.moves_page

    def overtaken(*arguments):
        prune.prune(cohort.pk, floor=3, before=timezone.now())
        monkeypatch.setattr(members, "readable", checked)
        return read(*arguments)

    checked = members.readable
    monkeypatch.setattr(members, "moves_page", overtaken)
    assert error(client.get(URL, {"since": 1})) == (410, "version_gone")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, (400, "required")),
        ({"since": "x"}, (400, "invalid")),
        ({"since": -1}, (400, "invalid")),
        ({"since": 1, "limit": 0}, (400, "invalid")),
        ({"since": 1, "cursor": "rubbish"}, (410, "cursor_gone")),
        ({"since": 1, "cursor": "ab:cd\x00é"}, (410, "cursor_gone")),
    ],
)
def test_bad_questions(client, cohort, query, expected):
    publish(cohort, ["a"])
    assert error(client.get(URL, query)) == expected


def test_a_cursor_belongs_to_its_question(client, cohort):
    publish(cohort, ["a", "b"])
    publish(cohort, ["c", "d"])
    cursor = client.get(URL, {"since": 0, "limit": 1}).json()["next"]
    assert error(client.get(URL, {"since": 1, "cursor": cursor})) == (400, "wrong_cursor")
    assert error(client.get(URL, {"since": 1, "cursor": cursor[:-2]})) == (410, "cursor_gone")


def test_the_longest_user_id_fits_into_the_address(client, cohort):
    longest = "\U00010000" * 256
    publish(cohort, ["a", longest])
    cursor = client.get(URL, {"since": 0, "limit": 2}).json()["next"]
    assert len(cursor) < 2_000


def test_without_a_version_and_without_the_right(client, cohort):
    assert error(client.get(URL, {"since": 0})) == (409, "not_calculated")
    assert client.get("/api/v1/cohorts/none/changes", {"since": 0}).status_code == 404
    client.logout()
    assert client.get(URL, {"since": 0}).status_code == 401
    reply = client.get(URL, {"since": 0})
    assert reply.headers["Cache-Control"] == "no-store"


def test_the_cost_follows_the_change_and_not_the_cohort(client, cohort, django_assert_max_num_queries):
    publish(cohort, [f"{n:05}" for n in range(3_000)])
    pull(client, 0, limit=10_000)
    refresh.amend(cohort.pk, add=["x"], remove=["00001"], source="s")
    from django.db import connection

    with CaptureQueriesContext(connection) as few:
        pull(client, 1)
    assert len(few) <= 20, [q["sql"] for q in few]
    assert CohortVersion.objects.exclude(digest="").count() == 2
