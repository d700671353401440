"""Each page of the admin takes a fixed number of queries, each of which brings a bounded number of rows."""

import re

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from cohortsite.tests.test_roles import admin_urls
from receiving.keys import create_key
from receiving.models import Workspace
from syncs.choices import RejectionKind, RunState
from syncs.models import Attempt, Batch, Driver, Rejection, Run, Sync
from tests import world

pytestmark = pytest.mark.django_db
# More than any page shows, and fewer than there are of anything in the larger world below.
MANY = 150
# A query without a LIMIT may bring as many rows as a list shows, and no more when there are more.
ROWS_AT_MOST = 120
# Rejected users within one page of a plan, which has a LIMIT itself.
BOUNDED = "FROM syncs_rejection"
# Its two selects hold every cohort with its size, and every destination: a person searches them by typing.
CHOOSES_AMONG_ALL = "/admin/syncs/sync/add/"


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
        found.append(f"/{url}")
    return found


def test_no_page_takes_more_queries_or_unbounded_rows_when_there_is_more_of_everything():
    client = Client()
    client.force_login(User.objects.create_superuser("ann"))
    grow(1, 4)
    for url in pages():  # what is asked once a process is asked now
        client.get(url)
    few = {url: _ask(client, url) for url in pages()}
    grow(4, MANY)
    many = {url: _ask(client, url) for url in pages()}
    wrong = []
    for url, (queries, _) in few.items():
        after, rows = many[url]
        if after > queries:
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
