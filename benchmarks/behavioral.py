"""How long the ten cohorts of the documentation take, beside a bare scan of the same columns.

    python benchmarks/behavioral.py                         50 million events of one million users
    python benchmarks/behavioral.py --events 2000000        a small run
    python benchmarks/behavioral.py --events 10000000 --postgres postgres://…/scratch
    python benchmarks/behavioral.py --events 10000000 --clickhouse

The data is made by a seed, in files of our own layout, in a folder that is kept for the next run. Each
cohort runs through the whole path of a refresh (manifest, compiler, DuckDB, ids to a file and back), and
apart from that its query alone, which is what is compared. The bare scan reads, for each condition, the
same columns of the same events, in the same run, and aggregates them without windows, groups or sets.
PostgreSQL gets the same events with an index that covers each condition; ClickHouse's engine (chdb, in a
process of its own behind HTTP, as in the tests) the tables of create_event_tables, each event with a message
id. Times are the best of RUNS, warm; of ClickHouse also the processor's, which a busy machine lengthens less.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tables import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
AS_OF = datetime(2024, 10, 1, tzinfo=UTC)
RUNS = 5


def performed(event: Any, recent: str | None = None, **more: Any) -> dict[str, Any]:
    window = {"window": {"last": recent}} if recent else {}
    return {"performed": {"event": event, **window, **more}}


def equals(name: str, value: Any) -> list[dict[str, Any]]:
    return [{"property": name, "=": value}]


COHORTS: dict[str, dict[str, Any]] = {
    "1 downloads, jazz, 3 times": performed(
        "song_download", "30d", where=equals("category", "jazz"), count={">=": 3}
    ),
    "2 downloaded, never signed up": {
        "all": [performed("app_download", "90d"), {"not": performed("signup_complete")}]
    },
    "3 left a cart": {
        "all": [
            performed("add_to_cart", "7d", where=[{"property": "country", "in": ["US", "DE"]}]),
            {"not": performed("purchase", "7d")},
        ]
    },
    "4 ten different days": performed("session_start", "30d", days={">=": 10}),
    "5 first time": performed("song_play", first={"last": "14d"}),
    "6 and then not": {
        "sequence": {
            "steps": [{"event": "app_download"}, {"event": "signup_complete", "absent": True}],
            "within": "72h",
            "window": {"last": "90d"},
        }
    },
    "7 everything at once": {
        "all": [
            {
                "any": [
                    performed("song_play", "30d", count={">=": 10}),
                    performed("song_download", "30d", count={">=": 2}),
                ]
            },
            {"not": performed("cancel", "90d")},
            performed("purchase", "90d", sum={"property": "amount", ">=": 200}),
            performed("error", "90d", count={"<=": 2}, or_never=True),
        ]
    },
    "8 any event": performed("*", "30d"),
    "9 lapsed": {
        "all": [
            {"performed": {"event": "*", "window": {"between_ago": ["90d", "30d"]}}},
            {"not": performed("*", "30d")},
        ]
    },
    "10 funnel": {
        "all": [
            {"user": {"property": "plan", "!=": "free"}},
            {
                "sequence": {
                    "steps": [
                        {"event": "view_plan"},
                        {"event": "checkout"},
                        {"event": "purchase", "where": [{"property": "amount", ">": 50}]},
                    ],
                    "within": "7d",
                    "window": {"from": "2024-09-01", "to": "2024-09-30"},
                }
            },
            {"not": {"cohort": "staff"}},
        ]
    },
}
# Share of the events, in thousandths.
SHARES = {
    "song_play": 400, "session_start": 200, "song_download": 100, "add_to_cart": 80, "error": 60,
    "view_plan": 50, "checkout": 40, "purchase": 35, "app_download": 20, "signup_complete": 12, "cancel": 3,
}  # fmt: skip
DAYS = 365


def event_of(share: str) -> str:
    bounds, total = [], 0
    for name, part in SHARES.items():
        total += part
        bounds.append(f"WHEN {share} < {total} THEN '{name}'")
    return f"CASE {' '.join(bounds)} END"


def rows(events: int, seed: int) -> str:
    """SQL for the events: few users do much, many do little."""
    users = max(100, events // 50)

    def random(salt: int) -> str:
        return f"(hash(i * 16 + {salt}, {seed}) % 1000000000)"

    noon = int(AS_OF.timestamp()) * 1_000_000
    return f"""
        SELECT event, user_id, category, country, amount,
            make_timestamp({noon} - 1 - (r3 * (1 + hash(user_id) % {DAYS}) * 86.4).floor()::BIGINT) AS time
        FROM (
            SELECT {event_of(f"({random(1)} % 1000)")} AS event,
                format('user-{{:08d}}', floor({users} * pow({random(2)} / 1e9, 2))::BIGINT) AS user_id,
                {random(3)} AS r3,
                CASE {random(5)} % 8 WHEN 0 THEN 'jazz' WHEN 1 THEN 'rock' ELSE 'pop' END AS category,
                CASE {random(6)} % 6 WHEN 0 THEN 'DE' WHEN 1 THEN 'FR' ELSE 'US' END AS country,
                round({random(7)} % 12000 / 100.0, 2) AS amount
            FROM range({events}) AS r(i)
        )
    """


def generate(events: int, seed: int) -> None:
    """Write and list the files. In a process of its own, so that its memory is not measured."""
    setup()
    from events import convert
    from events.compact import limits
    from events.convert import Counted, Written
    from events.engine import connect
    from events.models import FileKind, PropertyColumn
    from events.publish import Prepared, Publication, publish, working
    from events.store import Folders

    folders = Folders("default").make()
    with_song = "event IN ('song_play', 'song_download')"
    columns = {
        "s0_category": f"CASE WHEN {with_song} THEN category END",
        "s1_country": "country",
        "s2_amount": "CASE WHEN event = 'purchase' THEN amount::VARCHAR END",
        "n2_amount": "CASE WHEN event = 'purchase' THEN amount::DOUBLE END",
    }
    selected = ", ".join(f'{value} AS "{name}"' for name, value in columns.items())
    with connect(limits(), folders.temp) as connection:
        target = folders.temp / "benchmark-events.parquet"
        query = (
            f"SELECT event, user_id, time, NULL::VARCHAR AS insert_id, {selected} FROM ({rows(events, seed)})"
        )
        count = convert.copy(connection, f"{query} ORDER BY event, user_id, time", target)
        counts = [
            Counted(event, None, number, 0, 0, AS_OF)
            for event, number in connection.execute(
                f"SELECT event, count(*) FROM read_parquet('{target}') GROUP BY event"
            ).fetchall()
        ]
        users = f"SELECT DISTINCT user_id FROM read_parquet('{target}')"
        plan = "CASE hash(user_id) % 4 WHEN 0 THEN 'pro' WHEN 1 THEN 'team' ELSE 'free' END"
        traits = f"""
            SELECT * FROM (
                SELECT 'plan' AS name, user_id, TIMESTAMP '2024-01-01' AS time, {plan} AS s, NULL::DOUBLE AS n
                FROM ({users})
                UNION ALL SELECT '', user_id, TIMESTAMP '2024-01-01', '', NULL FROM ({users})
            ) ORDER BY name, user_id
        """
        known = convert.copy(connection, traits, folders.temp / "benchmark-traits.parquet")
    for number, name in enumerate(("category", "country", "amount")):
        PropertyColumn.objects.get_or_create(workspace="default", name=name, number=number)
    files = [
        Prepared(FileKind.EVENTS, "benchmark-events.parquet", Written(count, tuple(columns)), counts),
        Prepared(FileKind.TRAITS, "benchmark-traits.parquet", Written(known, ())),
    ]
    with working("default") as folders:
        publish("default", folders, Publication(files))


def setup() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cohortsite.settings")
    import django

    django.setup()


def best(work: Callable[[], Any]) -> tuple[float, Any]:
    seconds, _, result = best_of_both(work, time.process_time)
    return seconds, result


def best_of_both(work: Callable[[], Any], processor: Callable[[], float]) -> tuple[float, float, Any]:
    """Return the least seconds by the clock, those of the processor, and the result."""
    times, used, result = [], [], None
    for _ in range(RUNS):
        begun, before = time.perf_counter(), processor()
        result = work()
        times.append(time.perf_counter() - begun)
        used.append(processor() - before)
    return min(times), min(used), result


def scans(definition: Any, dialect: Any) -> list[str]:
    """For each condition, a scan of the columns that it reads, over its events, of all times."""
    from cohorts.conditions import Conditions
    from cohorts.definitions.grammar import Performed, Sequence, UserProperty

    found = []
    for condition in definition.conditions():
        on = Conditions(dialect, AS_OF, definition.zone)
        if isinstance(condition, Performed):
            steps = [condition]
            measured = condition.measure.property if condition.measure else None
        elif isinstance(condition, Sequence):
            steps, measured = list(condition.steps), None
        else:
            if isinstance(condition, UserProperty):
                name = condition.property.name
                rows = dialect.traits().select("max(user_id)", "max(time)", "max(s)")
                found.append(dialect.sql(rows.where(f"name = '{name}'")))
            continue
        names = sorted({name for step in steps for name in step.events})
        rows = dialect.events().select("max(user_id)", "max(time)").where(*on.named(names))
        # Without a filter the engine would answer from the files' statistics, and scan nothing.
        rows = rows if names else rows.where("time <> TIMESTAMP '2024-09-20 12:34:56.7'")
        for prop in {p.name: p for step in steps for p in step.where}.values():
            column = dialect.event_number if prop.type == "number" else dialect.event_text
            rows = rows.select(f"max({dialect.sql(column(prop.name))})")
        if measured:
            rows = rows.select(f"max({dialect.sql(dialect.event_number(measured))})")
        found.append(dialect.sql(rows))
    return found


def measure(events: int) -> dict[str, Any]:
    """Measure every cohort on DuckDB: its query, the bare scan, and the whole path."""
    from cohorts.behavioral import Source, members
    from cohorts.compile import compile_members
    from cohorts.definitions import parse
    from events.engine import Limits, connect
    from events.store import Folders

    limits = Limits.configured()
    staff = [f"user-{n:08}" for n in range(0, max(100, events // 50), 50)]
    results = {}
    for name, where in COHORTS.items():
        definition = parse({"version": 1, "where": where})
        source = Source.configured("default", definition)
        sql = compile_members(definition, AS_OF, source.dialect).sql
        with connect(limits, Folders("default").temp) as connection:
            for relation in source.relations.values():
                connection.execute(
                    f"CREATE TABLE {relation} AS SELECT unnest($1::VARCHAR[]) AS user_id", [staff]
                )
            counted = f"SELECT count(*) FROM ({sql})"
            query, used, size = best_of_both(
                lambda c=connection, q=counted: c.execute(q).fetchall()[0][0], time.process_time
            )
            bare = scans(definition, source.dialect)
            scan, _ = best(lambda c=connection, b=bare: [c.execute(q).fetchall() for q in b])
        whole, _ = best(lambda d=definition: sum(1 for _ in members(d, AS_OF, cohorts=lambda key: staff)))
        results[name] = {"members": size, "query": query, "used": used, "scan": scan, "whole": whole}
    return results


def measure_postgresql(url: str, events: int, seed: int) -> dict[str, float]:
    """Load the same events into PostgreSQL, with an index that covers, and time the same cohorts."""
    import psycopg

    from cohorts.compile import compile_members
    from cohorts.definitions import parse
    from cohorts.dialects import PostgreSQL, Tables
    from events.compact import limits
    from events.engine import connect
    from events.store import Folders, read_layout

    files = ", ".join(f"'{path}'" for path in read_layout("default").events)
    with psycopg.connect(url, autocommit=True) as server:
        server.execute("DROP SCHEMA IF EXISTS benchmark CASCADE")
        server.execute("CREATE SCHEMA benchmark")
        server.execute(
            'CREATE UNLOGGED TABLE benchmark.events (user_id text COLLATE "C", event text COLLATE "C", '
            "time timestamptz, properties jsonb)"
        )
        with connect(limits(), Folders("default").temp) as connection:
            found = connection.execute(
                "SELECT user_id, event, strftime(time, '%Y-%m-%d %H:%M:%S.%f') || '+00', "
                "json_object('category', s0_category, 'country', s1_country, 'amount', n2_amount) "
                f"FROM read_parquet([{files}])"
            )
            with server.cursor().copy("COPY benchmark.events FROM STDIN") as copy:
                while batch := found.fetchmany(20_000):
                    for row in batch:
                        copy.write_row(row)
            people = connection.execute(
                "SELECT user_id, json_object('plan', s) FROM read_parquet($1) WHERE name = 'plan'",
                [list(read_layout("default").traits)],
            ).fetchall()
        server.execute('CREATE UNLOGGED TABLE benchmark.users (user_id text COLLATE "C", properties jsonb)')
        with server.cursor().copy("COPY benchmark.users FROM STDIN") as copy:
            for row in people:
                copy.write_row(row)
        server.execute('CREATE TABLE benchmark.staff (user_id text COLLATE "C")')
        with server.cursor().copy("COPY benchmark.staff FROM STDIN") as copy:
            for n in range(0, max(100, events // 50), 50):
                copy.write_row((f"user-{n:08}",))
        server.execute("CREATE INDEX ON benchmark.events (event, time, user_id) INCLUDE (properties)")
        server.execute("SET search_path = benchmark")
        server.execute("SET work_mem = '256MB'")
        server.execute("VACUUM ANALYZE benchmark.events")
        results = {}
        for name, where in COHORTS.items():
            definition = parse({"version": 1, "where": where})
            dialect = PostgreSQL(Tables(), {"staff": "staff"})
            sql = f"SELECT count(*) FROM ({compile_members(definition, AS_OF, dialect).sql}) AS m"
            seconds, size = best(lambda q=sql: server.execute(q.encode()).fetchall()[0][0])
            results[name] = {"members": size, "query": seconds}
        server.execute("DROP SCHEMA benchmark CASCADE")
    return results


def measure_clickhouse(events: int) -> dict[str, dict[str, float]]:
    """Load the same events into tables of ours in ClickHouse's engine, and time the same cohorts."""
    from cohorts.compile import compile_members
    from cohorts.definitions import parse
    from cohorts.dialects import OWN
    from cohorts.dialects import ClickHouse as Dialect
    from events.clickhouse import ANY_MONTHS, ClickHouse
    from events.store import read_layout
    from tests.clickhouse import ClickHouse as Server

    server, patience = Server(), (5, 3600)

    def processor() -> float:
        fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    try:
        tables = ClickHouse(server.url)
        tables.create()
        begun, before = time.perf_counter(), processor()
        layout = read_layout("default")
        values = {"category": "s0_category", "country": "s1_country", "amount": "s2_amount"}
        pairs = [f"if({c} IS NULL, NULL, concat('\"{n}\":', toJSONString({c})))" for n, c in values.items()]
        properties = f"arrayStringConcat(arrayFilter(x -> x IS NOT NULL, [{', '.join(pairs)}]), ',')"
        for number, path in enumerate(layout.events):
            tables.post(
                "INSERT INTO event_rows (workspace, user_id, device, message_id, event, time, properties) "
                f"SELECT 'default', user_id, '', concat('{number}-', toString(rowNumberInAllBlocks())), "
                f"event, time, concat('{{', {properties}, '}}') FROM file('{path}', Parquet) "
                f"SETTINGS {ANY_MONTHS}",
                patience=patience,
            )
        for path in layout.traits:
            tables.post(
                "INSERT INTO user_traits (workspace, user_id, name, time, value) SELECT 'default', user_id, "
                f"name, time, toJSONString(s) FROM file('{path}', Parquet)",
                patience=patience,
            )
        took, used = time.perf_counter() - begun, processor() - before
        [(size,)] = tables.select("SELECT sum(bytes_on_disk) FROM system.parts WHERE active")
        print(f"ClickHouse: loaded in {took:.0f} s ({used:.0f} s of processor), {int(size) / 1e6:,.0f} MB")
        staff = ", ".join(f"('user-{n:08}')" for n in range(0, max(100, events // 50), 50))
        tables.post("CREATE TABLE staff (user_id String) ENGINE = MergeTree ORDER BY user_id")
        tables.post(f"INSERT INTO staff VALUES {staff}")
        results = {}
        for name, where in COHORTS.items():
            definition = parse({"version": 1, "where": where})
            dialect = Dialect(OWN, {"staff": "staff"}, None, "default")
            sql = f"SELECT count() FROM ({compile_members(definition, AS_OF, dialect).sql})"
            counted = f"{sql} FORMAT JSONCompactEachRow"
            seconds, used, found = best_of_both(
                lambda q=counted: json.loads(tables.post(q, patience=patience))[0], processor
            )
            results[name] = {"members": int(found), "query": seconds, "used": used}
    finally:
        server.kill()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=50_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("var/benchmark"))
    parser.add_argument(
        "--postgres", help="an address with a scratch database; the schema benchmark is replaced"
    )
    parser.add_argument("--clickhouse", action="store_true", help="beside ClickHouse's engine")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--land", action="store_true", help="write the ratios into landed.json")
    parser.add_argument("--generate", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = (options.folder / f"{options.events}-{options.seed}").resolve()
    os.environ["VAR_DIR"] = os.environ["EVENTS_DIR"] = str(folder)
    os.environ["DATABASE_URL"] = f"sqlite:///{folder}/db.sqlite3"
    os.environ.setdefault("SECRET_KEY", "benchmark")
    os.environ.setdefault("FIELD_KEYS", "Zm9yIHRlc3RzIG9ubHksIDMyIGJ5dGVzIGxvbmchISE=")
    if options.generate:
        generate(options.events, options.seed)
        return
    if not (folder / "ready").exists():
        folder.mkdir(parents=True, exist_ok=True)
        manage = Path(__file__).resolve().parent.parent / "manage.py"
        subprocess.run([sys.executable, str(manage), "migrate", "-v0"], check=True)
        command = [
            sys.executable,
            __file__,
            "--generate",
            f"--events={options.events}",
            f"--seed={options.seed}",
        ]
        subprocess.run([*command, f"--folder={options.folder.resolve()}"], check=True)
        (folder / "ready").touch()
    setup()
    results = measure(options.events)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    other = measure_postgresql(options.postgres, options.events, options.seed) if options.postgres else {}
    report(options, results, other, peak)
    if options.clickhouse:
        report_clickhouse(options.events, results, measure_clickhouse(options.events))


def report(options: argparse.Namespace, results: dict[str, Any], other: dict[str, Any], peak: int) -> None:
    if options.json:
        print(json.dumps({"events": options.events, "peak_mb": peak, "duckdb": results, "postgresql": other}))
        return
    print(f"{options.events:,} events, seed {options.seed}; peak memory {peak} MB; seconds, best of {RUNS}\n")
    columns = ("cohort", "members", "query", "scan", "ratio", "whole", "PostgreSQL", "times")
    table = Table(f"behavioral, {options.events:,} events", *columns, watched="ratio")
    factors = []
    for name, found in results.items():
        compared = ["", ""]
        if name in other:
            assert other[name]["members"] == found["members"], f"{name}: PostgreSQL has other members"
            factors.append(other[name]["query"] / found["query"])
            compared = [f"{other[name]['query']:.3f}", f"{factors[-1]:.1f}"]
        seconds = [f"{found[what]:.3f}" for what in ("query", "scan")]
        ratio = f"{found['query'] / found['scan']:.2f}"
        table.row(name, f"{found['members']:,}", *seconds, ratio, f"{found['whole']:.3f}", *compared)
    if factors:
        print(
            f"PostgreSQL takes {min(factors):.1f} times as long at least, "
            f"{statistics.median(factors):.1f} in the median"
        )


def report_clickhouse(events: int, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    columns = ("cohort", "members", "files", "processor", "ClickHouse", "its processor", "times")
    table = Table(f"behavioral in ClickHouse, {events:,} events", *columns, watched="times")
    for name, found in theirs.items():
        assert found["members"] == ours[name]["members"], f"{name}: ClickHouse has other members"
        both = [f"{each[what]:.3f}" for each in (ours[name], found) for what in ("query", "used")]
        table.row(name, f"{found['members']:,}", *both, f"{found['used'] / ours[name]['used']:.1f}")


if __name__ == "__main__":
    main()
