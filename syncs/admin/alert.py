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
    list_display = ("begun", "sync_shown", "kind_shown", "sentence", "result", "to_shown")
    list_filter = (("sync", AutocompleteSelectFilter), ("kind", ChoicesDropdownFilter))
    list_filter_submit = True
    list_fullwidth = True
    list_per_page = 50
    ordering = ("-pk",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Alert]:
        found: QuerySet[Alert] = super().get_queryset(request)
        return found.select_related("sync__cohort", "sync__destination").prefetch_related(
            "deliveries__channel"
        )

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

    @display(description="To")
    def to_shown(self, alert: Alert) -> str:
        return ", ".join(
            one.channel.name if one.channel else one.sent_to or one.setting for one in alert.deliveries.all()
        )

    @display(description="Result")
    def result(self, alert: Alert) -> SafeString:
        return columns.label(*result_of(alert))


def result_of(alert: Alert) -> tuple[str, Tone, str]:
    """Return what became of an alert at the channels that it goes out by: label, tone, sentence."""
    deliveries = list(alert.deliveries.all())
    if not deliveries:
        return "Nobody notified", Tone.QUIET, "No channel takes it: add one under Operations."
    waiting = [one for one in deliveries if one.sent_at is None]
    if not waiting:
        return "Sent", Tone.GOOD, ""
    failing = next((one for one in waiting if one.error), None)
    if failing is None:
        return "Waiting", Tone.BUSY, "For the worker, for others of its kind, or for the end of quiet hours."
    tries = f"{failing.tries} {'try' if failing.tries == 1 else 'tries'}"
    if failing.tries >= TRIES:
        return "Not sent", Tone.BAD, f"Given up after {tries}: {failing.error}"
    return "Not sent yet", Tone.CARE, f"{tries} so far: {failing.error}"
