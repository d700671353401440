"""The admin's form for a file of user ids: it is shown as it was understood before it is taken."""

from __future__ import annotations

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldBooleanWidget

from cohorts.choices import UploadMode
from cohorts.models import Cohort
from people.column_forms import ColumnsForm


class UploadForm(ColumnsForm):
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
    PLAIN: tuple[str, ...] = ("file", "mode", "column", "refuse_suspicious")
    command = "import_members"

    def __init__(self, cohort: Cohort, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, workspace=cohort.events_workspace, **kwargs)
        self.cohort = cohort

    def clean(self) -> dict[str, Any]:
        if self.cohort.held_number:
            raise forms.ValidationError(
                f"Version {self.cohort.held_number} is held. Approve or refuse it first."
            )
        return super().clean()
