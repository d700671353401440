"""Forms of the admin's dialogs and pages."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminTextInputWidget

from events import file_of_ids
from events.tables import InvalidTable, Unsure
from receiving.browsers import clean_origins


class KnownUsersForm(forms.Form):
    """A file of user ids, read as files of a cohort's members are."""

    file = forms.FileField(
        label="File",
        help_text="One user id a line, or a table with a column user_id: CSV, JSON lines, .xlsx or Parquet, "
        "plain or packed. Users who are known already stay so.",
        widget=UnfoldAdminFileFieldWidget(),
    )

    def clean_file(self) -> Any:
        """Return the distinct ids, sorted; an error is a sentence that names the line."""
        file = self.cleaned_data["file"]
        try:
            with file_of_ids.opened(file, name=file.name or "") as opened:
                return sorted({user_id for block in opened.blocks() for user_id in block})
        except Unsure as error:
            said = "Give the file a first line that names its columns, user_id the one with the ids."
            raise ValidationError(f"{error} {said}") from None
        except InvalidTable as error:
            raise ValidationError(str(error)) from None


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]  # takes none at run time
    """A key; one that pages use is of its own kind."""

    def clean_origins(self) -> str:
        return clean_origins(self.cleaned_data["origins"])

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("origins") and not cleaned.get("write_only", self.instance.write_only):
            raise ValidationError({"origins": "Pages can only use a key that is for web pages and apps."})
        return cleaned


class FindMemberForm(forms.Form):
    """Where in a list to begin to show it."""

    user_id = forms.CharField(
        label="User id", required=False, max_length=1024, strip=False, widget=UnfoldAdminTextInputWidget()
    )
