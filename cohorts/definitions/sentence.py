"""A definition read back as an English sentence.

Negations are moved down to the conditions, so that the sentence says "did not perform" instead of
"it is not so that they performed".
"""

from cohorts.definitions.grammar import (
    ALL_TIME,
    All,
    AnyOf,
    Calendar,
    Compare,
    Condition,
    Counted,
    Duration,
    Measure,
    More,
    Node,
    Not,
    Nth,
    OneOf,
    Performed,
    Periods,
    Property,
    Sample,
    Sequence,
    Since,
    Step,
    UserProperty,
    Value,
    Where,
    Window,
)
from cohorts.definitions.operators import OPERATORS

UNITS = {"m": "minute", "h": "hour", "d": "day", "w": "week"}
COMPARED = {
    ">=": "at least {}", ">": "more than {}", "<=": "at most {}", "<": "fewer than {}",
    "=": "exactly {}", "between": "between {} and {}",
}  # fmt: skip


def phrase(node: Node, negated: bool = False) -> str:
    """Return a node as a phrase that follows "Users who"."""
    if isinstance(node, Not):
        return phrase(node.node, not negated)
    if isinstance(node, (All, AnyOf)):
        word = "and" if isinstance(node, All) != negated else "or"
        return join([part(child, negated, word) for child in node.nodes], word)
    return condition(node, negated)


def part(node: Node, negated: bool, word: str) -> str:
    """A phrase inside a group; in brackets if it is a group joined by the other word."""
    flipped = negated
    while isinstance(node, Not):
        node, flipped = node.node, not flipped
    text = phrase(node, flipped)
    if isinstance(node, (All, AnyOf)) and len(node.nodes) > 1:
        own = "and" if isinstance(node, All) != flipped else "or"
        return text if own == word else f"({text})"
    return text


def join(parts: list[str], word: str) -> str:
    if len(parts) <= 2:
        return f" {word} ".join(parts)
    return f"{', '.join(parts[:-1])}, {word} {parts[-1]}"


def condition(node: Condition, negated: bool) -> str:
    if isinstance(node, Performed):
        return performed(node, negated)
    if isinstance(node, Sequence):
        return sequence(node, negated)
    if isinstance(node, More):
        return more(node, negated)
    if isinstance(node, Sample):
        salt = f" {quoted(node.salt)}" if node.salt else ""
        return f"are {'not ' if negated else ''}in the sample{salt} of {number(node.percent)} %"
    if isinstance(node, UserProperty):
        return f"{'do not have' if negated else 'have'} {of_property(node.property)}"
    return f"are {'not ' if negated else ''}in the cohort {quoted(node.key)}"


def performed(node: Performed, negated: bool) -> str:
    verb = "did not perform" if negated else "performed"
    words = [
        verb,
        names(node.events),
        filters(node.where),
        measured(node.measure),
        since(node.since),
        when(node.window, node.measure, node.since),
    ]
    text = " ".join(word for word in words if word)
    return f"{text}, or never" if node.or_never else text


def since(value: Since | None) -> str:
    if value is None:
        return ""
    first = " ".join(
        word for word in (names(value.events).removeprefix("any "), filters(value.where)) if word
    )
    return f"within {duration(value.within)} of their first {first}"


def names(events: tuple[str, ...]) -> str:
    return join([quoted(name) for name in events], "or") if events else "any event"


def filters(where: Where) -> str:
    return f"with {join([asked(one, len(where) > 1) for one in where], 'and')}" if where else ""


def asked(one: Property | OneOf, among_others: bool) -> str:
    if isinstance(one, Property):
        return of_property(one)
    text = join([of_property(prop) for prop in one.properties], "or")
    return f"({text})" if among_others and len(one.properties) > 1 else text


def more(node: More, negated: bool) -> str:
    verb = "did not perform" if negated else "performed"
    often = "more often than" if node.times == 1 else f"more than {number(node.times)} times as often as"
    return f"{verb} {counted(node.first)} {often} {counted(node.second)}"


def counted(value: Counted) -> str:
    window = "" if value.window == ALL_TIME else within_window(value.window)
    return " ".join(word for word in (names(value.events), filters(value.where), window) if word)


def measured(measure: Measure | None) -> str:
    if measure is None:
        return ""
    if measure.nth is not None:
        return nth(measure.nth, measure.window)
    if measure.window is not None:
        return f"for the {measure.kind} time {within_window(measure.window)}"
    assert measure.compare is not None
    if measure.periods is not None:
        return periods(measure.periods, measure.compare)
    if measure.kind == "count":
        return times(measure.compare)
    if measure.kind in ("days", "weeks"):
        on, noun = ("on", "different day") if measure.kind == "days" else ("in", "different week")
        return f"{on} {amount(measure.compare)} {plural(measure.compare, noun)}"
    if measure.kind == "distinct":
        return f"with {amount(measure.compare)} different values of {quoted(measure.property or '')}"
    names = {"avg": "average", "min": "smallest", "max": "largest"}
    kind = names.get(measure.kind, measure.kind)
    if measure.kind == "percentile":
        kind = f"{ordinal(measure.percent)} percentile"
    limit = amount(measure.compare).replace("fewer than", "less than")
    return f"with {article(kind)} {kind} of {quoted(measure.property or '')} of {limit}"


def article(noun: str) -> str:
    """Also of a number: "an 8th", "an 11th", "an 85.5th"."""
    return "an" if noun[0] == "a" or noun.startswith(("8", "11th", "18th", "11.", "18.")) else "a"


def periods(value: Periods, compare: Compare) -> str:
    each = f", {times(value.times)} in each" if value.times else ""
    row = " in a row" if value.in_a_row else ""
    on = "on" if value.unit == "day" else "in"
    return f"{on} {amount(compare)} {'' if row else 'different '}{plural(compare, value.unit)}{row}{each}"


def nth(value: Nth, window: Window | None) -> str:
    """`, the third of them with "source" equal to "ad" in the last 30 days`."""
    ordinal_word = {1: "first", -1: "last"}.get(value.n) or ordinal(abs(value.n))
    which = f"{ordinal_word}{' from the last' if value.n < -1 else ''} time"
    return " ".join(
        word
        for word in ("whose", which, "was", filters(value.where), window and within_window(window))
        if word
    )


def ordinal(value: int | float) -> str:
    whole = int(value)
    ending = (
        "th"
        if whole % 100 in (11, 12, 13) or whole != value
        else {1: "st", 2: "nd", 3: "rd"}.get(whole % 10, "th")
    )
    return f"{number(value)}{ending}"


def times(compare: Compare) -> str:
    if compare.op == "=" and compare.values == (1,):
        return "exactly once"
    return f"{amount(compare)} {plural(compare, 'time')}"


def plural(compare: Compare, noun: str) -> str:
    return noun if compare.values[-1] == 1 else f"{noun}s"


def amount(compare: Compare) -> str:
    return COMPARED[compare.op].format(*(number(value) for value in compare.values))


def number(value: int | float) -> str:
    return f"{value:,}"


def when(window: Window, measure: Measure | None, since: Since | None = None) -> str:
    if window == ALL_TIME and since:
        return ""
    if window == ALL_TIME:
        # "at any time" would contradict a count, and first and last already name their window.
        return "at any time" if measure is None else "" if measure.window or measure.nth else "over all time"
    if measure is not None and (measure.window is not None or measure.nth):
        return f"counting only events {within_window(window)}"
    return within_window(window)


def calendar(value: Calendar) -> str:
    if value.unit == "day" and value.previous <= 1:
        return "yesterday" if value.previous else "today"
    if value.previous > 1:
        return f"in the {value.previous:,} whole {value.unit}s before this one"
    return f"{'last' if value.previous else 'this'} {value.unit}"


def within_window(window: Window) -> str:
    if window.calendar:
        return calendar(window.calendar)
    if window.newer and window.older:
        return f"between {duration(window.older)} and {duration(window.newer)} ago"
    if window.older:
        return f"in the last {duration(window.older)}"
    if window.first_day and window.last_day:
        return f"from {window.first_day} through {window.last_day}"
    if window.first_day:
        return f"since {window.first_day}"
    return f"up to {window.last_day}" if window.last_day else "at any time"


def duration(value: Duration) -> str:
    return f"{value.amount:,} {UNITS[value.unit]}{'' if value.amount == 1 else 's'}"


def sequence(node: Sequence, negated: bool) -> str:
    verb = "did not go through" if negated else "went through"
    steps = ", then ".join(step(one) for one in node.steps)
    within = f", within {duration(node.within)}" if node.within else ""
    within = f", all with the same {quoted(node.same)}{within}" if node.same else within
    begun = "" if node.window == ALL_TIME else f", beginning {within_window(node.window)}"
    return f"{verb} [{steps}{within}{begun}]"


def step(value: Step) -> str:
    soon = f"within {duration(value.within)}" if value.within else ""
    text = " ".join(filter(None, [names(value.events), filters(value.where), soon]))
    return f"no {text}" if value.absent else text


def of_property(prop: Property) -> str:
    """`"plan" other than "free"`, `"price" of at least 50`, `"email" set`."""
    operator = OPERATORS[prop.op]
    relation = operator.of_date if prop.type == "date" else operator.phrase
    shown = [str(v) if prop.type == "date" and isinstance(v, str) else literal(v) for v in prop.values]
    said = f"{quoted(prop.name)} {relation} {join(shown, 'and')}".rstrip()
    return f"{said} (in any case)" if prop.ignore_case else said


def literal(value: Value) -> str:
    if isinstance(value, Duration):
        return duration(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return quoted(value) if isinstance(value, str) else number(value)


def quoted(text: str) -> str:
    return f'"{text}"'
