"""Patterns that mean the same on every engine: the part of regular expressions that they all share."""

import re

CLASSES = {"d": "0-9", "w": "A-Za-z0-9_", "s": " \\t\\n\\r\\f\\v"}
MOST_REPEATS = 100
REPEAT = re.compile(r"\{([0-9]{1,3})(,([0-9]{1,3})?)?\}")
BRACKET = re.compile(r"\[(\^?)((?:[^\\\[\]^]|\\.)(?:[^\\\[\]]|\\.)*)\]", re.DOTALL)


class BadPattern(ValueError):
    """The message says what is wrong, as a phrase that follows the place."""


def portable(pattern: str) -> str:
    """Return the pattern as every engine reads it: classes spelled out, a dot that stops at a line's end.

    Raises BadPattern for what only some of them know (look-around, back references, lazy repeats …).
    """
    parts: list[str] = []
    at, repeatable = 0, False
    while at < len(pattern):
        part, at, repeatable = token(pattern, at, repeatable)
        parts.append(part)
    found = "".join(parts)
    try:
        re.compile(found)
    except (re.error, OverflowError, RecursionError) as error:
        raise BadPattern(f"is no pattern: {error}") from None
    return found


def token(pattern: str, at: int, repeatable: bool) -> tuple[str, int, bool]:
    """Return what stands at a place, where the next one is, and whether a repeat may follow."""
    char = pattern[at]
    if char == "\\":
        return escaped(pattern, at), at + 2, True
    if char == "[":
        return bracket(pattern, at)
    if char in "*+?{":
        return repeat(pattern, at, repeatable)
    if char == "(":
        if pattern.startswith("(?", at) and not pattern.startswith("(?:", at):
            raise BadPattern(f"has {pattern[at : at + 3]!r}, which not every engine knows")
        return ("(?:", at + 3, False) if pattern.startswith("(?:", at) else ("(", at + 1, False)
    if char in "]}":
        raise BadPattern(f"has a {char!r} alone; write \\{char}")
    return ("[^\\n]" if char == "." else char), at + 1, char not in "|^$"


def escaped(pattern: str, at: int) -> str:
    sign = pattern[at + 1 : at + 2]
    if sign.lower() in CLASSES and sign:
        return f"[{'^' if sign.isupper() else ''}{CLASSES[sign.lower()]}]"
    if sign.isascii() and sign and not sign.isalnum() and sign.isprintable() and sign != " ":
        return f"\\{sign}"
    raise BadPattern(f"has \\{sign}, which not every engine knows; use \\d, \\w, \\s or a sign such as \\.")


def bracket(pattern: str, at: int) -> tuple[str, int, bool]:
    match = BRACKET.match(pattern, at)
    if match is None:
        raise BadPattern("has a [ that is not closed, or one within another; write \\[ for the sign")
    inside = re.sub(r"\\(.)", within_bracket, match[2], flags=re.DOTALL)
    return f"[{match[1]}{inside}]", match.end(), True


def within_bracket(match: re.Match[str]) -> str:
    sign = match[1]
    if sign in CLASSES:
        return CLASSES[sign]
    if sign.isascii() and not sign.isalnum() and sign.isprintable():
        return f"\\{sign}"
    raise BadPattern(f"has [\\{sign}], which not every engine knows")


def repeat(pattern: str, at: int, repeatable: bool) -> tuple[str, int, bool]:
    match = REPEAT.match(pattern, at) if pattern[at] == "{" else None
    if not repeatable or (pattern[at] == "{" and match is None):
        raise BadPattern(
            f"has {pattern[at]!r} where nothing can be repeated; write \\{pattern[at]} for the sign"
        )
    if match is None:
        return pattern[at], at + 1, False
    if int(match[1]) > MOST_REPEATS or int(match[3] or 0) > MOST_REPEATS:
        raise BadPattern(f"repeats more than {MOST_REPEATS} times")
    return match[0], match.end(), False
