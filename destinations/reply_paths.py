"""Reading a reply's body: parsed as far as it goes, and what stands at a dotted path of it. Pure.

A path is dotted (`error.code`); lists on the way are looked through item by item, and a number picks one.
"""

import json
from collections.abc import Iterator, Sequence


def parse_reply(body: bytes, *, cut: bool = False) -> object:
    """Return the parsed JSON of a reply, numbers as the text that they were, or None if it is none.

    Numbers stay text because a list id beyond 64 bits must not become a float. One value a line (NDJSON)
    is a list. cut: the reply went on after `body`; what is whole of it is returned.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = body.decode("utf-8-sig", errors="replace")
        if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
            text = body.decode("utf-16", errors="replace")
    if cut:
        text = _closed(text)
    try:
        return _loads(text)
    except (ValueError, RecursionError):
        return _lines(text)


def look(value: object, path: str) -> Iterator[object]:
    """Yield what stands at a dotted path of parsed JSON; of a list there, its items."""
    for found in find(value, path):
        yield from found if isinstance(found, list) else (found,)


def find(value: object, path: str) -> Iterator[object]:
    """Yield what stands at a dotted path of parsed JSON, a list there as it is."""
    key, _, rest = path.partition(".")
    if isinstance(value, list) and not (key.isdecimal() and key.isascii()):
        for item in value:
            yield from find(item, path)
        return
    if isinstance(value, dict) and key in value:
        found = value[key]
    elif isinstance(value, list) and int(key[:9]) < len(value):
        found = value[int(key[:9])]
    else:
        return
    if rest:
        yield from find(found, rest)
    else:
        yield found


def texts(data: object, paths: Sequence[str]) -> list[str]:
    """Return the texts and numbers at these paths, but for empty ones."""
    return [found for path in paths for found in look(data, path) if isinstance(found, str) and found]


def _loads(text: str) -> object:
    return json.loads(text, parse_int=str, parse_float=str, parse_constant=str)


def _lines(text: str) -> object:
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        return None
    try:
        return [_loads(line) for line in lines]
    except (ValueError, RecursionError):
        return None


def _closed(text: str) -> str:
    """Return the head of a JSON text up to its last comma, with what is open there closed."""
    open_at: list[str] = []
    quoted = escaped = False
    cut_at, closers = 0, ""
    for index, char in enumerate(text):
        if quoted:
            quoted = char != '"' or escaped
            escaped = char == "\\" and not escaped
        elif char == '"':
            quoted = True
        elif char in "{[":
            open_at.append("}" if char == "{" else "]")
        elif char in "}]" and open_at:
            open_at.pop()
        elif char == ",":
            cut_at, closers = index, "".join(reversed(open_at))
    return text[:cut_at] + closers
