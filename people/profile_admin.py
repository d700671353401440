"""What files said people are known by, in the admin: the list, and bringing a file."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods
from unfold.decorators import display

from events.table_forms import LOOKED_AT
from pagekit import actions
from pagekit.actions import Action, ActionsAdmin
from pagekit.read_only import ReadOnlyAdmin
from people.column_forms import TYPE_WORDS, ColumnsLookForm, ProfileUploadForm
from people.models import ImportState, ProfileImport

OPEN = (ImportState.WAITING, ImportState.IMPORTING)


def _again(one: ProfileImport, by: str) -> str:
    if not ProfileImport.objects.try_again(one.pk):
        raise actions.Refused("It did not fail, its file is gone, or somebody is trying it again already.")
    return "The worker imports it. You may leave this page."


@admin.register(ProfileImport)
class ProfileImportAdmin(ReadOnlyAdmin, ActionsAdmin):
    list_display = [
        "source",
        "show_state",
        "workspace",
        "users",
        "changed",
        "skipped",
        "created_by",
        "created_at",
    ]
    list_filter = ["state", "workspace"]
    search_fields = ["source", "created_by"]
    ordering = ["-pk"]
    fields = [
        *(
            "source",
            "show_state",
            "error",
            "workspace",
            "show_columns",
            "users",
            "changed",
            "hashed",
            "skipped",
            "show_skipped",
        ),
        *("created_by", "created_at", "finished_at"),
    ]
    change_form_before_template = "pagekit/progress.html"
    row_actions = (
        Action(
            "again",
            "Try again",
            "refresh",
            _again,
            offered=lambda one: one.state == ImportState.FAILED and bool(one.file),
            permission="people.add_profileimport",
        ),
    )

    def get_urls(self) -> list[URLPattern]:
        state = self.admin_site.admin_view(require_http_methods(["GET"])(self.state_view))
        look = self.admin_site.admin_view(require_http_methods(["POST"])(self.look_view))
        return [
            path("<int:pk>/state/", state, name="people_profileimport_state"),
            path("look/", look, name="people_profileimport_look"),
            *super().get_urls(),
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("people.add_profileimport"))

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ProfileUploadForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            try:
                stored = form.keep(request.user.get_username())
            except OSError as error:
                form.add_error("file", f"The file could not be stored: {error}")
            else:
                return HttpResponseRedirect(reverse("admin:people_profileimport_change", args=[stored.pk]))
        shown = {"opts": self.opts, "title": "Import a file of profiles", "form": form}
        return TemplateResponse(
            request, "people/import_profiles.html", self.admin_site.each_context(request) | shown
        )

    def look_view(self, request: HttpRequest) -> HttpResponse:
        """A part of the form's page: what the file that was chosen is, before it is sent."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ColumnsLookForm(request.POST, request.FILES)
        if not form.is_valid() or (form.cleaned_data["file"].size or 0) > LOOKED_AT:
            return HttpResponse("The beginning of a file is missing.", status=400)
        return TemplateResponse(request, "pagekit/upload_look.html", form.look())

    def state_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        one = self.get_object(request, str(pk))
        if not self.has_view_permission(request) or one is None:
            raise PermissionDenied
        words = f"{one.get_state_display()}, {one.percent} %"
        return JsonResponse({"open": one.state in OPEN, "percent": one.percent, "words": words})

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        one = kwargs.get("obj")
        if one is not None and one.state in OPEN:
            url = reverse("admin:people_profileimport_state", args=[one.pk])
            context |= {"open": True, "row": one, "progress_url": url}
        return super().render_change_form(request, context, *args, **kwargs)

    @display(description="State", label={"Imported": "success", "Failed": "danger"})
    def show_state(self, one: ProfileImport) -> str:
        return one.get_state_display()

    @display(description="Passed over first")
    def show_skipped(self, one: ProfileImport) -> SafeString | str:
        return (
            format_html_join("", "<div><bdi>{}</bdi></div>", ((said,) for said in one.skipped_first)) or "—"
        )

    @display(description="Fields")
    def show_columns(self, one: ProfileImport) -> SafeString:
        rows = ((column, field, TYPE_WORDS[kind]) for field, kind, column in one.columns)
        return format_html_join("", "<div><bdi>{}</bdi> → <bdi>{}</bdi> ({})</div>", rows)
