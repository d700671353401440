"""Two web machines, two workers and a beat share one PostgreSQL, one Redis and one object store, and nothing
else: what one has begun the others show and end, what is counted is counted once, and each may die.

The long form, with outages of what they share, is `python -m chaos.machines`.
"""

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
import requests
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection

from cohorts import members
from cohorts.choices import UploadState
from cohorts.models import Cohort, Preview, Upload
from events.inserting import own_tables
from receiving.keys import create_key
from receiving.models import BodySearch, Workspace
from syncs import lifecycle
from syncs.choices import RunState, Trigger
from syncs.models import Run
from tests import machines, world
from tests.brokers import database_url, until
from tests.partner import Partner

pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor == "sqlite", reason="Several machines share PostgreSQL."),
]
A, B = machines.WEBS
PASSWORD = "correct horse battery"
PLAYED = {"version": 1, "where": {"performed": {"event": "play"}}}


@pytest.fixture(scope="module")
def shared(django_db_setup, tmp_path_factory):
    # Events are where all have them, too: in tables of ours, in the same database.
    url = database_url()
    own_tables(url).create()
    own_tables(url).close()
    folder = tmp_path_factory.mktemp("machines")
    with machines.machines(folder, EVENTS_URL=url, EVENTS_INSERT="true") as (site, _, store):
        yield site, store


@pytest.fixture
def site(shared):
    cache.clear()  # tries that were counted: no model's table, so that nothing else empties it
    return shared[0]


@pytest.fixture
def browser(site):
    User.objects.create_superuser("ann", password=PASSWORD)
    made = machines.Browser(site)
    assert made.log_in(A, "ann", PASSWORD).url.endswith("/admin/")
    return made


def sender(**fields) -> dict[str, str]:
    """Return the header of a caller's key, in a workspace of its own."""
    workspace, _ = Workspace.objects.get_or_create(slug="default", defaults=fields)
    return {"Authorization": f"Bearer {create_key(workspace)[1]}"}


def test_a_file_that_one_web_machine_took_is_imported_by_a_worker_elsewhere(shared, browser):
    cohort = world.cohort()
    content = "".join(f"{user}\n" for user in world.users(30_000))
    page = f"/admin/cohorts/cohort/{cohort.pk}/upload/"
    browser.submit(A, page, {"mode": "replace"}, files={"file": ("ids.csv", content)})
    upload = until(lambda: Upload.objects.exclude(state=UploadState.WAITING).first())
    asked = f"/admin/cohorts/cohort/{cohort.pk}/uploads/{upload.pk}/state/"
    until(lambda: Upload.objects.filter(state__in=(UploadState.DONE, UploadState.FAILED)).exists())
    for web in (A, B):
        assert browser.at(web, asked).json()["words"] == "Imported, 100 %"
    assert members.size_of(cohort.pk, 1) == 30_000
    assert shared[1].names() == [], "the store keeps nothing of it"


def test_both_web_machines_show_how_far_a_run_is(browser):
    with Partner(delay=0.1) as partner:
        sync = world.sync(
            world.cohort(world.users(300)), world.destination(partner.url, threads=1, batch_size=10)
        )
        run = lifecycle.start(sync, trigger=Trigger.PERSON)
        address = f"/admin/syncs/run/{run.pk}/progress/"
        seen = []
        while (said := browser.at((A, B)[len(seen) % 2], address).json())["open"]:
            seen.append(said["percent"])
        assert browser.at(B, address).json() == said
    assert seen == sorted(seen), "what one has shown, the other does not take back"
    halfway = {n % 2 for n, percent in enumerate(seen) if 0 < percent < 100}
    assert halfway == {0, 1}
    assert partner.members(world.name_at_partner(sync)) == world.wanted(sync)


def test_failed_logins_are_counted_over_both_web_machines(site):
    User.objects.create_user("bob", password=PASSWORD, is_staff=True)
    said = [
        machines.Browser(site).log_in(web, "bob", "wrong").text
        for web in itertools.islice(itertools.cycle((A, B)), 5)
    ]
    assert all("is not right" in page for page in said)
    for web in (A, B):
        refused = machines.Browser(site).log_in(web, "bob", PASSWORD)
        assert "Too many tries" in refused.text


def test_a_rate_limit_is_exact_over_both_web_machines(site):
    headers = sender(rate_limit=40, rate_window_seconds=3600)

    def call(number: int) -> int:
        address = f"{site.urls[(A, B)[number % 2]]}/lists"
        return requests.post(
            address, json={"name": f"list {number}"}, headers=headers, timeout=30
        ).status_code

    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(call, range(120)))
    assert (statuses.count(200), statuses.count(429)) == (40, 80)


def test_a_preview_counts_events_and_a_search_finds_calls_whoever_took_them(site, browser):
    headers = sender()
    now = datetime.now(UTC).isoformat()
    for user, web in (("u1", A), ("u2", B), ("u2", A)):
        event = {"type": "track", "userId": user, "event": "play", "timestamp": now, "messageId": user}
        sent = requests.post(f"{site.urls[web]}/v1/track", json=event, headers=headers, timeout=30)
        assert sent.status_code == 200, sent.text
    body = {"source_kind": "behavioral", "definition": PLAYED, "events_workspace": "default"}
    browser.at(A, "/admin/")
    made = browser.post(
        f"{site.urls[A]}/admin/cohorts/cohort/previews/",
        json=body,
        headers={"X-CSRFToken": browser.cookies["csrftoken"]},
        timeout=30,
    )
    assert made.status_code == 201, made.text
    until(lambda: "data-open" not in browser.at(B, made.json()["url"]).text)
    preview = Preview.objects.get()
    assert (preview.size, preview.sample, preview.error) == (2, ["u1", "u2"], "")
    workspace = Workspace.objects.get()
    search = {"workspace": workspace.pk, "user_id": "u2"}
    assert browser.submit(B, "/admin/receiving/bodysearch/add/", search).ok
    found = until(lambda: BodySearch.objects.filter(state=BodySearch.State.DONE).first())
    assert len(found.found) == 2
    assert "/v1/track" in browser.at(A, f"/admin/receiving/bodysearch/{found.pk}/change/").text


def test_each_process_may_die_and_nothing_is_lost_or_sent_twice_at_once(site, browser):
    cohort, uploaded = world.cohort(world.users(400)), world.cohort()
    partners = [Partner(delay=0.1) for _ in range(4)]
    for partner in partners:
        partner.__enter__()
    try:
        fields = {"threads": 1, "batch_size": 10, "deadline": 1.0}
        syncs = [world.sync(cohort, world.destination(partner.url, **fields)) for partner in partners]
        for sync in syncs:
            lifecycle.start(sync, trigger=Trigger.PERSON)
        until(lambda: all(partner.calls for partner in partners))
        page = f"/admin/cohorts/cohort/{uploaded.pk}/upload/"
        for name in machines.NAMES:
            site.kill(name)
            if name in machines.WEBS:
                # The other one goes on, with the same session.
                other = next(web for web in machines.WEBS if web != name)
                assert browser.at(other, "/healthz").status_code == 200
                browser.submit(other, page, {"mode": "add"}, files={"file": (name, f"{name}\n")})
            site.start(name)
            if name in machines.WEBS:
                site.wait_for(name)
        until(lambda: not Run.objects.exclude(state=RunState.SUCCEEDED).exists())
        until(lambda: not Upload.objects.exclude(state=UploadState.DONE).exists())
        for web in machines.WEBS:
            assert browser.at(web, "/healthz").json()["status"] == "ok"
    finally:
        for partner in partners:
            partner.__exit__()
    assert Run.objects.count() == len(syncs)
    for partner, sync in zip(partners, syncs, strict=True):
        assert partner.members(world.name_at_partner(sync)) == world.wanted(sync)
        assert partner.most_in_flight == 1, "two drivers at once"
        # What was in flight when its driver died is sent again: a batch for each death.
        assert len(partner.sent("add")) <= 400 + 2 * 10
    uploaded.refresh_from_db()
    assert set(members.in_version(uploaded.pk, uploaded.version)) == set(machines.WEBS)
    assert Cohort.objects.count() == 2
