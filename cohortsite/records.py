"""How a change of configuration is recorded, and how the records read as who, when, before and after."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from django.db import models
from django.utils.crypto import salted_hmac
from simple_history.models import HistoricalRecords

from destinations.secrets import EncryptedField, NamedSecrets, NamedSecretsField, SecretUnreadable

if TYPE_CHECKING:
    TextColumn = models.TextField[Any, Any]
else:
    TextColumn = models.TextField

SHOWN = 50


class SecretNames(TextColumn):
    """Which named secrets there are, as JSON: to each name a mark that another value changes.

    The mark is 32 bits of an HMAC with SECRET_KEY: enough to tell a replacement, too little to find a value.
    NULL: not known, as in records that are older than this column.
    """

    def get_prep_value(self, value: Any) -> Any:
        if not isinstance(value, NamedSecrets):
            return super().get_prep_value(value)
        try:
            secrets = value.reveal()
        except SecretUnreadable:
            return None
        marks = {
            name: salted_hmac("named secret", f"{name}:{text}").hexdigest()[:8]
            for name, text in secrets.items()
        }
        return json.dumps(marks, sort_keys=True)


class ConfigurationRecords(HistoricalRecords):  # type: ignore[misc]
    """Records what people configure. Of a secret it keeps "set" or "not set", which is how one reads.

    Columns of state are excluded, and a save of nothing else leaves no record; UPDATEs never do.
    """

    def copy_fields(self, model: Any) -> dict[str, Any]:
        fields: dict[str, Any] = super().copy_fields(model)
        for name, field in fields.items():
            if isinstance(field, EncryptedField):
                masked: models.Field[Any, Any] = models.CharField(field.verbose_name, max_length=10)
                if isinstance(field, NamedSecretsField):
                    masked = SecretNames(field.verbose_name, null=True)
                masked.set_attributes_from_name(name)
                fields[name] = masked
        return fields

    def post_save(self, instance: Any, created: bool, using: str | None = None, **more: Any) -> None:
        saved = more.get("update_fields")
        if saved is None or saved & {field.name for field in self.fields_included(instance)}:
            super().post_save(instance, created, using=using, **more)


@dataclass(frozen=True, slots=True)
class FieldChange:
    name: str
    label: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Change:
    """`who`: a user name, or '' for a command. `fields` is empty where a secret was replaced by another.
    `number`: of the record.
    `reason`: how it came about, where that is not just that a person saved it.
    """

    when: datetime
    who: str
    what: str
    fields: list[FieldChange]
    reason: str = ""
    number: int = 0


def changes_of(row: models.Model) -> list[Change]:
    """Return the latest changes of a row's configuration, the newest first. Two queries."""
    if not hasattr(row, "history"):
        return []
    found = row.history.select_related("history_user").order_by("-history_date", "-history_id")
    records = list(found[: SHOWN + 1])
    changes = [_change(new, old) for new, old in pairwise(records)]
    if records and len(records) <= SHOWN:
        changes.append(_change(records[-1], None))
    return changes


def latest_change(row: models.Model) -> int | None:
    """Return the number of a row's latest recorded change."""
    found: int | None = row.history.aggregate(latest=models.Max("history_id"))["latest"]  # type: ignore[attr-defined]
    return found


def changes_since(row: models.Model, seen: int) -> list[Change]:
    """Return all that was changed after the record `seen`, the oldest first; nothing if it is not of this
    row.
    """
    found = row.history.select_related("history_user").order_by("history_id")  # type: ignore[attr-defined]
    records = list(found.filter(history_id__gte=seen))
    if not records or records[0].history_id != seen:
        return []
    return [_change(new, old) for old, new in pairwise(records)]


def _change(new: Any, old: Any) -> Change:
    who = new.history_user.get_username() if new.history_user else ""
    fields = list(_differences(new, old)) if old is not None and new.history_type != "-" else []
    reason = new.history_change_reason or ""
    return Change(new.history_date, who, new.get_history_type_display(), fields, reason, new.history_id)


def put_back(row: models.Model, number: int) -> bool:
    """Give a row, unsaved, what stood before a change in the fields that it changed.

    Return whether there were any; of a secret nothing is known that could be put back.
    """
    new = row.history.filter(history_id=number).first()  # type: ignore[attr-defined]
    old = new.prev_record if new is not None and new.history_type == "~" else None
    if old is None:
        return False
    names = {change.name for change in _differences(new, old)}
    fields = [field for field in new.tracked_fields if field.name in names]
    known = [field for field in fields if not isinstance(field, EncryptedField)]
    for field in known:
        setattr(row, field.attname, getattr(old, field.attname))
    return bool(known)


def difference(new: models.Model, old: models.Model, names: Iterable[str]) -> list[FieldChange]:
    """Return what a row would be and is not yet, in these fields; of a secret only that it changes."""
    found: list[FieldChange] = []
    for name in names:
        field: Any = new._meta.get_field(name)
        before, after = getattr(old, name), getattr(new, name)
        if isinstance(field, NamedSecretsField):
            marks = SecretNames()
            known = (marks.get_prep_value(before), marks.get_prep_value(after))
            found += [*_of_secrets(*known, name)] or [FieldChange(name, "Named secrets", "set", "changed")]
        elif isinstance(field, EncryptedField):
            became = "not set" if not after else "changed" if before else "set"
            found.append(FieldChange(name, _label(field), str(before), became))
        elif before != after:
            found.append(FieldChange(name, _label(field), _text(old, field), _text(new, field)))
    return found


def _differences(new: Any, old: Any) -> Iterator[FieldChange]:
    for field in new.tracked_fields:
        if isinstance(field, NamedSecretsField):
            yield from _of_secrets(getattr(old, field.attname), getattr(new, field.attname), field.name)
        elif getattr(new, field.attname) != getattr(old, field.attname):
            yield FieldChange(field.name, _label(field), _text(old, field), _text(new, field))


def _of_secrets(old: str | None, new: str | None, field: str) -> Iterator[FieldChange]:
    """Yield which named secrets were set, replaced or removed."""
    if old is None or new is None:
        return
    before, after = json.loads(old), json.loads(new)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) == after.get(name):
            continue
        became = "not set" if name not in after else "replaced" if name in before else "set"
        yield FieldChange(field, f"Secret {name}", "set" if name in before else "not set", became)


def _label(field: Any) -> str:
    label = str(field.verbose_name)
    return label[:1].upper() + label[1:]


def _text(record: Any, field: Any) -> str:
    value = getattr(record, field.attname)
    if value is None or value == "":
        return "empty"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    shown = getattr(record, f"get_{field.name}_display", None)
    return str(shown() if shown else value)
