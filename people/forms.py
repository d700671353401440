"""The admin's form for putting people on the list of suppressed people."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from events.tables import Hints, InvalidTable, Unsure
from people import suppression
from people.files import Invalid, entries_of, use_file
from people.identifiers import Kind
from people.models import Erasure
from people.suppression import InvalidEntry, Said


class SuppressForm(forms.Form):
    """People, typed or in a file, and why they are sent nowhere."""

    kind = forms.ChoiceField(label="They are named by", choices=Kind.choices, widget=UnfoldAdminSelectWidget)
    people = forms.CharField(
        required=False,
        strip=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 6}),
        help_text="One a line. An address or a number may be in clear or hashed with SHA-256; only the hash "
        "is kept. A number begins with + and its country.",
    )
    file = forms.FileField(
        required=False,
        widget=UnfoldAdminFileFieldWidget,
        help_text="Or a file: CSV, JSON lines, .xlsx or Parquet; one a line, or a table.",
    )
    column = forms.CharField(
        required=False,
        strip=False,
        max_length=200,
        label="Column",
        widget=UnfoldAdminTextInputWidget,
        help_text="Of the file: the heading of the column with the people, or its number.",
    )
    reason = forms.CharField(required=False, max_length=200, widget=UnfoldAdminTextInputWidget)
    until = forms.SplitDateTimeField(
        required=False,
        widget=UnfoldAdminSplitDateTimeWidget,
        help_text="When they may be sent again. Empty: never, unless they are taken off the list.",
    )
    at_once = forms.BooleanField(
        required=False,
        label="Remove them from every partner at once",
        widget=UnfoldBooleanSwitchWidget,
        help_text="Otherwise the next run of each sync removes them.",
    )

    def clean_until(self) -> Any:
        until = self.cleaned_data["until"]
        if until is not None and until <= timezone.now():
            raise ValidationError("This time is over.")
        return until

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if bool(cleaned.get("people", "").strip()) == bool(cleaned.get("file")):
            raise ValidationError("Name people, or choose a file; not both.")
        return cleaned

    def save(self, by: str) -> int:
        """Put them on the list; return how many are new there. Raises InvalidEntry or InvalidTable."""
        cleaned = self.cleaned_data
        file = cleaned["file"]
        said = Said(
            reason=cleaned["reason"],
            source=f"{file.name[:100] if file else 'browser'} by {by}"[:200],
            until=cleaned["until"],
            at_once=cleaned["at_once"],
        )
        if not file:
            invalid = Invalid()
            lines = [line for line in cleaned["people"].splitlines() if line.strip()]
            entries = list(entries_of(cleaned["kind"], lines, invalid))
            if invalid.count:
                raise InvalidEntry(f"{invalid.sentence()} Nothing was changed.")
            return suppression.add(entries, said)
        try:
            new, _ = use_file(
                file,
                lambda entries: suppression.add(entries, said),
                kind=cleaned["kind"],
                name=file.name,
                hints=Hints(column=cleaned["column"]),
            )
        except Unsure as error:
            raise InvalidTable(f"{error} Name the column, or give it a line of headings.") from None
        return new


class ErasureForm(forms.ModelForm):  # type: ignore[type-arg]  # takes none at run time
    """Whom to forget. It cannot be undone, and says so."""

    user_id = forms.CharField(
        label="User id", max_length=1024, strip=False, widget=UnfoldAdminTextInputWidget, help_text="Exactly."
    )
    sure = forms.BooleanField(
        label="I know that this cannot be undone",
        widget=UnfoldBooleanSwitchWidget,
        help_text="They are suppressed now, removed at every partner, and then erased from cohorts, events, "
        "received lists and traits, the request log, rejections and excerpts. Logs on disk and backups keep "
        "what they have.",
    )

    class Meta:
        model = Erasure
        fields = ["user_id", "reference"]
        widgets = {"reference": UnfoldAdminTextInputWidget}

    def clean_user_id(self) -> str:
        try:
            return suppression.entry_of(Kind.USER_ID, self.cleaned_data["user_id"]).value
        except InvalidEntry as error:
            raise ValidationError(str(error)) from None
