"""Syncs in the admin: how they stand, their form, and what a person can do to them."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import F, Q, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST, require_safe
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter, DropdownFilter
from unfold.decorators import display
from unfold.views import ChangeList
from unfold.widgets import UnfoldAdminTextInputWidget

from cohorts.choices import VersionState
from cohorts.definitions.parse import timezones
from cohorts.models import Cohort, CohortVersion
from cohorts.schedule import InvalidSchedule
from destinations.mapping import PLAIN
from destinations.models import Destination
from destinations.payloads import TemplateError, external_name
from destinations.secrets import SecretUnreadable
from pagekit.actions import Page, Refused
from pagekit.bulk import BulkAdmin
from pagekit.lists import Column, GlanceAdmin, GlanceChangeList
from pagekit.overview import OverviewAdmin
from pagekit.shown_if import shown_if
from pagekit.times import moment_of
from people import profiles
from syncs import held, lifecycle, projecting, rejected_csv, reporting
from syncs.admin import columns, new_sync
from syncs.admin.chart import chart_of
from syncs.admin.forms import LongSelect, SyncForm
from syncs.admin.glance import trends
from syncs.admin.sync_actions import ACTIONS, COMPARING, can_go_back
from syncs.admin.sync_bulk import BULK
from syncs.choices import (
    ASKED_MODES,
    OPEN_COMPARISONS,
    OPEN_RUNS,
    CompareState,
    DifferenceKind,
    RunMode,
    RunState,
    Trigger,
)
from syncs.models import Run, Sync
from syncs.preview import preview
from syncs.progress import Progress
from syncs.status import attention, compared
from syncs.status.attention import Need, with_need
from syncs.status.facts import facts_of, last_runs
from syncs.status.state import Tone, run_label, state_of

RECENT_RUNS = 10
CHARTED_RUNS = 40
TIMES = 5
SHOWN_VERSIONS = 50
SHOWN_USERS = 100
# Of what a run would send, a page counts this many one by one, and says "at least" of more.
MOST_COUNTED = 10_000
# And of users who are not sendable, it lists so many.
MOST_LISTED = 200
# Of how many members a page finds out by what the partner would know them.
MOST_MATCHED = 1_000


# The partner holds what the cohort is now; or what its projection is, which is made of that.
LATEST = Q(projection=None, settled_version=F("cohort__version")) | Q(
    projection__isnull=False,
    settled_version=F("projection__version"),
    projection__projected_version=F("cohort__version"),
)


def _can_be_read(sync: Sync) -> bool:
    return bool(sync.destination.read_path)


class StateFilter(DropdownFilter):
    """By how a sync stands, as the database can tell it. Archived ones are left out unless asked for."""

    title = "state"
    parameter_name = "state"

    ATTENTION = "attention"
    QUERIES = {
        "equal": ("Equal", LATEST & Q(settled_version__gt=0, dirty=False, pinned_version=None)),
        "behind": ("Behind", Q(pinned_version=None) & (~LATEST | Q(dirty=True))),
        "open": ("Running or waiting", Q(last_state__in=[RunState.PENDING, RunState.RUNNING])),
        "parked": ("Parked", Q(last_state=RunState.PARKED)),
        "held": ("Held for approval", Q(last_state=RunState.HELD)),
        "failed": ("Failed", Q(last_state=RunState.FAILED)),
        "rejected": ("Users rejected or not delivered", Q(last_state=RunState.PARTIAL)),
        "paused": ("Paused", Q(enabled=False)),
        "set_back": ("Set back", Q(pinned_version__isnull=False)),
        "destination": ("Destination paused", Q(destination__paused_at__isnull=False)),
        "empty": ("Not calculated yet", Q(cohort__version=0)),
        "archived": ("Archived", Q(archived_at__isnull=False)),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        needs = [(f"{self.ATTENTION}-{need.value}", f"Needs attention: {need.label}") for need in Need]
        states = [(value, words) for value, (words, _) in self.QUERIES.items()]
        return [(self.ATTENTION, "Needs attention"), *needs, *states]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Sync]) -> QuerySet[Sync]:
        chosen, _, need = (self.value() or "").partition("-")
        if chosen == self.ATTENTION:
            # An archived one whose emptying fails needs somebody, too.
            found: QuerySet[Any] = with_need(queryset, timezone.now())
            return found.filter(need=need) if need else found.exclude(need="")
        if chosen != "archived":
            queryset = queryset.filter(archived_at=None)
        if chosen not in self.QUERIES:
            return queryset
        queryset = queryset.annotate(last_state=Subquery(last_runs().values("state")[:1]))
        return queryset.filter(self.QUERIES[chosen][1])


class SyncChangeList(GlanceChangeList):
    """Rows with what their columns tell, in a fixed number of queries."""

    def fill(self, rows: Sequence[Any]) -> None:
        facts = facts_of(rows, timezone.now())
        for sync in rows:
            sync.facts = facts[sync.pk]
        super().fill(rows)


@admin.register(Sync)
class SyncAdmin(OverviewAdmin, BulkAdmin, GlanceAdmin):
    overview_template = "syncs/overview.html"
    form = SyncForm
    row_actions = ACTIONS
    row_pages = (
        Page("dry-run", "Dry run", "visibility", "dry_run"),
        Page("versions", "Versions", "history", "versions", offered=can_go_back, tab=True),
        Page("comparison", "Read back", "difference", "comparison", offered=_can_be_read, tab=True),
        Page(
            "held",
            "Who was there",
            "event_note",
            "who_was_there",
            offered=lambda sync: sync.runs_done > 0,
            tab=True,
        ),
        # The sync's page and those pages lead to these.
        Page("held.csv", "Who was there", "download", "held_csv", offered=lambda sync: False),
        Page("not-sendable", "Not sendable", "person_off", "not_sendable", offered=lambda sync: False),
        Page("differences.csv", "Who differs", "download", "differences", offered=lambda sync: False),
    )
    refusals = (Refused, lifecycle.CannotRun)
    change_form_template = "syncs/sync.html"
    list_display = (*("name", "state", "why", "held", "rejected", "last_run", "next_run", "schedule_shown"),)
    list_columns = (Column("trend", "Latest runs", trends, after="why"),)
    hidden_columns = ("why", "schedule_shown")
    bulk = BULK
    list_display_links = ("name",)
    list_filter = (
        StateFilter,
        ("cohort", AutocompleteSelectFilter),
        ("destination", AutocompleteSelectFilter),
        ("schedule_kind", ChoicesDropdownFilter),
    )
    list_select_related = ("cohort", "destination__driver")
    list_filter_submit = True
    list_per_page = 50
    list_fullwidth = True
    show_full_result_count = False
    search_fields = ("cohort__name", "cohort__key", "destination__name", "destination__title")
    search_help_text = "Cohort or destination"
    warn_unsaved_form = True
    fieldsets = (
        ("Who and where", {"fields": ("cohort", "destination")}),
        (
            "When",
            {
                "description": "When it runs on its own. By hand, it can run at any time.",
                "fields": ("schedule_kind", "schedule_once_at", "schedule_at", "schedule_cron", "timezone"),
            },
        ),
        (
            "Ask before many are removed",
            {
                "description": "A run that would remove more than this is held until a person approves it.",
                "fields": ("hold_if_halved", "guard_percent", "guard_users"),
            },
        ),
        (
            "Read back and compare",
            {
                "description": "Where the partner can be read: it is compared with what it should have.",
                "fields": ("compare_cron",),
            },
        ),
    )
    conditional_fields = {
        "schedule_once_at": shown_if(schedule_kind="once"),
        "schedule_at": shown_if(schedule_kind="daily"),
        "schedule_cron": shown_if(schedule_kind="cron"),
        "timezone": shown_if(schedule_kind=("once", "daily", "cron")),
    }

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Of a new one, what has a good default is folded: below it stands what would be sent."""
        sets = super().get_fieldsets(request, obj)
        if obj is not None:
            return sets
        return [*sets[:2], *((title, {**options, "classes": ["collapse"]}) for title, options in sets[2:])]

    def get_urls(self) -> list[URLPattern]:
        plan = self.admin_site.admin_view(require_POST(self.plan_view))
        return [
            path("plan/", plan, name="syncs_sync_plan"),
            path("new/", self.admin_site.admin_view(require_safe(self.new_view)), name="syncs_sync_new"),
            *super().get_urls(),
        ]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return SyncChangeList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Sync]:
        found: QuerySet[Sync] = super().get_queryset(request)
        return found.select_related("cohort", "destination__driver")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("cohort", "destination") if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes a sync: it is archived, so that what its partner holds stays known."""
        return False

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "destination":
            kwargs["widget"] = LongSelect()
        if db_field.name == "timezone":
            kwargs["widget"] = UnfoldAdminTextInputWidget(attrs={"list": "time-zones", "autocomplete": "off"})
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    @display(description="Sync", ordering="cohort__name")
    def name(self, sync: Sync) -> SafeString:
        return columns.pair(sync)

    @display(description="State")
    def state(self, sync: Any) -> SafeString:
        state = state_of(sync.facts)
        return columns.label(state.label, state.tone, title=state.sentence)

    @display(description="Why")
    def why(self, sync: Any) -> SafeString:
        return format_html('<span class="cs-sentence">{}</span>', state_of(sync.facts).sentence)

    @display(description="Schedule", ordering="schedule_kind")
    def schedule_shown(self, sync: Sync) -> str:
        return columns.schedule_words(sync)

    @display(description="Next run", ordering="next_due_at")
    def next_run(self, sync: Any) -> SafeString:
        return columns.when(sync.facts.next_due_at, sync.facts.now)

    @display(description="Last run")
    def last_run(self, sync: Any) -> SafeString:
        return columns.when(sync.facts.run.at if sync.facts.run else None, sync.facts.now)

    @display(description="Users there")
    def held(self, sync: Any) -> str:
        return f"{sync.facts.held:,}" if sync.facts.settled or not sync.facts.dirty else "unknown"

    @display(description="Rejected / not delivered")
    def rejected(self, sync: Any) -> SafeString | str:
        shown = f"{sync.facts.rejected:,} / {sync.facts.undelivered:,}"
        if not (sync.facts.rejected or sync.facts.undelivered):
            return shown
        return columns.link(columns.rejections_url(f"sync__id__exact={sync.pk}"), shown)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Begin with what the address says, and with what there is only one of."""
        given: dict[str, Any] = super().get_changeform_initial_data(request)
        for name, model in (("cohort", Cohort), ("destination", Destination)):
            keys = list(model._default_manager.values_list("pk", flat=True)[:2])
            if name not in given and len(keys) == 1:
                given[name] = keys[0]
        # The hours that a person means are those of the pages that they see.
        given.setdefault("timezone", timezone.get_current_timezone_name())
        return given

    def save_model(self, request: HttpRequest, obj: Sync, form: Any, change: bool) -> None:
        """Save only what the form is about: a driver writes the same row."""
        fields = [name for name in SyncForm.Meta.fields if name in form.cleaned_data]
        if form.takes_up:
            lifecycle.restore(obj)
            messages.info(
                request, "This pair was archived: it is taken up again, with what its partner holds."
            )
        if not change or any(name.startswith("schedule") or name == "timezone" for name in form.changed_data):
            obj.reschedule(timezone.now())
            fields.append("next_due_at")
        if obj.pk is None:
            obj.save()
        else:
            obj.save(update_fields=fields)

    def response_add(
        self, request: HttpRequest, obj: Sync, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Go to the sync's page, where its first run is a click away."""
        if "_addanother" in request.POST or "_popup" in request.POST:
            response: HttpResponse = super().response_add(request, obj, post_url_continue)
            return response
        if "_start" in request.POST and request.user.has_perm("syncs.run_sync"):
            self._start(request, obj)
        else:
            messages.success(request, "The sync is saved. “Run now” sends it for the first time.")
        return HttpResponseRedirect(columns.sync_url(obj.pk))

    def _start(self, request: HttpRequest, sync: Sync) -> None:
        try:
            run = lifecycle.start(sync, trigger=Trigger.PERSON, by=request.user.get_username())
        except lifecycle.CannotRun as error:
            messages.warning(request, f"The sync is saved, but not started. {error}")
        else:
            self.log_change(request, sync, f"Started run {run.pk}.")
            messages.success(request, "The sync is saved and started: the worker sends it.")

    def new_view(self, request: HttpRequest) -> HttpResponse:
        return new_sync.new(self, request)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Begin with who and where, unless the address says something of it."""
        if request.method == "GET" and not request.GET and self.has_add_permission(request):
            return HttpResponseRedirect(reverse("admin:syncs_sync_new"))
        response: HttpResponse = super().add_view(request, form_url, extra_context)
        return response

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        context["time_zones"] = sorted(timezones())
        if kwargs.get("obj") is None:
            context |= {"show_save_and_continue": False, "show_save_and_add_another": False}
            context |= {"may_start": request.user.has_perm("syncs.run_sync")}
            context["steps"] = new_sync.steps_of_form(request)
        return super().render_change_form(request, context, *args, **kwargs)

    def about(self, request: HttpRequest, row: Sync) -> dict[str, Any]:
        return _page(row)

    def plan_view(self, request: HttpRequest) -> HttpResponse:
        """Show what the sync of the form would do, as a part of its page. Saves and sends nothing."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = self.get_form(request)(request.POST)
        form.is_valid()
        return TemplateResponse(request, "syncs/plan_part.html", _planned(form))

    def dry_run(self, request: HttpRequest, sync: Sync) -> HttpResponse:
        """Show what a run would send now. Nothing is sent."""
        mode = request.GET.get("mode", RunMode.CHANGES)
        mode = mode if mode in ASKED_MODES else RunMode.CHANGES
        context = {
            **self.admin_site.each_context(request),
            "title": "Dry run",
            "opts": self.opts,
            "original": sync,
            "mode": mode,
            "modes": [(mode.value, mode.label) for mode in ASKED_MODES],
            "back": columns.sync_url(sync.pk),
        }
        number = request.GET.get("version", "")
        version = int(number[:9]) if number.isascii() and number.isdecimal() else None
        try:
            context["preview"] = preview(sync, mode=mode, most=MOST_COUNTED, version=version)
        except (lifecycle.CannotRun, TemplateError, SecretUnreadable) as error:
            context["problem"] = str(error)
        return TemplateResponse(request, "syncs/dry_run.html", context)

    def versions(self, request: HttpRequest, sync: Sync) -> HttpResponse:
        """Show the versions of the cohort to which the sync can be set back."""
        found = CohortVersion.objects.filter(cohort=sync.cohort_id, state=VersionState.PUBLISHED)
        kept = found.filter(number__gte=sync.cohort.readable_from).order_by("-number")[:SHOWN_VERSIONS]
        offers = self.actions_for(request, sync)
        context = {
            **self.admin_site.each_context(request),
            "title": "Versions",
            "opts": self.opts,
            "original": sync,
            "versions": [
                {
                    "version": version,
                    "at": columns.when(version.finished_at),
                    "dry_run_url": self._dry_run_to(sync, version.number),
                }
                for version in kept
            ],
            "row_actions": [offer for offer in offers if offer["action"].name in ("go-back", "go-on")],
            "back": columns.sync_url(sync.pk),
        }
        return TemplateResponse(request, "syncs/versions.html", context)

    def _dry_run_to(self, sync: Sync, number: int) -> str:
        """Return where it is shown what going to a version would send; '' where the sync goes anyway."""
        if number < sync.cohort.version:
            return f"{self._url('dry-run', sync)}?version={number}"
        return "" if sync.pinned_version is None else f"{self._url('dry-run', sync)}?version=0"

    def who_was_there(self, request: HttpRequest, sync: Sync) -> HttpResponse:
        """Show whom the partner held at a time, since when, and by which batch."""
        text = request.GET.get("at", "").strip()
        context = {
            **self.admin_site.each_context(request),
            "title": "Who was there",
            "opts": self.opts,
            "original": sync,
            "at": text or timezone.localtime().strftime("%Y-%m-%d %H:%M:%S"),
            "back": columns.sync_url(sync.pk),
        }
        try:
            moment = moment_of(text) if text else timezone.now()
            found = held.at(sync, moment)
            shown = held.page(sync, found, "", SHOWN_USERS)
        except (ValueError, lifecycle.CannotRun) as error:
            context["problem"] = str(error)
        else:
            context |= {
                "held": found,
                "rows": [{"row": row, "since": columns.when(row.since)} for row in shown],
                "download_url": f"{self._url('held.csv', sync)}?{urlencode({'at': moment.isoformat()})}",
            }
        return TemplateResponse(request, "syncs/held.html", context)

    def held_csv(self, request: HttpRequest, sync: Sync) -> StreamingHttpResponse:
        """Send whom the partner held at a time as CSV."""
        try:
            found = held.at(sync, moment_of(request.GET.get("at", "")))
        except (ValueError, lifecycle.CannotRun):
            raise Http404 from None
        return StreamingHttpResponse(
            rejected_csv.lines_of_held(held.pages(sync, found)),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": 'attachment; filename="held.csv"'},
        )

    def comparison(self, request: HttpRequest, sync: Sync) -> HttpResponse:
        """Show what the partner had when it was last read back, and who differs."""
        label, tone, sentence = compared.of(sync, timezone.now())
        last = sync.comparisons.filter(state=CompareState.DONE).first()
        samples = reporting.samples_of(last) if last else {}
        offers = self.actions_for(request, sync)
        context = {
            **self.admin_site.each_context(request),
            "title": "Compared with the partner",
            "opts": self.opts,
            "original": sync,
            "label": label,
            "tone": tone,
            "sentence": sentence,
            "waits": sync.comparisons.filter(state__in=OPEN_COMPARISONS).exists(),
            "comparison": last,
            "samples": [
                {"label": DifferenceKind(kind).label, "users": [columns.user(user) for user in users]}
                for kind, users in samples.items()
                if users
            ],
            "row_actions": [offer for offer in offers if offer["action"].name in COMPARING],
            "download_url": self._url("differences.csv", sync),
            "back": columns.sync_url(sync.pk),
        }
        return TemplateResponse(request, "syncs/comparison.html", context)

    def differences(self, request: HttpRequest, sync: Sync) -> StreamingHttpResponse:
        """Send who differs as CSV."""
        last = sync.comparisons.filter(state=CompareState.DONE).first()
        if last is None:
            raise Http404
        return StreamingHttpResponse(
            rejected_csv.lines_of_differences(last),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": 'attachment; filename="differences.csv"'},
        )

    def not_sendable(self, request: HttpRequest, sync: Sync) -> HttpResponse:
        """List members of the cohort of whom the partner knows nothing that it could be sent, and why."""
        context = {
            **self.admin_site.each_context(request),
            "title": "Not sendable",
            "opts": self.opts,
            "original": sync,
            "matched": projecting.matched(sync),
            "back": columns.sync_url(sync.pk),
        }
        try:
            context["users"] = projecting.not_sendable(sync, MOST_LISTED)
        except profiles.Refused as error:
            context["problem"] = str(error)
        return TemplateResponse(request, "syncs/not_sendable.html", context)


def _page(sync: Sync) -> dict[str, Any]:
    """Return what a sync's overview shows."""
    now = timezone.now()
    driver = getattr(sync.destination, "driver", None)
    # Before the state: of a run that ends meanwhile, the page then still watches the end, and loads again.
    open_run = sync.runs.filter(state__in=OPEN_RUNS).first()
    runs = list(sync.runs.all()[:CHARTED_RUNS])
    facts = facts_of([sync], now)[sync.pk]
    state = state_of(facts)
    progress = Progress.of(open_run, now) if open_run else None
    return {
        "chart": chart_of(runs),
        "compared": compared.of(sync, now) if sync.destination.read_path else None,
        "matched": projecting.matched(sync),
        "state": state,
        # Of what is red or orange, the state's sentence says it.
        "attention": None if state.tone in (Tone.CARE, Tone.BAD) else attention.of(facts),
        "facts": facts,
        "last_run": columns.when(facts.run.at if facts.run else None, now),
        "next_run": columns.when(facts.next_due_at, now),
        "schedule_words": columns.schedule_words(sync),
        "times": _times(sync),
        "runs": [_row(run) for run in runs[:RECENT_RUNS]],
        "open_run": open_run,
        "progress": progress,
        "words": progress.words() if progress else {},
        "rejections_url": columns.rejections_url(f"sync__id__exact={sync.pk}"),
        "runs_url": f"{reverse('admin:syncs_run_changelist')}?sync__id__exact={sync.pk}",
        "driven_by": columns.driven_by(driver, now),
        "parked": driver if driver and driver.next_at and driver.next_at > now else None,
    }


def _planned(form: SyncForm) -> dict[str, Any]:
    """Return what a form says that is perhaps not complete, and what is wrong with the rest of it."""
    given = form.cleaned_data
    sync = form.instance
    context: dict[str, Any] = {"cohort": given.get("cohort"), "zone": sync.timezone, "problems": []}
    filled = [name for name in form.errors if form.data.get(name) or name not in form.fields]
    context["problems"] += [message for name in filled for message in form.errors[name]]
    context["schedule_words"], context["times"] = columns.schedule_words(sync), _times(sync)
    if given.get("cohort") and given.get("destination"):
        context["how"] = _how(given["cohort"], given["destination"])
    if given.get("cohort") and given.get("destination") and given["cohort"].version:
        if sync.pk is None:
            sync = Sync(pk=0, cohort=given["cohort"], destination=given["destination"])
        try:
            if (mapping := sync.destination.mapping) is not None:
                context["matched"] = projecting.matched_of_first(given["cohort"], mapping, MOST_MATCHED)
            else:
                context["preview"] = preview(sync, most=MOST_COUNTED)
        except (lifecycle.CannotRun, TemplateError, SecretUnreadable, profiles.Refused) as error:
            context["problems"].append(str(error))
    return context


def _how(cohort: Cohort, destination: Destination) -> dict[str, Any]:
    """Return what the cohort is called there, what people are known by, and what goes along."""
    mapping = destination.mapping or PLAIN
    try:
        name = external_name(destination.endpoint_without_secrets(), cohort.name, cohort.key)
    except TemplateError as error:
        name = str(error)
    return {
        "name": name,
        "known_by": ", ".join(one.field.replace("_", " ") for one in mapping.identifiers),
        "along": ", ".join(one.field for one in mapping.traits),
        "url": reverse("admin:destinations_destination_change", args=[destination.pk]),
    }


def _row(run: Run) -> dict[str, Any]:
    return {
        "run": run,
        "label": columns.label(*run_label(run.state, run.cohort_error)),
        "began": columns.when(run.started_at or run.created_at),
        "seconds": columns.duration(run),
        "url": columns.run_url(run.pk),
    }


def _times(sync: Sync) -> list[str]:
    """Return the next due times in plain English, in the schedule's zone."""
    try:
        times = sync.schedule().next_times(timezone.now(), TIMES)
    except InvalidSchedule:
        return []
    return [f"{time:%A} {time.day} {time:%B %Y, %H:%M}" for time in times]
