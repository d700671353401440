"""The history that is exported: all of it, each row once, whatever dies in between."""

import json
import time
from datetime import UTC, datetime, timedelta
from io import StringIO
from itertools import count

import duckdb
import psycopg
import pytest
import yaml
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as with_settings
from hypothesis import strategies as st

from cohorts import members, refresh
from cohorts.models import Cohort
from syncs.choices import RunState, Trigger
from syncs.models import Batch, Rejection, Run
from syncs.warehouse import export, tables
from syncs.warehouse.clickhouse import ClickHouse
from syncs.warehouse.parquet import Parquet
from syncs.warehouse.postgres import Postgres
from tests import world
from tests.clickhouse import ClickHouse as ClickHouseServer

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
pytestmark = pytest.mark.django_db(transaction=True)


class Folder:
    """What was written to a folder, as analysts would read it."""

    def __init__(self, path):
        self.path = path

    def target(self):
        return Parquet(self.path)

    def rows(self, table):
        if not list((self.path / table).rglob("*.parquet")):
            return []
        (columns,) = [each.columns for each in tables.TABLES if each.name == table]
        times = [number for number, column in enumerate(columns) if column.kind == "timestamp"]
        shown = ", ".join(f"epoch_us({c.name})" if c.kind == "timestamp" else c.name for c in columns)
        with duckdb.connect() as db:
            found = db.execute(f"SELECT {shown} FROM read_parquet('{self.path}/{table}/**/*.parquet')")
            rows = [list(row) for row in found.fetchall()]
        for row in rows:
            for number in times:
                row[number] = row[number] and EPOCH + timedelta(microseconds=row[number])
        return [tuple(row) for row in rows]


class Database:
    """What was written to the schema of a database."""

    def __init__(self):
        to = connection.settings_dict
        self.url = f"postgres://{to['USER']}@{to['HOST']}:{to['PORT']}/{to['NAME']}"

    def target(self):
        return Postgres(self.url, "exported_here")

    def rows(self, table):
        with psycopg.connect(self.url) as db:
            return db.execute(f"SELECT * FROM exported_here.{table}").fetchall()


class Columns:
    """What was written to ClickHouse."""

    def __init__(self, url):
        self.url = url

    def target(self):
        return ClickHouse(self.url)

    def rows(self, table):
        (columns,) = [each.columns for each in tables.TABLES if each.name == table]
        times = [number for number, column in enumerate(columns) if column.kind == "timestamp"]
        numbers = [number for number, column in enumerate(columns) if column.kind == "bigint"]
        rows = [list(row) for row in self.target().select(f"SELECT * FROM {table}")]
        for row in rows:
            for number in times:
                row[number] = row[number] and datetime.fromisoformat(row[number]).replace(tzinfo=UTC)
            for number in numbers:
                row[number] = row[number] and int(row[number])
        return [tuple(row) for row in rows]


@pytest.fixture(scope="module")
def engine():
    server = ClickHouseServer()
    yield server.url
    server.kill()


@pytest.fixture(params=["folder", "database", "clickhouse"])
def there(request, tmp_path):
    if request.param == "folder":
        yield Folder(tmp_path / "history")
        return
    if request.param == "clickhouse":
        if connection.vendor == "postgresql":
            pytest.skip("tested with SQLite's half")
        there = Columns(request.getfixturevalue("engine"))
        yield there
        for (name,) in there.target().select("SELECT name FROM system.tables WHERE database = 'kept'"):
            there.target().post(f"DROP TABLE {name}")
        return
    if connection.vendor != "postgresql":
        pytest.skip("a database to write to is there when PostgreSQL is tested")
    yield Database()
    with psycopg.connect(Database().url, autocommit=True) as db:
        db.execute("DROP SCHEMA IF EXISTS exported_here CASCADE")


def ended(sync, *, minutes_ago=60, batches=2, **facts):
    run = Run.objects.create(
        sync=sync,
        trigger=Trigger.COMMAND,
        from_version=0,
        to_version=1,
        state=facts.pop("state", RunState.SUCCEEDED),
        finished_at=timezone.now() - timedelta(minutes=minutes_ago),
        **facts,
    )
    for number in range(1, batches + 1):
        Batch.objects.create(run=run, number=number, step="add", state="delivered", size=10, delivered=10)
    return run


def a_sync():
    return world.sync(world.cohort(world.users(3)), world.destination("http://127.0.0.1:9"))


def held_by_replay(rows):
    """Who is in a cohort, as somebody finds who has nothing but the exported changes."""
    inside = set()
    by_version = {}
    for _, version, user_id, change, _ in rows:
        by_version.setdefault(version, []).append((change, user_id))
    for version in sorted(by_version):
        changes = by_version[version]
        if any(change == "present" for change, _ in changes):
            inside = set()
        for change, user_id in changes:
            (inside.discard if change == "left" else inside.add)(user_id)
    return inside


def test_a_second_export_writes_what_is_new_and_nothing_twice(there):
    sync = a_sync()
    first = ended(sync, added=20)
    assert export.export(there.target()) == {
        "runs": 1, "batches": 2, "cohort_versions": 1, "membership_changes": 3, "rejected_users": 0,
    }  # fmt: skip
    assert sum(export.export(there.target()).values()) == 0
    second = ended(sync, minutes_ago=30, state=RunState.FAILED, reason='It\'s down; "really"\n\ttwice')
    assert export.export(there.target())["runs"] == 1
    runs = sorted(there.rows("runs"))
    assert [run[0] for run in runs] == [first.pk, second.pk]
    assert runs[0][1:3] == (sync.cohort.key, sync.destination.name)
    assert runs[1][7] == second.reason
    assert runs[0][13] == first.finished_at
    assert len(there.rows("batches")) == 4


def test_a_run_that_goes_on_or_has_just_ended_waits_for_the_next_export(there):
    sync = a_sync()
    ended(sync, minutes_ago=1)
    Run.objects.create(sync=sync, trigger=Trigger.COMMAND, from_version=0, to_version=1)
    assert export.export(there.target())["runs"] == 0


def test_a_run_that_was_taken_up_again_comes_again_when_it_ends(there):
    sync = a_sync()
    run = ended(sync, state=RunState.FAILED)
    export.export(there.target())
    Run.objects.filter(pk=run.pk).update(
        state=RunState.SUCCEEDED, finished_at=timezone.now() - timedelta(minutes=10)
    )
    export.export(there.target())
    rows = [row for row in there.rows("runs") if row[0] == run.pk]
    assert max(rows, key=lambda row: row[13])[6] == "succeeded"
    if not isinstance(there, Folder):
        assert len(rows) == 1


def test_rejected_users_are_as_of_the_export(there):
    sync = a_sync()
    run = ended(sync)
    row = Rejection.objects.create(
        sync=sync, user_id="ünï@x", kind="rejected", wanted=True, code="400", message="no", run=run,
        last_at=timezone.now(),
    )  # fmt: skip
    export.export(there.target())
    assert [found[2] for found in there.rows("rejected_users")] == ["ünï@x"]
    row.delete()
    export.export(there.target())
    assert there.rows("rejected_users") == []


@with_settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_exported_changes_give_the_members__whatever_is_exported_pruned_or_dies(there, tmp_path, data):
    """Versions, exports, exports that die before a chunk's end, and prunings, in any order."""
    cohort = world.cohort([])
    if isinstance(there, Folder):
        there = Folder(tmp_path / str(cohort.pk))
    users = [f"u{number}" for number in range(6)] + ["ü,\t\"x'\\"]
    for _ in range(data.draw(st.integers(1, 7))):
        step = data.draw(st.sampled_from(["refresh", "refresh", "export", "dies", "prune"]))
        if step == "refresh":
            wanted = data.draw(st.sets(st.sampled_from(users)))
            refresh.replace(cohort.pk, iter(sorted(wanted)), source="test")
        elif step == "export":
            export.export(there.target())
        elif step == "dies":
            _die_in_the_middle(there, data.draw(st.integers(0, 3)))
        else:
            _prune(cohort)
    export.export(there.target())
    cohort.refresh_from_db()
    rows = [row for row in there.rows("membership_changes") if row[0] == cohort.key]
    assert len({row[1:3] for row in rows}) == len(rows), "each change once"
    assert held_by_replay(rows) == set(members.in_version(cohort.pk, cohort.version))


class Died(Exception):
    """A process that was killed."""


def _die_in_the_middle(there, after):
    """Export, and die when so many chunks are there, with half of the next one read."""

    def broken(target):
        real, number = target.append, count()

        def append(table, chunk):
            pages = _half(chunk.pages) if next(number) == after else chunk.pages
            return real(table, tables.Chunk(chunk.scope, chunk.position, pages))

        target.append = append
        return target

    try:
        export.export(broken(there.target()))
    except Died:
        return


def _half(pages):
    for page in pages:
        yield page
        raise Died
    raise Died


def _prune(cohort):
    """Forget all but the latest version, as `prune_history` does."""
    latest = Cohort.objects.get(pk=cohort.pk).version
    if latest:
        Cohort.objects.filter(pk=cohort.pk).update(readable_from=latest)
        members.drop_ended_page(cohort.pk, latest, 1000)


@pytest.mark.parametrize("dies_at", range(1, 6))
def test_whoever_dies_between_rows_and_position_is_followed_by_the_next(there, monkeypatch, dies_at):
    if not isinstance(there, Columns):
        pytest.skip("rows and position are written at once")
    sync = a_sync()
    run = ended(sync)
    Rejection.objects.create(
        sync=sync, user_id="u1", kind="rejected", wanted=True, code="400", message="no", run=run,
        last_at=timezone.now(),
    )  # fmt: skip
    mark, left = ClickHouse._mark, count(1)

    def die(*given):
        if next(left) == dies_at:
            raise Died
        mark(*given)

    with monkeypatch.context() as dying:
        dying.setattr(ClickHouse, "_mark", die)
        with pytest.raises(Died):
            export.export(there.target())
    written = there.target().select("SELECT count() FROM runs_rows")[0][0]
    # Taken up again before the next export, and read by one that stood still meanwhile.
    stale = next(tables._runs({}))
    later = timezone.now() - timedelta(minutes=10)
    Run.objects.filter(pk=run.pk).update(state=RunState.FAILED, finished_at=later)
    read_before = time.time_ns() // 1000
    export.export(there.target())
    (runs,) = [table for table in tables.TABLES if table.name == "runs"]
    there.target()._insert(runs, stale.pages, read_before)
    assert int(written) == 1
    assert [(row[0], row[6]) for row in there.rows("runs")] == [(run.pk, "failed")]
    assert [row[:2] for row in sorted(there.rows("batches"))] == [(run.pk, 1), (run.pk, 2)]
    assert len(there.rows("membership_changes")) == 3
    assert len(there.rows("cohort_versions")) == len(there.rows("rejected_users")) == 1


def test_a_column_of_a_later_release_is_added(there, monkeypatch):
    if isinstance(there, Folder):
        pytest.skip("each file has its own columns")
    sync = a_sync()
    ended(sync)
    fewer = tuple(
        tables.Table(t.name, t.about, t.key, t.columns[:-1], lambda _: iter(())) for t in tables.TABLES
    )
    with there.target() as target:
        target.prepare(fewer)
    assert export.export(there.target())["runs"] == 1


def test_the_command_writes_where_the_setting_says_and_says_what_it_wrote(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "WAREHOUSE_URL", str(tmp_path / "history"))
    ended(a_sync())
    out = StringIO()
    call_command("export_history", "--json", stdout=out)
    assert json.loads(out.getvalue())["runs"] == 1


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("", "WAREHOUSE_URL"),
        ("mysql://root@127.0.0.1/x", "postgres://"),
        ("postgres://nobody@127.0.0.1:1/x", "could not be written"),
        ("clickhouse://127.0.0.1:1/x", "could not be written: The database does not answer"),
        ("/dev/null/x", "could not be written"),
    ],
)
def test_a_target_that_cannot_be_written_is_one_sentence(where, says):
    with pytest.raises(CommandError, match=says):
        call_command("export_history", "--to", where)


def test_the_description_for_dbt_has_each_table_and_column():
    described = yaml.safe_load((settings.BASE_DIR / "deploy/dbt/sources.yml").read_text())
    (source,) = described["sources"]
    assert source["schema"] == export.SCHEMA
    found = {table["name"]: table for table in source["tables"]}
    assert list(found) == [table.name for table in tables.TABLES]
    for table in tables.TABLES:
        assert found[table.name]["description"] == table.about
        columns = {column["name"]: column["description"] for column in found[table.name]["columns"]}
        assert columns == {column.name: column.about for column in table.columns}
