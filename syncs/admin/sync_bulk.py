"""What is done with several syncs of the list at once."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from cohorts.choices import ScheduleKind
from cohorts.schedule import InvalidSchedule, parse
from pagekit.actions import Person
from pagekit.bulk import Bulk, several
from syncs.admin.sync_actions import ACTIONS
from syncs.models import Sync
from syncs.status.state import users

MAY_CHANGE = "syncs.change_sync"


class ScheduleForm(forms.Form):
    """A schedule for several syncs; one that runs once is given to each by itself."""

    schedule_kind = forms.ChoiceField(
        label="Schedule",
        choices=[choice for choice in ScheduleKind.choices if choice[0] != ScheduleKind.ONCE],
        widget=UnfoldAdminSelectWidget,
    )
    schedule_at = forms.TimeField(
        label="Daily at",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "time"}),
        help_text="For every day at a time.",
    )
    schedule_cron = forms.CharField(
        label="Cron expression",
        required=False,
        max_length=100,
        widget=UnfoldAdminTextInputWidget(),
        help_text="Five fields: minute, hour, day of month, month, day of week. Example: 15 */4 * * 1-5",
    )
    timezone = forms.CharField(
        label="Time zone",
        max_length=64,
        initial=timezone.get_current_timezone_name,
        widget=UnfoldAdminTextInputWidget(),
    )

    def clean(self) -> dict[str, Any]:
        given = self.cleaned_data
        if not self.errors:
            try:
                parse(
                    kind=given["schedule_kind"],
                    at=given["schedule_at"],
                    cron=given["schedule_cron"],
                    timezone=given["timezone"],
                )
            except InvalidSchedule as error:
                self.add_error(error.field, error.message)
        return given


def _reschedule(sync: Sync, by: Person, given: dict[str, Any]) -> str:
    for name, value in given.items():
        setattr(sync, name, value)
    sync.reschedule(timezone.now())
    sync.save(update_fields=[*given, "next_due_at"])
    return f"{sync.schedule().describe()}."


def _running(syncs: Sequence[Sync]) -> str:
    there = len({sync.destination_id for sync in syncs})
    most = users(sum(sync.cohort.size for sync in syncs))
    return (
        f"Each brings its partner to its cohort's latest version: {there} destination{'s' * (there != 1)}, "
        f"{most} in all if nobody is there yet, else those who moved. Guards may hold a run for a person."
    )


BULK = (
    several(
        next(action for action in ACTIONS if action.name == "run"),
        _running,
        offered=lambda sync: sync.enabled and sync.cohort.version > 0,
    ),
    several(
        next(action for action in ACTIONS if action.name == "pause"),
        lambda syncs: (
            f"The schedules of these {len(syncs)} start nothing until somebody resumes them. Runs that go on "
            "are stopped: what is in flight comes to its end, and partners may hold a part."
        ),
    ),
    several(
        next(action for action in ACTIONS if action.name == "resume"),
        lambda syncs: f"The schedules of these {len(syncs)} start runs again.",
    ),
    Bulk(
        "schedule",
        "Change the schedule",
        _reschedule,
        lambda syncs: f"These {len(syncs)} run at the times below from now on; open runs are left alone.",
        MAY_CHANGE,
        offered=lambda sync: sync.archived_at is None,
        form=ScheduleForm,
    ),
)
