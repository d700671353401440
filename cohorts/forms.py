"""The admin's forms: a cohort, and a file of user ids, at whose head what is wrong is said at once."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC
from itertools import islice
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from cohorts import csv_file
from cohorts.choices import SourceKind, UploadMode
from cohorts.definitions.parse import timezones
from cohorts.models import Cohort
from cohorts.sources import USE_QUERY, sets_query

# User ids read before the file is taken; the worker reads them all.
HEAD = 1_000


NO_RIGHT = "You may not set or change a query: that takes the right “{}”."
# What belongs to one kind of source only, and what it is for the others.
SOURCE_FIELDS: dict[str, tuple[str, Any]] = {
    "definition": (SourceKind.BEHAVIORAL, None),
    "query_database": (SourceKind.QUERY, ""),
    "query_sql": (SourceKind.QUERY, ""),
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

    class Meta:
        model = Cohort
        # The admin adds the others: these are declared here.
        fields: ClassVar[list[str]] = ["definition", "query_database"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "query_database" in self.fields:
            known = dict.fromkeys([*sorted(settings.QUERY_DATABASES), self.instance.query_database])
            choices = [("", "Select a database"), *((name, name) for name in known if name)]
            self.fields["query_database"].choices = choices  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        for name, (kind, empty) in SOURCE_FIELDS.items():
            if name in data and data.get("source_kind") != kind:
                data[name] = empty
        old = Cohort.objects.filter(pk=self.instance.pk).first()
        if sets_query(data, old) and not self.user.has_perm(USE_QUERY):
            self.add_error("query_sql", NO_RIGHT.format("Can set or change a cohort's query of a database"))
        return data


class UploadForm(forms.Form):
    file = forms.FileField(
        widget=UnfoldAdminFileFieldWidget,
        help_text="CSV in UTF-8, plain or gzip: one user id a line, or with a column of that name.",
    )
    mode = forms.ChoiceField(
        choices=UploadMode.choices, initial=UploadMode.REPLACE, widget=UnfoldAdminSelectWidget
    )
    column = forms.CharField(
        required=False,
        strip=False,
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="The header of the column with the user ids. Empty: the file has one id a line.",
    )

    def __init__(self, cohort: Cohort, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cohort = cohort

    def clean_file(self) -> UploadedFile[bytes]:
        file: UploadedFile[bytes] = self.cleaned_data["file"]
        limit = settings.MAX_UPLOAD_BYTES
        if (file.size or 0) > limit:
            raise forms.ValidationError(
                f"The file is larger than {filesizeformat(limit)}. Pack it with gzip, or import it with "
                "the command import_members."
            )
        return file

    def clean(self) -> dict[str, Any]:
        if self.cohort.held_number:
            raise forms.ValidationError(
                f"Version {self.cohort.held_number} is held. Approve or refuse it first."
            )
        if "file" in self.cleaned_data and "column" in self.cleaned_data:
            self._check_head(self.cleaned_data["file"], self.cleaned_data["column"])
        return self.cleaned_data

    def _check_head(self, file: UploadedFile[bytes], column: str) -> None:
        try:
            with closing(csv_file.read_ids(file, column=column)) as ids:  # type: ignore[type-var]
                for _ in islice(ids, HEAD):
                    continue
        except csv_file.NoSuchColumn as error:
            self.add_error("column", str(error))
        except csv_file.InvalidFile as error:
            self.add_error("file", str(error))
        file.seek(0)
