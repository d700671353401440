"""Forms of the admin's dialogs and pages."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminTextInputWidget

from events.user_ids import InvalidUserId, check_user_id


class KnownUsersForm(forms.Form):
    """A text file with one user id a line."""

    file = forms.FileField(
        label="File",
        help_text="UTF-8 text, one user id a line. Users who are known already stay so.",
        widget=UnfoldAdminFileFieldWidget(),
    )

    def clean_file(self) -> Any:
        """Return the distinct ids, sorted; the error names the line."""
        found = set()
        for number, line in enumerate(self.cleaned_data["file"], start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
                if text:
                    found.add(check_user_id(text))
            except UnicodeDecodeError:
                raise ValidationError(f"Line {number:,} is not UTF-8.") from None
            except InvalidUserId as error:
                raise ValidationError(f"Line {number:,} {error}.") from None
        if not found:
            raise ValidationError("The file holds no user id.")
        return sorted(found)


class FindMemberForm(forms.Form):
    """Where in a list to begin to show it."""

    user_id = forms.CharField(
        label="User id", required=False, max_length=1024, strip=False, widget=UnfoldAdminTextInputWidget()
    )
