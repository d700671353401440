"""A form that is older than its object says so: by whom it was changed meanwhile, and what.

The page carries the number of the latest recorded change. Comes it back with an older one, nothing is saved:
fields that others changed and this person did not get their new values, and the difference is told. Whoever
saves then knows what they replace.
"""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.db import models
from django.http import HttpRequest
from django.utils import timezone

from cohortsite.records import FieldChange, changes_since, latest_change, put_back

SEEN, PUT_BACK = "seen_change", "put_back"
NOTHING = "There is nothing to put back of that change."

if TYPE_CHECKING:
    _Form = forms.ModelForm[Any]
else:
    _Form = object


class StaleForm(_Form):
    """Mixed into the form of a model whose configuration is recorded."""

    @property
    def seen_change(self) -> int | None:
        """The number for the page; that of the latest change, also when an older one came in."""
        return latest_change(self.instance) if self.instance.pk else None

    def full_clean(self) -> None:
        super().full_clean()
        seen = str(self.data.get(SEEN, "")) if self.is_bound else ""
        if not seen.isdecimal() or len(seen) > 18 or not self.instance.pk:
            return
        changes = changes_since(self.instance, int(seen))
        if not changes:
            return
        described = [self._described(change.fields) for change in changes]
        for change, what in zip(changes, described, strict=True):
            when = timezone.localtime(change.when).strftime("%Y-%m-%d %H:%M")
            self.add_error(
                None,
                f"{change.who or 'A command'} changed this at {when}, while you had it open: {what}. "
                "Nothing is saved yet: look at it, then save again.",
            )

    def _described(self, fields: list[FieldChange]) -> str:
        """Say what was changed, and take it into the form where this person left the field as it was."""
        words = []
        for field in fields:
            said = f"{field.label}, {field.before} → {field.after}"
            if field.name not in self.fields:
                words.append(said)
            elif field.name in self.changed_against(field.name):
                words.append(f"{said} (here it still says what you entered)")
            else:
                words.append(said)
                self._take_over(field.name)
        return "; ".join(words) or "a secret was replaced"

    def changed_against(self, name: str) -> set[str]:
        """Whether this person changed the field, compared with what stood there when the page was made."""
        before = self._as_seen(name)
        bound = self[name]
        if self.fields[name].has_changed(bound.field.prepare_value(before), bound.data):
            return {name}
        return set()

    def _as_seen(self, name: str) -> Any:
        record = self.instance.history.get(history_id=int(self.data[SEEN]))
        return getattr(record, f"{name}_id", None) if _is_key(record, name) else getattr(record, name)

    def _take_over(self, name: str) -> None:
        data: Any = self.data.copy()  # type: ignore[attr-defined]
        now = type(self.instance)._default_manager.get(pk=self.instance.pk)
        value = self.fields[name].prepare_value(forms.model_to_dict(now, [name])[name])
        prefixed = self.add_prefix(name)
        data.pop(prefixed, None)
        shown = self.fields[name].widget.format_value(value)
        if isinstance(self.fields[name], forms.BooleanField):
            if value:
                data[prefixed] = "on"
        elif isinstance(shown, list):
            data.setlist(prefixed, shown)
        elif shown is not None:
            data[prefixed] = shown
        self.data = data


def _is_key(record: models.Model, name: str) -> bool:
    return isinstance(record._meta.get_field(name), models.ForeignKey)


class TellsOfOtherChanges:
    """Mixed into the admin of such a model by `site.Site`.

    With `?put_back=NUMBER` of a change the form is filled as it was before it; saving is left to the person.
    """

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        row = super().get_object(request, object_id, from_field)  # type: ignore[misc]
        number = request.GET.get(PUT_BACK, "")
        if row is not None and request.method == "GET" and number.isdecimal() and len(number) < 18:
            said = "Filled in as it was before that change. Nothing is saved yet: look at it, then save."
            found = put_back(row, int(number))
            # A page asks for its row more than once.
            if not hasattr(request, "said_of_put_back"):
                request.said_of_put_back = said if found else NOTHING  # type: ignore[attr-defined]
                messages.info(request, request.said_of_put_back)  # type: ignore[attr-defined]
        return row

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **options: Any) -> Any:
        form: Any = super().get_form(request, obj, change=change, **options)  # type: ignore[misc]
        return type(form)(form.__name__, (StaleForm, form), {}) if obj is not None else form
