"""A person's own query reads what it may, and nothing else, for as long as it may."""

# ruff: noqa: E501  (a query a line reads best)

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
import psycopg
import pytest
from django.core.checks import run_checks

from cohorts import query
from cohorts.databases import InvalidIds, QueryFailed, Unavailable, open_database
from cohorts.query_role import UnsafeRole
from cohorts.tests.clickhouse_http import ClickHouseHTTP
from events.engine import Limits, TimedOut

LIMITS = Limits(memory_mb=200, threads=1, temp_mb=500, seconds=60)
ENDLESS = (
    "WITH RECURSIVE r AS (SELECT 1 AS user_id UNION ALL SELECT user_id + 1 FROM r) SELECT user_id FROM r"
)


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Path:
    path = tmp_path / "files"
    path.mkdir()
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT CASE WHEN i % 7 = 0 THEN NULL ELSE 'u' || i % 20 END AS user_id, i AS n "
            f"FROM range(1000) AS r(i)) TO '{path / 'orders.parquet'}'"
        )
    (path / "people.csv").write_text("id,plan\n7,pro\nZ,free\na,pro\n")
    (tmp_path / "secret.csv").write_text("user_id\nsecret\n")
    settings.QUERY_DATABASES = {"files": f"duckdb://{path}"}
    settings.EVENTS_DIR = tmp_path / "events"
    return path


@pytest.fixture
def owner(tmp_path: Path, settings: Any, postgresql: Any) -> Iterator[psycopg.Connection[Any]]:
    """The database's owner, and a role that may read what cohorts may see, as docs/behavioral.md makes it."""
    url = os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")
    role = f"query_test_{os.getpid()}"
    settings.QUERY_DATABASES = {"warehouse": read_only(url, role), "powerful": url}
    settings.EVENTS_DIR = tmp_path / "events"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS query_test CASCADE")
        connection.execute("CREATE SCHEMA query_test")
        connection.execute("CREATE SEQUENCE query_test.s")
        connection.execute("CREATE TABLE query_test.orders (user_id text, amount int)")
        connection.execute(
            "INSERT INTO query_test.orders VALUES ('b', 1), ('Z', 2), ('b', 3), (NULL, 4), ('é', 5)"
        )
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'reader'")
        connection.execute(f"GRANT USAGE ON SCHEMA query_test TO {role}")
        connection.execute(f"GRANT SELECT ON query_test.orders TO {role}")
        connection.execute(f"GRANT USAGE ON SEQUENCE query_test.s TO {role}")
        try:
            yield connection
        finally:
            connection.execute("DROP SCHEMA query_test CASCADE")
            connection.execute(f"DROP OWNED BY {role}")
            connection.execute(f"DROP ROLE {role}")


@pytest.fixture
def warehouse(owner: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    return owner


def read_only(url: str, role: str) -> str:
    parts = urlsplit(url)
    where = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{role}:reader@{where}").geturl()


def members(database: str, sql: str, limits: Limits = LIMITS) -> list[str]:
    return list(query.members(database, sql, limits=limits))


def test_a_folder_of_files_answers_sorted_and_distinct(folder: Path) -> None:
    assert members("files", "SELECT user_id FROM orders WHERE n < 40") == sorted(
        {f"u{n % 20}" for n in range(40) if n % 7}
    )
    assert members("files", "SELECT id AS user_id FROM people") == ["7", "Z", "a"]
    joined = (
        "WITH p AS (SELECT id FROM people WHERE plan = 'pro') SELECT p.id AS user_id FROM p UNION SELECT 'x'"
    )
    assert members("files", joined) == ["7", "a", "x"]


def test_postgresql_answers_in_the_order_of_bytes(warehouse: Any) -> None:
    assert members("warehouse", "SELECT user_id FROM query_test.orders") == ["Z", "b", "é"]
    grouped = "SELECT user_id FROM query_test.orders GROUP BY user_id HAVING sum(amount) > 3"
    assert members("warehouse", grouped) == ["b", "é"]


HOSTILE = [
    ("SELECT user_id FROM orders; DROP TABLE orders", "exactly one SELECT"),
    ("DELETE FROM orders", "not DELETE"),
    ("DROP TABLE orders", "not DROP"),
    ("UPDATE orders SET user_id = 'x'", "not UPDATE"),
    ("INSERT INTO orders SELECT 'x'", "not INSERT"),
    ("CREATE TABLE x AS SELECT 1 AS user_id", "not CREATE"),
    ("COPY orders TO '/tmp/x.csv'", "not COPY"),
    ("COPY (SELECT user_id FROM orders) TO '/tmp/x.csv'", "not COPY"),
    ("ATTACH '/tmp/x.db' AS x", "not ATTACH"),
    ("SET enable_external_access = true", "not SET"),
    ("PRAGMA database_list", "not PRAGMA"),
    ("INSTALL httpfs", "not"),
    ("EXPLAIN ANALYZE SELECT 1 AS user_id", "not"),
    ("CALL pragma_version()", "not"),
    ("SELECT * FROM orders", "one column, called user_id"),
    ("SELECT user_id, n FROM orders", "one column, called user_id"),
    ("SELECT n FROM orders", "one column, called user_id"),
    ("SELECT user_id FROM read_csv('/etc/passwd')", "reads elsewhere"),
    ("SELECT user_id FROM read_text('/etc/passwd')", "not known to be harmless|reads elsewhere"),
    ("SELECT user_id FROM glob('/*')", "not known to be harmless|reads elsewhere"),
    ("SELECT user_id FROM '/etc/passwd'", "no table"),
    ("SELECT user_id FROM 'secret.csv'", "no table"),
    ("SELECT user_id FROM duckdb_settings()", "not known to be harmless|reads elsewhere"),
    ("SELECT table_name AS user_id FROM information_schema.tables", "system table"),
    ("SELECT getenv('HOME') AS user_id", "getenv is not known"),
    ("SELECT user_id FROM query('DROP TABLE orders')", "not known to be harmless|reads elsewhere"),
    ("SELECT (SELECT content FROM read_text('/etc/passwd')) AS user_id", "not known|reads elsewhere"),
    ("WITH d AS (DELETE FROM orders RETURNING user_id) SELECT user_id FROM d", "Delete is not allowed"),
    ("SELECT user_id INTO x FROM orders", "Into is not allowed"),
    ("SELECT user_id FROM orders FOR UPDATE", "Lock is not allowed"),
    ("SELECT user_id FROM orders WHERE", "cannot be understood"),
    ("", "exactly one SELECT"),
    ("-- SELECT", "exactly one SELECT"),
    ("SELECT " + "(" * 5_000 + "1" + ")" * 5_000 + " AS user_id", "cannot be understood"),
]


@pytest.mark.parametrize(("sql", "reason"), HOSTILE)
def test_the_parser_refuses_what_is_not_one_harmless_select(folder: Path, sql: str, reason: str) -> None:
    with pytest.raises(query.RefusedQuery, match=reason) as error:
        members("files", sql)
    assert error.value.code == "refused_query"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT pg_read_file('/etc/passwd') AS user_id",
        "SELECT pg_sleep(100)::text AS user_id",
        "SELECT set_config('transaction_read_only', 'off', false) AS user_id",
        "SELECT lo_import('/etc/passwd')::text AS user_id",
        "SELECT nextval('s')::text AS user_id",
        "SELECT pg_terminate_backend(1)::text AS user_id",
        "SELECT usename AS user_id FROM pg_shadow",
        "SELECT usename AS user_id FROM pg_catalog.pg_user",
        "SELECT user_id FROM dblink('', 'DELETE FROM t') AS t(user_id text)",
        "DO $$ BEGIN DELETE FROM query_test.orders; END $$",
        "SELECT query_to_xml('DELETE FROM t', true, true, '')::text AS user_id",
        "SELECT table_to_xml('t', true, true, '')::text AS user_id",
        "SELECT pg_catalog.pg_read_file('/etc/passwd') AS user_id",
        "SELECT \"pg_read_file\"('/etc/passwd') AS user_id",
        "SELECT U&\"pg_read\\005ffile\"('/etc/passwd') AS user_id",
        "SELECT ＰＧ_read_file('/etc/passwd') AS user_id",
        "SELECT lo_export(1, '/tmp/x')::text AS user_id",
        "SELECT dblink_exec('', 'DELETE FROM t') AS user_id",
        "SELECT setval('s', 1)::text AS user_id",
        "SELECT pg_notify('a', 'b')::text AS user_id",
        "SELECT user_id FROM t LIMIT (SELECT pg_sleep(1)::int)",
        "SELECT user_id FROM t ORDER BY pg_sleep(1)",
        "SELECT user_id FROM t WHERE pg_advisory_lock(1) IS NULL",
        "SELECT user_id FROM t, LATERAL pg_read_file('/etc/passwd') AS f",
        "SELECT user_id FROM unnest(array(SELECT pg_read_file('/etc/passwd'))) AS t(user_id)",
        "SELECT user_id FROM ROWS FROM (pg_ls_dir('/')) AS t(user_id)",
        "SELECT 'pg_authid'::regclass::text AS user_id",
        "SELECT CAST(i AS regrole)::text AS user_id FROM generate_series(1, 99) AS s(i)",
        "WITH x AS MATERIALIZED (UPDATE t SET user_id = 'x' RETURNING user_id) SELECT user_id FROM x",
        "WITH x AS (MERGE INTO t USING t AS p ON true WHEN MATCHED THEN DELETE RETURNING user_id) SELECT user_id FROM x",
        "COPY t FROM PROGRAM 'id'",
        "SELECT 'x' AS user_id; /* */ COMMIT; DROP TABLE t",
    ],
)
def test_the_parser_refuses_postgresqls_own_ways_out(warehouse: Any, sql: str) -> None:
    with pytest.raises(query.RefusedQuery):
        members("warehouse", sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT user_id FROM url('http://127.0.0.1/', CSV, 'user_id String')",
        "SELECT user_id FROM file('/etc/passwd', CSV, 'user_id String')",
        "SELECT user_id FROM remote('127.0.0.1', system.one)",
        "SELECT user_id FROM orders SETTINGS max_execution_time = 0",
        "SELECT user_id FROM (SELECT user_id FROM orders SETTINGS readonly = 0)",
        "SELECT user_id FROM orders FORMAT CSV",
        "SELECT user_id FROM orders INTO OUTFILE '/tmp/x'",
        "SELECT name AS user_id FROM system.users",
        "SELECT sleep(3)::String AS user_id",
        "SELECT dictGet('d', 'a', 1) AS user_id",
    ],
)
def test_the_parser_refuses_clickhouses_own_ways_out(sql: str) -> None:
    with pytest.raises(query.RefusedQuery):
        query.guard(sql, "clickhouse")


def test_the_connections_refuse_by_themselves(folder: Path, warehouse: Any, settings: Any) -> None:
    """The second guard: what a gap in the parser would let through."""
    files = open_database(f"duckdb://{folder}")
    server = open_database(settings.QUERY_DATABASES["powerful"])
    for database, sql, reason in (
        (files, f"SELECT * FROM read_csv('{folder.parent}/secret.csv')", "disabled by configuration"),
        (files, "SELECT * FROM read_text('/etc/passwd')", "disabled by configuration"),
        (files, "COPY (SELECT 1) TO '/tmp/cohort-out.csv'", "not one SELECT"),
        (files, "ATTACH '/tmp/cohort-x.db' AS x", "not one SELECT"),
        (files, "SET enable_external_access = true", "not one SELECT"),
        (server, "DELETE FROM query_test.orders RETURNING user_id", "DECLARE|syntax|read-only"),
        (files, f"COPY (SELECT 1) TO '{folder}/out.csv'", "not one SELECT"),
        (files, "SELECT 1; SELECT 2", "not one SELECT"),
        (server, "SELECT nextval('query_test.s')::text", "read-only transaction"),
        (
            server,
            "WITH d AS (DELETE FROM query_test.orders RETURNING user_id) SELECT * FROM d",
            "DECLARE|read-only",
        ),
        (
            server,
            "SELECT query_to_xml('DELETE FROM query_test.orders', true, true, '')::text",
            "DELETE is not allowed",
        ),
    ):
        with pytest.raises(QueryFailed, match=reason):
            list(database.rows(sql, {}, LIMITS, folder))
    assert not Path("/tmp/cohort-out.csv").exists()
    # A function that PostgreSQL 15 lets write in a read-only transaction: the transaction is rolled back.
    [(created,)] = list(server.rows("SELECT lo_create(0)", {}, LIMITS, folder))
    assert warehouse.execute(
        "SELECT count(*) FROM pg_largeobject_metadata WHERE oid = %s", [created]
    ).fetchone() == (0,)


def test_nothing_that_only_looks_like_text_or_a_comment_is_run(warehouse: Any, settings: Any) -> None:
    """Whatever the database makes of a backslash, and whatever stands in a comment."""
    settings.QUERY_DATABASES["warehouse"] += "?options=-c%20standard_conforming_strings%3Doff"
    for sql in (
        "SELECT 'a\\' AS user_id WHERE '; DROP TABLE query_test.orders; --' <> ''",
        "SELECT E'\\'; DROP TABLE query_test.orders; --' AS user_id",
        "SELECT $q$'; DROP TABLE query_test.orders; --$q$ AS user_id",
        "SELECT 'x' AS user_id -- /*\n WHERE '*/ ; DROP TABLE query_test.orders; --' <> ''",
    ):
        assert len(members("warehouse", sql)) == 1, sql
    assert members("warehouse", "SELECT 'a\\' AS user_id") == ["a\\"]
    assert members("warehouse", "SELECT user_id FROM query_test.orders") == ["Z", "b", "é"]
    compiled = query.compile_query("SELECT 'x' AS user_id /* y */", open_database("postgres://h/d"))
    assert "/*" not in compiled


@pytest.mark.parametrize("database", ["files", "warehouse"])
def test_a_text_of_a_hundred_megabytes_does_not_come_over(
    database: str, folder: Path, warehouse: Any, settings: Any
) -> None:
    settings.QUERY_DATABASES |= {"files": f"duckdb://{folder}"}
    compiled = query.compile_query("SELECT repeat('é', 50000000) AS user_id", query.configured(database))
    [(text,)] = query.configured(database).rows(compiled, {}, LIMITS, folder)
    assert len(text) == 1_025
    with pytest.raises(InvalidIds, match="longer than"):
        members(database, "SELECT repeat('é', 50000000) AS user_id")


@pytest.mark.parametrize("database", ["files", "warehouse"])
def test_a_query_that_never_ends_is_stopped(
    folder: Path, warehouse: Any, settings: Any, database: str
) -> None:
    settings.QUERY_DATABASES = settings.QUERY_DATABASES | {"files": f"duckdb://{folder}"}
    begun = time.monotonic()
    with pytest.raises(TimedOut, match=r"longer than 1 seconds"):
        members(database, ENDLESS, Limits(500, 1, 2_000, 1.0))
    assert time.monotonic() - begun < 15
    assert [t.name for t in threading.enumerate() if t.name == "query-deadline"] == []


def test_failures_say_what_failed(folder: Path, warehouse: Any, settings: Any) -> None:
    with pytest.raises(QueryFailed, match='column "nothing" does not exist|nothing'):
        members("warehouse", "SELECT nothing AS user_id FROM query_test.orders")
    with pytest.raises(InvalidIds, match="is blank"):
        members("warehouse", "SELECT ' ' AS user_id")
    with pytest.raises(query.RefusedQuery, match="no database 'none'"):
        members("none", "SELECT 1 AS user_id")
    settings.QUERY_DATABASES = {
        "gone": "postgres://nobody:hidden@127.0.0.1:9/x",
        "ch": "clickhouse://127.0.0.1:9/x",
    }
    for name in ("gone", "ch"):
        with pytest.raises(Unavailable) as error:
            members(name, "SELECT 1 AS user_id")
        assert "hidden" not in str(error.value)


def test_clickhouse_answers_over_http(settings: Any, tmp_path: Path, clickhouse: Any) -> None:
    clickhouse.run("CREATE OR REPLACE TABLE orders (user_id Nullable(String)) ENGINE Memory")
    clickhouse.run("INSERT INTO orders VALUES ('b'), ('Z'), ('b'), (NULL), ('é')")
    settings.EVENTS_DIR = tmp_path
    with ClickHouseHTTP(clickhouse) as server:
        settings.QUERY_DATABASES = {"ch": f"clickhouse://me:secret@127.0.0.1:{server.port}/agree"}
        assert members("ch", "SELECT user_id FROM orders") == ["Z", "b", "é"]
        assert server.last["database"] == "agree" and server.last["readonly"] == "1"
        assert server.last["max_execution_time"] == "60" and server.last["X-ClickHouse-User"] == "me"
        with pytest.raises(QueryFailed, match="nothing"):
            members("ch", "SELECT nothing AS user_id FROM orders")


def test_a_mistake_in_an_address_is_reported_at_start_without_the_password(settings: Any) -> None:
    settings.QUERY_DATABASES = {"old": "mysql://me:hidden@db/x", "good": "postgres://me:hidden@db/x"}
    settings.EVENTS_URL = "duckdb:///tmp"
    settings.EVENTS_TABLES = {"evnets": "log"}
    said = {message.id: str(message) for message in run_checks() if str(message.id).startswith("cohorts.E00")}
    assert sorted(map(str, said)) == ["cohorts.E001", "cohorts.E002", "cohorts.E003"]
    assert "QUERY_DATABASES, old: 'mysql' is no kind of database" in said["cohorts.E001"]
    assert "hidden" not in " ".join(said.values())


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT ('/etc/hostname'::text).pg_read_file AS user_id",
        "SELECT (o.user_id).upper AS user_id FROM query_test.orders o",
        "SELECT o.f AS user_id FROM query_test.orders o",
        "SELECT orders.f AS user_id FROM query_test.orders",
        "SELECT query_test.orders.f AS user_id FROM query_test.orders",
        "SELECT (o).f AS user_id FROM query_test.orders o",
        "SELECT (o.*).f AS user_id FROM query_test.orders o",
        "SELECT (SELECT o).f AS user_id FROM query_test.orders o",
        "SELECT (array[o])[1].f AS user_id FROM query_test.orders o",
        "SELECT user_id FROM query_test.orders o WHERE o.f IS NOT NULL",
        "SELECT user_id FROM query_test.orders o ORDER BY o.f",
        "SELECT user_id FROM query_test.orders o, LATERAL o.f",
        "SELECT user_id FROM query_test.orders o GROUP BY user_id HAVING count(o.f) > 0",
        "SELECT q.f AS user_id FROM (SELECT * FROM query_test.orders) AS q",
        "WITH q AS (SELECT * FROM query_test.orders) SELECT q.f AS user_id FROM q",
        "SELECT o.user_id FROM query_test.orders AS o(f, amount)",
        "SELECT (SELECT p.f FROM query_test.orders p LIMIT 1) AS user_id FROM query_test.orders AS q(f)",
        "SELECT query_test.f(o) AS user_id FROM query_test.orders o",
        "SELECT query_test.lower(user_id) AS user_id FROM query_test.orders",
        "SELECT user_id OPERATOR(query_test.+) user_id AS user_id FROM query_test.orders",
        "SELECT (user_id::query_test.d)::text AS user_id FROM query_test.orders",
        "SELECT current_user AS user_id",
        "SELECT version() AS user_id",
        "SELECT current_setting('data_directory') AS user_id",
    ],
)
def test_no_notation_calls_a_function_that_is_not_on_the_list(warehouse: Any, sql: str) -> None:
    """PostgreSQL calls f(t) for `t.f` where t has no column f, and f(x) for `(x).f`."""
    warehouse.execute(
        "CREATE FUNCTION query_test.f(query_test.orders) RETURNS text LANGUAGE sql AS $$ SELECT 'called' $$"
    )
    with pytest.raises(query.RefusedQuery, match="function|no type|not allowed"):
        members("warehouse", sql)


def test_a_column_by_the_name_of_its_table_is_a_column(warehouse: Any) -> None:
    for sql, expected in (
        ("SELECT o.user_id FROM query_test.orders AS o WHERE o.amount > 2", ["b", "é"]),
        ("SELECT orders.user_id FROM query_test.orders", ["Z", "b", "é"]),
        ('SELECT "o"."user_id" FROM query_test.orders AS O', ["Z", "b", "é"]),
        ("SELECT p.x AS user_id FROM query_test.orders AS p(x) WHERE p.amount = 1", ["b"]),
        ("SELECT q.user_id FROM (SELECT * FROM query_test.orders) AS q", ["Z", "b", "é"]),
        ("SELECT q.u AS user_id FROM (SELECT o.user_id AS u FROM query_test.orders o) AS q", ["Z", "b", "é"]),
        ("WITH q AS (SELECT o.* FROM query_test.orders o) SELECT q.user_id FROM q", ["Z", "b", "é"]),
        (
            "WITH q(u) AS (SELECT user_id FROM query_test.orders) SELECT q.u AS user_id FROM q",
            ["Z", "b", "é"],
        ),
        ("SELECT s.i::text AS user_id FROM generate_series(1, 2) AS s(i)", ["1", "2"]),
        (
            "SELECT l.u AS user_id FROM query_test.orders o, LATERAL (SELECT o.user_id AS u) l",
            ["Z", "b", "é"],
        ),
        (
            "SELECT o.user_id FROM query_test.orders o WHERE EXISTS "
            "(SELECT 1 FROM query_test.orders p WHERE p.user_id = o.user_id AND p.amount = 5)",
            ["é"],
        ),
        (
            "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT r.n + 1 FROM r WHERE r.n < 2) "
            "SELECT r.n::text AS user_id FROM r",
            ["1", "2"],
        ),
    ):
        assert members("warehouse", sql) == expected, sql


@pytest.mark.parametrize(
    ("grant", "said"),
    [
        ("GRANT INSERT ON query_test.orders TO {}", "may change the table query_test.orders"),
        ("GRANT CREATE ON SCHEMA query_test TO {}", "may create things in the schema query_test"),
        ("GRANT pg_read_server_files TO {}", "is a member of pg_read_server_files"),
        ("ALTER ROLE {} CREATEROLE", "may make roles"),
        (
            "CREATE FUNCTION query_test.g(text) RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT $1 $$",
            r"may call query_test\.g\(text\)",
        ),
    ],
)
def test_a_role_that_can_do_more_than_read_runs_no_query(warehouse: Any, grant: str, said: str) -> None:
    sql = "SELECT user_id FROM query_test.orders"
    assert members("warehouse", sql) == ["Z", "b", "é"]
    warehouse.execute(grant.format(f"query_test_{os.getpid()}"))
    with pytest.raises(UnsafeRole, match=said):
        members("warehouse", sql)


def test_a_superuser_runs_no_query_of_a_person(warehouse: Any) -> None:
    with pytest.raises(UnsafeRole, match=r"superuser.*A query instead"):
        members("powerful", "SELECT user_id FROM query_test.orders")
