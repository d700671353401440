"""Alerts in the admin: what people were notified of, when, to whom, and whether it got there."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter
from unfold.decorators import display

from syncs.admin import columns
from syncs.admin.history import HistoryAdmin
from syncs.alerts import TRIES
from syncs.models import Alert
from syncs.status.state import Tone


@admin.register(Alert)
class AlertAdmin(HistoryAdmin):
    list_display = ("begun", "sync_shown", "kind_shown", "sentence", "result", "sent_to")
    list_filter = (("sync", AutocompleteSelectFilter), ("kind", ChoicesDropdownFilter))
    list_filter_submit = True
    list_fullwidth = True
    list_per_page = 50
    ordering = ("-pk",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Alert]:
        found: QuerySet[Alert] = super().get_queryset(request)
        return found.select_related("sync__cohort", "sync__destination")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The list says it all of an alert; what one wants to see next is its sync."""
        alert: Alert | None = self.get_object(request, object_id)
        if not self.has_view_permission(request):
            raise PermissionDenied
        if alert is None:
            raise Http404
        overview = reverse("admin:index")
        return HttpResponseRedirect(columns.sync_url(alert.sync_id) if alert.sync_id else overview)

    @display(description="Since", ordering="pk")
    def begun(self, alert: Alert) -> SafeString:
        return columns.when(alert.created_at)

    @display(description="Sync")
    def sync_shown(self, alert: Alert) -> SafeString:
        if alert.sync is None:
            return columns.link(reverse("admin:index"), alert.subject)
        return columns.link(columns.sync_url(alert.sync.pk), columns.pair(alert.sync))

    @display(description="What", ordering="kind")
    def kind_shown(self, alert: Alert) -> str:
        return alert.get_kind_display()

    @display(description="Result")
    def result(self, alert: Alert) -> SafeString:
        return columns.label(*result_of(alert))


def result_of(alert: Alert) -> tuple[str, Tone, str]:
    """Return whether an alert was sent: label, tone, sentence."""
    tries = f"{alert.tries} {'try' if alert.tries == 1 else 'tries'}"
    if alert.sent_at and alert.sent_to == "":
        return "Nobody notified", Tone.QUIET, "ALERT_EMAILS and ALERT_WEBHOOK_URL name nobody."
    if alert.sent_at:
        return "Sent", Tone.GOOD, "" if alert.tries == 1 else f"After {tries}."
    if alert.tries >= TRIES:
        return "Not sent", Tone.BAD, f"Given up after {tries}: {alert.error}"
    if alert.tries:
        return "Not sent yet", Tone.CARE, f"{tries} so far: {alert.error}"
    return "Waiting", Tone.BUSY, "For the worker."
