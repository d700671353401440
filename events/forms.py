"""The forms of events' own admin pages: a file to import, events to delete, a device."""

from typing import Any

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.template.defaultfilters import filesizeformat
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from events import uploads
from events.correct import NothingToCorrect, Wanted, find_import
from events.inserting import all_workspaces
from events.models import EventUpload
from events.workspace_folders import DEFAULT_WORKSPACE, Refused


def text(help_text: str = "", **more: Any) -> forms.CharField:
    more = {"required": False, "strip": False, "max_length": 255} | more
    return forms.CharField(widget=UnfoldAdminTextInputWidget, help_text=help_text, **more)


class WorkspaceForm(forms.Form):
    workspace = forms.SlugField(
        initial=DEFAULT_WORKSPACE,
        max_length=50,
        widget=UnfoldAdminTextInputWidget,
        help_text="Whose events they are.",
    )


class KnownWorkspaceForm(WorkspaceForm):
    def clean_workspace(self) -> str:
        name = str(self.cleaned_data["workspace"])
        try:
            known = name in all_workspaces()
        except (Refused, OSError) as error:
            raise forms.ValidationError(str(error)) from None
        if not known:
            raise forms.ValidationError(f"There are no events of a workspace {name!r}.")
        return name


class EventUploadForm(WorkspaceForm):
    """A file of events, and what its columns are where that is not plain."""

    file = forms.FileField(
        widget=UnfoldAdminFileFieldWidget,
        help_text="CSV, JSON lines, a workbook (.xlsx), Parquet or Amplitude's export; text may be gzipped.",
    )
    source = text("Where the events come from: a short name, kept with the import.", max_length=100)
    replaces_repeats = forms.BooleanField(
        required=False,
        label="Replace events with the same insert id",
        widget=UnfoldBooleanWidget,
        help_text="Otherwise those that are there already are left out of the file.",
    )
    replaces_import = text(
        "The key of an import, or how it begins: what it brought goes when this file comes, in one step.",
        max_length=32,
        label="Replace the import",
    )
    traits = forms.BooleanField(
        required=False, label="It holds users' properties, no events", widget=UnfoldBooleanWidget
    )
    user_id = text("Empty: found by its usual names.", label="Column of the user id")
    event = text("Empty: found by its usual names.", label="Column of the event's name")
    event_name = text("If no column tells it: every line is this event.", label="Name of the event")
    time = text("Empty: found by its usual names.", label="Column of the time")
    field_order = ["file", "workspace", "source"]

    def __init__(self, *arguments: Any, may_replace: bool = False, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if not may_replace:  # who may not undo an import replaces none
            del self.fields["replaces_import"]

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        if data.get("replaces_import") and data.get("workspace"):
            try:
                data["replaces_import"] = find_import(data["workspace"], data["replaces_import"])
            except NothingToCorrect as error:
                self.add_error("replaces_import", str(error))
        return data

    def clean_file(self) -> "UploadedFile[bytes]":
        file: UploadedFile[bytes] = self.cleaned_data["file"]
        if (file.size or 0) > settings.MAX_UPLOAD_BYTES:
            limit = filesizeformat(settings.MAX_UPLOAD_BYTES)
            raise forms.ValidationError(
                f"The file is larger than {limit}. Pack it with gzip, or use the command import_events."
            )
        if len((file.name or "").encode()) > 200:
            raise forms.ValidationError("The file's name is longer than 200 bytes.")
        return file

    def mapped(self) -> dict[str, Any]:
        data = self.cleaned_data
        columns = {name: data[name] for name in ("user_id", "event", "time") if data[name]}
        constants = {"event": data["event_name"]} if data["event_name"] else {}
        return {"columns": columns, "constants": constants, "traits": data["traits"]}

    def keep(self, by: str) -> EventUpload:
        """Store the file, to be looked at. Raises Refused, OSError."""
        data = self.cleaned_data
        return uploads.keep(
            data["workspace"],
            data["file"].name,
            data["file"].chunks(),
            source=data["source"],
            mapped=self.mapped(),
            replaces_repeats=data["replaces_repeats"],
            replaces_import=data.get("replaces_import", ""),
            by=by,
        )


class DeletionForm(KnownWorkspaceForm):
    """Events of which everything named holds."""

    event = text("Its name, as it is written.")
    user_id = text("Events of this user, and of their devices.", max_length=1024, label="User id")
    insert_id = text("The event with this insert id.")
    import_key = forms.CharField(
        required=False,
        max_length=32,
        label="Import",
        widget=UnfoldAdminTextInputWidget,
        help_text="The key of an import, or how it begins.",
    )
    since = forms.SplitDateTimeField(required=False, widget=UnfoldAdminSplitDateTimeWidget)
    until = forms.SplitDateTimeField(
        required=False, widget=UnfoldAdminSplitDateTimeWidget, help_text="This moment is not included."
    )

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        if data.get("import_key") and data.get("workspace"):
            try:
                data["import_key"] = find_import(data["workspace"], data["import_key"])
            except NothingToCorrect as error:
                self.add_error("import_key", str(error))
        if not self.errors and not any(value for name, value in data.items() if name != "workspace"):
            raise forms.ValidationError("Name an event, a person, an insert id, a time or an import.")
        return data

    def wanted(self) -> Wanted:
        data = self.cleaned_data
        return Wanted(**{name: value or None for name, value in data.items() if name != "workspace"})


class DevicesForm(KnownWorkspaceForm):
    """Whose devices to show: a user's, or one."""

    user_id = text("The devices of this user.", max_length=1024, label="User id")
    device = text("This device: an anonymous id, a device id.", max_length=1023)


class DecideForm(KnownWorkspaceForm):
    """Whose a device is from now on."""

    device = text(required=True, max_length=1023)
    user_id = text(max_length=1024)
