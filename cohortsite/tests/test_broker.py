"""A broker that is away: the pages and `/healthz` say so, and nobody waits for it."""

import itertools
import socket
from typing import Any

import pytest
from django.core import checks
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from cohortsite import broker, heartbeat, metrics, silence
from tests import world
from tests.brokers import Redis, free_port

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh() -> Any:
    cache.clear()
    yield
    cache.clear()


def test_a_site_without_a_broker_says_nothing_of_one(client: Client) -> None:
    assert silence.broker_away(timezone.now()) == ""
    assert client.get("/healthz").json() == {"status": "ok", "database": "ok", "pending_migrations": 0}


def test_a_broker_that_answers_is_well(settings: Any, client: Client, tmp_path: Any) -> None:
    redis = Redis(tmp_path)
    try:
        settings.CELERY_BROKER_URL = redis.url
        assert broker.why_away() == ""
        assert client.get("/healthz").json()["broker"] == "ok"
    finally:
        redis.kill()


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_away_is_said_and_is_no_reason_to_take_the_site_away(
    settings: Any, client: Client, admin_client: Client, scheme: str
) -> None:
    settings.CELERY_BROKER_URL = f"{scheme}://user:secret@127.0.0.1:{free_port()}//"
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (200, "no broker")
    assert answer.json()["broker"] == "unreachable"
    world.sync(world.cohort(["u1"]), world.destination("http://127.0.0.1:9"))
    page = admin_client.get("/admin/").content.decode()
    assert "The broker that CELERY_BROKER_URL names cannot be used" in page
    assert "secret" not in page
    [worry] = silence.worries(timezone.now())
    assert worry.kind == "broker" and "refused" in worry.sentence
    found = {s.labels["what"]: s.value for s in next(iter(metrics.silences(timezone.now()))).samples}
    assert found["broker"] == 1


def calls_of(server: socket.socket) -> int:
    """Return how often somebody has connected since the last time."""
    for number in itertools.count():
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return number
    raise AssertionError


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_silent_is_waited_for_once_and_not_long(settings: Any, scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.CELERY_BROKER_URL = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}//"
        first = broker.why_away()
        assert "time" in first.lower()
        silent.setblocking(False)
        assert 0 < calls_of(silent) < 5
        assert broker.why_away() == first
        assert calls_of(silent) == 0


def test_a_broker_is_not_asked_while_workers_give_signs_of_life(settings: Any) -> None:
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"
    heartbeat.say()
    assert silence.broker_away(timezone.now()) == ""
    assert silence.broker_away(timezone.now() + 2 * silence.QUIET) != ""


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        ({"CELERY_BROKER_URL": ""}, []),
        ({"CELERY_BROKER_URL": "redis://h/0", "HISTORY_DAYS": 30}, []),
        ({"CELERY_BROKER_URL": "amqps://u:p@h/v"}, []),
        ({"CELERY_BROKER_URL": "localhost:6379"}, ["cohortsite.E001"]),
        ({"HISTORY_DAYS": -1}, ["cohortsite.E003"]),
    ],
)
def test_wrong_settings_are_reported_at_start(settings: Any, values: dict[str, Any], ids: list[str]) -> None:
    for name, value in values.items():
        setattr(settings, name, value)
    found = checks.run_checks(tags=["settings"])
    assert [message.id for message in found if str(message.id).startswith("cohortsite.")] == ids


def test_a_broker_without_its_library_is_reported_at_start(settings: Any, monkeypatch: Any) -> None:
    from cohortsite import checks as ours

    settings.CELERY_BROKER_URL = "redis://h/0"
    monkeypatch.setattr(ours, "find_spec", lambda name: None)
    assert [message.id for message in ours.check_broker(None)] == ["cohortsite.E002"]
