"""What a batch costs is counted, since a timing in a document guards nothing. The numbers may only fall.

One thread and no looks for news: then each batch has a turn of the loop to itself.
"""

import pytest
from django.db import connection
from django.db.models.sql import Query
from django.test.utils import CaptureQueriesContext

from syncs.choices import RunState
from syncs.delivery import loop
from tests import world
from tests.partner import Partner

# SQLite: BEGIN, the lease, the batches, the run's counts, COMMIT. PostgreSQL takes all of it as one.
STATEMENTS_A_BATCH = {"sqlite": 5, "postgresql": 1}
COMMITS_A_BATCH = {"sqlite": 1, "postgresql": 0}
# Making a query of the ORM takes as long as the statement: a batch that is plainly accepted needs none.
QUERIES_MADE_A_BATCH = 0
SIZE = 5


@pytest.fixture
def partner():
    with Partner() as started:
        yield started


def costs(partner: Partner, batches: int) -> tuple[int, int, int]:
    """Drive a first run of so many batches; return its statements, commits and requests."""
    to = world.destination(partner.url, threads=1, batch_size=SIZE)
    sync = world.sync(world.cohort(world.users(batches * SIZE)), to)
    before = len(partner.calls)
    with CaptureQueriesContext(connection) as captured:
        run = world.run(sync)
    assert (run.state, run.added) == (RunState.SUCCEEDED, batches * SIZE)
    said = [query["sql"].upper() for query in captured.captured_queries]
    return len(said), said.count("COMMIT"), len(partner.calls) - before


@pytest.mark.django_db(transaction=True)
def test_a_batch_that_is_accepted_makes_no_query_of_the_orm(partner, monkeypatch):
    """Asking which of nobody was rejected sends no statement, and once took 60 % of a run's time."""
    monkeypatch.setattr(loop, "LOOK_EVERY", 3600.0)
    made = []
    chain = Query.chain
    monkeypatch.setattr(Query, "chain", lambda self, *more: (made.append(1), chain(self, *more))[1])
    totals = []
    for batches in (20, 60):
        made.clear()
        costs(partner, batches)
        totals.append(len(made))
    assert totals[1] - totals[0] == 40 * QUERIES_MADE_A_BATCH


@pytest.mark.django_db(transaction=True)
def test_a_batch_costs_one_transaction_and_one_request(partner, monkeypatch):
    monkeypatch.setattr(loop, "LOOK_EVERY", 3600.0)
    few, many = costs(partner, 20), costs(partner, 60)
    more = [after - before for before, after in zip(few, many, strict=True)]
    kind = connection.vendor
    assert more == [40 * STATEMENTS_A_BATCH[kind], 40 * COMMITS_A_BATCH[kind], 40]
