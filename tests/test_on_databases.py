"""What `./run test` concludes from its two databases."""

import pytest

from tests.on_databases import (
    DEFAULT,
    Outcome,
    exit_code,
    other_database,
    postgres_url,
    share,
    why_unreachable,
)

PASSED, FAILED = Outcome("SQLite", 0), Outcome("SQLite", 1)
NONE_RAN, ABSENT = Outcome("SQLite", 5), Outcome("PostgreSQL", reason="refused")


@pytest.mark.parametrize(
    ("outcomes", "at_home", "in_ci"),
    [
        ([PASSED, PASSED], 0, 0),
        ([FAILED, PASSED], 1, 1),
        ([PASSED, FAILED], 1, 1),
        ([NONE_RAN, PASSED], 5, 5),
        ([PASSED, ABSENT], 0, 1),
        ([FAILED, ABSENT], 1, 1),
    ],
)
def test_a_missing_database_is_a_failure_in_ci_only(outcomes, at_home, in_ci):
    assert exit_code(outcomes, in_ci=False) == at_home
    assert exit_code(outcomes, in_ci=True) == in_ci


def test_every_test_runs_somewhere():
    assert share(with_postgres=False)[0] == []
    (_, sqlite), (_, postgres) = share(with_postgres=True)
    for browser in (True, False):
        for once in (True, False):
            marks = {"browser": browser, "once": once}
            assert eval(sqlite, {}, marks) or eval(postgres, {}, marks)
    assert not eval(sqlite, {}, {"browser": True, "once": True})
    assert not eval(postgres, {}, {"browser": False, "once": True})


def test_each_database_has_a_line():
    assert Outcome("SQLite", 0, 61.4).line() == "SQLite: passed, 61 s"
    assert Outcome("SQLite", 1, 2).line() == "SQLite: FAILED (pytest's exit code 1), 2 s"
    assert ABSENT.line() == "PostgreSQL: NOT TESTED, refused"


def test_postgresql_is_looked_for_where_people_say():
    mine = "postgres://me@db.example/mine"
    assert postgres_url({}) == DEFAULT
    assert postgres_url({"DATABASE_URL": "sqlite:////tmp/x"}) == DEFAULT
    assert postgres_url({"DATABASE_URL": mine}) == mine
    assert postgres_url({"DATABASE_URL": mine, "TEST_POSTGRES_URL": DEFAULT}) == DEFAULT


def test_another_database_to_read_is_on_the_same_server():
    mine = "postgres://me@db.example/mine"
    assert other_database({}) == "postgres://postgres@127.0.0.1:5432/postgres"
    assert other_database({"DATABASE_URL": mine}) == "postgres://me@db.example/postgres"
    assert other_database({"DATABASE_URL": DEFAULT, "TEST_POSTGRES_URL": mine}) == mine


def test_a_server_that_is_not_there_is_reported_with_the_reason():
    assert "refused" in why_unreachable("postgres://postgres@127.0.0.1:1/x")
