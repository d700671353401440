"""Real servers on loopback, over a database of their own, and a caller that speaks HTTP to them."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
import requests
from django.conf import settings

from chaos import migrated
from receiving.keys import create_key, digest
from receiving.models import ApiKey, Workspace

ROOT = Path(settings.BASE_DIR)
SERVED = "served"


@pytest.fixture(scope="session")
def served_database(
    tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any
) -> Iterator[dict[str, str]]:
    """A migrated database of the kind that the tests run on; the environment that names it."""
    from django.db import connections

    folder = tmp_path_factory.mktemp("served")
    engine = settings.DATABASES["default"]["ENGINE"]
    environment = {**os.environ, "VAR_DIR": str(folder), "LOG_LEVEL": "WARNING"}
    name = f"test_receiving_{os.getpid()}"
    if "postgresql" in engine:
        values = settings.DATABASES["default"]
        server = f"postgres://{values['USER']}:{quote(values['PASSWORD'])}@{values['HOST']}:{values['PORT']}"
        with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name}{migrated.template()}")
        environment["DATABASE_URL"] = f"{server}/{name}"
        connections.databases[SERVED] = {**connections.databases["default"], "NAME": name}
    else:
        environment["DATABASE_URL"] = f"sqlite:///{folder}/served.sqlite3"
        connections.databases[SERVED] = {
            **connections.databases["default"],
            "NAME": str(folder / "served.sqlite3"),
        }
    migrated.migrate(environment)
    with django_db_blocker.unblock():
        yield environment
        connections[SERVED].close()
        del connections.databases[SERVED]
    if "postgresql" in engine:
        with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def manage(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


COMMANDS = {
    "gunicorn": ["-m", "gunicorn", "cohortsite.wsgi", "--bind", "127.0.0.1:{port}"],
    "runserver": ["manage.py", "runserver", "--noreload", "127.0.0.1:{port}"],
}


def start(kind: str, environment: dict[str, str]) -> tuple[subprocess.Popen[bytes], str]:
    """Start a server as the README does, and wait until it answers."""
    port = free_port()
    command = [part.format(port=port) for part in COMMANDS[kind]]
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment)
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process, f"http://127.0.0.1:{port}"
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline, f"{kind} did not start"
            time.sleep(0.05)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass
class Partner:
    """A workspace on a running server, called over HTTP."""

    url: str
    key: str
    workspace: Workspace

    def call(self, method: str, path: str, document: Any = None, **options: Any) -> requests.Response:
        if document is not None:
            options["data"] = json.dumps(document).encode()
        options.setdefault("headers", {}).setdefault("Content-Type", "application/json")
        if "auth" not in options:
            options["headers"].setdefault(
                "Authorization", "Basic " + base64.b64encode(f"{self.key}:".encode()).decode()
            )
            options["auth"] = lambda request: request
        return requests.request(method, self.url + path, timeout=60, **options)

    def post(self, path: str, document: Any = None, **options: Any) -> requests.Response:
        return self.call("POST", path, document, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.call("GET", path, **options)

    def make_list(self, name: str = "[Amplitude] buyers: 1") -> int:
        return int(self.post("/lists", {"name": name}).json()["listId"])

    def members(self, list_id: int) -> list[str]:
        return list(self.get(f"/lists/{list_id}/members?limit=10000").json()["userIds"])

    def traits(self, user_id: str) -> Any:
        return self.get(f"/users?userId={quote(user_id, safe='')}").json().get("traits")


class Site:
    """A running server; every test makes a workspace of its own."""

    def __init__(self, url: str, kind: str) -> None:
        self.url, self.kind, self.number = url, kind, 0

    def partner(self, **fields: Any) -> Partner:
        self.number += 1
        workspace = Workspace.objects.using(SERVED).create(
            slug=f"{self.kind}-{time.time_ns():x}-{self.number}", **fields
        )
        return Partner(self.url, self.another_key(workspace), workspace)

    def another_key(self, workspace: Workspace, **fields: Any) -> str:
        text = f"cs_{os.urandom(24).hex()}"
        ApiKey.objects.using(SERVED).create(
            workspace=workspace, prefix=text[:10], sha256=digest(text), **fields
        )
        return text


def _site(kind: str, environment: dict[str, str]) -> Iterator[Site]:
    process, url = start(kind, environment)
    yield Site(url, kind)
    stop(process)


@pytest.fixture(scope="session")
def gunicorn_site(served_database: dict[str, str]) -> Iterator[Site]:
    yield from _site("gunicorn", served_database)


@pytest.fixture(scope="session")
def runserver_site(served_database: dict[str, str]) -> Iterator[Site]:
    yield from _site("runserver", served_database)


@pytest.fixture(params=["gunicorn", "runserver"])
def site(request: pytest.FixtureRequest) -> Site:
    """Both servers, in turn."""
    found: Site = request.getfixturevalue(f"{request.param}_site")
    return found


@pytest.fixture
def partner(site: Site) -> Partner:
    return site.partner()


# --- without a server ----------------------------------------------------------------------


@pytest.fixture
def workspace() -> Workspace:
    return Workspace.objects.create(slug="acme")


@pytest.fixture
def key(workspace: Workspace) -> str:
    return create_key(workspace, name="sender")[1]
