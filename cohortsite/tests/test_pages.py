"""Each page of the admin takes a fixed number of queries, each of which brings a bounded number of rows."""

import re

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from cohortsite import site
from cohortsite.tests.test_roles import admin_urls
from receiving.keys import create_key
from receiving.models import RequestLog, Trait, Workspace
from syncs.choices import RejectionKind, RunState
from syncs.models import Attempt, Batch, Driver, Rejection, Run, Sync
from tests import world

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
# More than any page shows, and fewer than there are of anything in the larger world below.
MANY = 150
# A query without a LIMIT may bring as many rows as a list shows, and no more when there are more.
ROWS_AT_MOST = 120
# A list of more than one page asks for its page's keys first.
KEYS = 1
# Rejected users within one page of a plan, which has a LIMIT itself.
BOUNDED = "FROM syncs_rejection"
# Its two selects hold every cohort with its size, and every destination: a person searches them by typing.
CHOOSES_AMONG_ALL = "/admin/syncs/sync/add/?schedule_kind=manual"


def grow(first, last):
    """Make cohorts, destinations, syncs and runs of these numbers, and rows of one run."""
    for number in range(first, last):
        cohort = world.cohort(["a", "b"], key=f"c{number}", name=f"Cohort {number}")
        destination = world.destination("http://127.0.0.1:9", name=f"d{number}")
        sync = Sync.objects.create(cohort=cohort, destination=destination)
        Run.objects.create(
            sync=sync,
            trigger="person",
            from_version=0,
            to_version=1,
            state=RunState.SUCCEEDED,
            started_at=timezone.now(),
            finished_at=timezone.now(),
        )
        Driver.objects.create(destination=destination)
        create_key(Workspace.objects.create(slug=f"w{number}"), name="k")
    first_run = Run.objects.order_by("pk").first()
    assert first_run
    for number in range(first, last):
        batch = Batch.objects.create(run=first_run, number=number, step="add")
        Attempt.objects.create(batch=batch, at=timezone.now(), users=1)
        Rejection.objects.create(
            sync=first_run.sync,
            user_id=f"user-{number}",
            kind=RejectionKind.REJECTED,
            wanted=True,
            code="x",
            message="y",
            run=first_run,
            last_at=timezone.now(),
        )
    world.fill(first_run.sync.cohort, [f"user-{number}" for number in range(last)])
    workspace = Workspace.objects.order_by("pk").first()
    for _ in range(first, last):
        RequestLog.objects.create(
            workspace=workspace,
            received_at=timezone.now(),
            duration_ms=1,
            method="POST",
            path="/lists",
            status=200,
        )


def pages():
    """Return the addresses of the admin's pages for the first of everything."""
    firsts = {
        "cohorts/cohort": world.Cohort.objects,
        "destinations/destination": world.Destination.objects,
        "syncs/sync": Sync.objects,
        "syncs/run": Run.objects,
        "syncs/batch": Batch.objects,
        "syncs/rejection": Rejection.objects,
        "syncs/driver": Driver.objects,
        "receiving/workspace": Workspace.objects,
    }
    found = []
    for url in admin_urls():
        for model, rows in firsts.items():
            if url.startswith(f"admin/{model}/1/"):
                url = url.replace(f"{model}/1/", f"{model}/{rows.order_by('pk').first().pk}/")
        found.append(CHOOSES_AMONG_ALL if CHOOSES_AMONG_ALL.startswith(f"/{url}?") else f"/{url}")
    return found


def test_no_page_takes_more_queries_or_unbounded_rows_when_there_is_more_of_everything():
    client = Client()
    client.force_login(User.objects.create_superuser("ann"))
    grow(1, 4)
    for url in pages():  # what is asked once a process is asked now
        client.get(url)
    few = {url: _ask(client, url) for url in pages()}
    grow(4, MANY)
    wrong = []
    for url, (queries, _) in few.items():
        after, rows = _ask(client, url)
        if after > queries + KEYS:  # some of it is asked once a minute
            after, rows = _ask(client, url)
        if after > queries + KEYS:
            wrong.append(f"{url}: {queries} queries, then {after}")
        if rows > max(ROWS_AT_MOST, few[url][1]) and url != CHOOSES_AMONG_ALL:
            wrong.append(f"{url}: a query of {rows} rows")
    assert not wrong, "\n".join(wrong)
    assert sum(queries > 2 for queries, _ in few.values()) > 40  # they were pages, not refusals


def _ask(client, url):
    """Return the number of queries of a page, and of the rows of the longest answer without a LIMIT."""
    seen = []

    def wrapper(execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        if re.match(r"\s*select", sql, re.I):
            is_bounded = re.search(r"\blimit\b", sql, re.I) or BOUNDED in sql
            seen.append(0 if is_bounded else _rows(context["cursor"], sql, params))
        return result

    with connection.execute_wrapper(wrapper):
        reply = client.get(url)
        if reply.streaming:
            b"".join(reply.streaming_content)
            return 0, 0
    return len(seen), max(seen, default=0)


def _rows(cursor, sql, params):
    """Return how many rows a query has; SQLite's driver does not say, so it is asked again there."""
    if connection.vendor == "postgresql":
        return cursor.rowcount
    again = connection.connection.cursor()
    again.execute(sql % tuple(["?"] * sql.count("%s")) if params else sql, params or ())
    return len(again.fetchall())


RUNS = "/admin/syncs/run/"


def test_a_late_page_passes_the_earlier_rows_by_their_keys_alone(admin_client):
    grow(1, MANY)
    with CaptureQueriesContext(connection) as asked:
        reply = admin_client.get(RUNS, {"p": 3})
    expected = list(Run.objects.order_by("-pk").values_list("pk", flat=True)[100:150])
    assert [run.pk for run in reply.context["cl"].result_list] == expected
    late = [query["sql"] for query in asked if "OFFSET" in query["sql"]]
    assert len(late) == 1
    assert "JOIN" not in late[0]


def test_a_long_list_is_counted_as_far_as_one_looks_and_says_so(admin_client, monkeypatch):
    monkeypatch.setattr(site, "MOST", 60)
    grow(1, MANY)
    with CaptureQueriesContext(connection) as asked:
        first = admin_client.get(RUNS).content.decode()
    counts = [query["sql"] for query in asked if re.search(r"COUNT.*syncs_run", query["sql"])]
    assert counts
    assert all("LIMIT 61" in sql for sql in counts)
    assert "more than 60 runs" in " ".join(first.split())
    # At the head of the page, unfold would tell what was counted as if it were all.
    assert "60 results" not in " ".join(first.split())
    assert "?p=2" in first
    # The last page that was counted is not the last one; behind it, the list goes on.
    second = admin_client.get(RUNS, {"p": 2}).content.decode()
    assert "?p=3" in second
    last = admin_client.get(RUNS, {"p": 3})
    shown = " ".join(last.content.decode().split())
    assert "149 runs" in shown
    assert "more than" not in shown
    assert len(last.context["cl"].result_list) == 49


def test_a_list_with_actions_counts_what_select_all_would_take(admin_client, monkeypatch):
    monkeypatch.setattr(site, "MOST", 60)
    grow(1, MANY)
    assert "Select all 149" in " ".join(admin_client.get("/admin/syncs/rejection/").content.decode().split())


def test_the_question_before_a_workspace_goes_counts_what_goes_with_it(admin_client):
    grow(1, 4)
    workspace = Workspace.objects.order_by("pk").first()
    url = f"/admin/receiving/workspace/{workspace.pk}/delete/"
    # Keys and the log are kept: their own pages delete none, and neither does this one.
    refused = admin_client.get(url)
    assert refused.context["perms_lacking"] == {"API key", "request"}
    assert dict(refused.context["model_count"]) == {"API keys": 1, "requests": 3}
    assert admin_client.post(url, {"post": "yes"}).status_code == 403
    empty = Workspace.objects.create(slug="empty")
    Trait.objects.create(workspace=empty, name="t")
    url = f"/admin/receiving/workspace/{empty.pk}/delete/"
    assert dict(admin_client.get(url).context["model_count"]) == {"traits": 1}
    assert admin_client.post(url, {"post": "yes"}).status_code == 302
    assert not Workspace.objects.filter(pk=empty.pk).exists()
