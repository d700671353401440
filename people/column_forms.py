"""Forms of files whose columns become fields of people's profiles, with a look at the first rows."""

from __future__ import annotations

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldBooleanWidget

from events.table_forms import LookForm, TableForm
from events.tables import NoSuchColumn, Table, Understood
from people import profiles
from people.models import ProfileImport
from people.profile_files import Fields, Mapped, mapped_lines, suggested
from people.profiles import InvalidValue, read_text

TYPE_WORDS = {
    "text": "text",
    "email": "e-mail address",
    "phone": "telephone number",
    "number": "number",
    "boolean": "true or false",
}


class MappedForm(forms.Form):
    """Which columns are which fields: a line each, as the command's --map has it."""

    mapped = forms.CharField(
        required=False,
        strip=False,
        label="Columns that become fields",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "spellcheck": "false"}),
        help_text="Choose them in the first rows of the file, or write a line for each: email=E-Mail, or "
        "consent:boolean=May we write? with its type. Two columns of one field are two values.",
    )

    def clean_mapped(self) -> list[Mapped]:
        try:
            return mapped_lines(self.cleaned_data["mapped"])
        except InvalidValue as error:
            raise forms.ValidationError(str(error)) from None


class ColumnsForm(MappedForm, TableForm):
    """A file, and the columns of it that are kept as fields; `workspace` is suggested as whose."""

    workspace = forms.ChoiceField(
        required=False,
        label="Profiles of",
        widget=UnfoldAdminSelectWidget,
        help_text="Which workspace keeps them.",
    )
    skip_invalid = forms.BooleanField(
        required=False,
        label="Pass over values that are none",
        widget=UnfoldBooleanWidget,
        help_text="Such as an e-mail address without an @. Otherwise the file is refused, with the line.",
    )
    PLAIN: tuple[str, ...] = ("file", "column")
    ABOUT_PROFILES = ("mapped", "workspace", "skip_invalid")

    def __init__(self, *args: Any, workspace: str = "", may_keep: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        known = profiles.store().workspaces() if may_keep else []
        self.fields["workspace"].choices = [(name, name) for name in known]  # type: ignore[attr-defined]
        self.fields["workspace"].initial = workspace if workspace in known else next(iter(known), "")
        self.keeps = bool(known)
        if not known:
            for name in self.ABOUT_PROFILES:
                del self.fields[name]

    def plain_fields(self) -> list[Any]:
        return [self[name] for name in self.PLAIN]

    def profile_fields(self) -> list[Any]:
        return [self[name] for name in self.ABOUT_PROFILES] if self.keeps else []

    def profile_fields_needed(self) -> bool:
        return any(field.errors for field in self.profile_fields()) or bool(
            self.keeps and self["mapped"].value()
        )

    def clean(self) -> dict[str, Any]:
        if "file" in self.cleaned_data and not self.errors:
            self.check_head(self._check_columns)
        return self.cleaned_data

    def _check_columns(self, table: Table) -> None:
        for one in self.cleaned_data.get("mapped", []):
            try:
                table.column(one.column)
            except NoSuchColumn as error:
                self.add_error("mapped", str(error))

    def kept_fields(self) -> Fields | None:
        """Return what is kept of the file besides its user ids; None: nothing."""
        data = self.cleaned_data
        if not data.get("mapped"):
            return None
        return Fields(data["workspace"], data["mapped"], data["skip_invalid"])


class ColumnsLookForm(MappedForm, LookForm):
    """`choose`: the page offers to choose fields; `suggest`: those are named that headings suggest."""

    choose = forms.BooleanField(required=False)
    suggest = forms.BooleanField(required=False)

    def clean_mapped(self) -> list[Mapped]:
        """A look is at what is written so far."""
        try:
            return super().clean_mapped()
        except forms.ValidationError as error:
            self.wrong = error.messages[0]
            return []

    wrong = ""

    def shown(self, known: Understood, column: int | None) -> dict[str, Any]:
        found = super().shown(known, column)
        if not self.cleaned_data["choose"] or column is None or len(known.columns) < 2:
            return found
        mapped: list[Mapped] = self.cleaned_data["mapped"]
        at: dict[int, Mapped] = {}
        for one in mapped:
            index = _index(found["columns"], one.column)
            if index is None:
                self.wrong = self.wrong or f"The file has no column {one.column!r}."
            else:
                at[index] = one
        for index, shown in enumerate(found["columns"]):
            shown["field"] = at[index].field if index in at else ""
            shown["type"] = at[index].type if index in at else ""
        for row in found["rows"]:
            for index, cell in enumerate(row):
                if index in at:
                    _show_value(cell, at[index].type)
        found |= {"choose": True, "types": TYPE_WORDS.items(), "wrong": self.wrong}
        if self.cleaned_data["suggest"] and not mapped and not self.wrong:
            lines = suggested(known.columns, column) if known.heading else []
            found["suggested"] = "\n".join(f"{one.field}={one.column}" for one in lines)
        return found


def _index(columns: list[dict[str, Any]], name: str) -> int | None:
    found = [at for at, column in enumerate(columns) if column["said"] == name]
    if not found and name.isascii() and name.isdigit() and 1 <= int(name[:9]) <= len(columns):
        found = [int(name) - 1]
    return found[0] if len(found) == 1 else None


def _show_value(cell: dict[str, Any], kind: str) -> None:
    """Show a cell as it would be kept, or why it would not."""
    if not cell["text"].strip():
        return
    try:
        cell["kept"] = str(read_text(cell["text"], kind))
    except InvalidValue as error:
        cell["wrong"] = str(error)


class ProfileUploadForm(ColumnsForm):
    """A file of profiles."""

    PLAIN = ("file", "workspace", "column")
    ABOUT_PROFILES = ("mapped", "workspace", "skip_invalid")
    command = "import_profiles"

    def profile_fields(self) -> list[Any]:
        return [self[name] for name in ("mapped", "skip_invalid")] if self.keeps else []

    def plain_fields(self) -> list[Any]:
        return super().plain_fields() if self.keeps else []

    def clean_mapped(self) -> list[Mapped]:
        mapped = super().clean_mapped()
        if not mapped:
            raise forms.ValidationError("Choose a column that becomes a field.")
        return mapped

    def keep(self, by: str) -> ProfileImport:
        """Store the file for the worker. Raises OSError."""
        data = self.cleaned_data
        return ProfileImport.objects.create(
            workspace=data["workspace"],
            source=data["file"].name[:300],
            columns=[list(one) for one in data["mapped"]],
            file=data["file"],
            said=self.said() | {"column": data["column"]},
            skip_invalid=data["skip_invalid"],
            created_by=by,
        )
