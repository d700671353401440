"""How cohorts overlap: counted piece by piece, the same as sets say; page, REST, command."""

import json
from io import StringIO
from itertools import combinations
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cohorts import overlap, refresh
from cohorts.models import Cohort
from cohorts.overlap import CannotCompare, TakesTooLong, overlap_of
from cohorts.overlap_page import pairs_of, rows_of
from tests import world

pytestmark = pytest.mark.django_db(transaction=True)


def made(**users: list[str]) -> list[Cohort]:
    cohorts = [world.cohort(key=key, name=key.upper()) for key in users]
    for cohort, ids in zip(cohorts, users.values(), strict=True):
        refresh.replace(cohort.pk, ids, source="a test")
        cohort.refresh_from_db()
    return cohorts


def parts_of(found: overlap.Overlap) -> dict[tuple[str, ...], int]:
    return {part.inside: part.count for part in found.parts}


def test_each_combination_is_counted_as_of_the_published_versions() -> None:
    a, b, c = made(a=["1", "2", "3", "4"], b=["3", "4", "5"], c=["4"])
    refresh.amend(a.pk, add=["9"], remove=["1"], source="a test")
    a.refresh_from_db()
    found = overlap_of([a, b, c])
    assert parts_of(found) == {("a",): 2, ("a", "b"): 1, ("a", "b", "c"): 1, ("b",): 1}
    assert [part.count for part in found.parts] == [2, 1, 1, 1]
    assert (found.anybody, found.everywhere, found.size("a"), found.size("a", "b")) == (5, 1, 4, 2)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drawn=st.lists(st.sets(st.text("abz\u00e9\U0001f525", min_size=1, max_size=3)), min_size=2, max_size=5)
)
def test_it_is_what_sets_say_however_small_the_pieces(drawn: list[set[str]], monkeypatch: Any) -> None:
    monkeypatch.setattr(overlap, "PIECE", 2)
    Cohort.objects.all().delete()
    cohorts = made(**{f"c{n}": sorted(ids, key=str.encode) for n, ids in enumerate(drawn)})
    found = parts_of(overlap_of(cohorts))
    keys = [cohort.key for cohort in cohorts]
    for size in range(1, len(keys) + 1):
        for inside in combinations(range(len(keys)), size):
            those = set.intersection(*(drawn[n] for n in inside))
            those -= set().union(*(drawn[n] for n in range(len(keys)) if n not in inside))
            assert found.get(tuple(keys[n] for n in inside), 0) == len(those)


def test_a_piece_costs_one_statement_and_one_for_each_cohort() -> None:
    cohorts = made(a=[f"{n:03}" for n in range(300)], b=[f"{n:03}" for n in range(200)])
    with CaptureQueriesContext(
        connection,
    ) as asked:
        overlap_of(cohorts)
    assert len(asked) == 3


@pytest.mark.parametrize("chosen", [[], [0], [0, 0], [0, 1, 2, 0, 1, 2]])
def test_two_to_five_different_ones_are_compared(chosen: list[int]) -> None:
    cohorts = made(a=["1"], b=["1"], c=["1"])
    with pytest.raises(CannotCompare, match="two to 5 different"):
        overlap_of([cohorts[n] for n in chosen])


def test_one_that_is_not_calculated_yet_is_named() -> None:
    [a] = made(a=["1"])
    with pytest.raises(CannotCompare, match="empty: not calculated yet"):
        overlap_of([a, Cohort.objects.create(key="empty", name="E")])


def test_what_takes_too_long_names_the_command(monkeypatch: Any) -> None:
    monkeypatch.setattr(overlap, "PIECE", 1)
    cohorts = made(a=["1", "2", "3"], b=["1", "2", "3"])
    with pytest.raises(TakesTooLong, match="manage.py overlap a b"):
        overlap_of(cohorts, seconds=0)
    assert overlap_of(cohorts, seconds=None).everywhere == 3


def client_of(role: str, groups: None) -> Client:
    user = User.objects.create(username=role, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


def test_a_viewer_comes_from_the_list_to_the_picture(groups: None) -> None:
    a, b = made(a=["1", "2", "3"], b=["3"])
    client = client_of("viewer", groups)
    data = {"action": "overlap", "_selected_action": [a.pk, b.pk]}
    reply: Any = client.post("/admin/cohorts/cohort/", data)
    assert reply.url == "/admin/cohorts/cohort/overlap/?cohort=a&cohort=b"
    page = " ".join(client.get(reply.url).content.decode().split())
    assert "Only A" in page and "All of them" in page and "66.7 %" in page
    reply = client.post("/admin/cohorts/cohort/", {**data, "_selected_action": [a.pk]}, follow=True)
    assert "Choose two to 5 cohorts" in reply.content.decode()
    for query, words in {
        "": "Choose two to five",
        "?cohort=no": "There is no cohort no",
        "?cohort=a": "two to 5",
    }.items():
        assert words in client.get(f"/admin/cohorts/cohort/overlap/{query}").content.decode()
    assert Client().get("/admin/cohorts/cohort/overlap/").status_code == 302


def test_shares_of_one_in_another() -> None:
    found = overlap_of(made(a=["1", "2", "3", "4"], b=["4"]))
    assert [shares for _, shares in pairs_of(found)] == [[None, 25.0], [100.0, None]]
    assert [(row.words, row.count, row.bar) for row in rows_of(found)] == [
        ("Only A", 3, 100.0),
        ("All of them", 1, 100 / 3),
    ]


def test_over_rest(admin_client: Client) -> None:
    made(a=["1", "2"], b=["2"])
    Cohort.objects.create(key="new", name="New")
    found = admin_client.get("/api/v1/overlap?cohort=a&cohort=b").json()
    assert found == {
        "cohorts": [{"key": "a", "version": 1, "size": 2}, {"key": "b", "version": 1, "size": 1}],
        "anybody": 2,
        "everywhere": 1,
        "parts": [{"cohorts": ["a"], "count": 1}, {"cohorts": ["a", "b"], "count": 1}],
    }
    statuses = {"": 400, "?cohort=a": 400, "?cohort=a&cohort=x": 400, "?cohort=a&cohort=new": 409}
    for query, status in statuses.items():
        assert admin_client.get(f"/api/v1/overlap{query}").status_code == status, query
    assert Client().get("/api/v1/overlap").status_code == 401


def test_as_a_command() -> None:
    made(a=["1", "2"], b=["2"])
    said = StringIO()
    call_command("overlap", "a", "b", stdout=said)
    assert said.getvalue().split("\n")[1].split() == ["1", "a", "&", "b"]
    said = StringIO()
    call_command("overlap", "a", "b", "--json", stdout=said)
    assert json.loads(said.getvalue())["everywhere"] == 1
    with pytest.raises(CommandError, match="no cohort 'x'"):
        call_command("overlap", "a", "x")
