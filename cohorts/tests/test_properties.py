"""Lists, dates, patterns and letters in any case, as they come in."""

from datetime import UTC, datetime
from typing import Any

import pytest

from cohorts.definitions import DefinitionError, parse
from cohorts.definitions.dates import instant_of
from cohorts.definitions.flat_list import elements_of
from cohorts.definitions.pattern import BadPattern, portable
from cohorts.tests.oracle import Event, World
from cohorts.tests.test_engines_agree import agree_on_duckdb, agree_on_tables, expected

pytestmark = pytest.mark.once

AT = datetime(2024, 11, 1, tzinfo=UTC)


def having(name: str, **operator: Any) -> dict[str, Any]:
    return {"version": 1, "where": {"user": {"property": name, **operator}}}


def world(**users: dict[str, Any]) -> World:
    return World(
        [Event(user, "e", AT, properties) for user, properties in users.items()],
        users,
        {"vip": set(), "staff": set()},
    )


PEOPLE = world(
    lists={"tags": ["vip", "new"], "n": [1, 2]},
    longer={"tags": ["vip2"], "n": "[1, 2]"},
    one={"tags": "vip", "n": 10, "trial": "2024-11-08T12:30:00+02:00"},
    none={"n": 10.0, "trial": "2024-11-13T00:00:00Z"},
    past={"trial": "2024-10-20", "tags": []},
    epoch={"trial": 1_730_900_000, "tags": "VIP"},
)


@pytest.mark.parametrize(
    ("definition", "members"),
    [
        (having("tags", **{"=": "vip"}), ["lists", "one"]),
        (having("tags", **{"in": ["new", "x"]}), ["lists"]),
        (having("tags", contains="vip"), ["lists", "one"]),
        (having("tags", contains="vi"), ["one"]),
        (having("tags", **{"!=": "vip"}), ["epoch", "longer", "none", "past"]),
        (having("tags", not_contains="vip"), ["epoch", "longer", "none", "past"]),
        (having("tags", starts_with="vip"), ["lists", "longer", "one"]),
        (having("tags", **{"=": "vip", "ignore_case": True}), ["epoch", "lists", "one"]),
        (having("tags", matches="^vip[0-9]$"), ["longer"]),
        (having("tags", ends_with="p", ignore_case=True), ["epoch", "lists", "one"]),
        (having("n", **{"=": 2}), ["lists", "longer"]),
        (having("n", **{"=": "[1,2]"}), ["lists", "longer"]),
        (having("n", **{">": 1}), ["lists", "longer", "none", "one"]),
        (having("trial", next="7d"), ["epoch", "one"]),
        (having("trial", last="30d"), ["past"]),
        (having("trial", type="date", **{"=": "2024-11-08T10:30:00Z"}), ["one"]),
        (having("trial", type="date", **{">=": "2024-11-13T01:00:00+01:00"}), ["none"]),
        (having("trial", type="date", between=["2024-10-20", "2024-11-07"]), ["epoch", "past"]),
    ],
)  # fmt: skip
def test_lists_dates_and_letters_mean_the_same_on_every_engine(
    definition: dict[str, Any], members: list[str], postgresql: Any, clickhouse: Any
) -> None:
    assert expected(definition, PEOPLE) == members
    agree_on_duckdb(definition, PEOPLE, {"tags": 0, "trial": 1, "n": 2})
    agree_on_duckdb(definition, PEOPLE, {})
    agree_on_tables(postgresql, definition, PEOPLE)
    agree_on_tables(clickhouse, definition, PEOPLE)


CARTS = world(
    big={
        "cart": {"total": 120.5, "code": "SPRING"},
        "items": [{"sku": "a", "price": 5}, {"sku": "b", "price": 70}],
    },
    small={"cart": {"total": 9}, "items": [{"sku": "b"}, {"price": 2}], "a.b": "plain", "a": {"b": "inner"}},
    empty={"cart": {"total": None}, "items": [], "a": {"b": "inner"}},
    other={"cart": "none", "items": "b", "order": {"lines": [{"item": {"sku": "z"}}]}},
)


@pytest.mark.parametrize(
    ("definition", "members"),
    [
        (having("cart.total", **{">": 100}), ["big"]),
        (having("cart.total", is_set=True), ["big", "small"]),
        (having("cart.code", starts_with="SPR"), ["big"]),
        (having("cart.code", is_not_set=True), ["empty", "other", "small"]),
        (having("items[].sku", **{"=": "b"}), ["big", "small"]),
        (having("items[].sku", **{"!=": "a"}), ["empty", "other", "small"]),
        (having("items[].price", **{"<": 5}), ["small"]),
        (having("order.lines[].item.sku", **{"in": ["y", "z"]}), ["other"]),
        (having("a.b", **{"=": "inner"}), ["empty"]),
        (having("a.b", **{"=": "plain"}), ["small"]),
        (having("items[].sku", is_set=True), ["big", "small"]),
    ],
)
def test_a_name_leads_into_objects_and_lists_on_every_engine(
    definition: dict[str, Any], members: list[str], postgresql: Any, clickhouse: Any
) -> None:
    of_events = {**definition, "where": {"performed": {"event": "e", "where": [definition["where"]["user"]]}}}
    for asked in (definition, of_events):
        assert expected(asked, CARTS) == members
        agree_on_duckdb(asked, CARTS, {"cart": 0, "items": 1, "a": 2})
        agree_on_duckdb(asked, CARTS, {})
        agree_on_tables(postgresql, asked, CARTS)
        agree_on_tables(clickhouse, asked, CARTS)


def test_sums_are_made_of_what_a_name_leads_to(postgresql: Any, clickhouse: Any) -> None:
    for total, members in ((120, ["big"]), (5, ["big", "small"])):
        asked = {"performed": {"event": "e", "sum": {"property": "cart.total", ">": total}}}
        definition = {"version": 1, "where": asked}
        assert expected(definition, CARTS) == members
        agree_on_duckdb(definition, CARTS, {"cart": 0})
        agree_on_tables(postgresql, definition, CARTS)
        agree_on_tables(clickhouse, definition, CARTS)


def test_values_that_are_the_same_count_once(postgresql: Any, clickhouse: Any) -> None:
    values = [
        10,
        10.0,
        "10",
        "10.50",
        10.5,
        1e3,
        1000,
        -0.0,
        0,
        [1, 2],
        "[1, 2]",
        "1000.",
        12345678901234567890,
        "x",
    ]
    many = World([Event("u", "e", AT, {"p": v}) for v in values], None, {"vip": set(), "staff": set()})
    for count in (7, 8, 9):
        definition = {
            "version": 1,
            "where": {"performed": {"event": "e", "distinct": {"property": "p", "=": count}}},
        }
        assert expected(definition, many) == (["u"] if count == 8 else [])
        agree_on_duckdb(definition, many, {"p": 0})
        agree_on_tables(postgresql, definition, many)
        agree_on_tables(clickhouse, definition, many)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1970-01-02", 86_400),
        ("2024-02-29T00:00:00Z", 1_709_164_800),
        ("2024-02-29 01:00 +01:00", 1_709_164_800),
        ("1969-12-31T23:59:59", -1),
        ("0001-01-01", -62_135_596_800),
        ("1709164800", 1_709_164_800),
        ("1709164800000", 1_709_164_800),
        ("1709164800000000", 1_709_164_800),
        ("2023-02-29", None),
        ("2024-13-01", None),
        ("2024-04-31", None),
        ("2024-01-01T24:00", None),
        ("20240101", None),
        ("today", None),
    ],
)
def test_a_date_is_read_by_one_rule(text: str, at: int | None) -> None:
    assert instant_of(text) == (None if at is None else at * 1_000_000)


def test_a_list_is_read_as_its_elements() -> None:
    assert elements_of('["a", "é\\n", 1.50, true, null]') == ["a", "é\n", "1.50", "true"]
    for text in ("[draft] x", "[1,]", '["a]', "[[1]]", '[{"a":1}]', "x", '["\\ud800"]', '["\\u0000"]'):
        assert elements_of(text) is None, text


@pytest.mark.parametrize(
    "pattern",
    ["(?=a)", "(?i)a", r"(a)\1", "a*?", "a++", "*a", "a{200}", r"\bx", "[[:a:]]", "a{,3}", "(", "[a",],
)  # fmt: skip
def test_a_pattern_that_only_some_engines_know_is_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        portable(pattern)
    with pytest.raises(DefinitionError) as error:
        parse(having("p", matches=pattern))
    assert [at for at, _ in error.value.problems] == ["/where/user/matches"]


@pytest.mark.parametrize(
    ("operator", "at", "said"),
    [
        ({"type": "date", "=": "soon"}, "/where/user/=", "'soon' is no date"),
        (
            {"type": "date", "between": ["2024-01-01T10:00Z", "2024-01-01T11:30+02:00"]},
            "/where/user/between",
            "smaller",
        ),
        ({"type": "date", "contains": "20"}, "/where/user", "does not compare dates"),
        ({"type": "number", "last": "7d"}, "/where/user/type", "asks for a date"),
        ({"last": "7 days"}, "/where/user/last", '"30m", "12h"'),
        ({">": 3, "ignore_case": True}, "/where/user/ignore_case", "texts only"),
        ({"=": "a", "ignore_case": 1}, "/where/user/ignore_case", "true or false"),
    ],
)
def test_what_a_comparison_cannot_be_is_said(operator: dict[str, Any], at: str, said: str) -> None:
    with pytest.raises(DefinitionError) as error:
        parse(having("p", **operator))
    assert [pointer for pointer, _ in error.value.problems] == [at] and said in error.value.problems[0][1]


def test_dates_and_letters_read_back_in_the_sentence() -> None:
    for operator, said in (
        ({"next": "7d"}, '"p" in the next 7 days'),
        ({"type": "date", "<": "2024-01-01"}, '"p" before 2024-01-01'),
        ({"type": "date", "between": ["2024-01-01", "2024-02-01"]}, '"p" between 2024-01-01 and 2024-02-01'),
        ({"contains": "a", "ignore_case": True}, '"p" containing "a" (in any case)'),
        ({"last": "30m"}, '"p" in the last 30 minutes'),
    ):
        assert parse(having("p", **operator)).sentence() == f"Users who have {said}."
