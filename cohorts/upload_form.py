"""The admin's form for a file of user ids: it is shown as it was understood before it is taken."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.template.defaultfilters import filesizeformat
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from cohorts.choices import UploadMode
from cohorts.models import Cohort
from events import file_of_ids
from events.tables import Hints, InvalidTable, NoSuchColumn, Suspicions, Understood, Unsure, open_table
from events.tables.packing import PARQUET, ZIP
from events.tables.understood import NO_SEPARATOR, SEPARATORS

# Archives, workbooks and Parquet are read from their end: larger ones the worker looks at first.
LOOKED_AT = 16 * 1024 * 1024
FOUND_OUT = ("", "Find out")
TRUTH = {"": None, "yes": True, "no": False}


class HintsForm(forms.Form):
    """What a person says about a file. Field names are those of Hints."""

    column = forms.CharField(
        required=False,
        strip=False,
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="The heading of the column with the user ids, or its number. Empty: the one that is known.",
    )
    heading = forms.ChoiceField(
        required=False,
        label="First line",
        choices=[FOUND_OUT, ("yes", "Is a heading"), ("no", "Is a user id")],
        widget=UnfoldAdminSelectWidget,
    )
    separator = forms.ChoiceField(
        required=False,
        label="Columns are separated by",
        choices=[
            FOUND_OUT,
            *((code, name.capitalize()) for code, name in SEPARATORS.items()),
            (NO_SEPARATOR, "Nothing: each line is one id"),
        ],
        widget=UnfoldAdminSelectWidget,
    )
    encoding = forms.ChoiceField(
        required=False,
        choices=[
            FOUND_OUT,
            ("utf-8", "UTF-8"),
            ("utf-16", "UTF-16"),
            ("windows-1252", "Windows-1252 (Western Europe)"),
        ],
        widget=UnfoldAdminSelectWidget,
    )
    kind = forms.ChoiceField(
        required=False,
        label="Format",
        choices=[FOUND_OUT, ("csv", "CSV"), ("jsonl", "JSON lines")],
        widget=UnfoldAdminSelectWidget,
    )

    def hints(self) -> Hints:
        data = self.cleaned_data
        return Hints(
            column=data.get("column", ""),
            heading=TRUTH[data.get("heading", "")],
            separator=data.get("separator", ""),
            encoding=data.get("encoding", ""),
            kind=data.get("kind", ""),
        )


class UploadForm(HintsForm):
    file = forms.FileField(
        widget=UnfoldAdminFileFieldWidget,
        help_text="CSV, JSON lines, a workbook (.xlsx) or Parquet, plain or packed by gzip or zip: one user "
        "id a line, or a table with a column of them.",
    )
    mode = forms.ChoiceField(
        choices=UploadMode.choices, initial=UploadMode.REPLACE, widget=UnfoldAdminSelectWidget
    )
    refuse_suspicious = forms.BooleanField(
        required=False,
        label="Refuse suspicious ids",
        widget=UnfoldBooleanWidget,
        help_text="Refuse the file if it holds ids such as null, 8.2E+17 or #N/A. Otherwise they are taken "
        "and counted for you.",
    )
    field_order = ["file", "mode", "column"]
    # What is asked for only when a file leaves it open.
    SELDOM = ("heading", "separator", "encoding", "kind")

    def __init__(self, cohort: Cohort, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cohort = cohort

    def plain_fields(self) -> list[Any]:
        return [self[name] for name in self.fields if name not in self.SELDOM]

    def seldom_fields(self) -> list[Any]:
        return [self[name] for name in self.SELDOM]

    def seldom_needed(self) -> bool:
        """Say whether one of these fields was answered or must be."""
        return any(self[name].errors or self[name].value() for name in self.SELDOM)

    def said(self) -> dict[str, Any]:
        """Return what an Upload keeps of the hints: those that were given, but the column."""
        given = asdict(self.hints())
        return {name: value for name, value in given.items() if name != "column" and value not in ("", None)}

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
        if "file" in self.cleaned_data and not self.errors:
            self._check_head(self.cleaned_data["file"])
        return self.cleaned_data

    def _check_head(self, file: UploadedFile[bytes]) -> None:
        first = file.read(4)
        file.seek(0)
        if first in (ZIP, PARQUET) and (file.size or 0) > LOOKED_AT:
            return
        try:
            with file_of_ids.opened(file, name=file.name or "", hints=self.hints()) as opened:
                opened.look()
        except Unsure as error:
            self.add_error(error.asks, str(error))
        except NoSuchColumn as error:
            self.add_error("column", str(error))
        except InvalidTable as error:
            self.add_error("file", str(error))
        file.seek(0)


class LookForm(HintsForm):
    """The beginning of a file, sent by the page as soon as it was chosen. `whole`: it is all of it."""

    file = forms.FileField()
    name = forms.CharField(required=False, max_length=255, strip=False)
    whole = forms.BooleanField(required=False)

    def look(self) -> dict[str, Any]:
        """Return what a page shows of the file: how it was understood, and what is wrong or open."""
        data = self.cleaned_data
        shown: dict[str, Any] = {}
        try:
            with open_table(
                data["file"], name=data["name"], hints=self.hints(), partial=not data["whole"]
            ) as table:
                shown = _shown(table.understood, None)
                ids = file_of_ids.IdsFile(table, Suspicions())
                ids.look()
        except InvalidTable as error:
            asks = error.asks if isinstance(error, Unsure) else ""
            return shown | {"error": str(error), "asks": asks}
        return _shown(table.understood, ids.column) | {"suspicious": ids.suspicions.as_json()}


def _shown(known: Understood, column: int | None) -> dict[str, Any]:
    columns = [
        {"said": name if known.heading else str(at + 1), "name": name, "chosen": at == column}
        for at, name in enumerate(known.columns)
    ]
    rows = [[(cell, at == column) for at, cell in enumerate(row)] for row in known.rows]
    return {"sentence": known.sentence(), "columns": columns, "rows": rows}
