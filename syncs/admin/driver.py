"""Drivers in the admin: who sends to a destination now, and until when nobody does."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.decorators import display

from syncs.admin import columns
from syncs.admin.history import HistoryAdmin, RunAction
from syncs.choices import OPEN_RUNS
from syncs.lifecycle import CannotRun
from syncs.models import Driver, Run
from syncs.status.state import Tone


def _try_now(driver: Driver, by: str) -> str:
    if not Driver.objects.try_now(driver.pk):
        raise CannotRun("It was not parked any more.")
    if driver.destination.is_paused:
        return f"The wait is over, but the destination is paused: {driver.destination.pause_reason}"
    return "The wait is over: the worker tries again."


def _forget_size(driver: Driver, by: str) -> str:
    if not Driver.objects.forget_size(driver.pk):
        raise CannotRun("There was no size to forget.")
    return f"Forgotten: batches of {driver.destination.batch_size:,} users are sent again."


ACTIONS = (
    RunAction(
        "try-now",
        "Try again now",
        "play_arrow",
        _try_now,
        lambda driver: driver.next_at is not None,
        variant="primary",
    ),
    RunAction(
        "forget-size",
        "Forget the learned batch size",
        "ink_eraser",
        _forget_size,
        lambda driver: driver.learned_size is not None,
    ),
)


@admin.register(Driver)
class DriverAdmin(HistoryAdmin):
    row_actions = ACTIONS
    page_template = "syncs/driver.html"
    list_display = ("destination", "state", "driven", "size")
    list_before_template = "syncs/drivers_before.html"
    search_fields = ("destination__name", "destination__title")
    search_help_text = "Destination"
    ordering = ("destination__name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Driver]:
        found: QuerySet[Driver] = super().get_queryset(request)
        return found.select_related("destination")

    @display(description="State")
    def state(self, driver: Driver) -> SafeString:
        return columns.label(*driver_state(driver))

    @display(description="Driven by")
    def driven(self, driver: Driver) -> str:
        return columns.driven_by(driver, timezone.now()) or "–"

    @display(description="Users a request")
    def size(self, driver: Driver) -> str:
        own = driver.destination.batch_size
        return f"{driver.learned_size:,}, learned (set: {own:,})" if driver.learned_size else f"{own:,}"

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        driver: Driver = row
        now = timezone.now()
        text, tone, sentence = driver_state(driver)
        runs = Run.objects.filter(sync__destination=driver.pk, state__in=OPEN_RUNS)
        return {
            "driver": driver,
            "label": columns.label(text, tone),
            "sentence": sentence,
            "driven_by": columns.driven_by(driver, now),
            "size": self.size(driver),
            "open_runs": [
                (columns.run_url(run.pk), run, columns.pair(run.sync))
                for run in runs.select_related("sync__cohort", "sync__destination")[:50]
            ],
        }


def driver_state(driver: Driver) -> tuple[str, Tone, str]:
    """Return how a destination's sending stands: label, tone, sentence."""
    now = timezone.now()
    if driver.destination.is_paused:
        return "Paused", Tone.BAD, driver.destination.pause_reason
    if driver.next_at and driver.next_at > now:
        exact = timezone.localtime(driver.next_at)
        return "Parked", Tone.CARE, f"Until {exact:%Y-%m-%d %H:%M:%S %Z}. {driver.next_reason}".strip()
    if driver.until and driver.until > now:
        return "Sending", Tone.BUSY, ""
    return "Idle", Tone.QUIET, ""
