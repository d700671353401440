"""Traces: one from the click or the schedule to the partner's request, without a word about anybody."""

import json
import logging
from collections import Counter

import pytest
from django.core import checks
from django.test import Client
from django.utils import timezone
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cohorts.choices import ScheduleKind
from cohortsite import checks as ours
from cohortsite import tokens, worker
from cohortsite.logs import JsonFormatter
from cohortsite.models import Scope
from events import spool
from pagekit import tracing
from syncs import due, lifecycle
from syncs.choices import RunState, Trigger
from syncs.models import Run, Sync
from tests import world
from tests.partner import Fault, Partner

pytestmark = pytest.mark.django_db(transaction=True)
USERS = [f"user-{n:03}" for n in range(25)]


@pytest.fixture
def partner():
    with Partner() as started:
        yield started


@pytest.fixture
def spans(settings):
    """Traces are on; returns what gives the spans that have ended."""
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = "http://127.0.0.1:1"
    exporter = InMemorySpanExporter()
    tracing._processors[:] = [SimpleSpanProcessor(exporter)]
    tracing.tracer.cache_clear()
    yield exporter.get_finished_spans
    tracing._processors.clear()
    tracing.tracer.cache_clear()


def a_sync(partner, **values):
    destination = world.destination(partner.url, batch_size=10, threads=1, **values)
    return world.sync(world.cohort(USERS), destination)


def names_by_parent(spans):
    """Return the names of spans, each with that of what it is part of; there must be one trace."""
    assert len({span.context.trace_id for span in spans}) == 1
    names = {span.context.span_id: span.name for span in spans}
    return Counter((names.get(span.parent.span_id) if span.parent else None, span.name) for span in spans)


def said(spans):
    """Return all text of the spans."""
    return " ".join(
        f"{span.name} {dict(span.attributes)} {span.status.description} {span.events}" for span in spans
    )


def call_api(sync, django_user_model, **headers):
    user = django_user_model.objects.create_superuser("ann")
    token = tokens.create(user, "a test", scope=Scope.RUN)[1]
    path = f"/api/v1/syncs/{sync.pk}/runs"
    return Client(headers={"authorization": f"Token {token}", **headers}).post(
        path, {"mode": "changes"}, content_type="application/json"
    )


def test_one_trace_goes_from_a_call_to_the_partners_requests(spans, partner, django_user_model):
    sync = a_sync(partner)
    assert call_api(sync, django_user_model).status_code == 202
    world.go(sync.destination)
    run = Run.objects.get()
    assert run.state == RunState.SUCCEEDED
    found = names_by_parent(spans())
    [click] = [name for parent, name in found if parent is None]
    assert click.startswith("POST /api/v1/syncs/(?P<"), "the address's pattern, and not what was asked for"
    # A list is made, and three batches are sent.
    assert found == {(None, click): 1, (click, "run"): 1, ("run", "batch"): 4, ("batch", "POST"): 4}
    [driven] = [span for span in spans() if span.name == "run"]
    assert dict(driven.attributes) == {
        "run": run.pk,
        "sync": sync.pk,
        "added": 25,
        "removed": 0,
        "rejected": 0,
    }
    last = [span for span in spans() if span.name == "POST"][-1]
    assert dict(last.attributes) == {"server.address": "127.0.0.1", "http.response.status_code": 200}
    assert last.kind.name == "CLIENT"
    batch = [span for span in spans() if span.name == "batch"][-1]
    assert dict(batch.attributes) == {"run": run.pk, "batch": 4, "step": "add", "users": 5}
    assert "user-" not in said(spans())


def test_a_trace_of_the_caller_goes_on(spans, partner, django_user_model):
    theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    call_api(a_sync(partner), django_user_model, traceparent=theirs)
    assert tracing.id_in(Run.objects.get().traceparent) == tracing.id_in(theirs)


def test_a_trace_begins_with_the_schedule(spans, partner):
    sync = a_sync(partner)
    Sync.objects.filter(pk=sync.pk).update(
        enabled=True, schedule_kind=ScheduleKind.HOURLY, next_due_at=timezone.now()
    )
    due.start_due(timezone.now())
    world.go(sync.destination)
    found = names_by_parent(spans())
    assert found[None, "schedule"] == found["schedule", "run"] == 1


def test_a_cohort_that_is_calculated_before_its_run_is_part_of_the_trace(spans, partner, settings, tmp_path):
    settings.EVENTS_DIR = tmp_path
    time = timezone.now().isoformat()
    spool.append("default", [{"user_id": "user-1", "event": "cart", "time": time, "properties": {}}])
    definition = {"version": 1, "where": {"performed": {"event": "cart", "window": {"last": "7d"}}}}
    cohort = world.cohort(USERS)
    type(cohort).objects.filter(pk=cohort.pk).update(
        source_kind="behavioral", definition=definition, refresh_before_sync=True
    )
    sync = world.sync(cohort, world.destination(partner.url))
    with tracing.span("a test"):
        lifecycle.start(sync, trigger=Trigger.PERSON)
    world.go(sync.destination)
    found = names_by_parent(spans())
    assert found["a test", "refresh"] == found["refresh", "calculate"] == found["a test", "run"] == 1


@pytest.mark.parametrize("to_partners", [True, False])
def test_a_partner_is_sent_the_traces_id_only_if_that_is_set(spans, partner, settings, to_partners):
    settings.TRACEPARENT_TO_PARTNERS = to_partners
    sync = a_sync(partner)
    with tracing.span("a test"):
        run = lifecycle.start(sync, trigger=Trigger.PERSON)
    world.go(sync.destination)
    sent = [call.traceparent for call in partner.calls]
    if not to_partners:
        assert set(sent) == {None}
        return
    ids = {f"{span.context.span_id:016x}" for span in spans() if span.name == "POST"}
    assert {one.split("-")[2] for one in sent} == ids
    assert {tracing.id_in(one) for one in sent} == {tracing.id_in(run.traceparent)}


def test_what_fails_is_marked_and_says_nothing_of_users(spans, partner):
    partner.fault = lambda call: Fault(status=400, body=b'{"error": "user-001 is unknown"}')
    sync = a_sync(partner)
    with tracing.span("a test"):
        lifecycle.start(sync, trigger=Trigger.PERSON)
    world.go(sync.destination)
    failed = [span for span in spans() if span.status.status_code.name == "ERROR"]
    assert {span.name for span in failed} == {"batch", "POST"}
    assert all(span.status.description.isidentifier() for span in failed)
    assert "user-" not in said(spans())


def test_lines_of_the_log_name_the_trace(spans, partner, caplog):
    sync = a_sync(partner)
    with tracing.span("a test"), caplog.at_level(logging.INFO):
        run = lifecycle.start(sync, trigger=Trigger.PERSON)
        world.go(sync.destination)
        record = logging.LogRecord("a", logging.INFO, "f", 1, "text", (), None)
        assert json.loads(JsonFormatter().format(record))["trace"] == tracing.id_in(run.traceparent)
    worker.log_ended(sync.destination_id, run.created_at)
    [ended] = [record for record in caplog.records if record.name == "cohortsite.worker"]
    assert json.loads(JsonFormatter().format(ended))["trace"] == tracing.id_in(run.traceparent)


def test_without_a_collector_there_are_no_traces(partner, django_user_model):
    sync = a_sync(partner)
    call_api(sync, django_user_model)
    world.go(sync.destination)
    assert Run.objects.get().traceparent == ""
    assert tracing.current() == "" and tracing.begin("x") is None
    record = logging.LogRecord("a", logging.INFO, "f", 1, "text", (), None)
    assert "trace" not in json.loads(JsonFormatter().format(record))


def test_traces_without_their_library_are_reported_at_start(settings, monkeypatch):
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = "http://127.0.0.1:1"
    assert not [one for one in checks.run_checks(tags=["settings"]) if one.id == "cohortsite.E010"]
    monkeypatch.setattr(ours, "find_spec", lambda name: None)
    assert [message.id for message in ours.check_traces(None)] == ["cohortsite.E010"]
