"""What has come in, in the admin: imports by the browser, their undoing, deletions, and whose devices are."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Case, F, OuterRef, QuerySet, Subquery, Value, When
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods
from unfold.decorators import display

from events import uploads
from events.correct import Wanted, count_events, delete_events, undo_import
from events.engine import EngineError
from events.forms import DecideForm, DeletionForm, DevicesForm, EventUploadForm, text
from events.merges import Device, decide, find_devices
from events.models import (
    WORKED_AT,
    CatalogueEntry,
    Correction,
    EventFile,
    EventUpload,
    ImportedFile,
    NameKind,
    NameRule,
    UploadState,
)
from events.naming import InvalidName, check, keep, wanted
from events.records import InvalidRecord
from events.workspace_folders import DEFAULT_WORKSPACE, Refused
from pagekit import actions, approval
from pagekit.actions import Action, ActionsAdmin, Person
from pagekit.read_only import ReadOnlyAdmin

# What reading and changing files may fail with; each says why in a sentence.
FAILURES = (EngineError, Refused, OSError, InvalidRecord, InvalidName, actions.Refused)
MOST_DEVICES = 200


class EventsAdmin(ReadOnlyAdmin, ActionsAdmin):
    refusals = FAILURES

    def render(self, request: HttpRequest, template: str, title: str, **context: Any) -> TemplateResponse:
        shared = {**self.admin_site.each_context(request), "opts": self.opts, "title": title}
        return TemplateResponse(request, f"events/{template}.html", shared | context)


def _decided(**decision: Any) -> Callable[..., str]:
    """Make what an action does: decide about the name of a row. The text that it asked for takes the place of
    the decision's `...`."""

    def perform(entry: CatalogueEntry, by: Person, given: str = "") -> str:
        said: dict[str, Any] = {name: given if value is ... else value for name, value in decision.items()}
        rule = wanted(entry.workspace, entry.kind, entry.name, **said)
        check(rule)
        approval.check(rule, by.user)
        keep(rule, by)
        return f"“{entry.name}” is now: {rule.sentence or 'as it came'}".rstrip(".") + "."

    return perform


def _rule_of(entry: Any) -> NameRule:
    """What was decided about the name of a row that `CatalogueAdmin` read."""
    return NameRule(
        renamed_to=entry.is_renamed_to or "",
        hidden=bool(entry.is_hidden),
        forbidden=entry.is_forbidden or "",
    )


@admin.register(CatalogueEntry)
class CatalogueAdmin(EventsAdmin):
    """Names as they came; what people decided about one holds for all definitions."""

    list_display = ["show_event", "show_property", "show_type", "count", "last_seen", "rule", "workspace"]
    list_filter = ["workspace"]
    search_fields = ["event", "property_name"]
    search_help_text = "An event's or a property's name."
    ordering = ["workspace", "event", "property_name"]
    show_full_result_count = False
    fields = ["show_event", "show_property", "show_type", "count", "last_seen", "rule", "workspace"]
    row_actions = (
        Action(
            "rename",
            "Rename",
            "edit",
            _decided(renamed_to=...),
            offered=lambda entry: bool(entry.name),
            question="What is it called from now on?",
            consequence="In all definitions the old name and the new one mean the same events, or the same "
            "property, whichever of the two they name. What came in stays as it is.",
            text="New name",
            initial=lambda entry: _rule_of(entry).renamed_to,
            permission="events.add_namerule",
        ),
        Action(
            "as-it-came",
            "Take the new name back",
            "undo",
            _decided(renamed_to=""),
            offered=lambda entry: bool(_rule_of(entry).renamed_to),
            permission="events.add_namerule",
        ),
        Action(
            "hide",
            "Hide",
            "visibility_off",
            _decided(hidden=True),
            offered=lambda entry: bool(entry.name) and not _rule_of(entry).hidden,
            permission="events.add_namerule",
        ),
        Action(
            "show",
            "Show",
            "visibility",
            _decided(hidden=False),
            offered=lambda entry: _rule_of(entry).hidden,
            permission="events.add_namerule",
        ),
        Action(
            "forbid",
            "Not to be used",
            "block",
            _decided(forbidden=...),
            offered=lambda entry: bool(entry.name) and not _rule_of(entry).forbidden,
            question="Why is it not to be used?",
            consequence="Definitions that name it are refused with this reason. Cohorts that name it already "
            "go on as they are, and say so on their pages.",
            text="Reason",
            permission="events.add_namerule",
        ),
        Action(
            "allow",
            "May be used",
            "check",
            _decided(forbidden=""),
            offered=lambda entry: bool(_rule_of(entry).forbidden),
            permission="events.add_namerule",
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[CatalogueEntry]:
        """With what was decided about each name, in the one query of a list."""
        kind = Case(
            When(property_name="", then=Value("event")),
            When(event="", then=Value("user_property")),
            default=Value("property"),
        )
        name = Case(When(property_name="", then=F("event")), default=F("property_name"))
        found = super().get_queryset(request).annotate(of_kind=kind, of_name=name)
        rules = NameRule.objects.filter(
            workspace=OuterRef("workspace"), kind=OuterRef("of_kind"), name=OuterRef("of_name")
        )
        columns = ("renamed_to", "hidden", "forbidden")
        shown: QuerySet[CatalogueEntry] = found.annotate(
            **{f"is_{one}": Subquery(rules.values(one)[:1]) for one in columns}
        )
        return shown

    @display(description="Decided")
    def rule(self, entry: CatalogueEntry) -> str:
        return _rule_of(entry).sentence or "—"

    @display(description="Event", ordering="event")
    def show_event(self, entry: CatalogueEntry) -> str:
        return entry.event or "(the user)"

    @display(description="Property", ordering="property_name")
    def show_property(self, entry: CatalogueEntry) -> str:
        return entry.property_name or "—"

    @display(description="Type")
    def show_type(self, entry: CatalogueEntry) -> str:
        return entry.type if entry.property_name else "event"


class NameRuleForm(forms.ModelForm):  # type: ignore[type-arg]
    # A name may begin with a space.
    name = text(required=True, help_text="As it comes in. It need not have come yet.")
    renamed_to = text(label="Called", help_text="What it is called now; empty: what it came as.")

    class Meta:
        model = NameRule
        fields = NameRule.CONFIG_FIELDS

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        known = {name: getattr(self.instance, name) for name in ("workspace", "kind", "name")}
        rule = NameRule(**known | {name: data[name] for name in NameRule.CONFIG_FIELDS if name in data})
        try:
            if not self.errors:
                check(rule)
        except InvalidName as error:
            self.add_error("renamed_to", str(error))
        if not self.errors and not self.instance.pk and not rule.sentence:
            raise ValidationError("Say what it is called, hide it, or say why it is not to be used.")
        return data


@admin.register(NameRule)
class NameRuleAdmin(ActionsAdmin):
    """What was decided about names, those that never came in among them. A rule that says nothing any more is
    gone."""

    form = NameRuleForm
    list_display = ("name", "kind", "renamed_to", "hidden", "forbidden", "workspace")
    list_filter = ("workspace", "kind")
    search_fields = ("name", "renamed_to")
    search_help_text = "A name, as it comes in or as it is called."
    ordering = ("workspace", "kind", "name")
    fields = NameRule.CONFIG_FIELDS

    def get_readonly_fields(self, request: HttpRequest, obj: NameRule | None = None) -> tuple[str, ...]:
        return ("workspace", "kind", "name") if obj else ()

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        given: dict[str, Any] = super().get_changeform_initial_data(request)
        return {"workspace": DEFAULT_WORKSPACE, "kind": NameKind.EVENT} | given

    def has_delete_permission(self, request: HttpRequest, obj: NameRule | None = None) -> bool:
        """What was decided is taken back in the form, so that it is said who did."""
        return False

    def save_model(self, request: HttpRequest, obj: NameRule, form: Any, change: bool) -> None:
        approval.check(obj, request.user)
        keep(obj, request.user.get_username())


# --- imports -----------------------------------------------------------------------------------


def _undo(imported: ImportedFile, by: str) -> str:
    return undo_import(imported.workspace, imported.key or "", by).sentence


def _what_goes(imported: ImportedFile) -> str:
    try:
        events, users = count_events(imported.workspace, Wanted(import_key=imported.key))
    except FAILURES as error:
        return str(error)
    return (
        f"{events:,} events of {users:,} users and devices are taken out, wherever they are now, and users' "
        "properties are what they were before this import. Cohorts change with their next calculation."
    )


@admin.register(ImportedFile)
class ImportedFileAdmin(EventsAdmin):
    """Imports stay listed when they are undone."""

    list_display = [
        *("name", "show_key", "source", "rows", "bad_lines", "imported_at", "by", "undone_at", "workspace"),
    ]
    list_filter = ["workspace", ("undone_at", admin.EmptyFieldListFilter)]
    search_fields = ["name", "source", "key"]
    search_help_text = "A file's name, its source, or the key of an import."
    ordering = ["-imported_at"]
    row_actions = (
        Action(
            "undo",
            "Undo this import",
            "undo",
            _undo,
            offered=lambda imported: bool(imported.key) and imported.undone_at is None,
            question="Undo this import?",
            consequence=_what_goes,
            permission="events.delete_importedfile",
            variant="danger",
        ),
    )

    @display(description="Key")
    def show_key(self, imported: ImportedFile) -> str:
        """As much of it as forms and commands ask for."""
        return (imported.key or "")[:12]


def _bring(upload: EventUpload, by: str) -> str:
    if not uploads.confirm(upload):
        raise actions.Refused("It does not wait for you any more.")
    return "The worker imports it. You may leave this page."


def _discard(upload: EventUpload, by: str) -> str:
    if not uploads.discard(upload):
        raise actions.Refused("It does not wait for you any more.")
    return "The file was taken away; nothing of it was imported."


def _what_comes(upload: EventUpload) -> str:
    found = uploads.look_of(upload)
    assert found is not None
    replaced = ", and take the place of those with the same insert ids" if upload.replaces_repeats else ""
    if upload.replaces_import:
        replaced += f", and take the place of all that the import {upload.replaces_import[:12]} brought"
    return (
        f"{found.rows:,} events and {found.users:,} users' properties come into the workspace "
        f"{upload.workspace}{replaced}; {found.bad_lines:,} lines are left out as bad. The import can be "
        "undone."
    )


def _waits(upload: EventUpload) -> bool:
    return upload.state == UploadState.LOOKED


@admin.register(EventUpload)
class EventUploadAdmin(EventsAdmin):
    list_display = ["name", "state", "percent", "workspace", "source", "by", "created_at"]
    list_filter = ["state", "workspace"]
    search_fields = ["name", "source"]
    ordering = ["-pk"]
    fields = ["name", "workspace", "state", "said", "show_look", "source", "by", "created_at"]
    change_form_before_template = "pagekit/progress.html"
    row_actions = (
        Action(
            "import",
            "Import",
            "upload_file",
            _bring,
            offered=_waits,
            question="Import this file?",
            consequence=_what_comes,
            permission="events.add_eventupload",
            variant="primary",
            instead="discard",
        ),
        Action(
            "discard",
            "Discard",
            "delete",
            _discard,
            offered=_waits,
            question="Take this file away?",
            consequence="Nothing of it is imported.",
            permission="events.add_eventupload",
            variant="danger",
            deletes=True,
        ),
    )

    def get_urls(self) -> list[URLPattern]:
        state = self.admin_site.admin_view(require_http_methods(["GET"])(self.state_view))
        return [path("<int:pk>/state/", state, name="events_eventupload_state"), *super().get_urls()]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("events.add_eventupload"))

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = EventUploadForm(
            request.POST or None,
            request.FILES or None,
            initial=request.GET.dict(),
            may_replace=bool(request.user.has_perm("events.delete_importedfile")),
        )
        if request.method == "POST" and form.is_valid():
            try:
                kept = form.keep(request.user.get_username())
            except FAILURES as error:
                form.add_error("file", str(error))
            else:
                return HttpResponseRedirect(reverse("admin:events_eventupload_change", args=[kept.pk]))
        return self.render(request, "form", "Import a file of events", form=form, does="Upload")

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        upload = kwargs.get("obj")
        if upload is not None and upload.state in WORKED_AT:
            url = reverse("admin:events_eventupload_state", args=[upload.pk])
            context |= {"open": True, "row": upload, "progress_url": url}
        return super().render_change_form(request, context, *args, **kwargs)

    def state_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        upload = self.get_object(request, str(pk))
        if not self.has_view_permission(request) or upload is None:
            raise PermissionDenied
        return JsonResponse(
            {
                "open": upload.state in WORKED_AT,
                "percent": upload.percent,
                "words": f"{upload.get_state_display()}, {upload.percent} %{time_left(upload)}",
            }
        )

    @display(description="What was understood")
    def show_look(self, upload: EventUpload) -> str:
        found = uploads.look_of(upload)
        return "\n".join(line.strip() for line in found.lines()) if found else "—"


def time_left(upload: EventUpload) -> str:
    """Say how long it goes on at the pace so far; nothing before that can be told."""
    if upload.percent < 2 or upload.started_at is None:
        return ""
    gone = (timezone.now() - upload.started_at).total_seconds()
    left = gone * (100 - upload.percent) / upload.percent
    return f", about {left / 60:.0f} minutes left" if left >= 90 else f", about {left:.0f} seconds left"


# --- corrections, and whose devices are ------------------------------------------------------------


@admin.register(Correction)
class CorrectionAdmin(EventsAdmin):
    list_display = ["what", "events", "traits", "by", "at", "workspace"]
    list_display_links = None
    list_filter = ["workspace"]
    search_fields = ["what", "by"]
    ordering = ["-at"]

    def get_urls(self) -> list[URLPattern]:
        devices = self.admin_site.admin_view(require_http_methods(["GET", "POST"])(self.devices_view))
        return [path("devices/", devices, name="events_devices"), *super().get_urls()]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("events.add_correction"))

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Delete events: how many is shown before it is done, and must be the same then."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = DeletionForm(request.POST or None)
        shown: dict[str, Any] = {"form": form, "does": "Count them"}
        if request.method == "POST" and form.is_valid():
            workspace, wanted = form.cleaned_data["workspace"], form.wanted()
            counted = self.tried(form, lambda: count_events(workspace, wanted))
            if counted and not counted[0]:
                form.add_error(None, "There is no such event.")
            elif counted and request.POST.get("seen") == str(counted[0]):
                done = self.tried(form, lambda: delete_events(workspace, request.user.get_username(), wanted))
                if done:
                    messages.success(request, done.sentence)
                    return HttpResponseRedirect(reverse("admin:events_correction_changelist"))
            elif counted:
                shown |= {"counted": counted, "does": f"Delete {counted[0]:,} event{'s'[: counted[0] != 1]}"}
        return self.render(request, "delete", "Delete events", **shown)

    def devices_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            return self.decide(request)
        form = DevicesForm(request.GET if "workspace" in request.GET else None)
        found: list[Device] = []
        if form.is_valid():
            data = form.cleaned_data
            who = [data["user_id"]] if data["user_id"] else []
            found = self.tried(
                form,
                lambda: find_devices(
                    data["workspace"], user_ids=who, device=data["device"] or None, limit=MOST_DEVICES
                ),
            ) or []  # fmt: skip
        may = self.has_add_permission(request)
        asked = form.is_valid()
        return self.render(
            request, "devices", "Whose devices are", form=form, devices=found, asked=asked, may_decide=may
        )

    def decide(self, request: HttpRequest) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = DecideForm(request.POST)
        if form.is_valid():
            data = form.cleaned_data
            done = self.tried(
                form,
                lambda: decide(
                    data["workspace"], data["device"], data["user_id"], request.user.get_username()
                ),
            )
            if done:
                whose = f"{done.user_id}'s" if done.user_id else "nobody's"
                messages.success(
                    request, f"{done.device} is {whose} now. Cohorts change with their next calculation."
                )
        for errors in form.errors.values():
            messages.error(request, " ".join(map(str, errors)))
        said = {"workspace": request.POST.get("workspace", ""), "device": request.POST.get("device", "")}
        return HttpResponseRedirect(f"{reverse('admin:events_devices')}?{urlencode(said)}")

    def tried(self, form: Any, work: Callable[[], Any]) -> Any:
        """Do it; None when it failed, and the form says why."""
        try:
            return work()
        except FAILURES as error:
            form.add_error(None, str(error))
            return None


@admin.register(EventFile)
class EventFileAdmin(ReadOnlyAdmin):
    list_display = ["name", "kind", "state", "problem", "rows", "size", "created_at", "workspace"]
    list_display_links = None
    list_filter = ["state", "workspace", "kind"]
    search_fields = ["name"]
    ordering = ["-created_at"]
