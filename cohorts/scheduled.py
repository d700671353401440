"""The fields and methods of what runs on a schedule: syncs, and cohorts that are calculated."""

from datetime import datetime
from typing import ClassVar

from django.core.exceptions import ValidationError
from django.db import models

from cohorts import schedule
from cohorts.choices import ScheduleKind


class Scheduled(models.Model):
    """A row with a schedule; `next_due_at` is what a worker asks for."""

    SCHEDULE_FIELDS: ClassVar[tuple[str, ...]] = (
        *("schedule_kind", "schedule_once_at", "schedule_at", "schedule_cron", "timezone"),
    )

    schedule_kind = models.CharField(
        "schedule", max_length=20, choices=ScheduleKind, default=ScheduleKind.MANUAL
    )
    schedule_once_at = models.DateTimeField(
        "once at", null=True, blank=True, help_text="For a schedule that runs once."
    )
    schedule_at = models.TimeField(
        "daily at", null=True, blank=True, help_text="For a daily schedule, in the time zone below."
    )
    schedule_cron = models.CharField(
        "cron expression",
        max_length=100,
        blank=True,
        help_text="Five fields: minute, hour, day of month, month, day of week. Example: 15 */4 * * 1-5",
    )
    timezone = models.CharField(
        "time zone", max_length=64, default="UTC", help_text="Of the schedule, for example Europe/Berlin."
    )
    next_due_at = models.DateTimeField(null=True, editable=False, db_index=True)

    class Meta:
        abstract = True

    def clean(self) -> None:
        super().clean()
        try:
            self.schedule()
        except schedule.InvalidSchedule as error:
            raise ValidationError({error.field: error.message}) from None

    def reschedule(self, now: datetime) -> None:
        """Set the next due time from the schedule; call it before saving a row whose schedule changed."""
        self.next_due_at = self.due_after(now)

    def due_after(self, now: datetime) -> datetime | None:
        """Return when the schedule names it next; raises schedule.InvalidSchedule."""
        return self.schedule().next_after(now)

    def come_due(self, next_due_at: datetime | None) -> bool:
        """Take this row's due time, and set the next; of several processes that try, one succeeds."""
        due = type(self)._default_manager.filter(pk=self.pk, next_due_at=self.next_due_at)
        self.next_due_at = next_due_at
        return due.update(next_due_at=next_due_at) == 1

    def schedule(self) -> schedule.Schedule:
        """Return the schedule as a value; raises schedule.InvalidSchedule."""
        return schedule.parse(
            kind=self.schedule_kind,
            once_at=self.schedule_once_at,
            at=self.schedule_at,
            cron=self.schedule_cron,
            timezone=self.timezone,
        )
