"""The partner's side in the admin: workspaces, keys, lists, the request log, searches for a user."""

import json
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import CASCADE, Count, QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import slugify
from unfold.contrib.filters.admin import AutocompleteSelectFilter, FieldTextFilter
from unfold.decorators import display

from pagekit.actions import Action, ActionsAdmin, But, Page, Person, Refused
from pagekit.filters import TimeRangeFilter
from pagekit.read_only import ReadOnlyAdmin
from receiving import store
from receiving.forms import ApiKeyForm, FindMemberForm, KnownUsersForm
from receiving.keys import create_key, revoke
from receiving.models import ApiKey, BodySearch, List, RequestLog, Workspace
from receiving.reading import csv_of, members_of_set
from receiving.replay import body_of, can_replay, replay

MEMBERS_SHOWN = 100
UPLOAD_STEP = 10_000
BANNER_NAMES = 20
# A list of all workspaces, or keys, would be as long as there are of them.
OF_WORKSPACE = ("workspace", AutocompleteSelectFilter)


SIZES = ("max_body_bytes", "max_items", "max_lists", "max_traits")
COUNTS = ("received", "changed", "ignored", "refused")


class ReceivingAdmin(ActionsAdmin):
    """Every page of the partner's side says when a workspace injects faults."""

    list_before_template = "receiving/fault_banner.html"
    change_form_before_template = "receiving/fault_banner.html"

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        shown: HttpResponse = super().changelist_view(request, (extra_context or {}) | faulty_workspaces())
        return shown

    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        context = (extra_context or {}) | faulty_workspaces()
        shown: HttpResponse = super().changeform_view(request, object_id, form_url, context)
        return shown

    def page(self, request: HttpRequest, template: str, **context: Any) -> TemplateResponse:
        shared = {**self.admin_site.each_context(request), "opts": self.opts} | faulty_workspaces()
        return TemplateResponse(request, template, shared | context)


def faulty_workspaces() -> dict[str, Any]:
    """What the banner shows: workspaces that inject faults, at most as many as it can name."""
    return {"faulty_workspaces": Workspace.objects.with_faults()[:BANNER_NAMES]}


FAULTS = ("fault_delay_ms", "fault_429_percent", "fault_reset_percent", "fault_rejected_percent")


@admin.register(Workspace)
class WorkspaceAdmin(ReceivingAdmin):
    list_display = ("slug", "lists_number", "keys_number", "users_taken", "rate", "state")
    search_fields = ("slug",)
    row_pages = (
        Page(
            "known-users",
            "Upload known users",
            "upload",
            "upload_known_users",
            permission="receiving.change_workspace",
            methods=("GET", "HEAD", "POST"),
        ),
    )
    fieldsets = (
        (None, {"fields": ("slug", "known_users_only", "page_calls")}),
        (
            "Limits",
            {
                "fields": (
                    "max_body_bytes",
                    "max_items",
                    "max_lists",
                    "max_traits",
                    "rate_limit",
                    "rate_window_seconds",
                )
            },
        ),
        ("Request log", {"fields": ("log_days", "log_max_bytes")}),
        (
            "Fault injection",
            {
                "fields": FAULTS,
                "description": "For trying out how a sender copes. Nothing here is for production.",
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Workspace]:
        found: QuerySet[Workspace] = super().get_queryset(request)
        return found.annotate(
            lists_count=Count("lists", distinct=True), keys_count=Count("keys", distinct=True)
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Workspace | None = None) -> tuple[str, ...]:
        return () if request.user.has_perm("receiving.inject_faults") else FAULTS

    def has_delete_permission(self, request: HttpRequest, obj: Workspace | None = None) -> bool:
        """A workspace with lists is not deleted: its lists are drained first."""
        if obj is not None and obj.lists.exists():
            return False
        return bool(super().has_delete_permission(request, obj))

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Many at once would go past the check for lists."""
        return {name: one for name, one in super().get_actions(request).items() if name != "delete_selected"}

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Say how much goes, not each row by its name: a log has hundreds of thousands."""
        counts: dict[str, int] = {}
        lacking = set()
        for relation in Workspace._meta.related_objects:
            model: Any = relation.related_model
            if relation.on_delete is not CASCADE:
                continue
            if number := model.objects.filter(**{f"{relation.field.name}__in": objs}).count():
                counts[str(model._meta.verbose_name_plural)] = number
                kept = self.admin_site.is_registered(model)
                if kept and not self.admin_site.get_model_admin(model).has_delete_permission(request):
                    lacking.add(str(model._meta.verbose_name))
        return [str(workspace) for workspace in objs], counts, lacking, []

    def delete_model(self, request: HttpRequest, obj: Workspace) -> None:
        store.forget_workspace(obj)
        super().delete_model(request, obj)

    @display(description="Lists", ordering="lists_count")
    def lists_number(self, workspace: Any) -> int:
        return int(workspace.lists_count)

    @display(description="Keys", ordering="keys_count")
    def keys_number(self, workspace: Any) -> int:
        return int(workspace.keys_count)

    @display(description="Users", ordering="known_users_only")
    def users_taken(self, workspace: Workspace) -> str:
        return "known only" if workspace.known_users_only else "all"

    @display(description="Rate limit", ordering="rate_limit")
    def rate(self, workspace: Workspace) -> str:
        if workspace.rate_limit is None:
            return "none"
        return f"{workspace.rate_limit:,} calls in {workspace.rate_window_seconds:,} s"

    @display(description="State", label={"Injects faults": "danger", "Normal": "success"})
    def state(self, workspace: Workspace) -> str:
        return "Injects faults" if workspace.injects_faults else "Normal"

    def upload_known_users(self, request: HttpRequest, workspace: Workspace) -> HttpResponse:
        form = KnownUsersForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            ids = form.cleaned_data["file"]
            new = sum(
                _in_transaction(workspace, ids[start : start + UPLOAD_STEP])
                for start in range(0, len(ids), UPLOAD_STEP)
            )
            self.log_change(request, workspace, f"Uploaded {len(ids)} known users, {new} of them new.")
            messages.success(request, f"{new:,} users became known; {len(ids) - new:,} were known before.")
            return redirect(self.page_url(workspace))
        return self.page(request, "receiving/upload.html", title=f"Known users of {workspace}", form=form)


def _in_transaction(workspace: Workspace, user_ids: list[str]) -> int:
    with transaction.atomic():
        return store.add_known_users(workspace, user_ids)


class KeyStateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("active", "Active"), ("revoked", "Revoked"), ("expired", "Expired")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        now = timezone.now()
        if self.value() == "revoked":
            return queryset.exclude(revoked_at=None)
        if self.value() == "expired":
            return queryset.filter(revoked_at=None, expires_at__lte=now)
        if self.value() == "active":
            return queryset.filter(revoked_at=None).exclude(expires_at__lte=now)
        return queryset


def _revoke(key: ApiKey, by: str) -> str:
    if not revoke(key):
        raise Refused("The key was revoked already.")
    return "The key is revoked."


@admin.register(ApiKey)
class ApiKeyAdmin(ReceivingAdmin):
    list_display = ("label", "workspace", "begins", "state", "last_used_at", "expires_at", "created_at")
    list_display_links = ("label",)
    list_filter = (KeyStateFilter, OF_WORKSPACE)
    list_filter_submit = True
    autocomplete_fields = ("workspace",)
    list_select_related = ("workspace",)
    search_fields = ("name", "prefix", "workspace__slug")
    form = ApiKeyForm
    fields: Any = ("workspace", "name", "app_id", "expires_at", "write_only", "origins")
    row_actions = (
        Action(
            "revoke",
            "Revoke",
            "block",
            _revoke,
            lambda key: key.revoked_at is None,
            question="Revoke this key?",
            consequence="Calls with it are answered with 401 from now on. This cannot be undone.",
            permission="receiving.revoke_apikey",
            variant="danger",
        ),
    )

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        shown = ("begins", "created_at", "last_used_at", "revoked_at") if obj else ()
        return (*self.fields, *shown)

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        fixed = ("workspace", "write_only", "begins", "created_at", "last_used_at", "revoked_at")
        return fixed if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        """Keys are revoked and kept: the request log names them."""
        return False

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        stored, text = create_key(
            obj.workspace, name=obj.name, app_id=obj.app_id, expires_at=obj.expires_at,
            write_only=obj.write_only, origins=obj.origins,
        )  # fmt: skip
        obj.pk, obj.prefix = stored.pk, stored.prefix
        # The key stands in the reply to this form and nowhere else: not in a cookie, not in the session.
        request.new_key = text  # type: ignore[attr-defined]

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        shown = self.page(
            request,
            "receiving/key_created.html",
            title="API key created",
            key=request.new_key,  # type: ignore[attr-defined]
            stored=obj,
            site_url=request.build_absolute_uri("/").rstrip("/"),
        )
        shown.headers["Cache-Control"] = "no-store"
        return shown

    @display(description="Key", ordering="name")
    def label(self, key: ApiKey) -> str:
        return key.name or "without a name"

    @display(description="Begins with", ordering="prefix")
    def begins(self, key: ApiKey) -> str:
        return f"{key.prefix}…"

    @display(description="State", label={"Active": "success", "Revoked": "danger", "Expired": "warning"})
    def state(self, key: ApiKey) -> str:
        if key.revoked_at is not None:
            return "Revoked"
        expired = key.expires_at is not None and key.expires_at <= timezone.now()
        return "Expired" if expired else "Active"


def _size(found: List) -> str:
    number = members_of_set(found.member_set_id).count()
    return "1 member" if number == 1 else f"{number:,} members"


def _empty(found: List, by: str) -> str:
    return f"{store.drain_list(found):,} members were taken off."


def _delete(found: List, by: str) -> str:
    gone = store.delete_list(found.workspace, str(found.pk))
    return f"The list and its {gone:,} members are deleted."


@admin.register(List)
class ListAdmin(ReadOnlyAdmin, ReceivingAdmin):
    list_display = ("name", "number", "workspace", "size", "created_at")
    list_filter = (OF_WORKSPACE,)
    list_filter_submit = True
    list_select_related = ("workspace",)
    search_fields = ("name", "=id")
    list_per_page = 25
    fields = ("name", "number", "workspace", "size", "created_at")
    row_pages = (
        Page("send-on", "Send it on", "forward", "send_on", permission="cohorts.add_cohort"),
        Page("members", "Members", "group", "show_members"),
        Page("members.csv", "Download members", "download", "download_members"),
    )
    row_actions = (
        Action(
            "empty",
            "Empty",
            "mop",
            _empty,
            question="Empty this list?",
            consequence=lambda found: (
                f"All {_size(found)} are taken off at once. The list stays, with its id."
            ),
            permission="receiving.drain_list",
            variant="danger",
        ),
        Action(
            "delete",
            "Delete",
            "delete",
            _delete,
            question="Delete this list?",
            consequence=lambda found: (
                f"Its {_size(found)} are taken off, and a sender that adds to it is told that it is gone."
            ),
            permission="receiving.drain_list",
            variant="danger",
            deletes=True,
        ),
    )

    def send_on(self, request: HttpRequest, found: List) -> HttpResponse:
        """Begin a cohort that follows this list, so that it can be sent to partners."""
        name = found.name.removeprefix("[Amplitude] ")[:200]
        filled = {
            "name": name,
            "key": slugify(f"{name[:80]}-{found.pk}"),
            "source_kind": "received",
            "received_workspace": found.workspace.slug,
            "received_list": found.pk,
            "schedule_kind": "changes",
        }
        return redirect(f"{reverse('admin:cohorts_cohort_add')}?{urlencode(filled)}")

    @display(description="List id", ordering="id")
    def number(self, found: List) -> str:
        return str(found.pk)

    @display(description="Members")
    def size(self, found: List) -> str:
        return f"{members_of_set(found.member_set_id).count():,}"

    def show_members(self, request: HttpRequest, found: List) -> HttpResponse:
        """A page of the members in order, beginning at a user id."""
        form = FindMemberForm(request.GET or None)
        begin = form.cleaned_data["user_id"].replace("\x00", "") if form.is_valid() else ""
        page = members_of_set(found.member_set_id).page_from(begin, MEMBERS_SHOWN + 1)
        return self.page(
            request, "receiving/members.html", title=f"Members of {found}", found=found, form=form,
            user_ids=page[:MEMBERS_SHOWN], next=page[MEMBERS_SHOWN] if len(page) > MEMBERS_SHOWN else None,
            size=members_of_set(found.member_set_id).count(),
        )  # fmt: skip

    def download_members(self, request: HttpRequest, found: List) -> StreamingHttpResponse:
        reply = csv_of(members_of_set(found.member_set_id), for_spreadsheet=True)
        reply.headers["Content-Disposition"] = f'attachment; filename="list-{found.pk}.csv"'
        return reply


class StatusFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = {200: "accepted", 400: "invalid", 401: "bad key", 404: "not found", 413: "too large"}
        names |= {415: "not JSON", 429: "rate limited"}
        return [("refused", "All that were refused")] + [(str(n), f"{n} {name}") for n, name in names.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[RequestLog]) -> QuerySet[RequestLog]:
        value = self.value() or ""
        if value == "refused":
            return queryset.filter(status__gte=400)
        return queryset.filter(status=int(value)) if value.isdigit() else queryset


def _replay(entry: RequestLog, by: Person) -> str:
    outcome = replay(entry, by.address)
    said = f"Replayed: {outcome.status} {json.dumps(outcome.reply)[:500]}"
    return said if outcome.status == 200 else But(said)


@admin.register(RequestLog)
class RequestLogAdmin(ReadOnlyAdmin, ReceivingAdmin):
    list_display = ("received_at", "workspace", "key_name", "call", "outcome", "received", "changed", "took")
    list_filter = (
        ("received_at", TimeRangeFilter), StatusFilter, OF_WORKSPACE, ("key", AutocompleteSelectFilter),
        ("list_number", FieldTextFilter),
    )  # fmt: skip
    list_filter_submit = True
    list_select_related = ("workspace", "key")
    list_per_page = 50
    # An exact count of a large log would cost more than its page.
    show_full_result_count = False
    # As bytes, not folded to upper case: that takes longer than all the rest of the page.
    search_fields = ("path__contains", "=list_number", "code__contains", "key__prefix__startswith")
    search_help_text = "Address, list id, error code or the beginning of a key."
    row_pages = (Page("body", "Download body", "download", "download_body", offered=can_replay),)
    row_actions = (
        Action(
            "replay",
            "Replay",
            "replay",
            _replay,
            can_replay,
            question="Replay this request?",
            consequence="It is applied again as it was sent, even if its message ids were seen before.",
            permission="receiving.replay_requestlog",
        ),
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "received_at",
                    "workspace",
                    "key",
                    "call",
                    "list_number",
                    "remote_address",
                    "user_agent",
                )
            },
        ),
        (
            "Reply",
            {
                "fields": (
                    "outcome",
                    "message",
                    "received",
                    "changed",
                    "ignored",
                    "refused",
                    "took",
                    "replayed",
                )
            },
        ),
        ("Body", {"fields": ("body_bytes", "head")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[RequestLog]:
        found: QuerySet[RequestLog] = super().get_queryset(request)
        return found.defer("body", "receipt")

    @display(description="Call", ordering="path")
    def call(self, entry: RequestLog) -> str:
        return f"{entry.method} {entry.path}"

    @display(description="Key")
    def key_name(self, entry: RequestLog) -> str:
        return str(entry.key) if entry.key else "unknown"

    @display(description="Status", ordering="status", label={"2": "success", "4": "warning", "5": "danger"})
    def outcome(self, entry: RequestLog) -> tuple[str, str]:
        return str(entry.status)[0], f"{entry.status} {entry.code}".strip()

    @display(description="Took", ordering="duration_ms")
    def took(self, entry: RequestLog) -> str:
        return f"{entry.duration_ms:,.1f} ms"

    @display(description="Replay of")
    def replayed(self, entry: RequestLog) -> SafeString | str:
        if entry.replay_of is None:
            return "no replay"
        url = reverse("admin:receiving_requestlog_change", args=[entry.replay_of])
        return format_html('<a class="underline" href="{}">request {}</a>', url, entry.replay_of)

    @display(description="Beginning")
    def head(self, entry: RequestLog) -> SafeString:
        return format_html(
            '<pre class="whitespace-pre-wrap break-all">{}</pre>', entry.body_head or "no body"
        )

    def download_body(self, request: HttpRequest, entry: RequestLog) -> HttpResponse:
        return HttpResponse(
            body_of(entry),
            content_type="application/octet-stream",
            headers={"Content-Disposition": f'attachment; filename="request-{entry.pk}.json"'},
        )


@admin.register(BodySearch)
class BodySearchAdmin(ReceivingAdmin):
    list_display = ("user_id", "workspace", "progress", "hits", "scanned", "created_at")
    list_filter = (OF_WORKSPACE, "state")
    list_filter_submit = True
    autocomplete_fields = ("workspace",)
    list_select_related = ("workspace",)
    fields: Any = ("workspace", "user_id")

    def get_fields(self, request: HttpRequest, obj: BodySearch | None = None) -> Any:
        return (*self.fields, "progress", "scanned", "finished_at", "calls") if obj else self.fields

    def get_readonly_fields(self, request: HttpRequest, obj: BodySearch | None = None) -> Any:
        return ("progress", "scanned", "finished_at", "calls") if obj else ()

    def has_change_permission(self, request: HttpRequest, obj: BodySearch | None = None) -> bool:
        return False

    @display(description="State", label={"Waiting": "info", "Running": "warning", "Done": "success"})
    def progress(self, search: BodySearch) -> str:
        return search.get_state_display()

    @display(description="Calls found")
    def hits(self, search: BodySearch) -> str:
        return f"{len(search.found):,}{' or more' if search.is_full else ''}"

    @display(description="Calls that named the user")
    def calls(self, search: BodySearch) -> SafeString | str:
        found = RequestLog.objects.filter(pk__in=search.found).defer("body", "receipt")
        if not found:
            return "none yet" if search.state != BodySearch.State.DONE else "none"
        rows = [
            (
                reverse("admin:receiving_requestlog_change", args=[entry.pk]),
                _when(entry.received_at),
                entry.method,
                entry.path,
                entry.status,
            )
            for entry in found
        ]
        return format_html_join("", '<div><a class="underline" href="{}">{} {} {} {}</a></div>', rows)


def _when(moment: datetime) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M:%S}"
