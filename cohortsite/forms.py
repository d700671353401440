"""The form of a personal API token."""

from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from cohortsite.models import ApiToken

DAYS = {"30": "30 days", "90": "90 days", "365": "A year", "": "It does not expire"}


class ApiTokenForm(forms.ModelForm):  # type: ignore[type-arg]
    days = forms.ChoiceField(
        label="Expires after",
        choices=list(DAYS.items()),
        initial="90",
        required=False,
        widget=UnfoldAdminSelectWidget(),
    )

    class Meta:
        model = ApiToken
        fields: ClassVar[tuple[str, ...]] = ("name",)
        widgets: ClassVar[dict[str, Any]] = {"name": UnfoldAdminTextInputWidget()}

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if not name.isprintable():
            raise ValidationError("Give one line of text.")
        return name

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        days = cleaned.get("days")
        cleaned["expires_at"] = timezone.now() + timedelta(days=int(days)) if days else None
        return cleaned
