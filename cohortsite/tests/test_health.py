"""The health page, over the site's own middleware."""

import json
import os
import subprocess
import sys

import pytest
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.test.utils import override_settings


@pytest.mark.django_db
def test_a_site_with_its_database_is_healthy():
    reply = Client().get("/healthz")
    assert reply.status_code == 200
    assert reply.json() == {"status": "ok", "database": "ok", "pending_migrations": 0}


@pytest.mark.django_db
@override_settings(SECURE_SSL_REDIRECT=True, ALLOWED_HOSTS=["cohorts.example.com"])
@pytest.mark.parametrize("address", ["/healthz", "/livez"])
def test_a_probe_may_ask_by_any_address_and_without_tls(address):
    assert Client().get(address, headers={"host": "10.0.7.3:8000"}).status_code == 200


def test_a_process_is_alive_whatever_its_database_says():
    reply = Client().get("/livez")  # without the database: a query would be an error
    assert (reply.status_code, reply.json()) == (200, {"status": "ok"})


@pytest.mark.django_db
def test_a_missing_migration_is_unhealthy():
    MigrationRecorder.Migration.objects.filter(app="receiving").latest("pk").delete()
    reply = Client().get("/healthz")
    assert (reply.status_code, reply.json()["pending_migrations"]) == (503, 1)


def test_a_database_that_cannot_be_reached_is_unhealthy():
    """In a process of its own, whose database is a port that nobody listens at."""
    asks = "import django; django.setup(); from django.test import Client; r = Client().get('/healthz'); "
    done = subprocess.run(
        [sys.executable, "-c", asks + "print(r.status_code, r.content.decode())"],
        env={
            **os.environ,
            "DATABASE_URL": "postgres://postgres@127.0.0.1:1/none",
            "DJANGO_SETTINGS_MODULE": "cohortsite.settings",
            "ALLOWED_HOSTS": "testserver",
        },
        capture_output=True,
        check=True,
        timeout=60,
    )
    status, content = done.stdout.decode().split(" ", 1)
    assert status == "503"
    assert json.loads(content) == {
        "status": "unhealthy",
        "database": "unreachable",
        "pending_migrations": None,
    }
