"""What a person says in the browser about a file with a table, and the look at it before it is sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.template.defaultfilters import filesizeformat
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from events import file_of_ids
from events.file_of_ids import IdsFile
from events.tables import Hints, InvalidTable, NoSuchColumn, Suspicions, Table, Understood, Unsure, open_table
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
        choices=[FOUND_OUT, ("yes", "Is a heading"), ("no", "Is no heading")],
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


class TableForm(HintsForm):
    """A file whose beginning is read before it is taken. `command` is the one that imports larger files."""

    file = forms.FileField(
        widget=UnfoldAdminFileFieldWidget,
        help_text="CSV, JSON lines, a workbook (.xlsx) or Parquet, plain or packed by gzip or zip: one user "
        "id a line, or a table with a column of them.",
    )
    # What is asked for only when a file leaves it open.
    SELDOM: tuple[str, ...] = ("heading", "separator", "encoding", "kind")
    command = ""

    def seldom_fields(self) -> list[Any]:
        return [self[name] for name in self.SELDOM]

    def seldom_needed(self) -> bool:
        """Say whether one of these fields was answered or must be."""
        return any(self[name].errors or self[name].value() for name in self.SELDOM)

    def said(self) -> dict[str, Any]:
        """Return what is kept of the hints: those that were given, but the column."""
        given = asdict(self.hints())
        return {name: value for name, value in given.items() if name != "column" and value not in ("", None)}

    def clean_file(self) -> UploadedFile[bytes]:
        file: UploadedFile[bytes] = self.cleaned_data["file"]
        limit = settings.MAX_UPLOAD_BYTES
        if (file.size or 0) > limit:
            raise forms.ValidationError(
                f"The file is larger than {filesizeformat(limit)}. Pack it with gzip, or import it with "
                f"the command {self.command}."
            )
        return file

    def check_head(self, check: Callable[[Table], object] = lambda table: None) -> None:
        """Add what is wrong with the beginning of the file to the form's errors; `check` may find more."""
        file = self.cleaned_data["file"]
        first = file.read(4)
        file.seek(0)
        if first in (ZIP, PARQUET) and (file.size or 0) > LOOKED_AT:
            return
        try:
            with file_of_ids.opened(file, name=file.name or "", hints=self.hints()) as opened:
                opened.look()
                check(opened.table)
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
                shown = self.shown(table.understood, None)
                ids = IdsFile(table, Suspicions())
                ids.look()
        except InvalidTable as error:
            asks = error.asks if isinstance(error, Unsure) else ""
            return shown | {"error": str(error), "asks": asks}
        return self.shown(table.understood, ids.column) | {"suspicious": ids.suspicions.as_json()}

    def shown(self, known: Understood, column: int | None) -> dict[str, Any]:
        """Return the first rows of the table, whose column of user ids is `column`; None: not known."""
        columns = [
            {"said": name if known.heading else str(at + 1), "name": name, "chosen": at == column}
            for at, name in enumerate(known.columns)
        ]
        rows = [[{"text": cell, "chosen": at == column} for at, cell in enumerate(row)] for row in known.rows]
        return {"sentence": known.sentence(), "columns": columns, "rows": rows}
