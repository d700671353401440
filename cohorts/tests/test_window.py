"""A cohort's active window: nothing makes a version outside of it, and at its end it is emptied or left."""

from datetime import datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from cohorts import asked, calculate, members, refresh, window
from cohorts.choices import ScheduleKind, SourceKind, WhenOver
from cohorts.models import Cohort
from people import suppression
from people.identifiers import Kind
from tests import world

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)


def cohort_of(users: list[str], *, begins: timedelta | None = None, ends: timedelta | None = None) -> Cohort:
    """A cohort with members, whose window begins and ends so long from now."""
    made = world.cohort(users, key="spring")
    now = timezone.now()
    made.active_from = now + begins if begins else None
    made.active_to = now + ends if ends else None
    made.save(update_fields=["active_from", "active_to"])
    return made


@pytest.mark.parametrize(
    ("begins", "ends", "said"), [(DAY, None, "begins at"), (None, -DAY, "set a later end")]
)
def test_outside_of_it_no_version_is_made(
    begins: timedelta | None, ends: timedelta | None, said: str
) -> None:
    cohort = cohort_of(["a", "b"], begins=begins, ends=ends)
    for write in (
        lambda: refresh.replace(cohort.pk, ["c"], source="a test"),
        lambda: refresh.amend(cohort.pk, add=["c"], source="a test"),
        lambda: calculate.calculate(cohort),
        lambda: asked.ask(cohort),
    ):
        with pytest.raises(refresh.OutsideWindow, match=said):
            write()
    cohort.refresh_from_db()
    assert (cohort.version, cohort.size, cohort.claim_until, cohort.calculation_error) == (1, 2, None, "")
    assert cohort.versions.count() == 1


def test_within_it_all_is_as_ever() -> None:
    cohort = cohort_of(["a"], begins=-DAY, ends=DAY)
    assert refresh.replace(cohort.pk, ["a", "b"], source="a test").size == 2
    assert window.empty_ended(timezone.now()) == []


def test_at_its_end_it_is_emptied_once_though_a_guard_would_hold_it() -> None:
    cohort = cohort_of([f"u{n}" for n in range(300)], ends=-DAY)
    Cohort.objects.filter(pk=cohort.pk).update(hold_if_emptied=True, hold_if_halved=True)
    assert [one.key for one in window.empty_ended(timezone.now())] == ["spring"]
    cohort.refresh_from_db()
    assert (cohort.version, cohort.size, cohort.held_number) == (2, 0, None)
    assert list(members.in_version(cohort.pk, 2)) == []
    version = cohort.versions.get(number=2)
    assert (version.left, version.decided_by, version.source) == (300, "window", window.SOURCE)
    assert window.empty_ended(timezone.now()) == []


def test_what_is_held_goes_with_it_and_who_is_suppressed_does_not_come_back() -> None:
    someone = [suppression.entry_of(Kind.USER_ID, "u0")]
    suppression.add(someone, suppression.Said())
    cohort = cohort_of([f"u{n}" for n in range(300)])
    Cohort.objects.filter(pk=cohort.pk).update(hold_if_emptied=True)
    assert refresh.replace(cohort.pk, [], source="a test").state == "held"
    Cohort.objects.filter(pk=cohort.pk).update(active_to=timezone.now() - DAY)
    window.empty_ended(timezone.now())
    suppression.lift(someone)
    refresh.apply_suppressions(cohort.pk)
    cohort.refresh_from_db()
    assert (cohort.size, cohort.held_number, cohort.held_back) == (0, None, 0)


def test_it_can_be_left_as_it_is() -> None:
    cohort = cohort_of(["a"], ends=-DAY)
    Cohort.objects.filter(pk=cohort.pk).update(when_over=WhenOver.LEAVE)
    assert window.empty_ended(timezone.now()) == []


def test_what_another_process_refreshes_is_emptied_at_the_next_turn() -> None:
    cohort = cohort_of(["a"], ends=-DAY)
    Cohort.objects.filter(pk=cohort.pk).update(claim_until=timezone.now() + DAY)
    assert window.empty_ended(timezone.now()) == []
    Cohort.objects.filter(pk=cohort.pk).update(claim_until=None)
    assert len(window.empty_ended(timezone.now())) == 1


def test_its_schedule_begins_and_ends_with_it() -> None:
    now = datetime.fromisoformat("2026-03-01T12:30:00Z")
    cohort = Cohort(schedule_kind=ScheduleKind.HOURLY, source_kind=SourceKind.BEHAVIORAL)
    cohort.active_from, cohort.active_to = now + DAY, now + 2 * DAY
    due = cohort.due_after(now)
    assert due is not None and now + DAY < due <= now + DAY + timedelta(hours=1)
    assert cohort.due_after(now + 2 * DAY - timedelta(minutes=10)) is None


def test_one_that_is_closed_is_never_due() -> None:
    cohort = cohort_of(["a"], ends=-DAY)
    Cohort.objects.filter(pk=cohort.pk).update(source_kind="behavioral", next_due_at=timezone.now() - DAY)
    assert not asked.any_due(timezone.now())
    assert calculate.calculate_due(timezone.now()) == []


def test_an_end_before_the_beginning_is_refused() -> None:
    cohort = cohort_of(["a"], begins=DAY, ends=-DAY)
    with pytest.raises(ValidationError, match="ends before it begins"):
        cohort.clean()
