"""A list of texts, numbers, true and false, as JSON: what a property may hold in place of one value."""

import json
import re

from events.layout import NUMBER_PATTERN

HEX = "[0-9a-fA-F]"
# Without NUL and half of a pair, which not every engine takes.
UNICODE = (
    f"u(?:0{{3}}[1-9a-fA-F]|00[1-9a-fA-F]{HEX}|0[1-9a-fA-F]{HEX}{{2}}|[1-9a-cA-CeEfF]{HEX}{{3}}|[dD][0-7]{HEX}{{2}}"
    rf"|[dD][89abAB]{HEX}{{2}}\\u[dD][c-fC-F]{HEX}{{2}})"
)
STRING = rf'"(?:[^"\\[:cntrl:]]|\\["\\/bfnrt]|\\{UNICODE})*"'
ELEMENT = f"(?:{STRING}|{NUMBER_PATTERN}|true|false|null)"
FLAT_LIST = rf"^\[ *(?:{ELEMENT} *(?:, *{ELEMENT} *)*)?\]$"
PYTHON = re.compile(FLAT_LIST.replace("[:cntrl:]", "\\x00-\\x1f\\x7f"), re.ASCII)


def elements_of(text: str) -> list[str] | None:
    """Return the elements of a list as texts, without null; None when the text is no such list."""
    if not text.startswith("[") or not PYTHON.fullmatch(text):
        return None
    found = json.loads(text, parse_int=str, parse_float=str)
    return [json.dumps(one) if isinstance(one, bool) else one for one in found if one is not None]
