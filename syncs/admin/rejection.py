"""Rejected users in the admin: why, what happens next, and what a person decides."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter, DropdownFilter
from unfold.decorators import display

from events.user_ids import InvalidUserId, check_user_id
from syncs import rejected_csv
from syncs.admin import columns
from syncs.admin.history import HistoryAdmin, RunAction
from syncs.choices import RejectionKind, RejectionState
from syncs.lifecycle import CannotRun
from syncs.models import Rejection, Sync
from syncs.status.state import REJECTION_TONES

RETRIED = "will be tried again at the next run of their sync"
DISMISSED = "dismissed: tried no more until they enter or leave the cohort, or in a full run"


def _retry(rejection: Rejection, by: str) -> str:
    Rejection.objects.filter(pk=rejection.pk).retry()
    return f"1 user {RETRIED}."


def _dismiss(rejection: Rejection, by: str) -> str:
    if not Rejection.objects.filter(pk=rejection.pk).dismiss():
        raise CannotRun("This user was dismissed already.")
    return f"1 user {DISMISSED}."


ACTIONS = (
    RunAction("retry", "Try again at the next run", "refresh", _retry, variant="primary"),
    RunAction("dismiss", "Dismiss", "do_not_disturb_on", _dismiss, lambda row: row.state != "dismissed"),
)


class CodeFilter(DropdownFilter):
    title = "code"
    parameter_name = "code"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        codes = Rejection.objects.order_by("code").values_list("code", flat=True).distinct()[:100]
        return [(code, code) for code in codes]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Rejection]) -> QuerySet[Rejection]:
        code = self.value()
        if not code:
            return queryset
        # PostgreSQL refuses NUL in a filter.
        return queryset.none() if "\x00" in code else queryset.filter(code=code)


@admin.register(Rejection)
class RejectionAdmin(HistoryAdmin):
    row_actions = ACTIONS
    page_template = "syncs/rejection.html"
    list_display = (
        "user",
        "sync_shown",
        "kind",
        "wanted_shown",
        "state_shown",
        "why",
        "tries",
        "last",
        "next_try",
    )
    list_filter = (
        ("sync", AutocompleteSelectFilter),
        ("kind", ChoicesDropdownFilter),
        ("state", ChoicesDropdownFilter),
        CodeFilter,
    )
    list_filter_submit = True
    list_fullwidth = True
    list_per_page = 50
    # By the index; not by the names that a sync's own order is by.
    ordering = ("sync_id", "user_id")
    list_before_template = "syncs/rejections_before.html"
    search_fields = ("user_id",)
    search_help_text = "A user id, exactly"
    actions = ("retry_selected", "dismiss_selected")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.download_view)
        return [path("download/", view, name="syncs_rejection_download"), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Rejection]:
        found: QuerySet[Rejection] = super().get_queryset(request)
        return found.select_related("sync__cohort", "sync__destination")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Rejection], search_term: str
    ) -> tuple[QuerySet[Rejection], bool]:
        """Find one user, byte for byte; by way of the syncs, whose index has the users in order."""
        if not search_term:
            return queryset, False
        try:
            user_id = check_user_id(search_term)
        except InvalidUserId as error:
            messages.warning(request, f"What you look for {error}.")
            return queryset.none(), False
        return queryset.filter(sync__in=Sync.objects.order_by().values("pk"), user_id=user_id), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        more = {"title": "Rejected and undelivered users", "query": request.GET.urlencode()}
        return super().changelist_view(request, {**(extra_context or {}), **more})

    @display(description="User", ordering="user_id")
    def user(self, rejection: Rejection) -> SafeString:
        return columns.user(rejection.user_id)

    @display(description="Sync", ordering="sync__cohort__name")
    def sync_shown(self, rejection: Rejection) -> SafeString:
        return columns.pair(rejection.sync)

    @display(description="Should be", ordering="wanted")
    def wanted_shown(self, rejection: Rejection) -> str:
        return "in" if rejection.wanted else "out"

    @display(description="State", ordering="state")
    def state_shown(self, rejection: Rejection) -> SafeString:
        return state_label(rejection)

    @display(description="Why", ordering="code")
    def why(self, rejection: Rejection) -> str:
        return why(rejection)

    @display(description="Last tried", ordering="last_at")
    def last(self, rejection: Rejection) -> SafeString:
        return columns.when(rejection.last_at)

    @display(description="Next try")
    def next_try(self, rejection: Rejection) -> str:
        return next_try(rejection)

    @admin.action(description="Try again at the next run", permissions=["run"])
    def retry_selected(self, request: HttpRequest, queryset: Any) -> None:
        number = queryset.order_by().retry()
        messages.success(request, f"{number:,} {_users(number)} {RETRIED}.")

    @admin.action(description="Dismiss", permissions=["run"])
    def dismiss_selected(self, request: HttpRequest, queryset: Any) -> None:
        number = queryset.order_by().dismiss()
        messages.success(request, f"{number:,} {_users(number)} {DISMISSED}.")

    def download_view(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        """Send what the list shows, with its filters, as CSV."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        shown = self.get_changelist_instance(request).get_queryset(request)
        return StreamingHttpResponse(
            rejected_csv.lines(shown),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": 'attachment; filename="rejected-users.csv"'},
        )

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        rejection: Rejection = row
        return {
            "title": "Rejected user" if rejection.kind == RejectionKind.REJECTED else "User not delivered",
            "rejection": rejection,
            "label": state_label(rejection),
            "user_shown": columns.user(rejection.user_id),
            "pair": columns.pair(rejection.sync),
            "sync_url": columns.sync_url(rejection.sync_id),
            "run_url": columns.run_url(rejection.run_id),
            "first": columns.when(rejection.first_at),
            "last": columns.when(rejection.last_at),
            "next_try": next_try(rejection),
            "why": why(rejection),
        }


def state_label(rejection: Rejection) -> SafeString:
    state = RejectionState(rejection.state)
    return columns.label(state.label, REJECTION_TONES[state])


def why(rejection: Rejection) -> str:
    """Return what the partner said, and our word for it if it is not among the partner's."""
    code = rejection.code
    return rejection.message if code in rejection.message else f"{rejection.message} ({code})"


def next_try(rejection: Rejection) -> str:
    """Return when the user is sent again, in the sync's runs."""
    if rejection.state != RejectionState.WAITING:
        return "when the user enters or leaves the cohort, or in a full run"
    runs = rejection.due_at_run - rejection.sync.runs_done
    return f"after {runs:,} more {'run' if runs == 1 else 'runs'}" if runs > 0 else "at the next run"


def _users(number: int) -> str:
    return "user" if number == 1 else "users"
