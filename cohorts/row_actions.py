"""What a person can do with a cohort, and the pages about it."""

from collections.abc import Callable
from datetime import datetime

from django.urls import reverse
from django.utils import timezone

from cohorts import asked, refresh
from cohorts.choices import CALCULATED, ScheduleKind, SourceKind
from cohorts.definitions import DefinitionError
from cohorts.models import Cohort
from cohorts.previewing import last_before_window
from events.engine import EngineError
from pagekit.actions import Action, Page, Refused

MAY_DECIDE = "cohorts.change_cohortversion"


def _calculate(cohort: Cohort, by: str) -> str:
    try:
        made = asked.ask(cohort)
    except refresh.OutsideWindow as error:
        raise Refused(str(error)) from None
    if not made:
        raise Refused("This cohort is not calculated: its members are given to it.")
    return "The worker calculates the cohort now; load the page again to see the result."


def _ask_before_calculating(cohort: Cohort) -> str:
    return "Calculate it, although all of its events are old?" if _last_event(cohort) else ""


def _calculating(cohort: Cohort) -> str:
    last = _last_event(cohort)
    return (
        f"The last event of “{cohort.events_workspace}” is of {last:%Y-%m-%d}, before all that the "
        f"definition looks at. As of now, most of its {cohort.size:,} users would probably leave. "
        "“Preview” with a time, "
        "on its page “Edit”, shows whom it finds as of then."
        if last
        else ""
    )


def _last_event(cohort: Cohort) -> datetime | None:
    """Return the last event's time if it is too old for the definition."""
    if cohort.source_kind != SourceKind.BEHAVIORAL:
        return None
    try:
        return last_before_window(cohort.definition, cohort.events_workspace, timezone.now())
    except (DefinitionError, EngineError):  # said where it is calculated
        return None


def _approve(cohort: Cohort, by: str) -> str:
    number = _held(cohort)
    refresh.approve(cohort.pk, number, by=by)
    return f"Version {number} approved: it is published."


def _refuse(cohort: Cohort, by: str) -> str:
    number = _held(cohort)
    refresh.refuse(cohort.pk, number, by=by)
    return f"Version {number} refused: the cohort stays as it is."


def _held(cohort: Cohort) -> int:
    if cohort.held_number is None:
        raise Refused("No version is held any more.")
    return cohort.held_number


def _is_held(cohort: Cohort) -> bool:
    return cohort.held_number is not None


def _what_is_held(cohort: Cohort) -> str:
    return str(cohort.held_number or "")


def _publishing(cohort: Cohort) -> str:
    version = cohort.versions.get(number=_held(cohort))
    return (
        f"Version {version.number} has {version.size:,} users instead of {cohort.size:,}: "
        f"{version.entered:,} enter, {version.left:,} leave. {version.reason} "
        "The next run of each sync sends it on."
    )


def _at(name: str) -> Callable[[Cohort], str]:
    return lambda cohort: reverse(f"admin:cohorts_{name}", args=[cohort.pk])


def _send_on(cohort: Cohort) -> str:
    follows = "&schedule_kind=changes" if cohort.schedule_kind == ScheduleKind.CHANGES else ""
    return f"{reverse('admin:syncs_sync_new')}?cohort={cohort.pk}{follows}"


def _copy(cohort: Cohort) -> str:
    return f"{reverse('admin:cohorts_cohort_add')}?copy={cohort.pk}"


def _has_members(cohort: Cohort) -> bool:
    return cohort.version > 0


ACTIONS = (
    Action(
        "approve",
        "Approve",
        "check",
        _approve,
        _is_held,
        question="Publish the version that is held?",
        consequence=_publishing,
        permission=MAY_DECIDE,
        variant="primary",
        seen=_what_is_held,
    ),
    Action(
        "refuse",
        "Refuse",
        "block",
        _refuse,
        _is_held,
        question="Keep the cohort as it is?",
        consequence=lambda cohort: (
            f"Version {cohort.held_number} is dropped; the next refresh may be held again."
        ),
        permission=MAY_DECIDE,
        seen=_what_is_held,
    ),
    Action(
        "calculate",
        "Calculate now",
        "refresh",
        _calculate,
        lambda cohort: cohort.source_kind in CALCULATED,
        question=_ask_before_calculating,
        consequence=_calculating,
        permission=MAY_DECIDE,
    ),
)
PAGES = (
    Page(
        "upload",
        "Upload users",
        "upload",
        url=_at("upload"),
        permission="cohorts.add_upload",
        offered=lambda cohort: cohort.source_kind == SourceKind.UPLOAD,
        variant="primary",
    ),
    Page("send", "Send it to a destination", "send", url=_send_on, permission="syncs.add_sync"),
    Page("members", "Members", "group", url=_at("members"), offered=_has_members, tab=True),
    Page("versions", "Versions", "history", url=_at("versions"), tab=True),
    Page(
        "why",
        "Why is a user in or not?",
        "help",
        url=_at("why"),
        offered=lambda cohort: cohort.source_kind == SourceKind.BEHAVIORAL,
        tab=True,
    ),
    Page("copy", "Copy", "content_copy", url=_copy, permission="cohorts.add_cohort"),
    Page("export", "Export", "download", url=_at("export"), offered=_has_members),
)
