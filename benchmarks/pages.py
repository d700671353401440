"""Each page of the admin with 1,000 syncs, 100,000 runs and 10 million members: milliseconds and queries.

    python benchmarks/pages.py --postgres postgres://postgres@127.0.0.1:5432/postgres

A scratch database is made on that server, filled by SQL, and dropped at the end. Every address of the
admin is asked as an administrator, five times after a first one; the middle one is printed, without the
network. Beside it: filters, searches and late pages of the long lists.
"""

import argparse
import logging
import os
import re
import statistics
import sys
import time
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT_MS = 300
DESTINATIONS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--postgres", default="postgres://postgres@127.0.0.1:5432/postgres")
    parser.add_argument("--members", type=int, default=10_000_000)
    parser.add_argument("--syncs", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="time only addresses that contain this")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    import psycopg

    from chaos import fixtures

    os.environ["TEST_POSTGRES_URL"] = options.postgres
    with fixtures.prepared("postgres", LOG_LEVEL="CRITICAL"):
        began = time.monotonic()
        fill(options)
        print(f"Filled in {time.monotonic() - began:.0f} s. psycopg {psycopg.__version__}.", file=sys.stderr)
        slow = measure(options.rounds, options.only)
    sys.exit(1 if slow else 0)


def fill(options: argparse.Namespace) -> None:
    """Put everything there: members by SQL, the rest in bulk."""
    from django.db import connection
    from django.utils import timezone

    from cohorts.models import Cohort, CohortVersion
    from destinations.models import Destination
    from receiving.models import RequestLog, Workspace
    from syncs.models import Attempt, Batch, Driver, Rejection, Run, Sync

    now = timezone.now()

    def many(model, rows):
        model.objects.bulk_create(rows, batch_size=2_000)
        return model.objects.order_by("pk")

    for number in range(1, DESTINATIONS + 1):
        made = Destination.from_preset("amplitude-list")
        made.name, made.base_url, made.credential = f"partner-{number}", "http://127.0.0.1:9", "key"
        made.save()
        Driver.objects.create(destination=made)
    number_of = options.syncs // DESTINATIONS
    each = options.members // number_of
    cohorts = many(
        Cohort,
        (
            Cohort(key=f"c{n}", name=f"Cohort {n}", version=100, last_number=100, size=each)
            for n in range(number_of)
        ),
    )
    many(
        CohortVersion,
        (
            CohortVersion(
                cohort=cohort,
                number=number,
                state="published",
                source="a benchmark",
                size=each,
                entered=each // 100,
                left=10,
                finished_at=now - timedelta(days=101 - number),
            )
            for cohort in cohorts
            for number in range(1, 101)
        ),
    )
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO cohorts_member (cohort_id, user_id, entered_version, left_version)
               SELECT c.id, 'user-' || lpad(n::text, 9, '0'), 1 + n %% 100,
                      CASE WHEN n %% 100 = 7 THEN 100 END
               FROM cohorts_cohort c, generate_series(1, %s) n""",
            [each],
        )
    syncs = many(
        Sync,
        (
            Sync(cohort=cohort, destination=destination, settled_version=99, list_id="7")
            for cohort in cohorts
            for destination in Destination.objects.all()
        ),
    )
    keys = list(syncs.values_list("pk", flat=True))
    states = ["succeeded"] * 17 + ["partial", "failed", "cancelled"]
    runs = many(
        Run,
        (
            Run(
                sync_id=keys[n % len(keys)],
                trigger="schedule",
                from_version=98,
                to_version=99,
                state=states[n % 20],
                started_at=now - timedelta(minutes=options.runs - n),
                finished_at=now - timedelta(minutes=options.runs - n - 1),
                added=5_000,
                removed=100,
                requests=6,
            )
            for n in range(options.runs)
        ),
    )
    last = runs.last()
    # Three batches in most runs, and a thousand in the last one, which is the one that is looked at.
    many(
        Batch,
        (
            Batch(
                run_id=run,
                number=number,
                step="add",
                first_user="user-000000001",
                last_user="user-000001000",
                size=1_000,
                delivered=1_000,
                state="delivered",
                status=200,
                latency_ms=40,
                settled_at=now,
            )
            for run in runs.values_list("pk", flat=True)
            for number in range(1, 1_001 if run == last.pk else 4)
        ),
    )
    some = list(last.batches.values_list("pk", flat=True))
    many(
        Attempt,
        (
            Attempt(batch_id=some[n % len(some)], at=now, users=1_000, status=503, code="503", message="No.")
            for n in range(50_000)
        ),
    )
    many(
        Rejection,
        (
            Rejection(
                sync_id=last.sync_id if n < 5_000 else keys[n % len(keys)],
                user_id=f"user-{n:09}",
                kind="rejected",
                wanted=True,
                code="invalid",
                message="Unknown user.",
                run=last,
                last_at=now,
            )
            for n in range(100_000)
        ),
    )
    workspace = Workspace.objects.create(slug="partner")
    many(
        RequestLog,
        (
            RequestLog(
                workspace=workspace,
                method="POST",
                path=f"/lists/{n % 50}/add",
                status=200 if n % 10 else 404,
                duration_ms=3.0,
                received_at=now - timedelta(seconds=n),
            )
            for n in range(200_000)
        ),
    )
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def measure(rounds: int, only: str = "") -> list[str]:
    """Print a row for each page; return those that took longer than the aim."""
    from django.contrib.auth.models import User
    from django.test import Client

    logging.disable(logging.CRITICAL)  # pages that refuse are among those that are asked
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("ann"))
    slow = []
    print("| page | status | ms | queries |\n| --- | --- | --- | --- |")
    for url in (url for url in addresses() if only in url):
        taken, queries, status = _time(client, url, rounds)
        if taken > LIMIT_MS:
            slow.append(url)
        if status == 200:
            print(f"| {url} | {status} | {taken:.0f} | {queries} |", flush=True)
    print(f"\nOver {LIMIT_MS} ms: {', '.join(slow) or 'none'}")
    return slow


def addresses() -> list[str]:
    from cohortsite.tests.test_pages import pages
    from syncs.models import Run

    last = Run.objects.order_by("-pk").first()
    assert last
    # The largest of each: the run with a thousand batches, and its sync with all the rejected users.
    found = [
        re.sub(r"/syncs/sync/\d+/", f"/syncs/sync/{last.sync_id}/", re.sub(
            r"/syncs/run/\d+/", f"/syncs/run/{last.pk}/", url))
        for url in pages()
    ]  # fmt: skip
    more = [
        "/admin/syncs/run/?p=900",
        "/admin/syncs/run/?state__exact=failed",
        "/admin/syncs/run/?q=cohort",
        f"/admin/syncs/run/?sync__id__exact={last.sync_id}",
        "/admin/syncs/sync/?q=cohort",
        "/admin/syncs/sync/?p=9",
        "/admin/syncs/rejection/?q=user-000099999",
        "/admin/syncs/rejection/?p=900",
        f"/admin/syncs/batch/?run__id__exact={last.pk}",
        "/admin/cohorts/cohort/?q=cohort",
        f"/admin/cohorts/cohort/{last.sync.cohort_id}/members/?q=user-000150000",
        "/admin/receiving/requestlog/?p=300",
        "/admin/receiving/requestlog/?q=lists",
        f"/admin/syncs/sync/{last.sync_id}/dry-run/?mode=empty",
        "/admin/receiving/requestlog/?q=nowhere",
        "/admin/where/?user=user-000000007",
    ]
    return [url for url in dict.fromkeys([*found, *more]) if "download" not in url and "export" not in url]


def _time(client, url: str, rounds: int) -> tuple[float, int, int]:
    """Return the middle time in milliseconds, the number of queries, and the status."""
    from django.db import connection

    queries = [0]

    def count(execute, sql, params, many, context):
        queries[0] += 1
        return execute(sql, params, many, context)

    client.get(url)
    times = []
    for _ in range(rounds):
        queries[0] = 0
        began = time.perf_counter()
        with connection.execute_wrapper(count):
            reply = client.get(url)
        times.append((time.perf_counter() - began) * 1000)
        if reply.streaming:
            break
    return statistics.median(times), queries[0], reply.status_code


if __name__ == "__main__":
    main()
