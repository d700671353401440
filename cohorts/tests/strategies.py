"""Definitions and events for hypothesis: few users and names, times near the edges of windows."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from cohorts.tests.oracle import Event, Merge, Renamed, World

# Two changes of clocks in Europe and America lie within the windows: 27 October and 3 November 2024.
AS_OF = datetime(2024, 11, 5, 10, 30, tzinfo=UTC)
USERS = ["u1", "u2", "ü3", "U1", "4"]
DEVICES = ["d1", "u1", "ü"]
MERGED_AT = [AS_OF - timedelta(days=days) for days in (-1, 1, 40)]
NAMES = ["a", "b", "c", "it's"]
PROPERTIES = ["p", "P", "a.b", 'q"/~\\', "n"]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Apia"]
COHORTS = ["vip", "staff"]
PERIODS = ["day", "week", "month", "quarter", "year"]
DURATIONS = ["30m", "1h", "12h", "1d", "3d", "7d", "1w", "30d", "90d"]
TEXTS = ["jazz", "Jazz", "", "3", "ja", "é", "100%", "a\\b'"]
NUMBERS = [-1, 0, 1, 2, 3, 2.5, 0.1, 50, 10, 10.0, 2.50]
LISTS = [
    ["jazz", "é"],
    [1, 2],
    [],
    ["1"],
    ["ja", 2.5, True, None],
    ['a"b', "x,y"],
    "[1,2]",
    "[1, 2]",
    "[draft] ja",
]
DATES = [
    "2024-11-04", "2024-10-31T10:30:00Z", "2024-11-05T12:30:00+02:00", "2024-11-05 10:29:59.999999", "soon",
    "2023-02-29", "2024-02-29", "2024-11-31", "2024-11-08T00:00-05:30", "1969-12-31T23:00:00Z", 1730800000,
    "1730800000000", "2024-1-1", "2024-11-06T10:30:00 UTC",
]  # fmt: skip
READABLE = [
    d
    for d in DATES
    if isinstance(d, str) and d[:2] in ("20", "19") and d not in ("2024-1-1", "2023-02-29", "2024-11-31")
]

texts = st.sampled_from(TEXTS)
numbers = st.sampled_from(NUMBERS)
dates = st.sampled_from(DATES)
values = st.one_of(texts, numbers, st.booleans(), st.none(), st.sampled_from(LISTS), dates)
inner = st.one_of(texts, numbers, st.booleans(), st.none(), dates)
objects = st.one_of(
    st.dictionaries(st.sampled_from(["x", "y"]), inner, max_size=2).map(lambda found: {"o": found}),
    st.lists(st.dictionaries(st.sampled_from(["x", "y"]), inner, max_size=2), max_size=3).map(
        lambda found: {"o": {"l": found}, "l": found}
    ),
)
NESTED = ["o.x", "o.y", "l[].x", "o.l[].y", "m.x"]
properties = st.builds(
    lambda plain, more: {**plain, **more},
    st.dictionaries(st.sampled_from(PROPERTIES), values, max_size=4),
    st.just({}) | st.just({}) | objects | st.dictionaries(st.just("o.x"), texts),
)


@st.composite
def times(draw: st.DrawFn) -> datetime:
    """Hours before the instant, the edges of windows, local midnights; a microsecond off, or after it."""
    edges = [1, 12, 24, 72, 168, 720, 2160]
    ago = draw(st.one_of(st.sampled_from(edges), st.integers(0, 24 * 12), st.integers(-3, 24 * 100)))
    shift = draw(st.sampled_from([0, 0, 0, 1, -1]))
    if draw(st.booleans()):
        return AS_OF - timedelta(hours=ago) + timedelta(microseconds=shift)
    return AS_OF.replace(minute=0) - timedelta(hours=ago) + timedelta(microseconds=shift)


by_users = st.builds(Event, st.sampled_from(USERS), st.sampled_from(NAMES), times(), properties, st.just(""))
on_devices = st.builds(
    Event, st.just(""), st.sampled_from(NAMES), times(), properties, st.sampled_from(DEVICES)
)
events = by_users | by_users | on_devices
merges = st.lists(
    st.builds(Merge, st.sampled_from(DEVICES), st.sampled_from(USERS), st.sampled_from(MERGED_AT)), max_size=4
)


def renames(names: list[str], new: list[str]) -> st.SearchStrategy[dict[str, str]]:
    """Mostly none. What a name is called is not renamed itself."""
    drawn = st.dictionaries(st.sampled_from(names), st.sampled_from(new), min_size=1, max_size=2)
    return st.just({}) | drawn.map(lambda found: {k: v for k, v in found.items() if v not in found})


renamed = st.builds(
    Renamed,
    renames(NAMES, [*NAMES, "new"]),
    renames([*PROPERTIES, "o", "l", "o.x"], [*PROPERTIES, "none", "m"]),
    renames([*PROPERTIES, "o", "l", "o.x"], [*PROPERTIES, "none", "m"]),
)
worlds = st.builds(
    World,
    st.lists(events, max_size=25),
    st.just({"silent": {}})
    | st.none()
    | st.dictionaries(st.sampled_from([*USERS, "silent"]), properties, max_size=5),
    st.fixed_dictionaries({key: st.sets(st.sampled_from([*USERS, "stranger"])) for key in COHORTS}),
    merges,
    st.dictionaries(st.sampled_from(DEVICES), st.sampled_from(["", *USERS]), max_size=1),
    renamed,
)


def windows() -> st.SearchStrategy[Any]:
    pairs = st.tuples(st.sampled_from(["12h", "1d", "3d", "7d"]), st.sampled_from(["30d", "90d", "2w"]))
    days = st.dates(min_value=datetime(2024, 8, 1).date(), max_value=datetime(2024, 11, 7).date())
    ranges = st.tuples(days, days).map(sorted)
    return st.one_of(
        st.just("all_time"),
        st.sampled_from(DURATIONS).map(lambda d: {"last": d}),
        pairs.map(lambda pair: {"between_ago": [pair[1], pair[0]]}),
        ranges.map(lambda r: {"from": r[0].isoformat(), "to": r[1].isoformat()}),
        days.map(lambda d: {"from": d.isoformat()}),
        days.map(lambda d: {"to": d.isoformat()}),
        st.sampled_from(PERIODS).map(lambda p: {"this": p}),
        st.sampled_from(PERIODS).map(lambda p: {"previous": p}),
        st.tuples(st.sampled_from(PERIODS), st.integers(1, 4)).map(
            lambda c: {"previous": c[0], "count": c[1]}
        ),
    )


def comparisons(number: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    simple = st.tuples(st.sampled_from([">=", ">", "<=", "<", "="]), number).map(lambda c: {c[0]: c[1]})
    return simple | st.tuples(number, number).map(lambda pair: {"between": sorted(pair)})


PATTERNS = ["ja", "^[Jj]a", "z$", r"^\d+(\.\d)?$", "(é|%)", "a.b", r"\w{3,}", "^[^a-z]"]


def of_dates() -> st.SearchStrategy[dict[str, Any]]:
    one = st.sampled_from(READABLE)
    single = st.tuples(st.sampled_from(["=", "!=", ">", ">=", "<", "<="]), one).map(lambda c: {c[0]: c[1]})
    pair = st.tuples(one, one).map(lambda p: {"between": sorted(p)})
    many = st.tuples(st.sampled_from(["in", "not_in"]), st.lists(one, min_size=1, max_size=2))
    relative = st.tuples(st.sampled_from(["last", "next"]), st.sampled_from(DURATIONS)).map(
        lambda c: {c[0]: c[1]}
    )
    return relative | st.one_of(single, pair, many.map(lambda c: {c[0]: c[1]})).map(
        lambda c: {**c, "type": "date"}
    )


def of_texts() -> st.SearchStrategy[dict[str, Any]]:
    signs = ["=", "!=", "contains", "not_contains", "starts_with", "ends_with"]
    plain = st.tuples(st.sampled_from(signs), texts.filter(bool)).map(lambda c: {c[0]: c[1]})
    found = plain | st.sampled_from(PATTERNS).map(lambda p: {"matches": p})
    return found | found.map(lambda c: {**c, "ignore_case": True})


def property_operators() -> st.SearchStrategy[dict[str, Any]]:
    scalars = st.one_of(texts, numbers, st.booleans(), st.sampled_from(["[1,2]", '["1"]']))
    lists = st.one_of(st.lists(texts, min_size=1, max_size=3), st.lists(numbers, min_size=1, max_size=3))
    return st.one_of(
        st.tuples(st.sampled_from(["=", "!="]), scalars).map(lambda c: {c[0]: c[1]}),
        of_texts(),
        of_dates(),
        st.tuples(st.sampled_from([">", ">=", "<", "<="]), texts | numbers).map(lambda c: {c[0]: c[1]}),
        (st.tuples(texts, texts) | st.tuples(numbers, numbers)).map(lambda p: {"between": sorted(p)}),
        st.tuples(st.sampled_from(["in", "not_in"]), lists).map(lambda c: {c[0]: c[1]}),
        st.sampled_from([{"is_set": True}, {"is_not_set": True}]),
    )


property_conditions = st.tuples(
    st.sampled_from([*PROPERTIES, *PROPERTIES, *NESTED, "none"]), property_operators()
).map(lambda pair: {"property": pair[0], **pair[1]})
one_of_some = st.lists(property_conditions, min_size=1, max_size=2).map(lambda some: {"any": some})
asked = st.one_of(property_conditions, property_conditions, one_of_some)
event_names = st.one_of(
    st.sampled_from([*NAMES, "new"]), st.just("*"), st.lists(st.sampled_from(NAMES), min_size=1, max_size=2)
)


periods = st.tuples(
    st.sampled_from(["day", "week", "month"]),
    st.sampled_from([{}, {"in_a_row": True}, {"times": {">=": 2}}, {"times": {"=": 1}, "in_a_row": True}]),
    comparisons(st.integers(2, 3)) | st.just({">=": 1}),
).map(lambda drawn: {"of": drawn[0], **drawn[1], **drawn[2]})


def optional(key: str, strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.just({}) | strategy.map(lambda found: {key: found})


@st.composite
def performed(draw: st.DrawFn) -> dict[str, Any]:
    value: dict[str, Any] = {"event": draw(event_names)}
    if draw(st.booleans()):
        value["where"] = draw(st.lists(asked, min_size=1, max_size=2))
    if draw(st.booleans()):
        value["window"] = draw(windows())
    kind = draw(
        st.sampled_from(
            [
                None,
                "count",
                "days",
                "weeks",
                "periods",
                "sum",
                "avg",
                "median",
                "percentile",
                "min",
                "max",
                "distinct",
                "first",
                "last",
                "nth",
                "periods",
                "nth",
            ]  # fmt: skip
        )
    )
    if draw(st.integers(0, 3)) == 0:
        since = {"event": draw(event_names), "within": draw(st.sampled_from(DURATIONS))}
        value["after_first"] = since | draw(optional("where", st.lists(asked, min_size=1, max_size=1)))
    if kind == "periods":
        value[kind] = draw(periods)
    elif kind == "nth":
        value[kind] = {"n": draw(st.sampled_from([1, 2, 3, -1, -2]))} | draw(
            st.sampled_from([{}, {"window": {"last": "30d"}}])
        )
        if "window" not in value[kind] or draw(st.booleans()):
            value[kind]["where"] = [draw(asked)]
    elif kind in ("first", "last"):
        value[kind] = draw(windows())
    elif kind in ("count", "days", "weeks"):
        value[kind] = draw(comparisons(st.integers(2, 4)))
    elif kind == "distinct":
        value[kind] = {"property": draw(st.sampled_from(PROPERTIES)), **draw(comparisons(st.integers(0, 3)))}
    elif kind:
        percent = {"percent": draw(st.sampled_from([10, 50, 95]))} if kind == "percentile" else {}
        value[kind] = percent | {"property": draw(st.sampled_from(PROPERTIES)), **draw(comparisons(numbers))}
    if kind and draw(st.booleans()):
        value["or_never"] = True
    return {"performed": value}


@st.composite
def sequences(draw: st.DrawFn) -> dict[str, Any]:
    steps: list[dict[str, Any]] = []
    for index in range(draw(st.integers(2, 5))):
        step: dict[str, Any] = {"event": draw(st.sampled_from([*NAMES[:3], "*"]))}
        if draw(st.integers(0, 4)) == 0:
            step["where"] = [draw(property_conditions)]
        if index and draw(st.integers(0, 2)) == 0:
            step["absent"] = True
        elif index:
            step |= draw(st.sampled_from([{}, {"within": "1h"}, {"within": "12h"}]))
        steps.append(step)
    value: dict[str, Any] = {"steps": steps}
    if steps[-1].get("absent") or draw(st.booleans()):
        value["within"] = draw(st.sampled_from(DURATIONS))
    if draw(st.booleans()):
        value["window"] = draw(windows())
    if draw(st.integers(0, 3)) == 0:
        value["same"] = "p"
    return {"sequence": value}


@st.composite
def counted(draw: st.DrawFn) -> dict[str, Any]:
    value: dict[str, Any] = {"event": draw(event_names)}
    if draw(st.booleans()):
        value["where"] = draw(st.lists(asked, min_size=1, max_size=2))
    return {**value, "window": draw(windows())} if draw(st.booleans()) else value


more = st.builds(
    lambda first, than, times: {"more": {"first": first, "than": than, **times}},
    counted(),
    counted(),
    st.sampled_from([{}, {"times": 2}, {"times": 0.5}]),
)
samples = st.builds(
    lambda percent, salt: {"sample": {"percent": percent, **salt}},
    st.sampled_from([0.1, 10, 33.3, 50, 90, 100]),
    st.sampled_from([{}, {"salt": "spring"}, {"salt": "é'"}]),
)
leaves = st.one_of(
    performed(),
    more,
    sequences(),
    property_conditions.map(lambda p: {"user": p}),
    st.sampled_from(COHORTS).map(lambda key: {"cohort": key}),
)
nodes = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda n: {"all": n}),
        st.lists(inner, min_size=1, max_size=3).map(lambda n: {"any": n}),
        inner.map(lambda n: {"not": n}),
    ),
    max_leaves=4,
)


def depth(node: Any) -> int:
    [(key, value)] = node.items()
    if key in ("all", "any"):
        return 1 + max(map(depth, value))
    return 1 + depth(value) if key == "not" else 1


definitions = st.builds(
    lambda zone, where: {"version": 1, "timezone": zone, "where": where},
    st.sampled_from(ZONES),
    nodes.filter(lambda n: depth(n) <= 6),
)


sampled = nodes.flatmap(
    lambda node: st.one_of(
        samples.map(lambda sample: {"all": [node, sample]}),
        samples.map(lambda sample: {"any": [{"not": sample}, node]}),
        samples.map(lambda sample: {"all": [{"not": sample}, {"not": node}]}),
        st.tuples(samples, samples).map(lambda pair: {"all": [pair[0], {"not": pair[1]}]}),
    )
).filter(lambda n: depth(n) <= 6)
populated = worlds.map(lambda world: world._replace(users={**(world.users or {}), "known": {"p": 1}}))


def crowded(size: int) -> st.SearchStrategy[World]:
    """Two users with many events a few hours apart, so that sequences have something to find."""
    hours = st.integers(0, 40).map(lambda n: AS_OF - timedelta(hours=n))
    names = st.sampled_from(NAMES[:3])
    tagged = st.dictionaries(st.just("p"), st.sampled_from(["jazz", 3]), max_size=1)
    near = st.builds(Event, st.sampled_from(USERS[:2]), names, hours, tagged, st.just(""))
    nobody: dict[str, set[str]] = {key: set() for key in COHORTS}
    return st.lists(near, min_size=size // 2, max_size=size).map(lambda found: World(found, {}, nobody))
