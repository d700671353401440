"""Refreshes one by one: the guard, the claim and its fence."""

import os
import random
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from django.db import connection
from django.db.models.functions import Now

from cohorts import members, owner, refresh
from cohorts.choices import VersionState
from cohorts.models import CLAIM_TIME, Cohort, CohortVersion, Member
from cohorts.tests.ids import make_cohort

pytestmark = pytest.mark.django_db
TEN = [f"u{n}" for n in range(10)]


@pytest.mark.parametrize(
    ("guard", "stay", "reason"),
    [
        ({}, 1, ""),
        ({}, 0, "It would empty the cohort: all 10 users would leave."),
        ({"hold_if_emptied": False}, 0, ""),
        ({"guard_percent": 50}, 5, ""),
        ({"guard_percent": 50}, 4, "6 of 10 users (60.0 %) would leave; the limit is 50 %."),
        ({"guard_users": 5}, 5, ""),
        ({"guard_users": 5}, 4, "6 users would leave; the limit is 5."),
        ({"guard_users": 0}, 9, "1 users would leave; the limit is 0."),
    ],
)
def test_the_guard_holds_a_version_that_loses_too_many(guard, stay, reason):
    cohort = make_cohort(**guard)
    refresh.replace(cohort.pk, TEN, source="test")
    version = refresh.replace(cohort.pk, [*TEN[:stay], "x"] if stay else [], source="test")
    assert version.reason == reason
    assert version.state == (VersionState.HELD if reason else VersionState.PUBLISHED)
    cohort.refresh_from_db()
    assert cohort.version == (1 if reason else 2)


MANY = [f"u{n:03}" for n in range(101)]


@pytest.mark.parametrize(
    ("users", "guard", "stay", "held"),
    [
        (101, {}, 50, True),
        (101, {}, 51, False),
        (100, {}, 1, False),
        (101, {"hold_if_halved": False}, 1, False),
        (101, {"guard_percent": 90}, 20, False),
        (101, {"guard_percent": 90}, 5, True),
        (101, {"guard_users": 100}, 1, False),
    ],
)
def test_half_of_more_than_a_hundred_gone_waits_for_a_person_unless_it_is_switched_off(
    users, guard, stay, held
):
    cohort = make_cohort(**guard)
    refresh.replace(cohort.pk, MANY[:users], source="test")
    version = refresh.replace(cohort.pk, [*MANY[:stay], "x"], source="test")
    assert (version.state == VersionState.HELD) is held
    assert (version.entered, version.left) == (1, users - stay)
    if not guard and held:
        assert version.reason == (
            "51 of 101 users would leave, half of them or more. If such a change is usual here, "
            "switch “hold when halved” off or set a limit of your own."
        )


def test_the_first_version_and_what_a_person_names_are_not_guarded():
    cohort = make_cohort(guard_users=0)
    assert refresh.replace(cohort.pk, [], source="test").state == VersionState.PUBLISHED
    refresh.replace(cohort.pk, TEN, source="test")
    assert refresh.amend(cohort.pk, remove=TEN, source="test").state == VersionState.PUBLISHED


def test_a_refresh_whose_claim_was_taken_over_writes_nothing_more(monkeypatch):
    """The source stands for a process that is suspended while another one refreshes."""
    monkeypatch.setattr(refresh, "WRITES", 2)
    cohort = make_cohort()
    refresh.replace(cohort.pk, ["a", "b"], source="first")
    others: list[CohortVersion] = []

    def suspended():
        yield from ["c", "d", "e"]  # two of them are written by now
        Cohort.objects.filter(pk=cohort.pk).update(claim_until=Now() - CLAIM_TIME)
        others.append(refresh.replace(cohort.pk, ["a", "z"], source="other"))
        yield from ["f", "g", "h"]

    with pytest.raises(refresh.ClaimLost):
        refresh.replace(cohort.pk, suspended(), source="suspended")
    [other] = others
    cohort.refresh_from_db()
    assert (cohort.version, cohort.size, cohort.claim_until) == (other.number, 2, None)
    assert list(members.in_version(cohort.pk, other.number)) == ["a", "z"]
    assert set(Member.objects.values_list("user_id", flat=True)) == {"a", "b", "z"}
    dead = CohortVersion.objects.get(source="suspended")
    assert (dead.state, dead.reason) == (VersionState.FAILED, "The process that calculated it died.")


def test_a_claim_taken_over_after_the_last_write_publishes_nothing():
    cohort = make_cohort()
    refresh.replace(cohort.pk, ["a"], source="first")

    def taken_over(users):
        Cohort.objects.filter(pk=cohort.pk).update(claim_until=Now() - CLAIM_TIME)
        refresh.replace(cohort.pk, ["z"], source="other")

    with pytest.raises(refresh.ClaimLost):
        refresh.replace(cohort.pk, ["b"], source="late", progress=taken_over)
    cohort.refresh_from_db()
    assert list(members.in_version(cohort.pk, cohort.version)) == ["z"]


def test_what_progress_raises_at_the_end_prevents_the_publication():
    cohort = make_cohort()

    def refuses(users):
        raise refresh.RefreshError("not wanted any more")

    with pytest.raises(refresh.RefreshError):
        refresh.replace(cohort.pk, ["a"], source="test", progress=refuses)
    cohort.refresh_from_db()
    assert (cohort.version, cohort.claim_until) == (0, None)
    assert CohortVersion.objects.get().reason == "not wanted any more"


def test_the_claim_of_a_dead_process_is_free_at_once():
    cohort = make_cohort()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    machine, _, _ = owner.me().rpartition(f"/{os.getpid()}/")
    name = f"{machine}/{child.pid}/{owner._stat(str(child.pid))[19]}"
    Cohort.objects.update(claim_until=Now() + CLAIM_TIME, claim_fence=7, claim_owner=name)
    assert not owner.is_dead(name)
    with pytest.raises(refresh.CohortBusy):
        refresh.replace(cohort.pk, ["a"], source="test")
    child.kill()
    child.communicate()
    assert owner.is_dead(name)
    refresh.replace(cohort.pk, ["a"], source="test")


@pytest.mark.parametrize("name", ["", "a/b/c", "elsewhere/boot/1/2/3", "////"])
def test_of_a_stranger_we_know_nothing(name):
    assert not owner.is_dead(name)
    assert not owner.is_dead(owner.me())


def test_a_pid_that_was_given_to_a_younger_process_is_dead():
    assert owner.is_dead(owner.me().rpartition("/")[0] + "/1")


def test_a_source_in_words_is_cut_and_cleaned():
    cohort = make_cohort()
    version = refresh.replace(cohort.pk, ["a"], source="x\0\udcff" + "y" * 400)
    version.refresh_from_db()
    assert version.source == ("x?" + "y" * 400)[:300]


def test_a_cohort_that_was_deleted_is_an_error_in_words():
    with pytest.raises(refresh.RefreshError, match="^The cohort was deleted.$"):
        refresh.replace(10**6, ["a"], source="test")


@pytest.mark.skipif(connection.vendor != "sqlite", reason="Only SQLite has one writer.")
@pytest.mark.parametrize(("reading", "rests"), [(0.0, True), (0.1, False)])
def test_between_two_transactions_the_writer_is_free_as_long_as_the_first_took(monkeypatch, reading, rests):
    """Reading the source counts: nothing is locked meanwhile. After the last one nobody waits."""
    monkeypatch.setattr(refresh, "WRITES", 2)
    clock = [0.0]
    slept = []

    def sleep(seconds):
        slept.append(round(seconds, 6))
        clock[0] += seconds

    def enter(*arguments):
        clock[0] += 0.05
        write(*arguments)

    def source():
        for user_id in "abcdef":
            clock[0] += reading / 2
            yield user_id

    write = members.enter
    monkeypatch.setattr(refresh, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    monkeypatch.setattr(members, "enter", enter)
    refresh.replace(make_cohort().pk, source(), source="a test")
    assert [seconds for seconds in slept if seconds] == ([0.05, 0.05] if rests else [])


def test_blocks_of_any_size_give_the_same_moves(monkeypatch):
    """Members and those who shall be are compared block by block, whose ends seldom meet."""
    numbers = random.Random(7)
    cohort = make_cohort()
    for block in (1, 2, 3, 7, 50):
        monkeypatch.setattr(refresh, "WRITES", block)
        monkeypatch.setattr(members, "PAGE", numbers.choice([1, 3, 8]))
        before = set(members.in_version(cohort.pk, Cohort.objects.get().version))
        wanted = sorted(numbers.sample(MANY, numbers.randint(10, 40)))
        version = refresh.replace(cohort.pk, wanted, source="test")
        assert list(members.in_version(cohort.pk, version.number)) == wanted
        assert (version.entered, version.left) == (len({*wanted} - before), len(before - {*wanted}))
        add, remove = sorted(numbers.sample(MANY, 20)), sorted(numbers.sample(MANY, 20))
        version = refresh.amend(cohort.pk, add=add, remove=remove, source="test")
        expected = ({*wanted} | {*add}) - {*remove}
        assert set(members.in_version(cohort.pk, version.number)) == expected
        assert version.size == len(expected)


@pytest.mark.parametrize("users", [10_000, 30_000])
def test_what_a_refresh_asks_of_the_database_is_counted(users, django_assert_max_num_queries):
    """These numbers may only fall: of a first load, of a refresh without movers, of one user who moves."""
    cohort = make_cohort(hold_if_emptied=False)
    ids = [f"u{number:06}" for number in range(users)]
    pages = users // members.PAGE
    # Each transaction: its beginning, the claim, the write, its end.
    writes = users // refresh.WRITES
    with django_assert_max_num_queries(23 + 4 * writes):
        refresh.replace(cohort.pk, ids, source="first")
    with django_assert_max_num_queries(23 + pages):
        refresh.replace(cohort.pk, ids, source="nobody moves")
    with django_assert_max_num_queries(27 + pages):
        refresh.replace(cohort.pk, ids[1:], source="one leaves")
    with django_assert_max_num_queries(26):
        refresh.amend(cohort.pk, add=ids[:1], source="one is named")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("breaks", [False, True])
def test_only_the_publication_waits_for_the_disk_and_the_setting_is_as_before(monkeypatch, breaks):
    asked = "PRAGMA synchronous" if connection.vendor == "sqlite" else "SHOW synchronous_commit"

    def waits():
        with connection.cursor() as cursor:
            cursor.execute(asked)
            return cursor.fetchone()[0]

    def noting(*args):
        during.append(waits())
        write(*args)
        if breaks:
            raise ZeroDivisionError

    before, write = waits(), members.enter
    during: list[object] = []
    monkeypatch.setattr(members, "enter", noting)
    with nullcontext() if not breaks else pytest.raises(ZeroDivisionError):
        refresh.replace(make_cohort().pk, ["a"], source="test", progress=lambda users: None)
    assert during == [1 if connection.vendor == "sqlite" else "off"]
    assert waits() == before != during[0]
