"""The form of a sync."""

from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.forms.utils import flatatt
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminSelect2Widget

from cohorts.choices import ScheduleKind
from cohorts.definitions.parse import timezones
from cohorts.forms import ScheduledForm
from cohorts.models import Cohort
from syncs.models import Sync
from syncs.status.state import users


class LongSelect(UnfoldAdminSelect2Widget):
    """A select whose options are not a template each, which takes a second for some thousands."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        widget = self.get_context(name, value, attrs)["widget"]
        options = [option for _, group, _ in widget["optgroups"] for option in group]
        return format_html(
            '<select name="{}"{}>{}</select>',
            widget["name"],
            flatatt(widget["attrs"]),
            format_html_join("", "<option{}>{}</option>", ((_option(o), o["label"]) for o in options)),
        )


def _option(option: dict[str, Any]) -> SafeString:
    return flatatt({"value": str(option["value"]), "selected": option["selected"]})


class CohortChoice(forms.ModelChoiceField):  # type: ignore[type-arg]
    """Cohorts with their sizes: whom one is about to send."""

    def label_from_instance(self, cohort: Any) -> str:
        size = users(cohort.size) if cohort.version else "not calculated yet"
        return f"{cohort.name} ({cohort.key}), {size}"


class SyncForm(ScheduledForm):
    """Adding the pair of an archived sync takes that sync up again, with what its partner holds."""

    cohort = CohortChoice(
        Cohort.objects.all(),
        empty_label="Select a cohort",
        widget=LongSelect(),
        help_text="Whom to send. It cannot be changed later.",
    )

    class Meta:
        model = Sync
        fields: ClassVar[tuple[str, ...]] = (
            "cohort",
            "destination",
            "schedule_kind",
            "schedule_once_at",
            "schedule_at",
            "schedule_cron",
            "timezone",
            "hold_if_halved",
            "guard_percent",
            "guard_users",
            "compare_cron",
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "destination" in self.fields:
            self.fields["destination"].empty_label = "Select a destination"  # type: ignore[attr-defined]
            self.fields["destination"].help_text = "Where to send them. It cannot be changed later."

    @property
    def takes_up(self) -> bool:
        """Whether this adds a pair that was archived."""
        return self._takes_up

    _takes_up = False

    def clean_timezone(self) -> str:
        name: str = self.cleaned_data["timezone"].strip()
        if name not in timezones():
            raise ValidationError(f"There is no time zone “{name}”. Example: Europe/Berlin.")
        return name

    def clean_guard_percent(self) -> int | None:
        percent: int | None = self.cleaned_data["guard_percent"]
        if percent is not None and percent > 100:
            raise ValidationError("A share is at most 100 percent.")
        return percent

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("schedule_kind") == ScheduleKind.ONCE:
            self._clean_once(cleaned.get("schedule_once_at"))
        if self.instance.pk is None and cleaned.get("cohort") and cleaned.get("destination"):
            self._take_up_archived(cleaned)
        return cleaned

    def _clean_once(self, at: datetime | None) -> None:
        if at and at <= timezone.now() and at != self.instance.schedule_once_at:
            self.add_error("schedule_once_at", "This time has passed: the sync would never run.")

    def _take_up_archived(self, cleaned: dict[str, Any]) -> None:
        pair = Sync.objects.filter(cohort=cleaned["cohort"], destination=cleaned["destination"])
        if archived := pair.exclude(archived_at=None).first():
            self.instance = archived
            self._takes_up = True
