"""One list of what is configured of a model: each surface knows all of it."""

from importlib import import_module
from types import SimpleNamespace

import pytest
from django.contrib import admin
from django.db import models
from django.urls import get_resolver

from cohorts.models import Cohort
from cohorts.names_api import NameDecisionSerializer
from cohorts.serializers import CohortSerializer
from cohortsite.config import SECTIONS, export
from cohortsite.records import changes_of
from destinations.models import Destination
from destinations.serializers import DestinationSerializer
from events.models import NameRule
from syncs.channels_api import ChannelSerializer
from syncs.models import AlertChannel, Sync
from syncs.serializers import SyncSerializer
from tests import world

SERIALIZERS = {
    Cohort: CohortSerializer,
    Destination: DestinationSerializer,
    Sync: SyncSerializer,
    AlertChannel: ChannelSerializer,
    NameRule: NameDecisionSerializer,
}
MODELS = pytest.mark.parametrize("model", list(SERIALIZERS))
# Secrets are told apart in each of them, and whose address was agreed to is no wish.
NOT_CONFIGURED = {
    AlertChannel: {"credential"},
    Destination: {"credential", "secrets", "credential_env", "secret_envs", "accepted_fingerprint"},
}


def missing(model: type[models.Model], known: object) -> list[str]:
    return sorted(set(model.CONFIG_FIELDS) - set(known))  # type: ignore[attr-defined, call-overload]


@MODELS
def test_the_list_names_every_field_that_people_may_edit(model):
    editable = {f.name for f in model._meta.concrete_fields if f.editable and not f.primary_key}
    automatic = {f.name for f in model._meta.concrete_fields if getattr(f, "auto_now_add", False)}
    assert editable - automatic - NOT_CONFIGURED.get(model, set()) == set(model.CONFIG_FIELDS)


@MODELS
def test_the_form_has_each_field(model, rf, admin_user):
    assert get_resolver().url_patterns  # which finds the pages
    request = rf.get("/")
    request.user = admin_user
    pages = admin.site._registry[model]
    buttons = {"enabled"} if model is Sync else set()  # Pause and Resume
    shown = {*buttons, *pages.get_form(request).base_fields, *pages.get_readonly_fields(request)}
    assert missing(model, shown) == []


@MODELS
def test_a_file_and_its_export_have_each_field(model, db):
    section = next(section for section in SECTIONS.values() if section.model is model)
    assert missing(model, section.fields) == []
    assert set(export()) == set(SECTIONS)


@MODELS
def test_the_rest_api_reads_and_writes_each_field(model, db):
    fields = SERIALIZERS[model]().fields
    assert missing(model, [name for name, field in fields.items() if not field.read_only]) == []


@MODELS
def test_the_history_of_changes_records_each_field(model):
    assert missing(model, [f.name for f in model.history.model.tracked_fields]) == []


def test_another_workspace_of_events_is_seen_in_the_history(db):
    cohort = world.cohort(["a"], key="buyers")
    cohort.events_workspace = "shop"
    cohort.save(update_fields=["events_workspace"])
    latest = changes_of(cohort)[0]
    assert [(f.label, f.before, f.after) for f in latest.fields] == [("Workspace", "default", "shop")]


def test_what_was_recorded_before_gets_the_workspace_that_the_cohort_has(db):
    from django.apps import apps
    from django.db import connection

    cohort = world.cohort(["a"], key="buyers")
    Cohort.objects.filter(pk=cohort.pk).update(events_workspace="shop")
    assert cohort.history.get().events_workspace == "default"
    migration = import_module("cohortsite.migrations.0007_configured_fields")
    migration.as_they_are(apps, SimpleNamespace(connection=connection))
    assert cohort.history.get().events_workspace == "shop"


def test_who_changed_an_alert_channel_is_in_its_history_without_its_secret(db):
    made = AlertChannel.objects.create(name="a", kind="pagerduty", credential="s3cret")
    made.least = "critical"
    made.save(update_fields=["least"])
    made.save(update_fields=["last_error"])
    latest, first = changes_of(made)
    assert [(field.label, field.after) for field in latest.fields] == [("From", "Only what is critical")]
    assert "s3cret" not in str(first)
