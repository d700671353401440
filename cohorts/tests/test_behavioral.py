"""Members, previews and explanations over stored events; and what is said when they cannot be had."""

import os
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cohorts import behavioral, compile
from cohorts.databases import Unavailable
from cohorts.definitions import parse
from cohorts.explain import Explained, explain
from cohorts.references import CircularReference, refresh_order
from cohorts.tests.clickhouse_http import ClickHouseHTTP
from events import spool
from events.compact import compact
from events.engine import EngineError, Limits, MissingTable, TimedOut, TooLarge
from events.store import Folders

pytestmark = pytest.mark.django_db

AS_OF = datetime(2024, 5, 10, tzinfo=UTC)
LIMITS = Limits(memory_mb=300, threads=2, temp_mb=1_000, seconds=60)
BOUGHT = {"performed": {"event": "buy", "window": {"last": "7d"}}}
CARTED = {"performed": {"event": "cart", "window": {"last": "7d"}}}
LEFT_A_CART = {"all": [CARTED, {"not": BOUGHT}]}


@pytest.fixture(autouse=True)
def _events_dir(settings: Any, tmp_path: Path) -> None:
    settings.EVENTS_DIR = tmp_path / "events"


def did(user_id: str, event: str, days_ago: float = 1, **properties: Any) -> dict[str, Any]:
    time = (AS_OF - timedelta(days=days_ago)).isoformat()
    return {"user_id": user_id, "event": event, "time": time, "properties": properties}


def store(*events: dict[str, Any], **traits: dict[str, Any]) -> None:
    spool.append("default", events)
    rows = [{"user_id": user, "time": AS_OF.isoformat(), "traits": values} for user, values in traits.items()]
    spool.append_traits("default", rows)
    compact("default")


def no_cohorts(key: str) -> list[str]:
    raise AssertionError(f"{key} was not referred to")


def members(where: dict[str, Any], limits: Limits = LIMITS, cohorts: Any = no_cohorts) -> list[str]:
    definition = parse({"version": 1, "where": where})
    return list(behavioral.members(definition, AS_OF, cohorts=cohorts, limits=limits))


def test_members_come_sorted_by_bytes_and_distinct() -> None:
    store(*(did(user, "cart") for user in ("b", "Z", "é", "a", "b", "10", "9")))
    assert members(CARTED) == ["10", "9", "Z", "a", "b", "é"]


def test_a_later_event_moves_a_user_out() -> None:
    store(did("u1", "cart"), did("u2", "cart"))
    assert members(LEFT_A_CART) == ["u1", "u2"]
    store(did("u1", "buy", 0.5))
    assert members(LEFT_A_CART) == ["u2"]


def test_conditions_on_frequent_events_read_only_the_users_of_the_one_on_the_rarest() -> None:
    store(*(did(user, "play", n) for user in ("u1", "u2", "u3") for n in (1, 2)), did("u1", "buy", 0.5))
    store(did("u2", "buy", 0.5), did("u2", "play", 3))
    often = {"performed": {"event": "play", "count": {">=": 3}}}
    once = {"performed": {"event": "buy"}}
    for where, expected in (
        ({"all": [often, once]}, ["u2"]),
        ({"all": [once, {"not": often}]}, ["u1"]),
        ({"any": [{"all": [once, often]}, {"all": [often, once]}]}, ["u2"]),
    ):
        sql = behavioral.compiled_query(parse({"version": 1, "where": where}), AS_OF).sql
        assert sql.count("user_id IN (SELECT user_id FROM shared") == (0 if "any" in where else 1), sql
        assert members(where) == expected


def test_cohorts_are_read_as_they_are_given() -> None:
    store(did("u1", "cart"), did("u2", "cart"), did("u3", "buy"))
    given = {"vip": ["stranger", "u1"], "staff": ["u2"]}
    where = {"any": [{"cohort": "vip"}, {"all": [CARTED, {"not": {"cohort": "staff"}}]}]}
    assert members(where, cohorts=lambda key: iter(given[key])) == ["stranger", "u1"]


@pytest.mark.parametrize(
    "other",
    [
        {"not": CARTED},
        {"user": {"property": "plan", "!=": "pro"}},
        {"user": {"property": "plan", "is_not_set": True}},
    ],
)
def test_who_is_in_a_named_cohort_is_in_whatever_stands_with_it(other: dict[str, Any]) -> None:
    store(did("u1", "cart"), did("u2", "buy"), u1={"plan": "pro"}, u2={"plan": "free"})
    given = {"c1": ["stranger", "u1"], "c2": ["lone"]}
    for where, expected in (
        ({"any": [{"cohort": "c1"}, other]}, {"stranger", "u1"}),
        ({"not": {"all": [{"not": {"cohort": "c1"}}, {"not": other}]}}, {"stranger", "u1"}),
        ({"any": [{"cohort": "c2"}, {"any": [{"cohort": "c1"}, other]}]}, {"lone", "stranger", "u1"}),
        ({"all": [{"any": [{"cohort": "c1"}, other]}, {"not": {"cohort": "c2"}}]}, {"stranger", "u1"}),
    ):
        found = members(where, cohorts=lambda key: iter(given[key]))
        assert expected <= set(found) and ("lone" in found) == ("lone" in expected), where


def test_who_did_more_than_before_is_found_in_one_pass() -> None:
    store(*(did("up", "play", n) for n in (1, 2, 3, 40)), *(did("down", "play", n) for n in (1, 40, 41)))
    store(did("even", "play", 1), did("even", "play", 40), did("new", "play", 2), did("other", "buy", 1))
    recent, before = (
        {"event": "play", "window": {"last": "30d"}},
        {"event": "play", "window": {"between_ago": ["60d", "30d"]}},
    )
    assert members({"more": {"first": recent, "than": before}}) == ["new", "up"]
    assert members({"more": {"first": before, "than": recent}}) == ["down"]
    assert members({"more": {"first": recent, "than": before, "times": 3}}) == ["new"]
    assert members({"more": {"first": recent, "than": {"event": "buy"}}}) == ["down", "even", "new", "up"]
    definition = parse({"version": 1, "where": {"more": {"first": recent, "than": before}}})
    assert behavioral.compiled_query(definition, AS_OF).sql.count("READ_PARQUET") == 1


def test_a_sample_stays_the_same_and_its_complement_is_the_rest() -> None:
    everybody = [f"u{n}" for n in range(300)]
    store(*(did(user, "cart") for user in everybody), lone={"plan": "free"})
    spring = {"sample": {"percent": 10, "salt": "spring"}}
    drawn = members({"all": [CARTED, spring]})
    assert 15 <= len(drawn) <= 45 and drawn == members({"all": [spring, CARTED]})
    held_out = members({"all": [CARTED, {"not": spring}]})
    assert sorted([*drawn, *held_out]) == sorted(everybody)
    more = members({"all": [CARTED, {"sample": {"percent": 50, "salt": "spring"}}]})
    assert set(drawn) < set(more)
    assert set(members({"all": [CARTED, {"sample": {"percent": 10, "salt": "autumn"}}]})) != set(drawn)
    assert (
        "lone" in members({"sample": {"percent": 100}}) and len(members({"sample": {"percent": 100}})) == 301
    )


def test_a_sample_of_who_did_something_needs_no_table_of_users() -> None:
    store(did("u1", "cart"))
    assert members({"all": [CARTED, {"sample": {"percent": 100}}]}) == ["u1"]
    with pytest.raises(MissingTable, match="needs a table of users"):
        members({"sample": {"percent": 100}})


def test_a_preview_shows_size_sample_sentence_sql_and_unknown_events() -> None:
    store(*(did(f"u{n:03}", "cart") for n in range(100)))
    definition = parse({"version": 1, "where": {"all": [CARTED, {"not": {"performed": {"event": "bye"}}}]}})
    found = behavioral.preview(definition, AS_OF, cohorts=no_cohorts, limits=LIMITS)
    assert found.size == 100 and len(set(found.sample)) == 20 and found.sample == sorted(found.sample)
    assert found.sample != [f"u{n:03}" for n in range(20)]
    assert found == behavioral.preview(definition, AS_OF, cohorts=no_cohorts, limits=LIMITS)
    assert found.sentence.startswith(
        'Users who performed "cart" in the last 7 days and did not perform "bye"'
    )
    assert "READ_PARQUET" in found.sql and "ANTI JOIN" in found.sql
    assert found.unknown == ["bye"]


def test_without_events_or_users_the_error_says_what_is_missing() -> None:
    with pytest.raises(MissingTable, match="No events have come in yet") as error:
        members(CARTED)
    assert error.value.code == "missing_table"
    store(did("u1", "cart"))
    with pytest.raises(MissingTable, match="needs a table of users"):
        members({"not": BOUGHT})
    store(did("u1", "cart"), silent={"plan": "free"})
    assert members({"not": BOUGHT}) == ["silent", "u1"]
    assert members({"user": {"property": "plan", "!=": "pro"}}) == ["silent", "u1"]


def test_a_calculation_that_takes_too_long_is_stopped_and_leaves_nothing() -> None:
    store(*(did(f"u{n % 2}", "tick", n / 5_000) for n in range(30_000)))
    steps = [{"event": "*"}, {"event": "*"}, {"event": "bye", "absent": True}]
    endless = {"sequence": {"steps": steps, "within": "2d"}}
    with pytest.raises(TimedOut, match="longer than 0.2 seconds") as error:
        members(endless, Limits(500, 1, 1_000, 0.2))
    assert error.value.code == "timed_out"
    assert list(Folders("default").temp.iterdir()) == []


def test_a_calculation_that_needs_too_much_memory_and_disk_is_an_error() -> None:
    store(*(did(f"user {n} {'x' * 400}", "cart") for n in range(60_000)))
    with pytest.raises(TooLarge, match="10 MB of memory and 1 MB of disk") as error:
        members(CARTED, Limits(10, 1, 1, 60))
    assert error.value.code == "too_large"
    assert list(Folders("default").temp.iterdir()) == []


def test_memory_does_not_grow_with_the_number_of_members() -> None:
    store(*(did(f"user {n}", "cart") for n in range(60_000)))
    definition = parse({"version": 1, "where": CARTED})
    tracemalloc.start()
    ids = behavioral.members(definition, AS_OF, cohorts=no_cohorts, limits=LIMITS)
    first = next(ids)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    rest = sum(1 for _ in ids)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert (first, rest) == ("user 0", 59_999)
    assert peak < 1_000_000


def test_an_iteration_that_is_given_up_leaves_nothing() -> None:
    store(*(did(f"u{n}", "cart") for n in range(10)))
    ids = behavioral.members(parse({"version": 1, "where": CARTED}), AS_OF, cohorts=no_cohorts, limits=LIMITS)
    assert next(ids) == "u0"
    assert len(list(Folders("default").temp.iterdir())) == 1
    ids.close()  # type: ignore[attr-defined]
    assert list(Folders("default").temp.iterdir()) == []


def test_a_compaction_during_a_reading_does_not_disturb_it() -> None:
    store(*(did(f"u{n}", "cart") for n in range(10)))
    ids = behavioral.members(parse({"version": 1, "where": CARTED}), AS_OF, cohorts=no_cohorts, limits=LIMITS)
    assert next(ids) == "u0"
    store(did("new", "cart"))
    assert len(list(ids)) == 9


# --- Rounds ---------------------------------------------------------------------------------


def test_a_round_computes_a_shared_condition_once_with_the_same_members(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store(*(did(f"u{n}", "cart", n) for n in range(9)), *(did(f"u{n}", "buy", n) for n in range(0, 9, 2)))
    days = {"performed": {"event": "cart", "days": {"=": 1}, "window": {"from": "2024-05-04"}}}
    wheres = [
        LEFT_A_CART,
        {"any": [{"not": BOUGHT}, {"cohort": "vip"}]},
        {"all": [CARTED, days]},
        CARTED,
        days,
    ]
    store(did("u0", "cart", 40), silent={})
    definitions = [parse({"version": 1, "where": where}) for where in wheres]
    definitions.append(parse({"version": 1, "timezone": "Asia/Tokyo", "where": days}))
    expected = [
        list(behavioral.members(d, AS_OF, cohorts=lambda key: ["x"], limits=LIMITS)) for d in definitions
    ]
    asked: list[Any] = []
    original = compile.compile_condition

    def counting(condition: Any, *arguments: Any) -> Any:
        asked.append(condition)
        return original(condition, *arguments)

    monkeypatch.setattr(behavioral, "compile_condition", counting)
    with behavioral.Round(definitions, AS_OF, limits=LIMITS) as round_:
        found = [list(round_.members(d, cohorts=lambda key: ["x"])) for d in definitions]
    assert found == expected and all(expected)
    assert len(asked) == len(set(asked)) == 3
    assert list(Folders("default").temp.iterdir()) == []


def test_a_condition_that_stands_twice_in_a_definition_is_computed_once() -> None:
    store(did("u1", "cart"), did("u2", "cart"), did("u2", "buy"))
    where = {"any": [{"all": [CARTED, {"not": BOUGHT}]}, {"all": [CARTED, BOUGHT]}]}
    assert members(where) == ["u1", "u2"]
    sql = behavioral.compiled_query(parse({"version": 1, "where": where}), AS_OF).sql
    assert sql.count("READ_PARQUET") == 2


# --- Time -----------------------------------------------------------------------------------


def test_days_are_those_of_the_zone_across_a_change_of_clocks() -> None:
    """Berlin, 31 March 2024: 02:00 becomes 03:00, so the day has 23 hours and ends at 22:00 UTC."""
    for user, times in {
        "same day": ("2024-03-30T23:00:00Z", "2024-03-31T21:59:59.999999Z"),
        "two days": ("2024-03-30T22:59:59.999999Z", "2024-03-30T23:00:00Z"),
        "next day": ("2024-03-31T21:59:59.999999Z", "2024-03-31T22:00:00Z"),
    }.items():
        spool.append("default", [{**did(user, "seen"), "time": time} for time in times])
    compact("default")
    two = {"performed": {"event": "seen", "days": {"=": 2}}}
    for window in ({}, {"window": {"last": "90d"}}, {"window": {"from": "2024-03-01"}}):
        where = {"performed": {**two["performed"], **window}}
        definition = parse({"version": 1, "timezone": "Europe/Berlin", "where": where})
        found = behavioral.members(definition, AS_OF, cohorts=no_cohorts, limits=LIMITS)
        assert list(found) == ["next day", "two days"]
    last_of_march = {"performed": {"event": "seen", "window": {"from": "2024-03-31", "to": "2024-03-31"}}}
    definition = parse({"version": 1, "timezone": "Europe/Berlin", "where": last_of_march})
    found = behavioral.members(definition, AS_OF, cohorts=no_cohorts, limits=LIMITS)
    assert list(found) == ["next day", "same day", "two days"]


def test_events_of_one_instant_are_not_one_after_the_other() -> None:
    store(did("u1", "cart", 2), did("u1", "buy", 2), did("u2", "cart", 2), did("u2", "buy", 1.9))
    then = {"sequence": {"steps": [{"event": "cart"}, {"event": "buy"}]}}
    then_not = {"sequence": {"steps": [{"event": "cart"}, {"event": "buy", "absent": True}], "within": "1d"}}
    assert (members(then), members(then_not)) == (["u2"], ["u1"])
    backwards = {"sequence": {"steps": [{"event": "buy"}, {"event": "cart"}]}}
    assert members(backwards) == []


def test_a_time_that_is_not_over_decides_nothing() -> None:
    store(
        did("waiting", "cart", 2.999),
        did("over", "cart", 3),
        did("came", "cart", 3),
        did("came", "buy", 0.001),
    )
    then_not = {"sequence": {"steps": [{"event": "cart"}, {"event": "buy", "absent": True}], "within": "72h"}}
    assert members(then_not) == ["over"]


# --- References -----------------------------------------------------------------------------


def test_cohorts_refresh_after_those_they_refer_to() -> None:
    order = refresh_order({"a": {"b", "c"}, "b": {"c"}, "c": set(), "d": set()})
    assert order.index("c") < order.index("b") < order.index("a") and set(order) == set("abcd")


def test_a_circle_of_cohorts_is_named() -> None:
    with pytest.raises(
        CircularReference, match="circle: (a → b → c → a|b → c → a → b|c → a → b → c)"
    ) as error:
        refresh_order({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})
    assert error.value.code == "circular"


# --- Explanations ---------------------------------------------------------------------------


def why(where: dict[str, Any], user: str, in_cohort: Any = lambda key: False) -> tuple[bool, Explained]:
    definition = parse({"version": 1, "where": where})
    found = explain(definition, user, AS_OF, in_cohort=in_cohort, limits=LIMITS)
    return found.member, found.root


def test_an_explanation_shows_each_condition_with_its_truth_and_facts() -> None:
    store(did("u1", "cart", 2), did("u1", "cart", 3), did("u1", "buy", 1), did("u2", "cart", 1))
    member, root = why(LEFT_A_CART, "u1")
    assert (member, root.true, root.group) == (False, False, "all")
    carted, not_bought = root.parts
    assert (carted.text, carted.true) == ('performed "cart" in the last 7 days', True)
    assert carted.facts == "2 times, last on 2024-05-08 00:00:00 UTC"
    assert (not_bought.group, not_bought.true) == ("not", False)
    assert not_bought.parts[0].facts == "1 time, last on 2024-05-09 00:00:00 UTC"
    member, root = why(LEFT_A_CART, "u2")
    assert (member, [part.true for part in root.parts]) == (True, [True, True])
    assert root.parts[1].parts[0].facts == "not once"


def test_an_explanation_knows_users_properties_cohorts_and_strangers() -> None:
    store(did("u1", "cart"), u1={"plan": "free"}, u2={"plan": "pro"})
    paid = {"user": {"property": "plan", "!=": "free"}}
    assert [why(paid, user)[0] for user in ("u1", "u2", "nobody")] == [False, True, False]
    assert why(paid, "nobody")[1].true
    either = {"any": [{"cohort": "vip"}, CARTED]}
    member, root = why(either, "stranger", lambda key: key == "vip")
    assert (member, [part.true for part in root.parts]) == (True, [True, False])


def test_an_explanation_agrees_with_the_members(settings: Any) -> None:
    users = [f"u{n}" for n in range(6)]
    store(*(did(user, "cart", n) for n, user in enumerate(users)), *(did(u, "buy", 0.5) for u in users[::2]))
    sequence = {"sequence": {"steps": [{"event": "cart"}, {"event": "buy", "absent": True}], "within": "24h"}}
    for where in (LEFT_A_CART, sequence, {"any": [sequence, BOUGHT]}):
        found = members(where)
        assert [user for user in users if why(where, user)[0]] == found
        assert [user for user in users if why(where, user)[1].true] == found


# --- Events in other databases --------------------------------------------------------------


@pytest.fixture
def warehouse(settings: Any, postgresql: Any) -> Iterator[None]:
    url = os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA behavioral_test")
        connection.execute(
            "CREATE TABLE behavioral_test.log (who text, event text, at timestamptz, properties jsonb)"
        )
        rows = [("u1", "cart"), ("u2", "cart"), ("u2", "buy"), ("u3", "cart")]
        for user, event in rows:
            connection.execute(
                "INSERT INTO behavioral_test.log VALUES (%s, %s, %s, '{}')",
                (user, event, AS_OF - timedelta(days=1)),
            )
        settings.EVENTS_URL = url
        settings.EVENTS_TABLES = {
            "events": "behavioral_test.log", "user_id": "who", "time": "at", "users": None,
        }  # fmt: skip
        yield
        connection.execute("DROP SCHEMA behavioral_test CASCADE")


def test_events_in_postgresql_are_read_where_they_are(warehouse: None) -> None:
    where = {"all": [LEFT_A_CART, {"not": {"cohort": "staff"}}]}
    assert members(where, cohorts=lambda key: ["u3"]) == ["u1"]
    assert why(LEFT_A_CART, "u2")[0] is False
    with pytest.raises(MissingTable, match="none is configured"):
        members({"not": BOUGHT})


def test_workspaces_in_a_database_are_kept_apart(warehouse: None, settings: Any) -> None:
    definition = parse({"version": 1, "where": LEFT_A_CART})

    def found(workspace: str) -> list[str]:
        return list(behavioral.members(definition, AS_OF, cohorts=no_cohorts, workspace=workspace))

    with pytest.raises(MissingTable, match="those of the workspace 'default', not of 'shop'"):
        found("shop")
    with psycopg.connect(settings.EVENTS_URL, autocommit=True) as connection:
        connection.execute("ALTER TABLE behavioral_test.log ADD COLUMN tenant text NOT NULL DEFAULT 'shop'")
        connection.execute("UPDATE behavioral_test.log SET tenant = 'default' WHERE who = 'u1'")
    settings.EVENTS_TABLES = settings.EVENTS_TABLES | {"workspace": "tenant"}
    assert (found("default"), found("shop"), found("other")) == (["u1"], ["u3"], [])


def test_events_in_clickhouse_are_read_where_they_are(settings: Any, clickhouse: Any) -> None:
    time = (AS_OF - timedelta(days=1)).strftime("%Y-%m-%d %H:%M:%S")
    rows = [("u1", "cart"), ("u2", "cart"), ("u2", "buy"), ("u3", "cart")]
    clickhouse.insert(
        "events", [{"user_id": u, "event": e, "time": time, "properties": "{}"} for u, e in rows]
    )
    with ClickHouseHTTP(clickhouse) as server:
        settings.EVENTS_URL = f"clickhouse://127.0.0.1:{server.port}/agree"
        settings.EVENTS_TABLES = {"users": None}
        where = {"all": [LEFT_A_CART, {"not": {"cohort": "staff"}}]}
        assert members(where, cohorts=lambda key: ["u3"]) == ["u1"]
        member, root = why(LEFT_A_CART, "u2")
        assert not member and root.parts[0].facts == "1 time, last on 2024-05-09 00:00:00 UTC"


def test_a_database_that_is_gone_is_an_error_without_its_password(settings: Any) -> None:
    settings.EVENTS_URL = "postgres://me:hidden@127.0.0.1:9/x"
    settings.EVENTS_TABLES = {}
    with pytest.raises(Unavailable) as error:
        members(CARTED)
    assert isinstance(error.value, EngineError) and error.value.code == "unavailable"
    assert "hidden" not in str(error.value)
