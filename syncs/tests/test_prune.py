"""Pruning: what goes, and that nothing goes which a sync may still be compared with."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from cohorts import members, refresh
from cohorts.models import Cohort, Member
from destinations.models import Destination
from syncs.models import Alert, Run, Sync
from syncs.prune import floor_of, prune

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def cohort():
    """Version 1: a b c, 2: b c d, 3: c d e, 4: d e f."""
    made = Cohort.objects.create(key="c", name="C")
    for ids in ("abc", "bcd", "cde", "def"):
        refresh.replace(made.pk, list(ids), source="test")
    made.refresh_from_db()
    return made


@pytest.fixture
def sync(cohort):
    destination = Destination.from_preset("amplitude-list")
    destination.name, destination.base_url = "d", "https://partner.example"
    destination.save()
    return Sync.objects.create(cohort=cohort, destination=destination)


def later():
    return timezone.now() + timedelta(days=1)


def test_prune__without_a_sync__keeps_the_latest_version_only(cohort):
    assert prune(before=later()).intervals == 3
    assert list(members.in_version(cohort.pk, 4)) == list("def")
    assert Member.objects.filter(cohort=cohort).count() == 3


def test_prune__below_a_settled_version__is_an_error_and_not_an_empty_answer(cohort, sync):
    Sync.objects.filter(pk=sync.pk).update(settled_version=3)
    prune(before=later())
    with pytest.raises(members.UnreadableVersion):
        members.readable(cohort.pk, 2)
    moves = members.moves_page(cohort.pk, 3, 4, "", 10)
    assert moves == [("c", True, False), ("f", False, True)]


@pytest.mark.parametrize(
    ("settled", "dirty", "floor"), [(0, False, 4), (0, True, 0), (2, False, 2), (2, True, 2), (4, False, 4)]
)
def test_floor__is_what_the_sync_may_be_compared_with(cohort, sync, settled, dirty, floor):
    Sync.objects.filter(pk=sync.pk).update(settled_version=settled, dirty=dirty)
    assert floor_of(cohort) == floor


def test_floor__of_a_failed_run__is_where_it_began(cohort, sync):
    Sync.objects.filter(pk=sync.pk).update(settled_version=3)
    Run.objects.create(sync=sync, trigger="command", from_version=1, to_version=2, state="failed")
    assert floor_of(cohort) == 1


def test_prune__of_versions_within_the_retention__keeps_them(cohort, sync):
    Sync.objects.filter(pk=sync.pk).update(settled_version=4)
    assert prune(before=timezone.now() - timedelta(days=1)).intervals == 0
    assert list(members.in_version(cohort.pk, 1)) == list("abc")


def test_prune__of_runs__keeps_the_last_of_each_sync_and_open_ones(cohort, sync):
    old = timezone.now() - timedelta(days=200)
    for state in ("succeeded", "failed", "succeeded", "pending"):
        Run.objects.create(
            sync=sync, trigger="command", from_version=0, to_version=1, state=state, finished_at=old
        )
    out = StringIO()
    call_command("prune_history", "--json", stdout=out)
    assert '"runs": 3' in out.getvalue()
    assert [run.state for run in Run.objects.all()] == ["pending"]


def test_old_alerts_go_and_new_ones_stay(sync):
    old = Alert.objects.create(sync=sync, kind="failing", sentence="Bad key.")
    Alert.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=100))
    kept = Alert.objects.create(sync=sync, kind="recovered", sentence="All is well again.")
    prune(before=timezone.now() - timedelta(days=90))
    assert Alert.objects.get() == kept
