"""The admin's form of a cohort."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from cohorts import received
from cohorts.choices import SourceKind, WhenOver
from cohorts.definitions.parse import timezones
from cohorts.models import Cohort
from cohorts.sources import KEEP_PROFILES, USE_QUERY, sets_fields, sets_query
from cohorts.tags import TagsField
from events.arrivals import known_workspaces

NO_RIGHT = "You may not set or change a query: that takes the right “{}”."
# What belongs to one kind of source only, and what it is for the others.
SOURCE_FIELDS: dict[str, tuple[str, Any]] = {
    "definition": (SourceKind.BEHAVIORAL, None),
    "query_database": (SourceKind.QUERY, ""),
    "query_sql": (SourceKind.QUERY, ""),
    "query_fields": (SourceKind.QUERY, []),
    "query_skip_invalid": (SourceKind.QUERY, False),
    "received_workspace": (SourceKind.RECEIVED, ""),
    "received_list": (SourceKind.RECEIVED, ""),
    "received_trait": (SourceKind.RECEIVED, ""),
    "received_equals": (SourceKind.RECEIVED, True),
}


class DefinitionField(forms.JSONField):
    """JSON for people: set in; what is nested too deep to read is an error, as is what is none."""

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, forms.fields.InvalidJSONInput | str):
            return value
        return "" if value is None else json.dumps(value, indent=2, ensure_ascii=False)

    def bound_data(self, data: Any, initial: Any) -> Any:
        try:
            return super().bound_data(data, initial)
        except RecursionError:
            return data

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except RecursionError:
            raise forms.ValidationError("The definition is nested too deep.") from None


class LinesField(forms.CharField):
    """A list of texts, a line each."""

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(map(str, value)) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        return [line for line in (super().to_python(value) or "").splitlines() if line.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool((initial or []) != self.to_python(data))


class ScheduledForm(forms.ModelForm):  # type: ignore[type-arg]
    """Shows and reads the time of a schedule that runs once in the schedule's zone, not in the viewer's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        once = self.instance.schedule_once_at
        if once and "schedule_once_at" in self.fields:
            self.initial["schedule_once_at"] = timezone.make_naive(once, ZoneInfo(self.instance.timezone))

    def full_clean(self) -> None:
        name = str(self.data.get(self.add_prefix("timezone"), self.instance.timezone)).strip()
        # A zone that does not exist is an error of its own field; the time is then any one.
        with timezone.override(name if name in timezones() else UTC):
            super().full_clean()


class CohortForm(ScheduledForm):
    """`user` is set by the admin. Fields of other sources than the chosen one are emptied."""

    user: Any = None
    # What has come, to choose from: workspaces; workspace, id and name of lists.
    events_workspaces: Sequence[str] = ()
    received_workspaces: Sequence[str] = ()
    received_lists: Sequence[tuple[str, str, str]] = ()

    tags = TagsField(
        required=False,
        max_length=1000,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "placeholder": "spring, paid-media"}),
        help_text="Words to find it by, and to send its alerts by; with commas between.",
    )
    definition = DefinitionField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 12, "spellcheck": "false", "class": "cs-json"}),
        help_text="The conditions, as JSON. See docs/behavioral.md.",
    )
    query_database = forms.ChoiceField(
        required=False,
        label="Database",
        widget=UnfoldAdminSelectWidget,
        help_text="Databases are named by the setting QUERY_DATABASES.",
    )

    query_fields = LinesField(
        required=False,
        label="Columns that become fields",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "spellcheck": "false"}),
        help_text="Further columns that are kept as fields of these people's profiles, a line each: "
        "email=E-Mail, or consent:boolean=may_write with its type. See docs/people.md.",
    )

    received_workspace = forms.CharField(
        required=False,
        label="Received by",
        max_length=50,
        widget=UnfoldAdminTextInputWidget(attrs={"list": "received-workspaces", "autocomplete": "off"}),
        help_text="The workspace of the partner's side that receives it.",
    )
    received_list = forms.CharField(
        required=False,
        label="List",
        max_length=18,
        widget=UnfoldAdminTextInputWidget(attrs={"list": "received-lists", "autocomplete": "off"}),
        help_text="The id of the list that is followed, from the list of what has come. Or say a trait.",
    )

    received_trait = forms.CharField(
        required=False,
        label="Trait",
        strip=False,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="Instead of a list: the users of whom this trait has the value that is asked for then.",
    )

    class Meta:
        model = Cohort
        # The admin adds the others: these are declared here.
        fields: ClassVar[list[str]] = [
            *(
                "tags",
                "definition",
                "query_database",
                "query_fields",
                "received_workspace",
                "received_list",
                "received_trait",
            ),
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "when_over" in self.fields:
            self.fields["when_over"].required = False  # who does not say it gets the default
        if "query_database" in self.fields:
            known = dict.fromkeys([*sorted(settings.QUERY_DATABASES), self.instance.query_database])
            choices = [("", "Select a database"), *((name, name) for name in known if name)]
            self.fields["query_database"].choices = choices  # type: ignore[attr-defined]
        if "events_workspace" in self.fields:
            # A choice of what there is, and free for what is to come.
            self.events_workspaces = known_workspaces()
            self.fields["events_workspace"].widget.attrs |= {
                "list": "events-workspaces",
                "autocomplete": "off",
            }
            has_events = self.initial.get("events_workspace") in self.events_workspaces
            if not self.instance.pk and not has_events and len(self.events_workspaces) == 1:
                self.initial["events_workspace"] = self.events_workspaces[0]
        if "received_workspace" in self.fields and received.offer:
            self.received_workspaces, self.received_lists = received.offer.choices()

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        data["when_over"] = data.get("when_over") or WhenOver.EMPTY
        for name, (kind, empty) in SOURCE_FIELDS.items():
            if name in data and data.get("source_kind") != kind:
                data[name] = empty
        old = Cohort.objects.filter(pk=self.instance.pk).first()
        if sets_query(data, old) and not self.user.has_perm(USE_QUERY):
            self.add_error("query_sql", NO_RIGHT.format("Can set or change a cohort's query of a database"))
        if sets_fields(data, old) and not self.user.has_perm(KEEP_PROFILES):
            self.add_error("query_fields", "You may not bring profiles.")
        return data
