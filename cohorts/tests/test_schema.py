"""The final schema of both databases: what Django's migrations could change without a word."""

import pytest
from django.db import connection

from cohorts import members, refresh
from cohorts.tests.ids import WEIRD, make_cohort

pytestmark = pytest.mark.django_db
ON_SQLITE = connection.vendor == "sqlite"
only_sqlite = pytest.mark.skipif(not ON_SQLITE, reason="SQLite's schema")
only_postgresql = pytest.mark.skipif(ON_SQLITE, reason="PostgreSQL's schema")


def rows(sql, params=()):
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall()


@only_sqlite
def test_members_are_kept_in_the_order_of_their_key_on_sqlite():
    [(sql,)] = rows("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'cohorts_member'")
    assert sql.endswith("WITHOUT ROWID")
    assert 'PRIMARY KEY ("cohort_id", "user_id", "entered_version")' in sql
    assert "REFERENCES" not in sql
    assert "COLLATE" not in sql


@only_postgresql
def test_user_ids_compare_by_bytes_on_postgresql():
    [(collation,)] = rows(
        "SELECT collation_name FROM information_schema.columns "
        "WHERE table_name = 'cohorts_member' AND column_name = 'user_id'"
    )
    assert collation == "C"


@only_postgresql
def test_the_key_of_members_is_the_user_order_and_no_foreign_key_slows_them_on_postgresql():
    found = dict(
        rows(
            "SELECT contype::text, pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE conrelid = 'cohorts_member'::regclass AND contype IN ('p', 'f')"
        )
    )
    assert found == {"p": "PRIMARY KEY (cohort_id, user_id, entered_version)"}


def test_the_first_load_and_those_who_stay_are_in_no_index_but_the_key():
    sql = (
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'cohorts_member'"
        if ON_SQLITE
        else "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'cohorts_member'"
    )
    found = {name: definition for name, definition in rows(sql) if definition}
    entered, left = found["member_entered"].replace('"', ""), found["member_left"].replace('"', "")
    assert "(cohort_id, entered_version, user_id) WHERE" in entered and "entered_version > 1" in entered
    assert "(cohort_id, left_version, user_id) WHERE" in left and "left_version IS NOT NULL" in left
    assert len(found) == (2 if ON_SQLITE else 3)


def test_every_sort_of_user_id_is_in_the_same_order_everywhere():
    ordered = sorted(WEIRD)
    assert ordered == sorted(WEIRD, key=str.encode)
    cohort = make_cohort()
    refresh.replace(cohort.pk, ordered, source="test")
    assert list(members.in_version(cohort.pk, 1)) == ordered
    assert members.is_in_version(cohort.pk, 1, [*WEIRD, "nobody"]) == set(WEIRD)


@pytest.fixture
def changed_cohort():
    """20,000 members, of whom 20 left and 20 came, in each of four versions; another cohort beside it."""
    other = make_cohort("other")
    refresh.replace(other.pk, [f"o{n:06}" for n in range(20_000)], source="test")
    cohort = make_cohort()
    refresh.replace(cohort.pk, [f"u{n:06}" for n in range(20_000)], source="test")
    for version in range(4):
        refresh.amend(
            cohort.pk,
            add=[f"v{version}{n:05}" for n in range(20)],
            remove=[
                f"u{version * 1000 + n:06}" if version < 2 else f"v{version - 1}{n:05}" for n in range(20)
            ],
            source="test",
        )
    if not ON_SQLITE:
        rows_analyzed = rows("SELECT count(*) FROM cohorts_member")
        assert rows_analyzed[0][0] > 40_000
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE cohorts_member")
    return cohort


def plan_of(statement):
    """Return the database's plan of a statement that was executed, as text."""
    explain = "EXPLAIN QUERY PLAN " if ON_SQLITE else "EXPLAIN "
    return "\n".join(str(row) for row in rows(explain + statement.replace("%", "%%")))


def test_a_difference_reads_the_partial_indexes_and_never_the_whole_cohort(
    changed_cohort, django_assert_num_queries
):
    with django_assert_num_queries(6) as captured:
        moved = members.moves_page(changed_cohort.pk, 1, 5, "", 1000)
    assert len(moved) == 20 * 4 + 40
    plan = plan_of(captured.captured_queries[-1]["sql"])
    assert "member_entered" in plan and "member_left" in plan
    assert "Seq Scan" not in plan and "SCAN cohorts_member" not in plan


def test_a_page_of_members_is_read_from_the_key(changed_cohort, django_assert_num_queries):
    with django_assert_num_queries(1) as captured:
        assert len(members.in_version_page(changed_cohort.pk, 5, "u010000", 100)) == 100
    plan = plan_of(captured.captured_queries[0]["sql"])
    assert "Seq Scan" not in plan and "Sort" not in plan and "TEMP B-TREE" not in plan


def test_a_look_up_of_some_users_does_not_read_the_cohort(changed_cohort, django_assert_num_queries):
    with django_assert_num_queries(1) as captured:
        members.is_in_version(changed_cohort.pk, 5, ["u000001", "u010001"])
    plan = plan_of(captured.captured_queries[0]["sql"])
    assert "Seq Scan on cohorts_member" not in plan and "SCAN cohorts_member" not in plan
    if ON_SQLITE:
        assert "cohort_id=? AND user_id=?" in plan


@pytest.fixture
def just_filled(monkeypatch):
    """50,000 members of a cohort, of which PostgreSQL has no statistics."""
    monkeypatch.setattr(members, "analyze", lambda: None)
    cohort = make_cohort()
    refresh.replace(cohort.pk, [f"u{n:06}" for n in range(50_000)], source="test")
    return cohort


@only_postgresql
def test_what_was_just_filled_is_looked_up_in_the_index_and_no_page_is_sorted(
    just_filled, django_assert_num_queries
):
    cohort, some = just_filled.pk, [f"u{n:06}" for n in range(20_000, 25_000)]
    with django_assert_num_queries(1) as page:
        assert len(members.in_version_page(cohort, 1, "u020000", 1_000)) == 1_000
    plan = plan_of(page.captured_queries[0]["sql"])
    assert "Index Scan using cohorts_member_pkey" in plan and "Sort" not in plan
    with django_assert_num_queries(3) as looked_up:
        assert members.is_in_version(cohort, 1, [*some, "nobody"]) == set(some)
        assert members.entered_at(cohort, 1, [*some, "nobody"]) == set(some)
        members.leave(cohort, 2, some)
    for query in looked_up.captured_queries:
        plan = plan_of(query["sql"])
        assert "Index Cond: ((cohort_id = " in plan and "(user_id = one.text_0)" in plan
        assert "Tid Scan on cohorts_member" in plan and "Seq Scan" not in plan
