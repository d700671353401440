"""Configuration as code: how destinations, cohorts and syncs are written in a file, and the export.

    destinations:
      - name: acme
        preset: amplitude-list
        base_url: https://partner.example/api
        auth: {mode: key, credential_env: ACME_KEY}
    cohorts:
      - {key: buyers, name: Recent buyers, source: {kind: upload}}
    syncs:
      - {cohort: buyers, destination: acme, schedule: {kind: daily, at: "09:00"}}
    event_names:
      - {workspace: default, kind: event, name: song_play, renamed_to: play}

The fields are the models' own. One that has the value of its preset, or its default, is left out of an
export. A secret is never in a file: `credential_env` names the environment variable that holds it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from django.db import models

from cohorts.choices import SourceKind
from cohorts.models import Cohort
from destinations.endpoint import to_json
from destinations.models import Destination, JsonTextField
from destinations.presets import PRESETS
from events.models import NameRule
from syncs.models import AlertChannel, Sync

Configured = Destination | Cohort | Sync | AlertChannel | NameRule


@dataclass(frozen=True, slots=True)
class Section:
    """How one model is written. `flat`: fields under their own name; `groups`: group → key → field."""

    model: type[Configured]
    # What names an object, and what an export writes whatever its value.
    names: tuple[str, ...]
    always: tuple[str, ...]
    flat: tuple[str, ...]
    groups: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def fields(self) -> list[str]:
        return [*self.flat, *(name for keys in self.groups.values() for name in keys.values())]

    def path(self, name: str) -> str:
        """Return where a field stands in an item: `schedule.at`."""
        if name == "credential":
            return "auth.credential_env"
        if name == "oauth":
            return "oauth"
        for group, keys in self.groups.items():
            for key, column in keys.items():
                if column == name:
                    return f"{group}.{key}"
        return name


SCHEDULE = {
    "kind": "schedule_kind",
    "at": "schedule_at",
    "once_at": "schedule_once_at",
    "cron": "schedule_cron",
    "timezone": "timezone",
}
ACTIVE = {"from": "active_from", "to": "active_to", "then": "when_over"}
# Which kind of source a field of a cohort belongs to; to add a source, name its fields here and below.
SOURCE_FIELDS: Mapping[str, str] = {
    "definition": SourceKind.BEHAVIORAL,
    "query_database": SourceKind.QUERY,
    "query_sql": SourceKind.QUERY,
    "query_fields": SourceKind.QUERY,
    "query_skip_invalid": SourceKind.QUERY,
    "received_workspace": SourceKind.RECEIVED,
    "received_list": SourceKind.RECEIVED,
    "received_trait": SourceKind.RECEIVED,
    "received_equals": SourceKind.RECEIVED,
}


def flat_fields(model: type[Cohort | Sync], *grouped: str) -> tuple[str, ...]:
    """What is configured of a model, but for what a file puts into groups: its schedule, and `grouped`."""
    return tuple(name for name in model.CONFIG_FIELDS if name not in (*model.SCHEDULE_FIELDS, *grouped))


# Guards that came after files were written: a file that is silent about one has not switched it on.
KEPT_IN_SILENCE = frozenset({"hold_if_halved"})
SECTIONS = {
    "destinations": Section(
        Destination,
        names=("name",),
        always=("preset", "base_url", "auth_mode"),
        flat=tuple(name for name in Destination.CONFIG_FIELDS if not name.startswith("auth_")),
        groups={"auth": {"mode": "auth_mode", "username": "auth_username", "header": "auth_header"}},
    ),
    "cohorts": Section(
        Cohort,
        names=("key",),
        always=("name", "source_kind"),
        flat=flat_fields(Cohort, "source_kind", *SOURCE_FIELDS, *ACTIVE.values()),
        groups={
            "active": ACTIVE,
            "source": {
                "kind": "source_kind",
                "definition": "definition",
                "database": "query_database",
                "sql": "query_sql",
                "fields": "query_fields",
                "skip_invalid": "query_skip_invalid",
                "workspace": "received_workspace",
                "list": "received_list",
                "trait": "received_trait",
                "equals": "received_equals",
            },
            "schedule": SCHEDULE,
        },
    ),
    "syncs": Section(
        Sync,
        names=("cohort", "destination"),
        always=("schedule_kind",),
        flat=flat_fields(Sync),
        groups={"schedule": SCHEDULE},
    ),
    "alert_channels": Section(
        AlertChannel,
        names=("name",),
        always=("kind",),
        flat=AlertChannel.CONFIG_FIELDS,
        groups={"auth": {}},
    ),
    # After the cohorts: one that names what is not to be used goes on, in another site, too.
    "event_names": Section(
        NameRule, names=("workspace", "kind", "name"), always=(), flat=NameRule.CONFIG_FIELDS
    ),
}


def default_of(section: Section, name: str, preset: str) -> Any:
    """Return the value of a field that a file does not name."""
    if section.model is Destination and name in PRESETS[preset].fields:
        return PRESETS[preset].fields[name]
    column = section.model._meta.get_field(name)
    assert isinstance(column, models.Field)
    return column.get_default()


def export() -> dict[str, list[dict[str, Any]]]:
    """Return all configuration as a document that `apply` takes: no secrets, no archived syncs."""
    return {name: [_item(section, row) for row in _rows(section)] for name, section in SECTIONS.items()}


def _rows(section: Section) -> list[Any]:
    if section.model is Sync:
        rows = Sync.objects.filter(archived_at=None).select_related("cohort", "destination")
        return list(rows.order_by("cohort__key", "destination__name"))
    return list(section.model._default_manager.order_by(*section.names))


def _item(section: Section, row: Any) -> dict[str, Any]:
    item: dict[str, Any] = {}
    for name in section.fields:
        if _goes_without_saying(section, row, name):
            continue
        group, _, key = section.path(name).rpartition(".")
        (item.setdefault(group, {}) if group else item)[key] = written(row, name)
    if isinstance(row, Destination):
        # Names are no secrets: without them a file that was applied could not be had again.
        if row.credential_env:
            item.setdefault("auth", {})["credential_env"] = row.credential_env
        if row.secret_envs:
            item["secrets"] = dict(row.secret_envs)
    if isinstance(row, AlertChannel) and row.credential_env:
        item["auth"] = {"credential_env": row.credential_env}
    return item


def _goes_without_saying(section: Section, row: Any, name: str) -> bool:
    """Say whether a field has its default, or belongs to a source that the cohort does not have now."""
    if name in (*section.names, *section.always):
        return False
    if name in SOURCE_FIELDS and SOURCE_FIELDS[name] != getattr(row, "source_kind", None):
        return True
    return bool(getattr(row, name) == default_of(section, name, getattr(row, "preset", "")))


def written(row: Any, name: str) -> Any:
    """Return a field's value as it is written in a file."""
    value = getattr(row, name)
    if isinstance(value, Cohort):
        return value.key
    if isinstance(value, Destination):
        return value.name
    if isinstance(value, datetime):
        return value.astimezone(ZoneInfo(row.timezone)).isoformat()
    if isinstance(value, time):
        return value.isoformat("minutes" if not value.second else "auto")
    if isinstance(row._meta.get_field(name), JsonTextField):
        return _readable(value)
    return value


def _readable(text: str) -> Any:
    """Return a template as a mapping, if that says the same as its text."""
    try:
        parsed = json.loads(text)
    except ValueError:
        return text
    return parsed if isinstance(parsed, dict | list) and to_json(parsed) == text else text
