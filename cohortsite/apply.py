"""Applying a configuration document (see config.py): whole or not at all.

What a document names becomes what it says: a field that it leaves out has its preset's value or its
default. What it does not name stays as it is; nothing is deleted. A stored secret stays when the document
names no environment variable for it; a new destination without the secret that it needs is paused.
"""

import getpass
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from typing import Any
from zoneinfo import ZoneInfo

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import IntegrityError, models, transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime, parse_time

from cohorts.models import Cohort
from cohorts.scheduled import Scheduled
from cohorts.sources import references_of
from cohortsite.config import (
    KEPT_IN_SILENCE,
    SCHEDULE,
    SECTIONS,
    SOURCE_FIELDS,
    Configured,
    Section,
    default_of,
    written,
)
from cohortsite.config_file import InvalidConfig
from destinations.models import SECRET_NAME, Destination, JsonTextField
from destinations.secrets import SecretUnreadable
from events.models import NameRule
from events.naming import InvalidName, check_others, keep
from syncs.alert_models import GIVE_AGAIN
from syncs.choices import ChannelKind
from syncs.lifecycle import CannotRun, reset
from syncs.models import AlertChannel, Sync

NO_CREDENTIAL = "The configuration file came without a credential: enter it, then resume."
SIGNS = {"create": "+", "update": "~", "none": "="}
NO_SECRETS = "a secret does not belong in a file: name an environment variable in auth.credential_env."
MOVED = (
    "the address, the kind, a path or the account changes, and {} hold users at the old one. Apply with "
    "--reset to let them begin anew, with a full run; what is at the old address stays there."
)


@dataclass(slots=True)
class Change:
    """What applying does to one object. `fields`: place in the item → old and new value, as written."""

    what: str
    action: str  # "create", "update" or "none"
    fields: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """Yield the change for people: `~ cohort buyers`, `    name: Old → New`."""
        yield f"{SIGNS[self.action]} {self.what}"
        for path, (old, new) in self.fields.items():
            before = "" if self.action == "create" else f"{_shown(old)} → "
            yield f"    {path}: {before}{_shown(new)}"
        yield from (f"    {note}" for note in self.notes)


def _shown(value: Any) -> str:
    plain = isinstance(value, str) and value.strip()
    return " ".join((value if plain else json.dumps(value, ensure_ascii=False)).split())


def apply(document: Any, *, dry_run: bool = False, reset_moved: bool = False) -> list[Change]:
    """Make the database say what the document says; return what that changes.

    `dry_run` changes nothing. `reset_moved` lets the syncs of a destination that moves begin anew.
    Raises InvalidConfig with every error found, nothing changed.
    """
    applying = _Applying(reset_moved)
    try:
        with transaction.atomic():
            applying.document(document)
            if applying.errors:
                raise InvalidConfig(*applying.errors)
            transaction.set_rollback(dry_run)
    except IntegrityError:
        raise InvalidConfig("Somebody else changed the configuration meanwhile: apply again.") from None
    return applying.changes


class _Applying:
    """A document on its way into the database, its errors and changes."""

    def __init__(self, reset_moved: bool) -> None:
        self.reset_moved = reset_moved
        self.errors: list[str] = []
        self.changes: list[Change] = []
        # Section and names of an item → its place, to find what stands there twice.
        self.paths: dict[tuple[str, ...], str] = {}
        # What is said of names: whether it goes together is known when all of it is written.
        self.rules: list[tuple[str, NameRule]] = []

    def document(self, document: Any) -> None:
        sections = self._mapping(document, "The file", tuple(SECTIONS))
        for name, section in SECTIONS.items():
            items = sections.get(name)
            if not isinstance(items, list | None):
                self.errors.append(f"{name}: must be a list.")
                continue
            for number, item in _in_order(items or []):
                self._item(name, section, f"{name}[{number}]", item)
        for path, rule in self.rules:
            try:
                check_others(rule)
            except InvalidName as error:
                self.errors.append(f"{path}.renamed_to: {error}")

    def _item(self, name: str, section: Section, path: str, item: Any) -> None:
        before = len(self.errors)
        values, credential_env = self._read(section, path, item)
        for missing in [key for key in section.names if not values.get(key)]:
            self.errors.append(f"{path}.{missing}: is missing.")
        names = (name, *(str(values.get(key)) for key in section.names))
        first = self.paths.setdefault(names, path)
        if len(self.errors) > before:
            return
        if first != path:
            self.errors.append(f"{path}: {' to '.join(names[1:])} stands there twice, see {first}.")
            return
        row = self._find(section, path, values)
        if row is not None:
            _Settling(self, section, path, row, values, credential_env).settle()

    # --- reading an item

    def _read(self, section: Section, path: str, item: Any) -> tuple[dict[str, Any], Any]:
        """Return an item's values by field, and what it says as `auth.credential_env`."""
        values: dict[str, Any] = {}
        env = None
        named = ("secrets",) if section.model is Destination else ()
        for key, value in self._mapping(item, path, (*section.flat, *section.groups, *named)).items():
            if key in named:
                values["secret_envs"] = value
                continue
            if key in section.flat:
                self._value(section, path, key, value, values)
                continue
            keys = section.groups[key]
            extra = ("credential_env",) if key == "auth" else ()
            for inner, content in self._mapping(value, f"{path}.{key}", (*keys, *extra)).items():
                if inner in extra:
                    env = content
                else:
                    self._value(section, path, keys[inner], content, values)
        return values, env

    def _value(self, section: Section, path: str, name: str, value: Any, values: dict[str, Any]) -> None:
        # The id of a list is a number wherever one reads it.
        is_number = name == "received_list" and isinstance(value, int) and not isinstance(value, bool)
        values[name] = value = str(value) if is_number else value
        if problem := _problem_with(section.model._meta.get_field(name), value):
            self.errors.append(f"{path}.{section.path(name)}: {problem}")

    def _mapping(self, value: Any, path: str, known: Sequence[str]) -> dict[str, Any]:
        """Return the keys of a mapping that are known; the others are errors, with what may be meant."""
        if not isinstance(value, dict):
            self.errors.append(f"{path}: must be a mapping of {', '.join(known)}.")
            return {}
        for key in value:
            if key == "credential":
                self.errors.append(f"{path}.{key}: {NO_SECRETS}")
            elif key not in known:
                self.errors.append(f"{path}: there is no key {_unknown(key, known)}")
        return {key: content for key, content in value.items() if key in known}

    # --- finding its row

    def _find(self, section: Section, path: str, values: dict[str, Any]) -> Configured | None:
        """Return the row that an item names, or a new one; None with an error if it cannot be made."""
        if section.model is Sync:
            cohort = self._related(path, "cohort", Cohort.objects.filter(key=values["cohort"]), values)
            destination = self._related(
                path, "destination", Destination.objects.filter(name=values["destination"]), values
            )
            if cohort is None or destination is None:
                return None
            values |= {"cohort": cohort, "destination": destination}
        wanted = {name: values[name] for name in section.names}
        return section.model._default_manager.filter(**wanted).first() or section.model(**wanted)

    def _related(self, path: str, name: str, rows: Any, values: dict[str, Any]) -> Any:
        found = rows.first()
        # One that the file names was not made because of an error, which is told already.
        if found is None and (f"{name}s", values[name]) not in self.paths:
            self.errors.append(f"{path}.{name}: there is no {name} {values[name]!r}.")
        return found


def _in_order(items: list[Any]) -> Iterator[tuple[int, Any]]:
    """Yield items with their numbers, each cohort after those that its definition names."""
    by_key = {_key(item): number for number, item in enumerate(items)}
    done: set[int] = set()

    def visit(number: int) -> Iterator[tuple[int, Any]]:
        if number in done:
            return  # or a circle, which the cohort's own check tells
        done.add(number)
        for key in sorted(_named_by(items[number]) & by_key.keys()):
            yield from visit(by_key[key])
        yield number, items[number]

    for number in range(len(items)):
        yield from visit(number)


def _key(item: Any) -> str:
    return str(item.get("key", "")) if isinstance(item, dict) else ""


def _named_by(item: Any) -> set[str]:
    source = item.get("source") if isinstance(item, dict) else None
    return references_of(source.get("definition")) if isinstance(source, dict) else set()


@dataclass
class _Settling:
    """One row and what an item says about it."""

    applying: _Applying
    section: Section
    path: str
    row: Configured
    values: dict[str, Any]
    credential_env: Any
    also_save: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    # Of a destination that is there: where its secrets are sent, and which it holds.
    origins: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)

    def settle(self) -> None:
        row, fields = self.row, self.section.fields
        new = row._state.adding
        old = {name: getattr(row, name, None) for name in fields}
        old_written = {} if new else {name: written(row, name) for name in fields}
        old_fingerprint = None if new or not isinstance(row, Destination) else row.fingerprint
        if isinstance(row, Destination) and not new:
            self.origins = row.origins
            self.held = {name for name in ("credential", "secrets") if getattr(row, name)}
        preset = self.values.get("preset", "custom")
        silent = set() if new else KEPT_IN_SILENCE - self.values.keys()
        for name in [name for name in fields if name not in silent]:
            setattr(row, name, self.values.get(name, default_of(self.section, name, preset)))
        if not self._clean():
            return
        changed = [name for name in fields if new or getattr(row, name) != old[name]]
        self._schedule(new, changed)
        # For the history: who applies a file asks nobody, four eyes or not.
        row._change_reason = "A configuration file"  # type: ignore[union-attr]
        if isinstance(row, NameRule):
            self._name(row, new, changed, old_written)
            return
        row.save() if new else row.save(update_fields=[*changed, *self.also_save])
        if isinstance(row, Destination) and old_fingerprint not in (None, row.fingerprint):
            self._moved(row)
        if isinstance(row, Destination) and row.is_paused and (changed or self.also_save) and not new:
            self.notes.append(
                f"still paused: {row.pause_reason} To let it send: manage.py resume_destination {row.name}"
            )
        self._tell(new, changed, old_written)

    def _name(self, row: NameRule, new: bool, changed: list[str], old: dict[str, Any]) -> None:
        """Keep what is said of a name; a rule that says nothing is none."""
        keep(row, f"{getpass.getuser()} (configuration file)")
        self.applying.rules.append((self.path, row))
        if new and not row.sentence:
            new, changed = False, []
        self._tell(new, changed, old)

    def _error(self, name: str, message: str) -> None:
        where = "" if name == NON_FIELD_ERRORS else f".{self.section.path(name)}"
        self.applying.errors.append(f"{self.path}{where}: {message}")

    def _clean(self) -> bool:
        """Check the row as its form would; return whether it may be saved."""
        before = len(self.applying.errors)
        if isinstance(self.row, Destination):
            self._credential(self.row)
            self._named_secrets(self.row)
            self._host(self.row)
        if isinstance(self.row, AlertChannel):
            self._channel(self.row)
        if isinstance(self.row, Scheduled):
            self._times(self.row)
        if isinstance(self.row, Cohort):
            self._source(self.row)
        if len(self.applying.errors) > before:
            return False
        try:
            self.row.full_clean()
        except ValidationError as error:
            for name, problems in self._unexcused(error.message_dict).items():
                for problem in problems:
                    self._error(name, problem)
        return len(self.applying.errors) == before

    def _unexcused(self, problems: dict[str, list[str]]) -> dict[str, list[str]]:
        """Leave out that a credential is missing which the file does not give: see `_credential`."""
        row = self.row
        if isinstance(row, Destination | AlertChannel) and not row.credential and not self.credential_env:
            problems.pop("credential", None)
        return problems

    def _channel(self, row: AlertChannel) -> None:
        """Read its quiet hours, and take its secret from the environment. Without one it is switched off."""
        for name in ("quiet_from", "quiet_to"):
            setattr(row, name, self._parsed(name, parse_time, "a time of the day: 22:00"))
        name = self.credential_env
        if isinstance(name, str | None) and row.credential_env != (name or ""):
            row.credential_env = (name or "")[:200]
            self.also_save.append("credential_env")
        if name is not None:
            self._take_credential(row, name)
            return
        before = AlertChannel.objects.filter(pk=row.pk).first()
        if before and row.sends_elsewhere(before):
            self._error("credential", GIVE_AGAIN)
        if not row.credential and row.kind != ChannelKind.EMAIL and row.enabled:
            row.enabled = False
            self.notes.append("switched off: it has no credential yet (auth.credential_env)")

    def _take_credential(self, row: Destination | AlertChannel, name: object) -> bool:
        """Take the secret from the environment variable; False, with an error, when there is none."""
        if not isinstance(name, str) or not (secret := os.environ.get(name, "")):
            self._error("credential", f"the environment variable {name} is not set.")
            return False
        if _differs(row, secret):
            self.notes.append(f"credential: {'changed' if row.credential else 'set'}")
            row.credential = secret
            self.also_save.append("credential")
        return True

    def _host(self, row: Destination) -> None:
        """Refuse to send a stored secret where it never went, unless the file names it again."""
        given = {"credential"} if self.credential_env else set()
        given |= {"secrets"} if self.values.get("secret_envs") else set()
        for name in sorted(row.secrets_for_another_host(self.origins, self.held, given)):
            self._error(name, "the address is at another host: name the secret's environment variable again.")

    def _named_secrets(self, row: Destination) -> None:
        """Take the named secrets that the file names from the environment; the others stay."""
        envs = self.values.get("secret_envs")
        if envs is None:
            return
        if not isinstance(envs, dict) or not all(isinstance(name, str) for name in envs.values()):
            self._error("secrets", "must be a mapping of names and environment variables.")
            return
        if bad := [name for name in envs if not SECRET_NAME.fullmatch(str(name))]:
            self._error("secrets", f"{bad[0]!r} is no name: small letters, digits and _.")
            return
        if unset := [env for env in envs.values() if not os.environ.get(env)]:
            self._error("secrets", f"the environment variable {unset[0]} is not set.")
            return
        secrets = {name: os.environ[env] for name, env in envs.items()}
        try:
            stored = row.named_secrets.reveal()
        except SecretUnreadable:
            stored = {}
        if stored != {**stored, **secrets}:
            self.notes.append(f"secrets: {', '.join(sorted(secrets))} set")
            row.seal_secrets({**stored, **secrets})
            self.also_save.append("secrets")
        if row.secret_envs != envs:
            row.secret_envs = envs
            self.also_save.append("secret_envs")

    def _credential(self, row: Destination) -> None:
        """Take the secret from the environment. Without one that is needed, the destination is paused."""
        name = self.credential_env
        if isinstance(name, str | None) and row.credential_env != (name or ""):
            row.credential_env = (name or "")[:200]
            self.also_save.append("credential_env")
        if name is None:
            if not row.credential and row.endpoint().needs_credential and not row.is_paused:
                row.paused_at, row.pause_reason = timezone.now(), NO_CREDENTIAL
                self.also_save += ["paused_at", "pause_reason"]
                self.notes.append("paused: it has no credential yet (auth.credential_env)")
            return
        if not self._take_credential(row, name):
            return
        if row.pause_reason == NO_CREDENTIAL:
            row.paused_at, row.pause_reason = None, ""
            self.also_save += ["paused_at", "pause_reason"]
            self.notes.append("resumed: it has a credential now")

    def _times(self, row: Scheduled) -> None:
        """Read `at` and `once_at`; the latter is in the schedule's zone when it names none."""
        at = self._parsed("schedule_at", parse_time, "a time of the day: 09:00")
        once_at = self._parsed("schedule_once_at", parse_datetime, "a date and a time: 2026-07-01T09:00")
        row.schedule_at = at
        row.schedule_once_at = once_at and _in_zone(once_at, row.timezone)
        if isinstance(row, Cohort):
            for name in ("active_from", "active_to"):
                moment = self._parsed(name, parse_datetime, "a date and a time: 2026-07-01T09:00")
                setattr(row, name, moment and _in_zone(moment, row.timezone))

    def _parsed(self, name: str, parse: Callable[[str], Any], wanted: str) -> Any:
        text = self.values.get(name)
        if text is None:
            return None
        try:
            found = parse(text)
        except ValueError:
            found = None
        if found is None:
            self._error(name, f"must be {wanted}.")
        return found

    def _source(self, row: Cohort) -> None:
        """Refuse what belongs to another kind of source: it would be ignored."""
        for name, kind in SOURCE_FIELDS.items():
            if name in self.values and kind != row.source_kind:
                self._error(name, f"is for a source of kind {kind}; this one is {row.source_kind}.")

    def _schedule(self, new: bool, changed: list[str]) -> None:
        """Set when a row is due next, when that may have changed; take an archived sync up again."""
        row = self.row
        if not isinstance(row, Scheduled):
            return
        archived = isinstance(row, Sync) and row.archived_at is not None
        if new or archived or {*SCHEDULE.values(), "active_from", "active_to", "enabled"} & set(changed):
            row.reschedule(timezone.now())
            self.also_save.append("next_due_at")
        if isinstance(row, Sync) and archived:
            row.archived_at = None
            self.also_save.append("archived_at")
            self.notes.append("taken up again: it was archived")

    def _moved(self, row: Destination) -> None:
        """Its syncs hold nothing at the new address: reset them if that was asked for."""
        syncs = list(
            row.syncs.exclude(fingerprint__in=["", row.fingerprint]).select_related("cohort", "destination")
        )
        if syncs and not self.applying.reset_moved:
            self._error(NON_FIELD_ERRORS, MOVED.format(", ".join(map(str, syncs))))
            return
        for sync in syncs:
            try:
                reset(sync)
            except CannotRun as error:
                self._error(NON_FIELD_ERRORS, str(error))
            self.notes.append(f"{sync} begins anew, with a full run")

    def _tell(self, new: bool, changed: list[str], old: dict[str, Any]) -> None:
        shown = [name for name in changed if name not in self.section.names]
        if new:
            shown = [name for name in shown if name in self.values]
        fields = {self.section.path(n): (old.get(n), written(self.row, n)) for n in shown}
        action = "create" if new else "update" if fields or self.notes else "none"
        what = (
            f"{self.row._meta.verbose_name} {':'.join(str(written(self.row, n)) for n in self.section.names)}"
        )
        self.applying.changes.append(Change(what, action, fields, self.notes))


def _differs(row: Destination | AlertChannel, secret: str) -> bool:
    try:
        return row.credential.reveal() != secret
    except SecretUnreadable:
        return True


def _in_zone(moment: datetime, zone: str) -> datetime:
    """Return an aware time; a zone that does not exist is told by the sync's own check."""
    if timezone.is_aware(moment):
        return moment
    try:
        return moment.replace(tzinfo=ZoneInfo(zone))
    except (ValueError, OSError):
        return moment.replace(tzinfo=ZoneInfo("UTC"))


def _problem_with(column: Any, value: Any) -> str:
    """Return what is wrong with the type of a value or with a choice, or ''.

    A model field would make text of a list, and 1 of 1.5 or of true.
    """
    if value is None:
        return "" if column.null else "must not be empty."
    if isinstance(column, models.JSONField):
        return ""
    takes, called = _types(column)
    if not isinstance(value, takes) or (isinstance(value, bool) and takes is not bool):
        return f"must be {called}."
    if column.choices and value not in dict(column.flatchoices):
        return f"there is no {_unknown(value, [choice for choice, _ in column.flatchoices])}"
    return ""


def _types(column: Any) -> tuple[Any, str]:
    match column:
        case models.BooleanField():
            return bool, "true or false"
        case models.IntegerField():
            return int, "a whole number"
        case models.FloatField():
            return (int, float), "a number"
        case JsonTextField():
            return (str, dict, list), "a mapping, or JSON as text"
    return str, "text: put it in quotes"


def _unknown(value: Any, known: Sequence[Any]) -> str:
    """Return `'daly'; did you mean 'daily'? Known: …`."""
    texts = [str(one) for one in known]
    close = get_close_matches(str(value), texts, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else "."
    return f"{value!r}{meant} Known: {', '.join(texts)}."
