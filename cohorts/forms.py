"""The admin's form for a file of user ids: what can be seen at its head is said at once."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from typing import Any

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.template.defaultfilters import filesizeformat
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from cohorts import csv_file
from cohorts.choices import UploadMode
from cohorts.models import Cohort

# User ids read before the file is taken; the worker reads them all.
HEAD = 1_000


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
