"""Runs in the admin: history that nobody edits, live while it goes on."""

from datetime import timedelta
from itertools import islice
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter, DropdownFilter
from unfold.decorators import display

from cohorts import members
from pagekit.actions import But
from pagekit.filters import TimeRangeFilter
from pagekit.lists import GlanceAdmin
from syncs import lifecycle
from syncs.admin import columns
from syncs.admin.history import HistoryAdmin, RunAction
from syncs.choices import DRIVABLE_RUNS, OPEN_RUNS, BatchState, RunMode, RunState, Step, Trigger
from syncs.models import Batch, Driver, Run
from syncs.plan import Plan
from syncs.progress import Progress, span
from syncs.status.state import BATCH_TONES, run_label, users

BATCHES = 50
SAMPLE = 20


# --- actions --------------------------------------------------------------------------------------


def cancel(run: Run, by: str) -> str:
    lifecycle.cancel(run, by=by)
    return "The run is being cancelled: what is in flight comes to its end, nothing more is sent."


def _resume(run: Run, by: str) -> str:
    emptying = run.mode == RunMode.EMPTY
    mode = RunMode.EMPTY if emptying else RunMode.CHANGES
    taken = lifecycle.start(run.sync, trigger=Trigger.PERSON, mode=mode, by=by, approved=emptying)
    if taken.pk != run.pk:
        return said(run, f"Run {taken.pk} takes over.")
    return said(run, "The run goes on where it stopped, with its own target.")


def try_now(run: Run, by: str) -> str:
    if not Driver.objects.try_now(run.sync.destination_id):
        raise lifecycle.CannotRun("Its destination is not parked any more.")
    return said(run, "The wait is over: the worker goes on.")


def approve(run: Run, by: str) -> str:
    lifecycle.approve(run, by=by)
    return said(run, "Approved: the worker sends it.")


def refuse(run: Run, by: str) -> str:
    lifecycle.refuse(run, by=by)
    return "Refused: nothing of it is sent."


def said(run: Run, text: str) -> str:
    """Return what was done; with what stands in its way, if something does."""
    destination = run.sync.destination
    if destination.is_paused:
        return But(f"{text} But its destination is paused: {destination.pause_reason}")
    return text


def would_do(run: Run) -> str:
    """Return what a held run is to do, with the numbers and the partner."""
    held = members.size_of(run.sync.sent_id, run.from_version) if run.from_version else 0
    return (
        f"It adds {users(run.planned_adds or 0)} to {run.sync.destination} and removes "
        f"{users(run.planned_removes or 0)} of the {held:,} that are there now. When the cohort has changed "
        "since, you are asked again with the new numbers."
    )


def has_done(run: Run) -> str:
    """Return how far a run is that somebody wants to stop."""
    planned = run.planned
    share = f"{run.done:,} of {users(planned)}" if planned is not None else users(run.done)
    return (
        f"Run {run.pk} has sent {share} to {run.sync.destination}. What it has sent stays there; "
        "the next run puts right whatever was left half done."
    )


def _may_go_on(run: Run) -> bool:
    """Whether it is its sync's latest; of an archived sync only the emptying goes on."""
    if run.sync.archived_at and run.mode != RunMode.EMPTY:
        return False
    return not Run.objects.filter(sync=run.sync_id, pk__gt=run.pk).exists()


ACTIONS = (
    RunAction(
        "approve",
        "Approve",
        "check",
        approve,
        lambda run: run.state == RunState.HELD,
        question="Let this run do what it was held for?",
        consequence=would_do,
        variant="primary",
    ),
    RunAction(
        "refuse",
        "Refuse",
        "block",
        refuse,
        lambda run: run.state == RunState.HELD,
        question="End this run without sending it?",
        consequence=lambda run: (
            f"{run.sync.destination} keeps what it has. The next run plans anew, and may be held again."
        ),
        variant="danger",
    ),
    RunAction(
        "resume",
        "Resume",
        "play_arrow",
        _resume,
        lambda run: run.state == RunState.FAILED and _may_go_on(run),
        variant="primary",
    ),
    RunAction(
        "try-now",
        "Try again now",
        "play_arrow",
        try_now,
        lambda run: run.state == RunState.PARKED,
        variant="primary",
    ),
    RunAction(
        "cancel",
        "Cancel",
        "stop",
        cancel,
        # A held one is refused.
        lambda run: run.state in DRIVABLE_RUNS and not run.cancel_requested,
        question="Cancel this run?",
        consequence=has_done,
        variant="danger",
    ),
)


class BeganFilter(DropdownFilter):
    """By when runs began: "what ran last night?"."""

    title = "began"
    parameter_name = "began"
    HOURS = {
        "1": "In the last hour",
        "12": "In the last 12 hours",
        "24": "In the last day",
        "168": "In 7 days",
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(self.HOURS.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        chosen = self.value()
        if chosen not in self.HOURS:
            return queryset
        return queryset.filter(started_at__gte=timezone.now() - timedelta(hours=int(chosen)))


class FaredFilter(DropdownFilter):
    """By how runs fared, also before they were tried again: "what failed last night?"."""

    title = "fared"
    parameter_name = "fared"
    QUERIES = {
        "failed": (
            "Failed, or failed before it was tried again",
            Q(state=RunState.FAILED) | Q(tries__isnull=False),
        ),
        "clean": ("Never failed", ~Q(state=RunState.FAILED) & Q(tries__isnull=True)),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, words) for value, (words, _) in self.QUERIES.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        chosen = self.value()
        return queryset.filter(self.QUERIES[chosen][1]).distinct() if chosen in self.QUERIES else queryset


@admin.register(Run)
class RunAdmin(HistoryAdmin, GlanceAdmin):
    row_actions = ACTIONS
    page_template = "syncs/run.html"
    list_display = (
        *("name", "sync_shown", "state_shown", "users_shown", "bad", "why", "began", "took", "mode", "who"),
    )
    hidden_columns = ("mode",)
    list_filter = (
        ("state", ChoicesDropdownFilter),
        ("mode", ChoicesDropdownFilter),
        ("trigger", ChoicesDropdownFilter),
        FaredFilter,
        BeganFilter,
        ("started_at", TimeRangeFilter),
        ("sync__cohort", AutocompleteSelectFilter),
        ("sync__destination", AutocompleteSelectFilter),
    )
    list_filter_submit = True
    list_fullwidth = True
    list_per_page = 50
    list_before_template = "syncs/runs_before.html"
    search_fields = ("sync__cohort__name", "sync__cohort__key", "sync__destination__name")
    search_help_text = "Cohort or destination"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("<int:run_id>/progress/", view(self.progress_view), name="syncs_run_progress"),
            path("<int:run_id>/batches/<int:number>/", view(self.batch_view), name="syncs_run_batch"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        found: QuerySet[Run] = super().get_queryset(request)
        return found.select_related("sync__cohort", "sync__destination__driver")

    @display(description="Run", ordering="pk")
    def name(self, run: Run) -> str:
        return f"Run {run.pk}"

    @display(description="Sync", ordering="sync__cohort__name")
    def sync_shown(self, run: Run) -> SafeString:
        return columns.pair(run.sync)

    @display(description="State", ordering="state")
    def state_shown(self, run: Run) -> SafeString:
        return columns.label(*run_label(run.state, run.cohort_error))

    @display(description="Why")
    def why(self, run: Run) -> str:
        return run.reason or run.trouble or run.cohort_error

    @display(description="Began", ordering="started_at")
    def began(self, run: Run) -> SafeString:
        return columns.exactly(run.started_at)

    @display(description="Took")
    def took(self, run: Run) -> str:
        seconds = columns.duration(run)
        return "–" if seconds is None else span(seconds)

    @display(description="Added / removed")
    def users_shown(self, run: Run) -> str:
        return f"{run.added:,} / {run.removed:,}"

    @display(description="Rejected / not delivered", ordering="rejected")
    def bad(self, run: Run) -> str:
        return f"{run.rejected:,} / {run.undelivered:,}"

    @display(description="Started by", ordering="trigger")
    def who(self, run: Run) -> str:
        return trigger_words(run)

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        run: Run = row
        now = timezone.now()
        progress = Progress.of(run, now)
        driver = getattr(run.sync.destination, "driver", None)
        return {
            "run": run,
            "progress": progress,
            "polls": bool(run.sync.destination.poll_path),
            "words": progress.words(),
            "trigger": trigger_words(run),
            "began": columns.when(run.started_at, now),
            "ended": columns.when(run.finished_at, now),
            "sync_url": columns.sync_url(run.sync_id),
            "pair": columns.pair(run.sync),
            "driven_by": columns.driven_by(driver, now) if run.state == RunState.RUNNING else "",
            "parked": driver if driver and driver.next_at and driver.next_at > now else None,
            "parked_until": columns.when(driver.next_at, now) if driver else "",
            "rejections_url": columns.rejections_url(f"run__id__exact={run.pk}"),
            "progress_url": reverse("admin:syncs_run_progress", args=[run.pk]),
            "tries": [
                {
                    "began": columns.when(tried.began_at, now),
                    "ended": columns.when(tried.ended_at, now),
                    "reason": tried.reason,
                }
                for tried in run.tries.all()
            ],
            "samples": _samples(run) if run.state == RunState.HELD else [],
            **_batches(request, run),
        }

    def progress_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        """Return how far a run is, as JSON; its page asks while the run is open."""
        progress = Progress.of(self._run(request, run_id), timezone.now())
        answer = {
            "open": progress.is_open,
            "label": progress.label,
            "tone": progress.tone,
            "percent": progress.percent,
            "words": progress.words(),
        }
        return JsonResponse(answer, headers={"Cache-Control": "no-store"})

    def batch_view(self, request: HttpRequest, run_id: int, number: int) -> HttpResponse:
        """Show a batch: its last request and reply, and each request that was not simply answered."""
        run = self._run(request, run_id)
        batch = get_object_or_404(Batch, run=run, number=number)
        state = BatchState(batch.state)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Batch {number:,}",
            "opts": self.opts,
            "original": run,
            "batch": batch,
            "label": columns.label(state.label, BATCH_TONES[state]),
            "attempts": batch.attempts.all()[:BATCHES],
            "more": max(batch.attempts.count() - BATCHES, 0),
            "ids": (batch.user_ids or [])[:BATCHES],
            "settled": columns.when(batch.settled_at),
            "accepted": columns.when(batch.job_since),
            "pair": columns.pair(run.sync),
            "back": columns.run_url(run.pk),
        }
        return TemplateResponse(request, "syncs/batch.html", context)

    def _run(self, request: HttpRequest, run_id: int) -> Run:
        if not self.has_view_permission(request):
            raise PermissionDenied
        run: Run | None = self.get_object(request, str(run_id))
        if run is None:
            raise Http404
        return run


def trigger_words(run: Run) -> str:
    """Return who or what started a run."""
    words = Trigger(run.trigger).label
    return f"{words}, {run.triggered_by}" if run.triggered_by else words


def _samples(run: Run) -> list[tuple[str, list[str]]]:
    """Return the first of those whom a held run would add, and remove."""
    plan = Plan.of(run)
    return [(words, list(islice(plan.users(step), SAMPLE))) for words, step in _STEPS]


_STEPS = (("Adds", Step.ADD), ("Removes", Step.REMOVE))


def _batches(request: HttpRequest, run: Run) -> dict[str, Any]:
    """Return a page of the run's batches, those of one state if one was asked for; live, the last first."""
    found = run.batches.order_by("-number" if run.state in OPEN_RUNS else "number")
    wanted = request.GET.get("batches", "")
    if wanted in BatchState.values:
        found = found.filter(state=wanted)
    heavy = ("request_head", "reply_head", "user_ids")
    page = Paginator(found.defer(*heavy), BATCHES).get_page(request.GET.get("page"))
    return {
        "page": page,
        "rows": [_row(run, batch) for batch in page],
        "batch_states": BatchState.choices,
        "batch_state": wanted if wanted in BatchState.values else "",
    }


def _row(run: Run, batch: Batch) -> dict[str, Any]:
    state = BatchState(batch.state)
    return {
        "batch": batch,
        "label": columns.label(state.label, BATCH_TONES[state]),
        "url": reverse("admin:syncs_run_batch", args=[run.pk, batch.number]),
    }
