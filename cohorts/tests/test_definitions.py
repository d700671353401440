"""What a definition may say, what is said about one that may not, and how it reads as a sentence."""

# ruff: noqa: E501  (a case a line reads best)

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import jsonschema
import pytest
from hypothesis import given, settings

from cohorts.definitions import DefinitionError, json_schema, parse
from cohorts.definitions.grammar import Performed
from cohorts.tests import strategies

pytestmark = pytest.mark.once

DOWNLOADED = {"performed": {"event": "app_download", "window": {"last": "90d"}}}
SIGNED_UP = {"performed": {"event": "signup_complete"}}


def define(where: Any, **more: Any) -> dict[str, Any]:
    return {"version": 1, "where": where, **more}


def performed(**more: Any) -> dict[str, Any]:
    return define({"performed": {"event": "x", **more}})


def problems(value: object) -> list[tuple[str, str]]:
    with pytest.raises(DefinitionError) as error:
        parse(value)
    return error.value.problems


@pytest.mark.parametrize(
    ("value", "pointer", "advice"),
    [
        ([], "", "key of a definition is an object, not a list"),
        ({"where": SIGNED_UP}, "/version", 'is missing; write "version": 1'),
        ({"version": 2, "where": SIGNED_UP}, "/version", 'version 2 is not known here; write "version": 1'),
        ({"version": True, "where": SIGNED_UP}, "/version", "version True is not known here"),
        ({"version": 1}, "/where", "is missing"),
        (define(SIGNED_UP, timezone="Europe/Berln"), "/timezone", 'did you mean "Europe/Berlin"?'),
        (define({"preformed": {}}), "/where/preformed", 'unknown condition "preformed"; did you mean "performed"?'),
        (define({}), "/where", "has nothing in it"),
        (define({"all": [SIGNED_UP], "not": SIGNED_UP}), "/where", 'has "all" and "not"'),
        (define({"all": []}), "/where/all", "has 1 to 50 items, not 0"),
        (performed(count={"=": 0}), "/where/performed/count", 'zero times means "did not perform": wrap'),
        (performed(count={"<": 1}), "/where/performed/count", 'zero times means "did not perform": wrap'),
        (performed(days={">=": 0}), "/where/performed/days", "never below zero"),
        (performed(count={"between": [0, 5]}), "/where/performed/count", '"or_never": true'),
        (performed(count={">=": 1.5}), "/where/performed/count/>=", "is a whole number, not 1.5"),
        (performed(count={">=": True}), "/where/performed/count/>=", "is a number"),
        (performed(count={">=": 1, "<": 3}), "/where/performed/count", "has 2 comparisons"),
        (performed(count={">=": 1}, days={">=": 1}), "/where/performed", 'has "count" and "days"'),
        (performed(or_never=True), "/where/performed/or_never", "holds for everyone"),
        (performed(sum={">=": 1}), "/where/performed/sum/property", "is missing"),
        (performed(event=["a", "*"]), "/where/performed/event", '"*" is any event'),
        (performed(event=""), "/where/performed/event", "is empty"),
        (performed(event="a\x00"), "/where/performed/event", "NUL"),
        (performed(window="30d"), "/where/performed/window", 'use "all_time" or {"last": "30d"}'),
        (performed(window={"last": "30days"}), "/where/performed/window/last", '"12h", "30d" or "4w"'),
        (performed(window={"last": "0d"}), "/where/performed/window/last", "a duration is"),
        (performed(window={"between_ago": ["30d", "90d"]}), "/where/performed/window/between_ago", "older end"),
        (performed(window={"from": "2024-02-30"}), "/where/performed/window/from", "not a day of the calendar"),
        (performed(window={"from": "2024-03-02", "to": "2024-03-01"}), "/where/performed/window", "before it"),
        (performed(window={"last": "1d", "from": "2024-03-02"}), "/where/performed/window", "use one of"),
        (performed(where=[{"property": "p"}]), "/where/performed/where/0", "has 0 operators"),
        (performed(where=[{"property": "p", "=": None}]), "/where/performed/where/0/=", '"is_set"'),
        (performed(where=[{"property": "p", ">": True}]), "/where/performed/where/0/>", "no order"),
        (performed(where=[{"property": "p", "in": [1, "a"]}]), "/where/performed/where/0/in", "mixes"),
        (performed(where=[{"property": "p", "type": "number", "=": "5"}]), "/where/performed/where/0/type", "is"),
        (performed(where=[{"property": "a/b~", "~/": 1}]), "/where/performed/where/0/~0~1", "unknown operator"),
        (
            define({"sequence": {"steps": [{"event": "a"}, {"event": "b", "absent": True}]}}),
            "/where/sequence/steps/1",
            'an absent last step needs "within", or it can never be decided',
        ),
        (
            define({"sequence": {"steps": [{"event": "a", "absent": True}, {"event": "b"}]}}),
            "/where/sequence/steps/0",
            "the first step cannot be absent",
        ),
        (define({"sequence": {"steps": [{"event": "a"}]}}), "/where/sequence/steps", "has 2 to 6 items"),
        (define({"cohort": 3}), "/where/cohort", "is a string, not a number"),
        (performed(window={"this": "fortnight"}), "/where/performed/window/this", "day, week, month, quarter, year"),
        (performed(window={"previous": "day", "count": 0}), "/where/performed/window/count", "from 1 to 366"),
        (performed(window={"this": "day", "count": 2}), "/where/performed/window", 'use "this", or "previous"'),
        (performed(window={"this": "day", "last": "2d"}), "/where/performed/window", "use one of"),
        (performed(weeks={">=": 0}), "/where/performed/weeks", "never below zero"),
        (performed(where=[{"any": []}]), "/where/performed/where/0/any", "has 1 to 50 items"),
        (performed(where=[{"any": [{"property": "p", "=": 1}], "property": "q"}]), "/where/performed/where/0", "stands alone"),
        (define({"more": {"first": {"event": "a"}}}), "/where/more/than", "is missing"),
        (define({"more": {"first": {"event": "a"}, "than": {"event": "b"}, "times": 0}}), "/where/more/times", "above zero"),
        (performed(periods={"of": "hour", ">=": 2}), "/where/performed/periods/of", "day, week, month"),
        (performed(periods={"of": "day"}), "/where/performed/periods", "has 0 comparisons"),
        (performed(periods={"of": "day", "times": {">=": 0}, ">=": 2}), "/where/performed/periods/times", "never below"),
        (performed(nth={"n": 0, "window": {"last": "7d"}}), "/where/performed/nth/n", "1 is the first, 3 the third, -1 the last"),
        (performed(nth={"n": 2}), "/where/performed/nth", 'asks nothing of it; add "window" or "where"'),
        (performed(percentile={"property": "p", ">": 1}), "/where/performed/percentile/percent", "is missing"),
        (performed(percentile={"property": "p", "percent": 100, ">": 1}), "/where/performed/percentile/percent", "between 0 and 100"),
        (performed(after_first={"event": "y"}), "/where/performed/after_first/within", "how long after"),
        (
            define({"sequence": {"steps": [{"event": "a", "within": "1h"}, {"event": "b"}]}}),
            "/where/sequence/steps/0",
            "has none before it",
        ),
        (
            define({"sequence": {"steps": [{"event": "a"}, {"event": "b", "absent": True, "within": "1h"}], "within": "1d"}}),
            "/where/sequence/steps/1/within",
            "give it to the step that follows",
        ),
        (define({"sample": {"percent": 0}}), "/where/sample/percent", "above 0, at most 100"),
        (define({"sample": {"salt": "x"}}), "/where/sample/percent", "is missing"),
        (define({"sample": {"percent": 5, "salt": 5}}), "/where/sample/salt", "is a string"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_path_and_advice(value: object, pointer: str, advice: str) -> None:
    found = problems(value)
    assert [pointer_found for pointer_found, _ in found] == [pointer]
    assert advice in found[0][1]


def test_all_mistakes_are_named_at_once() -> None:
    value = define({"all": [{"preformed": {}}, {"performed": {"event": 3, "count": {"=": 0}}}]}, zone="UTC")
    assert [pointer for pointer, _ in problems(value)] == [
        "/zone",
        "/where/all/0/preformed",
        "/where/all/1/performed/event",
        "/where/all/1/performed/count",
    ]


def test_nesting_and_the_number_of_conditions_are_bounded() -> None:
    deep: dict[str, Any] = SIGNED_UP
    for _ in range(5):
        deep = {"not": deep}
    parse(define(deep))
    assert "more than 6 deep" in problems(define({"not": deep}))[0][1]
    groups = [{"any": [SIGNED_UP] * 25}, {"any": [SIGNED_UP] * 25}]
    parse(define({"all": groups}))
    assert "has 51 conditions" in problems(define({"all": [*groups, SIGNED_UP]}))[0][1]


def test_a_bottomless_value_is_refused_without_descending() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"not": deep}
    assert "more than 6 deep" in problems(define(deep))[0][1]


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        (
            {"all": [DOWNLOADED, {"not": SIGNED_UP}]},
            'Users who performed "app_download" in the last 90 days and did not perform "signup_complete" at any '
            "time.",
        ),
        (
            {
                "performed": {
                    "event": "song_download",
                    "where": [{"property": "category", "=": "jazz"}],
                    "count": {">=": 3},
                    "window": {"last": "30d"},
                }
            },
            'Users who performed "song_download" with "category" equal to "jazz" at least 3 times in the last 30 '
            "days.",
        ),
        (
            {"not": {"any": [{"performed": {"event": "*", "window": {"last": "12h"}}}, {"cohort": "staff"}]}},
            'Users who did not perform any event in the last 12 hours and are not in the cohort "staff".',
        ),
        (
            {"any": [{"user": {"property": "plan", "!=": "free"}}, {"all": [DOWNLOADED, SIGNED_UP]}]},
            'Users who have "plan" other than "free" or (performed "app_download" in the last 90 days and '
            'performed "signup_complete" at any time).',
        ),
        (
            {
                "sequence": {
                    "steps": [{"event": "app_download"}, {"event": "signup_complete", "absent": True}],
                    "within": "72h",
                    "window": {"last": "90d"},
                }
            },
            'Users who went through ["app_download", then no "signup_complete", within 72 hours, beginning in the '
            "last 90 days].",
        ),
        (
            {"performed": {"event": ["error"], "count": {"<=": 2}, "or_never": True}},
            'Users who performed "error" at most 2 times over all time, or never.',
        ),
        (
            {"performed": {"event": "song_play", "first": {"last": "14d"}}},
            'Users who performed "song_play" for the first time in the last 14 days.',
        ),
        (
            {"performed": {"event": "purchase", "avg": {"property": "amount", "between": [1, 1000]}}},
            'Users who performed "purchase" with an average of "amount" of between 1 and 1,000 over all time.',
        ),
        (
            {"performed": {"event": "login", "days": {"=": 1}, "window": {"from": "2024-09-01", "to": "2024-09-30"}}},
            'Users who performed "login" on exactly 1 different day from 2024-09-01 through 2024-09-30.',
        ),
        (
            {"more": {"first": {"event": "play", "window": {"this": "month"}}, "than": {"event": "play", "window": {"previous": "month"}}}},
            'Users who performed "play" this month more often than "play" last month.',
        ),
        (
            {"not": {"more": {"first": {"event": "a"}, "than": {"event": ["b", "c"]}, "times": 2}}},
            'Users who did not perform "a" more than 2 times as often as "b" or "c".',
        ),
        (
            {"all": [{"sample": {"percent": 10, "salt": "spring"}}, {"not": {"sample": {"percent": 0.5}}}]},
            'Users who are in the sample "spring" of 10 % and are not in the sample of 0.5 %.',
        ),
        (
            {"performed": {"event": "buy", "where": [{"any": [{"property": "a", "=": 1}, {"property": "b", "=": 2}]}, {"property": "c", "is_set": True}], "weeks": {">=": 3}, "window": {"previous": "week", "count": 8}}},
            'Users who performed "buy" with ("a" equal to 1 or "b" equal to 2) and "c" set in at least 3 different weeks in the 8 whole weeks before this one.',
        ),
        ({"performed": {"event": "buy", "window": {"previous": "day"}}}, 'Users who performed "buy" yesterday.'),
        (
            {"performed": {"event": "x", "periods": {"of": "day", "times": {">=": 3}, "in_a_row": True, ">=": 5}}},
            'Users who performed "x" on at least 5 days in a row, at least 3 times in each over all time.',
        ),
        (
            {"performed": {"event": "x", "nth": {"n": 1, "where": [{"property": "source", "=": "ad"}]}}},
            'Users who performed "x" whose first time was with "source" equal to "ad".',
        ),
        (
            {"performed": {"event": "x", "nth": {"n": 3, "window": {"last": "30d"}}, "window": {"last": "90d"}}},
            'Users who performed "x" whose 3rd time was in the last 30 days counting only events in the last 90 days.',
        ),
        (
            {"performed": {"event": "x", "percentile": {"property": "p", "percent": 95, ">=": 9}, "window": {"last": "7d"}}},
            'Users who performed "x" with a 95th percentile of "p" of at least 9 in the last 7 days.',
        ),
        (
            {"not": {"performed": {"event": "x", "after_first": {"event": "*", "within": "7d"}}}},
            'Users who did not perform "x" within 7 days of their first event.',
        ),
        (
            {"sequence": {"steps": [{"event": "a"}, {"event": "b", "within": "1h"}], "same": "sku"}},
            'Users who went through ["a", then "b" within 1 hour, all with the same "sku"].',
        ),
    ],
)  # fmt: skip
def test_a_definition_reads_back_as_a_sentence(where: dict[str, Any], sentence: str) -> None:
    assert parse(define(where)).sentence() == sentence


def test_the_cohorts_that_a_definition_refers_to_are_known() -> None:
    where = {"all": [{"cohort": "a"}, {"not": {"any": [{"cohort": "b"}, SIGNED_UP]}}]}
    assert parse(define(where)).cohort_keys() == {"a", "b"}


@settings(deadline=None)
@given(strategies.definitions)
def test_every_definition_has_the_published_shape_and_a_sentence(definition: dict[str, Any]) -> None:
    jsonschema.validate(definition, json_schema())
    sentence = parse(definition).sentence()
    assert sentence.startswith("Users who ") and sentence.endswith(".") and "  " not in sentence


def test_the_published_shape_is_a_valid_schema_and_refuses_mistakes() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    for value in (define({"preformed": {}}), performed(count={">=": 1, "<": 3}), define({"all": []}), {}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(value, json_schema())


def test_days_weeks_and_months_are_those_of_the_calendar_in_the_cohorts_zone() -> None:
    as_of = datetime(2024, 3, 1, 3, tzinfo=UTC)  # Thursday evening, 29 February, in New York
    for window, first, last in (
        ({"this": "day"}, "2024-02-29", None),
        ({"previous": "day"}, "2024-02-28", "2024-02-28"),
        ({"this": "week"}, "2024-02-26", None),
        ({"previous": "week", "count": 2}, "2024-02-12", "2024-02-25"),
        ({"this": "month"}, "2024-02-01", None),
        ({"previous": "month", "count": 14}, "2022-12-01", "2024-01-31"),
        ({"previous": "quarter"}, "2023-10-01", "2023-12-31"),
        ({"this": "year"}, "2024-01-01", None),
        ({"previous": "year", "count": 3}, "2021-01-01", "2023-12-31"),
    ):
        zone = ZoneInfo("America/New_York")
        [leaf] = parse(performed(window=window)).conditions()
        dates = {"from": first, **({"to": last} if last else {})}
        [same] = parse(performed(window=dates)).conditions()
        assert isinstance(leaf, Performed) and isinstance(same, Performed)
        assert leaf.window.bounds(as_of, zone) == same.window.bounds(as_of, zone), window
