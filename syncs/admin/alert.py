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
from syncs.alert_models import AlertDelivery
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
        channels = [one.channel.name for one in alert.deliveries.all()]
        return ", ".join([*([alert.sent_to] if alert.sent_to else []), *channels])

    @display(description="Result")
    def result(self, alert: Alert) -> SafeString:
        return columns.label(*result_of(alert))


def result_of(alert: Alert) -> tuple[str, Tone, str]:
    """Return whether an alert was sent: label, tone, sentence."""
    by_channel = _by_channels(list(alert.deliveries.all()))
    if by_channel and not (alert.sent_to or alert.error):
        return by_channel
    tries = f"{alert.tries} {'try' if alert.tries == 1 else 'tries'}"
    if alert.sent_at and alert.sent_to == "":
        return (
            "Nobody notified",
            Tone.QUIET,
            "No channel takes it; ALERT_EMAILS and ALERT_WEBHOOK_URL name nobody.",
        )
    if alert.sent_at:
        return "Sent", Tone.GOOD, "" if alert.tries == 1 else f"After {tries}."
    if alert.tries >= TRIES:
        return "Not sent", Tone.BAD, f"Given up after {tries}: {alert.error}"
    if alert.tries:
        return "Not sent yet", Tone.CARE, f"{tries} so far: {alert.error}"
    return "Waiting", Tone.BUSY, "For the worker."


def _by_channels(deliveries: list[AlertDelivery]) -> tuple[str, Tone, str] | None:
    """Return what became of an alert at the channels that it goes out by; None when there are none."""
    waiting = [one for one in deliveries if one.sent_at is None]
    if not waiting:
        return ("Sent", Tone.GOOD, "") if deliveries else None
    failing = next((one for one in waiting if one.error), None)
    if failing is None:
        return "Waiting", Tone.BUSY, "For others of its kind, or for the end of quiet hours."
    given_up = failing.tries >= TRIES
    return ("Not sent" if given_up else "Not sent yet"), (Tone.BAD if given_up else Tone.CARE), failing.error
