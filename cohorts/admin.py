"""Cohorts in the admin."""

import json
from collections.abc import Collection
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.forms import model_to_dict
from django.forms.widgets import Script
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET
from unfold.decorators import display

from cohorts import building, from_file, naming, owner, pages, refresh, remove, tags
from cohorts.choices import CALCULATED, ScheduleKind, SourceKind, UploadState
from cohorts.definitions import DefinitionError, parse
from cohorts.definitions.vocabulary import vocabulary
from cohorts.forms import CohortForm
from cohorts.models import Cohort, CohortVersion, Upload
from cohorts.overlap_page import go_to_overlap, overlap_page
from cohorts.row_actions import ACTIONS, PAGES
from cohorts.sparkline import trends
from events.models import CatalogueEntry, NameRule
from pagekit import approval, panels, way
from pagekit.actions import Refused
from pagekit.lists import Column, GlanceAdmin
from pagekit.overview import OverviewAdmin
from pagekit.shown_if import shown_if
from pagekit.times import when

# Seconds that a request goes on deleting members; the worker deletes the others.
DRAIN = 5.0


BEHAVIORAL, QUERY, RECEIVED = ["behavioral"], ["query"], ["received"]
CALCULATED_SOURCES = [*BEHAVIORAL, *QUERY, *RECEIVED]


# How a state is coloured.
TONES = {
    "held": "warning",
    "refreshing": "info",
    "failed": "danger",
    "new": "default",
    "changed": "info",
    "closed": "default",
    "ready": "success",
}


def state_of(cohort: Cohort) -> tuple[str, str]:
    """Return the state of a cohort as a code and in words; the most urgent one that is true."""
    if cohort.held_number:
        return "held", f"Version {cohort.held_number} is held"
    claimed = cohort.claim_until is not None and cohort.claim_until > timezone.now()
    if claimed and not owner.is_dead(cohort.claim_owner):
        return "refreshing", "Refreshing now"
    if getattr(cohort, "last_upload_state", "") == UploadState.FAILED:
        return "failed", "Last upload failed"
    if cohort.calculation_error:
        return "failed", "Last calculation failed"
    if outside := refresh.outside_of_window(cohort, timezone.now()):
        return "closed", "Active window is over" if "ended" in outside else "Not active yet"
    if cohort.version == 0:
        return "new", "Not calculated yet"
    if cohort.source_kind == SourceKind.BEHAVIORAL and made_from(cohort) not in (None, cohort.definition):
        return "changed", f"Definition changed since version {cohort.version}"
    return "ready", "Ready"


def made_from(cohort: Cohort) -> Any:
    """Return the definition of the published version, as the admin's queryset has it."""
    return getattr(cohort, "version_definition", None)


class NeedFilter(admin.SimpleListFilter):
    """By what a cohort needs a person for: the overview links to these."""

    title = "needs attention"
    parameter_name = "needs"
    QUERIES = {
        "held": ("Held for approval", Q(held_number__isnull=False)),
        "failed": (
            "Could not be calculated",
            Q(source_kind__in=CALCULATED) & ~Q(calculation_error=""),
        ),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, words) for value, (words, _) in self.QUERIES.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Cohort]) -> QuerySet[Cohort]:
        chosen = self.value()
        return queryset.filter(self.QUERIES[chosen][1]) if chosen in self.QUERIES else queryset


# A filter that looked at each of very many cohorts would make their list slow.
LOOKED_AT_FOR_TAGS = 1_000


class TagFilter(admin.SimpleListFilter):
    title = parameter_name = "tag"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        lists = Cohort.objects.exclude(tags=[]).values_list("tags", flat=True)[:LOOKED_AT_FOR_TAGS]
        return [(tag, tag) for tag in tags.all_tags(lists)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Cohort]) -> QuerySet[Cohort]:
        chosen = self.value()
        return queryset.filter(tags.tagged(chosen)) if chosen else queryset


class OwnerFilter(admin.SimpleListFilter):
    title = parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        owners = Cohort.objects.exclude(owner="").order_by("owner").values_list("owner", flat=True)
        return [(name, name) for name in owners.distinct()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Cohort]) -> QuerySet[Cohort]:
        chosen = self.value()
        return queryset.filter(owner=chosen) if chosen else queryset


@admin.register(Cohort)
class CohortAdmin(OverviewAdmin, GlanceAdmin):
    overview_template = "cohorts/overview.html"
    settings_label = "Definition"
    row_actions = ACTIONS
    row_pages = PAGES
    refusals = (Refused, refresh.RefreshError)
    list_display = (
        *("name", "key", "source_kind", "show_size", "show_version", "published", "next_calculation"),
        *("show_state", "owner", "tags_shown"),
    )
    list_columns = (Column("trend", "Latest versions", trends, after="show_size"),)
    hidden_columns = ("source_kind", "show_version", "next_calculation", "owner", "tags_shown")
    list_fullwidth = True
    list_filter = [NeedFilter, "source_kind", TagFilter, OwnerFilter]
    search_fields = Cohort.SEARCH_FIELDS
    ordering = ["name"]
    actions = ["overlap"]
    change_form_outer_after_template = "cohorts/datalists.html"
    form = CohortForm
    fieldsets = [
        (None, {"fields": ["name", "key", "description", "tags", "owner", "source_kind"]}),
        (
            "Who belongs to it",
            {
                "fields": [
                    *("definition", "query_database", "query_sql", "query_fields"),
                    *("events_workspace", "query_skip_invalid"),
                    *("received_workspace", "received_list", "received_trait", "received_equals"),
                ]
            },
        ),
        (
            "When it is calculated",
            {"fields": [*Cohort.SCHEDULE_FIELDS, "refresh_before_sync"]},
        ),
        (
            "Active window",
            {
                "fields": ["active_from", "active_to", "when_over"],
                "description": "For a cohort that is wanted for a time: a campaign, a test.",
            },
        ),
        (
            "Hold a refresh for a person",
            {
                "description": "A version that would take away more waits until a person approves it.",
                "fields": ["hold_if_emptied", "hold_if_halved", "guard_percent", "guard_users"],
            },
        ),
    ]

    # What a source or a schedule does not need is not shown.
    conditional_fields = {
        "events_workspace": shown_if(source_kind=BEHAVIORAL + QUERY),
        "definition": shown_if(source_kind=BEHAVIORAL),
        "query_database": shown_if(source_kind=QUERY),
        "query_sql": shown_if(source_kind=QUERY),
        "query_fields": shown_if(source_kind=QUERY),
        "query_skip_invalid": shown_if(source_kind=QUERY),
        "received_workspace": shown_if(source_kind=RECEIVED),
        "received_list": shown_if(source_kind=RECEIVED),
        "received_trait": shown_if(source_kind=RECEIVED),
        "received_equals": shown_if(source_kind=RECEIVED),
        "schedule_kind": shown_if(source_kind=CALCULATED_SOURCES),
        "schedule_once_at": shown_if(source_kind=CALCULATED_SOURCES, schedule_kind="once"),
        "schedule_at": shown_if(source_kind=CALCULATED_SOURCES, schedule_kind="daily"),
        "schedule_cron": shown_if(source_kind=CALCULATED_SOURCES, schedule_kind="cron"),
        "timezone": shown_if(source_kind=CALCULATED_SOURCES, schedule_kind=["once", "daily", "cron"]),
        "refresh_before_sync": shown_if(source_kind=CALCULATED_SOURCES),
    }

    class Media:
        css = {"all": ["cohorts/cohorts.css"]}
        js = [Script("cohorts/preview.js", defer=True), Script("cohorts/builder.js", type="module")]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        form.user = request.user
        if "definition" in form.base_fields:
            form.base_fields["definition"].widget.attrs |= {
                "data-check-url": reverse("admin:cohorts_check"),
                "data-names-url": reverse("admin:cohorts_names"),
                "data-preview-url": reverse("admin:cohorts_preview"),
                "data-values-url": reverse("admin:cohorts_values"),
                "data-definition-url": reverse("admin:cohorts_definition"),
                "data-time-zone": timezone.get_current_timezone_name(),
                "data-words": json.dumps(vocabulary()),
            }
        return form

    def save_model(self, request: HttpRequest, obj: Cohort, form: Any, change: bool) -> None:
        """Save only what the form is about: a refresh writes the same row."""
        approval.check(obj, request.user)
        fields = [name for name in form.fields if name in form.cleaned_data]
        if not change or set(Cohort.DUE_FIELDS) & set(form.changed_data):
            obj.reschedule(timezone.now())
            fields.append("next_due_at")
        obj.save(update_fields=fields if change else None)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Cohort]:
        last = Upload.objects.filter(cohort=OuterRef("pk")).order_by("-pk").values("state")[:1]
        published = CohortVersion.objects.filter(cohort=OuterRef("pk"), number=OuterRef("version"))
        cohorts: QuerySet[Cohort] = super().get_queryset(request)
        return cohorts.annotate(
            last_upload_state=Subquery(last), version_definition=Subquery(published.values("definition")[:1])
        )

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Begin with what the address says; a copy, with all that the other one is but its name."""
        given: dict[str, Any] = super().get_changeform_initial_data(request)
        copied = self.get_object(request, given.pop("copy", ""))
        if copied is None or not self.has_view_permission(request, copied):
            return given
        fields = [name for _, options in self.fieldsets for name in options["fields"]]  # type: ignore[index]
        values = model_to_dict(copied, fields)
        return values | {"name": f"Copy of {copied.name}"[:200], "key": f"{copied.key[:45]}-copy"} | given

    def get_readonly_fields(self, request: HttpRequest, obj: Cohort | None = None) -> Collection[str]:
        return ["key"] if obj else []

    def get_prepopulated_fields(
        self, request: HttpRequest, obj: Cohort | None = None
    ) -> dict[str, tuple[str]]:
        return {} if obj else {"key": ("name",)}

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Cohorts are deleted one at a time: see delete_view."""
        actions: dict[str, Any] = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    @admin.action(description="Show how they overlap", permissions=["view"])
    def overlap(self, request: HttpRequest, queryset: QuerySet[Cohort]) -> HttpResponse | None:
        return go_to_overlap(self, request, queryset)

    @display(description="Users", ordering="size")
    def show_size(self, cohort: Cohort) -> str:
        return f"{cohort.size:,}" if cohort.version else "–"

    @display(description="Published", ordering="published_at")
    def published(self, cohort: Cohort) -> SafeString:
        return when(cohort.published_at)

    @display(description="Next calculation", ordering="next_due_at")
    def next_calculation(self, cohort: Cohort) -> SafeString:
        return when(cohort.next_due_at)

    @display(description="Tags")
    def tags_shown(self, cohort: Cohort) -> str:
        return ", ".join(cohort.tags)

    @display(description="Version", ordering="version")
    def show_version(self, cohort: Cohort) -> str:
        return str(cohort.version or "–")

    @display(
        description="State",
        label=TONES,
    )
    def show_state(self, cohort: Cohort) -> tuple[str, str]:
        return state_of(cohort)

    def about(self, request: HttpRequest, row: Cohort) -> dict[str, Any]:
        state, words = state_of(row)
        label = {"state": state, "state_in_words": words, "state_tone": TONES[state]}
        return pages.about(row) | label

    def response_add(
        self, request: HttpRequest, obj: Cohort, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Go on to what gives the new cohort its members."""
        if {"_addanother", "_continue", "_popup"} & set(request.POST):
            response: HttpResponse = super().response_add(request, obj, post_url_continue)
            return response
        if onwards := way.then(request, cohort=obj.pk):
            return HttpResponseRedirect(onwards)
        uploads = obj.source_kind == SourceKind.UPLOAD and request.user.has_perm("cohorts.add_upload")
        follows = obj.schedule_kind == ScheduleKind.CHANGES
        said = "It follows its list: its members come in a moment." if follows else "Now give it members."
        messages.success(request, f"The cohort “{obj.name}” is made. {said}")
        return redirect(f"admin:cohorts_{'upload' if uploads else 'cohort_overview'}", obj.pk)

    def described(self, row: Cohort) -> str:
        if row.source_kind != SourceKind.BEHAVIORAL:
            return ""
        try:
            return parse(row.definition).sentence()
        except DefinitionError as error:
            return str(error)

    def get_urls(self) -> list[URLPattern]:
        def at(route: str, view: pages.Page, name: str, permission: str, *methods: str) -> URLPattern:
            checked = pages.page(self, view, permission, methods or ["GET", "HEAD"])
            return path(f"<int:pk>/{route}", checked, name=f"cohorts_{name}")

        def on(route: str, view: building.Answer, name: str, *methods: str) -> URLPattern:
            return path(route, building.asked(self, view, methods or ["GET"]), name=f"cohorts_{name}")

        mine = [
            path(
                "overlap/",
                self.admin_site.admin_view(require_GET(partial(overlap_page, self))),
                name="cohorts_overlap",
            ),
            on("check/", building.check, "check", "POST"),
            on("names/", building.names, "names"),
            on("look/", pages.look, "look", "POST"),
            path("from-file/", from_file.page(self), name="cohorts_from_file"),
            on("values/", building.values, "values"),
            on("definition/", building.definition, "definition"),
            on("previews/", building.preview, "preview", "POST"),
            on("previews/<int:preview_id>/", building.preview_page, "preview_page"),
            on("previews/<int:preview_id>/part/", building.preview_part, "preview_part"),
            on("previews/<int:preview_id>/counts/", building.preview_counts, "preview_counts"),
            at("why/", pages.why, "why", "view_cohort"),
            at("upload/", pages.upload, "upload", "add_upload", "GET", "POST"),
            at("upload/look/", pages.upload_look, "upload_look", "add_upload", "POST"),
            at("uploads/<int:upload_id>/", pages.upload_state, "upload_state", "view_cohort"),
            at("uploads/<int:upload_id>/state/", pages.upload_json, "upload_json", "view_cohort"),
            at("uploads/<int:upload_id>/again/", pages.upload_again, "upload_again", "add_upload", "POST"),
            at("versions/", pages.versions_page, "versions", "view_cohort"),
            at("members/", pages.members_page, "members", "view_cohort"),
            at("members.csv", pages.export, "export", "view_cohort"),
            at("difference/", pages.difference, "difference", "view_cohort"),
            at("difference.csv", pages.difference_export, "difference_export", "view_cohort"),
        ]
        return [*mine, *super().get_urls()]

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            response: HttpResponse = super().delete_view(request, object_id, extra_context)
        except (remove.CohortInUse, refresh.RefreshError) as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(reverse("admin:cohorts_cohort_overview", args=[object_id]))
        return response

    def delete_model(self, request: HttpRequest, obj: Cohort) -> None:
        remove.remove(obj.pk)
        transaction.on_commit(lambda: remove.drain(DRAIN))

    def get_deleted_objects(
        self, objs: Collection[Any], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """Say how much goes, not each version by its name: there may be thousands."""
        _, counts, lacking, protected = super().get_deleted_objects(objs, request)
        protected += [
            f"{cohort}, whose definition names it" for of in objs for cohort in remove.dependants(of)
        ]
        if protected:
            # That nobody may delete a sync is not what keeps this cohort.
            lacking = set()
        gone = [f"{cohort}: {cohort.size:,} users, {cohort.versions.count():,} versions" for cohort in objs]
        return gone, counts, lacking, protected


panels.add(Cohort, naming.of_cohort)
panels.add(CatalogueEntry, naming.of_name)
panels.add(NameRule, naming.of_name)
