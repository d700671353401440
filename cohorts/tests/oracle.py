"""What a definition means, in plain Python: no SQL, no code of ours, straight from the JSON.

It is slow and obvious, and every engine must give the same members.
"""

import hashlib
import json
import operator
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

MEASURES = (
    "count", "days", "weeks", "periods", "sum", "avg", "median", "percentile", "min", "max", "distinct",
    "first", "last", "nth",
)  # fmt: skip
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


PERIOD_NUMBERS: dict[str, Callable[[date], int]] = {
    "day": date.toordinal,
    "week": lambda d: (d - timedelta(days=d.weekday())).toordinal() // 7,
    "month": lambda d: d.year * 12 + d.month,
    "quarter": lambda d: d.year * 4 + (d.month - 1) // 3,
    "year": lambda d: d.year,
}


class Event(NamedTuple):
    """Without a `user_id` it was done on the `device`."""

    user_id: str
    event: str
    time: datetime
    properties: dict[str, Any]
    device: str = ""


class Merge(NamedTuple):
    """At a time it was said that a device is a user's."""

    device: str
    user_id: str
    time: datetime


class Renamed(NamedTuple):
    """What names that came are called now."""

    events: dict[str, str] = {}
    properties: dict[str, str] = {}
    user_properties: dict[str, str] = {}


class World(NamedTuple):
    """`users` None: there is no users table. `cohorts`: the ids of each. `decided`: whose a device is, by a
    person; "" for nobody's."""

    events: list[Event]
    users: dict[str, dict[str, Any]] | None
    cohorts: dict[str, set[str]]
    merges: list[Merge] = []
    decided: dict[str, str] = {}
    renamed: Renamed = Renamed()


class Properties(dict[str, Any]):
    """As they came, with what they are called now."""

    renamed: dict[str, str]


class NeedsUsers(Exception):
    pass


NOBODY = "a user without events, traits and cohorts"


def members(definition: dict[str, Any], as_of: datetime, world: World) -> set[str]:
    definition, world = renamed(definition, world.renamed.events), as_renamed(world)
    zone, where = ZoneInfo(definition.get("timezone", "UTC")), definition["where"]
    done: dict[str, list[Event]] = {}
    for event in world.events:
        user = event.user_id or owner_of(event.device, world)
        if user and event.time < as_of:
            done.setdefault(user, []).append(event)
    for_everyone = is_true(where, NOBODY, [], as_of, zone, world)
    if world.users is None and ('"user":' in json.dumps(definition) or for_everyone):
        raise NeedsUsers
    known = set(done) | set(world.users or {})
    # Who is in a cohort that the definition names is somebody, with or without events.
    named = json.dumps(definition)
    candidates = known.union(
        *(ids for key, ids in world.cohorts.items() if json.dumps({"cohort": key}) in named)
    )
    return {user for user in candidates if is_true(where, user, done.get(user, []), as_of, zone, world)}


def renamed(value: Any, events: dict[str, str]) -> Any:
    """A definition with the names that its events have now."""
    if isinstance(value, list):
        return [renamed(one, events) for one in value]
    if not isinstance(value, dict):
        return value
    found = {key: renamed(one, events) for key, one in value.items()}
    if isinstance(named := found.get("event"), list):
        found["event"] = [events.get(one, one) for one in named]
    elif named is not None:
        found["event"] = events.get(named, named)
    return found


def as_renamed(world: World) -> World:
    def of(properties: dict[str, Any], names: dict[str, str]) -> Properties:
        found = Properties(properties)
        found.renamed = names
        return found

    events, properties, user_properties = world.renamed
    return world._replace(
        events=[
            e._replace(event=events.get(e.event, e.event), properties=of(e.properties, properties))
            for e in world.events
        ],
        users=None
        if world.users is None
        else {user: of(traits, user_properties) for user, traits in world.users.items()},
    )


def owner_of(device: str, world: World) -> str:
    """Whoever it was said to be first, unless a person decided it; of two at one time the greater."""
    said = [merge for merge in world.merges if merge.device == device]
    first = min((merge.time for merge in said), default=None)
    return world.decided.get(device, max((m.user_id for m in said if m.time == first), default=""))


def is_true(
    node: dict[str, Any], user: str, mine: list[Event], as_of: datetime, zone: ZoneInfo, world: World
) -> bool:
    [(key, value)] = node.items()
    if key == "all":
        return all(is_true(child, user, mine, as_of, zone, world) for child in value)
    if key == "any":
        return any(is_true(child, user, mine, as_of, zone, world) for child in value)
    if key == "not":
        return not is_true(value, user, mine, as_of, zone, world)
    if key == "cohort":
        return user in world.cohorts[value]
    if key == "more":
        first, second = (
            sum(matches(e, of, as_of) and inside(e.time, of.get("window"), as_of, zone) for e in mine)
            for of in (value["first"], value["than"])
        )
        return bool(first > second * Fraction(value.get("times", 1)))
    if key == "sample":
        hashed = hashlib.md5(f"{value.get('salt', '')}:{user}".encode()).hexdigest()
        return int(hashed[:8], 16) < int(round(value["percent"] / 100 * 2**32))
    if key == "user":
        return holds(value, (world.users or {}).get(user, {}), as_of)
    return (performed if key == "performed" else sequence)(value, mine, as_of, zone)


def matches(event: Event, value: dict[str, Any], as_of: datetime) -> bool:
    names = value["event"] if isinstance(value["event"], list) else [value["event"]]
    named = names == ["*"] or event.event in names
    return named and all(
        any(holds(p, event.properties, as_of) for p in one.get("any", [one]))
        for one in value.get("where", [])
    )


def performed(value: dict[str, Any], mine: list[Event], as_of: datetime, zone: ZoneInfo) -> bool:
    found = [e for e in mine if matches(e, value, as_of) and inside(e.time, value.get("window"), as_of, zone)]
    if "after_first" in value:
        begun = [e.time for e in mine if matches(e, value["after_first"], as_of)]
        end = min(begun, default=as_of) + hours(value["after_first"]["within"])
        found = [e for e in found if begun and min(begun) <= e.time < end]
    measure = next((key for key in MEASURES if key in value), None)
    if not found:
        return bool(value.get("or_never"))
    if measure is None:
        return True
    wanted = value[measure]
    if measure in ("first", "last"):
        moment = (min if measure == "first" else max)(e.time for e in found)
        return inside(moment, wanted, as_of, zone)
    if measure == "count":
        return compares(len(found), wanted)
    if measure == "days":
        return compares(len({e.time.astimezone(zone).date() for e in found}), wanted)
    if measure == "weeks":
        return compares(len({e.time.astimezone(zone).isocalendar()[:2] for e in found}), wanted)
    if measure == "periods":
        return in_periods(found, wanted, zone)
    if measure == "nth":
        return any(is_nth(e, found, wanted, as_of, zone) for e in found)
    values = [value_of(wanted["property"], e.properties) for e in found]
    if measure == "distinct":
        return compares(len({distinct_key(v) for v in values if v is not None}), wanted)
    numbers = [Fraction(n) for n in map(as_number, values) if n is not None]
    if not numbers:
        return False
    total = sum(numbers, Fraction(0))
    amount = {
        "sum": total,
        "avg": total / len(numbers),
        "median": quantile(numbers, Fraction(1, 2)),
        "percentile": quantile(numbers, Fraction(wanted.get("percent", 50)) / 100),
        "min": min(numbers),
        "max": max(numbers),
    }[measure]
    return compares(round(amount, 6), wanted)


def quantile(numbers: list[Fraction], share: Fraction) -> Fraction:
    """Between the two values that are next to it, in proportion."""
    numbers = sorted(numbers)
    position = share * (len(numbers) - 1)
    low = int(position)
    high = min(low + 1, len(numbers) - 1)
    return numbers[low] + (numbers[high] - numbers[low]) * (position - low)


def in_periods(found: list[Event], wanted: dict[str, Any], zone: ZoneInfo) -> bool:
    number = PERIOD_NUMBERS[wanted["of"]]
    counted = Counter(number(e.time.astimezone(zone).date()) for e in found)
    enough = {p for p, times in counted.items() if "times" not in wanted or compares(times, wanted["times"])}
    amount = len(enough)
    if wanted.get("in_a_row"):
        amount = max((run_from(p, enough) for p in enough), default=0)
    return amount > 0 and compares(
        amount, {k: v for k, v in wanted.items() if k not in ("of", "times", "in_a_row")}
    )


def run_from(first: int, those: set[int]) -> int:
    return next(n for n in range(1, len(those) + 2) if first + n not in those)


def is_nth(event: Event, found: list[Event], wanted: dict[str, Any], as_of: datetime, zone: ZoneInfo) -> bool:
    """Events of one instant have all the places that they fill."""
    n = wanted["n"]
    before = sum(e.time < event.time if n > 0 else e.time > event.time for e in found)
    together = sum(e.time == event.time for e in found)
    is_there = before < abs(n) <= before + together
    held = matches(event, {"event": "*", "where": wanted.get("where", [])}, as_of)
    return is_there and held and inside(event.time, wanted.get("window"), as_of, zone)


def compares(amount: Fraction | float | str, wanted: dict[str, Any]) -> bool:
    [(op, limit)] = [(k, v) for k, v in wanted.items() if k not in ("property", "type", "percent")]
    if op == "between":
        return bool(limit[0] <= amount <= limit[1])
    return bool(OPERATORS[op](amount, limit))


def inside(moment: datetime, window: Any, as_of: datetime, zone: ZoneInfo) -> bool:
    if moment >= as_of:
        return False
    if window is None or window == "all_time":
        return True
    if "last" in window:
        return moment >= as_of - hours(window["last"])
    if "between_ago" in window:
        older, newer = window["between_ago"]
        return as_of - hours(older) <= moment < as_of - hours(newer)
    day = moment.astimezone(zone).date()
    if "this" in window or "previous" in window:
        return in_calendar(day, window, as_of.astimezone(zone).date())
    first = date.fromisoformat(window.get("from", "1900-01-01"))
    return first <= day <= date.fromisoformat(window.get("to", "2999-01-01"))


def in_calendar(day: date, window: dict[str, Any], today: date) -> bool:
    """Count the periods that lie between the day's and today's."""
    number = PERIOD_NUMBERS[window.get("this") or window["previous"]]
    ago = number(today) - number(day)
    return ago == 0 if "this" in window else 1 <= ago <= window.get("count", 1)


def hours(duration: str) -> timedelta:
    return timedelta(minutes=int(duration[:-1]) * {"m": 1, "h": 60, "d": 1440, "w": 10080}[duration[-1]])


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def as_number(value: Any) -> float | None:
    text = as_text(value)
    is_number = re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", text)
    return float(text) if is_number else None


def as_list(value: Any) -> list[Any] | None:
    """A list, or a text that is one in JSON: a file of ours does not tell them apart."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return [v for v in value if v is not None] if isinstance(value, list) else None


def as_instant(value: Any) -> datetime | None:
    text = as_text(value)
    if re.fullmatch("[1-9][0-9]{8,9}|[1-9][0-9]{11,12}", text):
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
            milliseconds=int(text) * (1 if len(text) > 10 else 1000)
        )
    if not re.match(r"\d{4}-\d\d-\d\d", text):
        return None
    try:
        found = datetime.fromisoformat(text.replace(" UTC", "Z"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def distinct_key(value: Any) -> Any:
    listed = as_list(value)
    if listed is not None:
        return ("list", *map(as_text, listed))
    number = as_number(value)
    return as_text(value) if number is None else Fraction(number)


def value_of(name: str, properties: dict[str, Any]) -> Any:
    """The first value of all the names that it has or had, and that the property has which it leads into."""
    names = properties.renamed if isinstance(properties, Properties) else {}
    for one in called(name, names):
        outer = re.split(r"\.|\[\]", one)[0]
        others = [c for c in called(outer, names) if c == outer or re.fullmatch(r'[^."\\\[\]]+', c)]
        for other in others if outer != one and outer else [one]:
            value = sent_as(other + one[len(outer) :] if other != one else one, properties)
            if value is not None:
                return value
    return None


def called(name: str, names: dict[str, str]) -> list[str]:
    now = names.get(name, name)
    return [now, *sorted(old for old in names if names[old] == now)]


def sent_as(name: str, properties: dict[str, Any]) -> Any:
    """The property of that name, or what the name leads to: a list of what is in each element of a list."""
    if properties.get(name) is not None:
        return properties[name]
    outer, each, inner = name.partition("[].")
    value = descend(outer, properties)
    if not each:
        return value
    found = [descend(inner, one) for one in value if leads(inner, one)] if isinstance(value, list) else []
    return found or None


def leads(name: str, value: Any) -> bool:
    outer, _, last = name.rpartition(".")
    within = descend(outer, value) if outer else value
    return isinstance(within, dict) and last in within


def descend(name: str, value: Any) -> Any:
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


NEGATIVE = {"!=": "=", "not_in": "in", "not_contains": "contains", "is_not_set": "is_set"}


def holds(prop: dict[str, Any], properties: dict[str, Any], as_of: datetime) -> bool:
    [(op, wanted)] = [(k, v) for k, v in prop.items() if k not in ("property", "type", "ignore_case")]
    value = value_of(prop["property"], properties)
    if op in NEGATIVE:
        rest = {key: value for key, value in prop.items() if key != op}
        return not holds({**rest, NEGATIVE[op]: wanted}, properties, as_of)
    if value is None:
        return False
    if op == "is_set":
        return True
    listed = as_list(value)
    if listed is None:
        return one_holds(prop, op, wanted, value, as_of)
    whole = [
        as_list(w) for w in ([wanted] if op == "=" else wanted if op == "in" else []) if isinstance(w, str)
    ]
    if any(w is not None and w and [as_text(e) for e in w] == [as_text(e) for e in listed] for w in whole):
        return True
    return any(one_holds(prop, "=" if op == "contains" else op, wanted, e, as_of) for e in listed)


def one_holds(prop: dict[str, Any], op: str, wanted: Any, value: Any, as_of: datetime) -> bool:
    if prop.get("type") == "date" or op in ("last", "next"):
        moment = as_instant(value)
        return moment is not None and date_holds(op, wanted, moment, as_of)
    if op == "in":
        return any(one_holds(prop, "=", one, value, as_of) for one in wanted)
    if prop.get("ignore_case") and op != "matches":
        value, wanted = as_text(value).lower(), wanted.lower()
    if op in ("contains", "starts_with", "ends_with"):
        has = {"contains": str.__contains__, "starts_with": str.startswith, "ends_with": str.endswith}
        return bool(has[op](as_text(value), wanted))
    if op == "matches":
        flags = re.ASCII | (re.IGNORECASE if prop.get("ignore_case") else 0)
        return bool(re.search(wanted, as_text(value), flags))
    sample = wanted[0] if op == "between" else wanted
    if isinstance(sample, bool):
        return as_text(value) == as_text(sample)
    comparable = as_text(value) if isinstance(sample, str) else as_number(value)
    return comparable is not None and compares(comparable, {op: wanted})


def date_holds(op: str, wanted: Any, moment: datetime, as_of: datetime) -> bool:
    if op == "last":
        return as_of - hours(wanted) <= moment < as_of
    if op == "next":
        return as_of <= moment < as_of + hours(wanted)
    if op == "in":
        return moment in [as_instant(one) for one in wanted]
    if op == "between":
        low, high = map(as_instant, wanted)
        assert low and high
        return low <= moment <= high
    return bool(OPERATORS[op](moment, as_instant(wanted)))


def sequence(value: dict[str, Any], mine: list[Event], as_of: datetime, zone: ZoneInfo) -> bool:
    if "same" in value:
        rest = {k: v for k, v in value.items() if k != "same"}
        kept: dict[Any, list[Event]] = {}
        for e in mine:
            if (found := value_of(value["same"], e.properties)) is not None:
                kept.setdefault(distinct_key(found), []).append(e)
        return any(sequence(rest, group, as_of, zone) for group in kept.values())
    return any(
        matches(e, value["steps"][0], as_of)
        and inside(e.time, value.get("window"), as_of, zone)
        and goes_on(value["steps"], 1, e.time, e.time, [], value.get("within"), mine, as_of)
        for e in mine
    )


def goes_on(
    steps: list[dict[str, Any]],
    index: int,
    begun: datetime,
    last: datetime,
    absent: list[dict[str, Any]],
    within: str | None,
    mine: list[Event],
    as_of: datetime,
) -> bool:
    """Try every event for every step: is there one chain that fulfils the rest of the steps?"""
    end = begun + hours(within) if within else None
    if index == len(steps):
        if not absent:
            return True
        assert end is not None
        return end <= as_of and not happened(absent, last, end, mine, as_of)
    step = steps[index]
    if step.get("absent"):
        return goes_on(steps, index + 1, begun, last, [*absent, step], within, mine, as_of)
    return any(
        goes_on(steps, index + 1, begun, e.time, [], within, mine, as_of)
        for e in mine
        if e.time > last
        and (end is None or e.time < end)
        and ("within" not in step or e.time - last < hours(step["within"]))
        and matches(e, step, as_of)
        and not happened(absent, last, e.time, mine, as_of)
    )


def happened(
    steps: list[dict[str, Any]], after: datetime, before: datetime, mine: list[Event], as_of: datetime
) -> bool:
    return any(after < e.time < before and matches(e, step, as_of) for e in mine for step in steps)
