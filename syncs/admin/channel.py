"""Alert channels in the admin: by which ways people are told, of what, and when."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminPasswordToggleWidget, UnfoldAdminTextInputWidget

from cohorts.tags import TagsField, WordsField
from pagekit.actions import Action, ActionsAdmin, Refused
from pagekit.shown_if import shown_if
from syncs.admin import columns
from syncs.alert_models import GIVE_AGAIN, AlertChannel
from syncs.alerts import sending
from syncs.status.state import Tone

MAY_CHANGE = "syncs.change_alertchannel"


def _words(**more: Any) -> dict[str, Any]:
    return {
        "required": False,
        "max_length": 2000,
        "widget": UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        **more,
    }


class ChannelForm(forms.ModelForm):  # type: ignore[type-arg]
    """The credential is written here and never shown: empty keeps what is stored."""

    credential = forms.CharField(
        required=False, widget=UnfoldAdminPasswordToggleWidget(attrs={"autocomplete": "new-password"})
    )
    tags = TagsField(**_words(help_text=AlertChannel._meta.get_field("tags").help_text))
    destinations = WordsField(**_words(help_text=AlertChannel._meta.get_field("destinations").help_text))
    owners = WordsField(**_words(help_text=AlertChannel._meta.get_field("owners").help_text))

    class Meta:
        model = AlertChannel
        fields = (*AlertChannel.CONFIG_FIELDS, "credential")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["credential"] = ""
        self._stored = self.instance.credential
        stored = {name: getattr(self.instance, name) for name in ("kind", "address", "credential")}
        self._before = AlertChannel(**stored)
        if "credential" in self.fields:
            state = "Set: empty keeps it." if self._stored else "Not set."
            said = AlertChannel._meta.get_field("credential").help_text
            self.fields["credential"].help_text = f"{state} {said}"

    def clean_credential(self) -> Any:
        return self.cleaned_data["credential"] or self._stored

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        made = AlertChannel(kind=data.get("kind", ""), address=data.get("address", ""))
        if data.get("credential") is self._stored and made.sends_elsewhere(self._before):
            self.add_error("credential", GIVE_AGAIN)
        return data


def _test(channel: AlertChannel, by: str) -> str:
    if problem := sending.test(channel):
        raise Refused(f"The test did not arrive. {problem}")
    return "The test was taken. Look whether it has arrived."


@admin.register(AlertChannel)
class ChannelAdmin(ActionsAdmin):
    form = ChannelForm
    row_actions = (Action("test", "Send a test", "send", _test, permission=MAY_CHANGE),)
    list_display = ("name", "kind", "enabled", "least", "routed", "last_sent_at", "state")
    list_filter = ("kind",)
    search_fields = ("name",)
    conditional_fields = {
        "address": shown_if(kind=["email", "webhook", "pagerduty"]),
        "credential": shown_if(kind=["slack", "teams", "pagerduty", "webhook"]),
    }
    fieldsets = (
        (None, {"fields": ("name", "kind", "address", "credential", "enabled")}),
        ("What goes out by it", {"fields": ("least", "destinations", "tags", "owners")}),
        ("When", {"fields": ("quiet_from", "quiet_to", "timezone", "remind_hours", "weekly")}),
    )

    def save_model(self, request: HttpRequest, obj: AlertChannel, form: Any, change: bool) -> None:
        """Leave what the worker writes into the same row."""
        fields = [name for name in form.fields if name in form.cleaned_data]
        obj.save(update_fields=fields if change else None)

    @display(description="Only of")
    def routed(self, channel: AlertChannel) -> str:
        return ", ".join([*channel.destinations, *channel.tags, *channel.owners]) or "everything"

    @display(description="State")
    def state(self, channel: AlertChannel) -> SafeString:
        if not channel.enabled:
            return columns.label("Off", Tone.QUIET, "Nothing goes out by it.")
        if channel.last_error:
            return columns.label("Failing", Tone.BAD, channel.last_error)
        if channel.last_sent_at:
            return columns.label("Works", Tone.GOOD, "The last message was taken.")
        return columns.label("Not used yet", Tone.QUIET, "“Send a test” says whether it works.")
