"""From JSON to a Definition, or to every problem with its place and what to do about it."""

# `return self.wrong(…)` says what is wrong and returns the None that means "not parsed".
# mypy: disable-error-code="func-returns-value"

import difflib
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from cohorts.definitions.definition import Definition, DefinitionError
from cohorts.definitions.grammar import (
    ALL_TIME,
    All,
    AnyOf,
    CohortReference,
    Counted,
    More,
    Node,
    Not,
    Performed,
    Sample,
    Sequence,
    Step,
    UserProperty,
)
from cohorts.definitions.parse_measure import MAX_CONDITIONS, MEASURES, MeasureParser
from cohorts.definitions.shapes import kind_of

MAX_DEPTH = 6
NODES = ("all", "any", "not", "performed", "more", "sequence", "user", "cohort", "sample")


def parse(value: object) -> Definition:
    """Return the definition that a JSON value states, or raise DefinitionError with all its problems."""
    parser = Parser()
    definition = parser.definition(value)
    if parser.problems or definition is None:
        raise DefinitionError(parser.problems)
    return definition


@cache
def timezones() -> frozenset[str]:
    """Read from the disk once: the names are some hundred files."""
    return frozenset(available_timezones())


class Parser(MeasureParser):
    """Collects problems instead of stopping at the first. A method returns None when it found one."""

    def __init__(self) -> None:
        super().__init__()
        self.conditions = 0

    # --- The tree ---------------------------------------------------------------------------

    def definition(self, value: object) -> Definition | None:
        given = self.mapping(value, "", ("version", "timezone", "where"), "key of a definition")
        if given is None:
            return None
        if type(given.get("version")) is not int or given["version"] != 1:
            said = f"version {given['version']!r} is not known here" if "version" in given else "is missing"
            self.wrong("/version", f'{said}; write "version": 1')
        timezone = self.timezone(given.get("timezone", "UTC"))
        if "where" not in given:
            self.wrong("/where", 'is missing; it holds the condition, such as {"performed": {"event": "…"}}')
            return None
        where = self.node(given["where"], "/where", 1)
        if self.conditions > MAX_CONDITIONS:
            self.wrong("/where", f"has {self.conditions} conditions; at most {MAX_CONDITIONS} are allowed")
        return Definition(where, timezone) if where is not None and timezone else None

    def timezone(self, value: object) -> str | None:
        path = "/timezone"
        if not isinstance(value, str):
            return self.wrong(path, f'a time zone is a name such as "Europe/Berlin", not {kind_of(value)}')
        if value not in timezones():
            near = difflib.get_close_matches(value, timezones(), n=1)
            advice = f'did you mean "{near[0]}"?' if near else 'use a name such as "Europe/Berlin"'
            return self.wrong(path, f'unknown time zone "{value}"; {advice}')
        return ZoneInfo(value).key

    def node(self, value: object, path: str, depth: int) -> Node | None:
        if depth > MAX_DEPTH:
            return self.wrong(path, f"conditions are nested more than {MAX_DEPTH} deep; flatten the groups")
        given = self.mapping(value, path, NODES, "condition")
        if given is None:
            return None
        keys = [key for key in given if key in NODES]
        if len(keys) != 1:
            if keys or not given:
                said = "has " + (" and ".join(f'"{k}"' for k in keys) if keys else "nothing in it")
                self.wrong(path, f'{said}; a condition has exactly one key: join several with "all" or "any"')
            return None
        key = keys[0]
        inner, below = given[key], f"{path}/{key}"
        if key in ("all", "any"):
            nodes: tuple[Node, ...] | None = self.list_of(
                inner, below, f'"{key}"', 1, MAX_CONDITIONS, lambda v, p: self.node(v, p, depth + 1)
            )
            return None if nodes is None else All(nodes) if key == "all" else AnyOf(nodes)
        if key == "not":
            node = self.node(inner, below, depth + 1)
            return None if node is None else Not(node)
        return self.condition(key, inner, below)

    def condition(self, key: str, value: object, path: str) -> Node | None:
        self.conditions += 1
        if key == "performed":
            return self.performed(value, path)
        if key == "sequence":
            return self.sequence(value, path)
        if key == "more":
            return self.more(value, path)
        if key == "sample":
            return self.sample(value, path)
        if key == "user":
            user_property = self.property(value, path)
            return UserProperty(user_property) if user_property else None
        cohort = self.text(value, path, "the key of a cohort")
        return CohortReference(cohort) if cohort else None

    # --- What people did --------------------------------------------------------------------

    def performed(self, value: object, path: str) -> Performed | None:
        keys = ("event", "where", "window", "after_first", "or_never", *MEASURES)
        given = self.mapping(value, path, keys, 'key of "performed"')
        if given is None:
            return None
        events = self.events(given, path)
        where = self.where(given, path)
        window = self.window(given["window"], f"{path}/window") if "window" in given else ALL_TIME
        since = self.since(given["after_first"], f"{path}/after_first") if "after_first" in given else None
        measured = [key for key in given if key in MEASURES]
        measure = None
        if len(measured) > 1:
            self.wrong(
                path, f'has "{measured[0]}" and "{measured[1]}"; measure one thing, join two with "all"'
            )
        elif measured:
            measure = self.measure(measured[0], given[measured[0]], f"{path}/{measured[0]}")
        or_never = given.get("or_never", False)
        if not isinstance(or_never, bool):
            self.wrong(f"{path}/or_never", f"is true or false, not {kind_of(or_never)}")
        elif or_never and not measured:
            self.wrong(f"{path}/or_never", "without a measure holds for everyone; add one, such as count")
        if events is None or where is None or window is None:
            return None
        return Performed(events, where, window, measure, bool(or_never), since)

    def more(self, value: object, path: str) -> More | None:
        given = self.mapping(value, path, ("first", "than", "times"), 'key of "more"')
        if given is None:
            return None
        missing = [key for key in ("first", "than") if key not in given]
        for key in missing:
            self.wrong(
                f"{path}/{key}", 'is missing; "more" compares the events of "first" with those of "than"'
            )
        times = self.number(given.get("times", 1), f"{path}/times")
        if times is not None and times <= 0:
            return self.wrong(f"{path}/times", "is a number above zero")
        if missing or times is None:
            return None
        first, second = (
            self.counted(given["first"], f"{path}/first"),
            self.counted(given["than"], f"{path}/than"),
        )
        return More(first, second, times) if first and second else None

    def counted(self, value: object, path: str) -> Counted | None:
        given = self.mapping(value, path, ("event", "where", "window"), "key of counted events")
        if given is None:
            return None
        events, where = self.events(given, path), self.where(given, path)
        window = self.window(given["window"], f"{path}/window") if "window" in given else ALL_TIME
        return None if events is None or where is None or window is None else Counted(events, where, window)

    def sample(self, value: object, path: str) -> Sample | None:
        given = self.mapping(value, path, ("percent", "salt"), 'key of "sample"')
        if given is None:
            return None
        if "percent" not in given:
            return self.wrong(f"{path}/percent", 'is missing; write {"percent": 10, "salt": "spring"}')
        percent, salt = self.number(given["percent"], f"{path}/percent"), given.get("salt", "")
        if percent is not None and not 0 < percent <= 100:
            return self.wrong(f"{path}/percent", "is a number above 0, at most 100")
        if not isinstance(salt, str):
            return self.wrong(f"{path}/salt", f"is a string, not {kind_of(salt)}")
        if percent is None or not self.storable(salt, f"{path}/salt", "a salt"):
            return None
        return Sample(percent, salt)

    def sequence(self, value: object, path: str) -> Sequence | None:
        given = self.mapping(value, path, ("steps", "within", "window", "same"), 'key of "sequence"')
        if given is None:
            return None
        if "steps" not in given:
            return self.wrong(f"{path}/steps", "is missing; a sequence has 2 to 6 steps")
        steps = self.list_of(given["steps"], f"{path}/steps", '"steps"', 2, 6, self.step)
        within = self.duration(given["within"], f"{path}/within") if "within" in given else None
        window = self.window(given["window"], f"{path}/window") if "window" in given else ALL_TIME
        same = self.text(given["same"], f"{path}/same", "a property's name") if "same" in given else None
        if steps is None or window is None or ("within" in given and within is None):
            return None
        if steps[0].absent:
            self.wrong(f"{path}/steps/0", "the first step cannot be absent; begin with what happened")
        elif steps[0].within:
            self.wrong(f"{path}/steps/0", 'the first step has none before it: its time is the "window"')
        elif steps[-1].absent and within is None:
            last = f"{path}/steps/{len(steps) - 1}"
            self.wrong(last, 'an absent last step needs "within", or it can never be decided')
        return Sequence(steps, within, window, same)

    def step(self, value: object, path: str) -> Step | None:
        given = self.mapping(value, path, ("event", "where", "absent", "within"), "key of a step")
        if given is None:
            return None
        events, where, absent = self.events(given, path), self.where(given, path), given.get("absent", False)
        if not isinstance(absent, bool):
            return self.wrong(f"{path}/absent", f"is true or false, not {kind_of(absent)}")
        within = self.duration(given["within"], f"{path}/within") if "within" in given else None
        if absent and within:
            self.wrong(
                f"{path}/within", "an absent step has no time of its own; give it to the step that follows"
            )
        return None if events is None or where is None else Step(events, where, absent, within)
