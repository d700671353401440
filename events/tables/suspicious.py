"""Ids that are taken as they stand, and are probably not what somebody meant: counted, with samples."""

import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

SAMPLES = 3
NOTHING = ("null", "nil", "none", "undefined", "nan", "n/a", "na", "(null)", "<null>", "(none)", "\\n", "-")
NOTHING_SPELT = frozenset(
    s for word in NOTHING for s in (word, word.upper(), word.title(), word.capitalize())
)
NOTHING_SPELT |= {"NaN", "-1", "00000000-0000-0000-0000-000000000000"}
UNSEEN = "\u200b\u200c\u200d\u2060\ufeff\xad\u200e\u200f\u202a-\u202e"


# Headings of ours that stand among the ids where files were joined.
HEADINGS_SPELT = frozenset(
    spelt
    for word in ("user_id", "user_ids", "user id", "user-id", "userid")
    for spelt in (word, word.upper(), word.title(), word.capitalize())
) | {"userId", "userIds", "UserId", "UserID"}
# Of these, with line ends, nearly all ids are made; what else a text holds says which kinds it may hold.
PLAIN = (string.ascii_letters + string.digits + "_\n").encode()


class Kind(NamedTuple):
    """One of `signs` is in each such id; `may_hold` looks at a block's text, and `found` at one id."""

    code: str
    words: str
    signs: str
    may_hold: Callable[[str], object]
    found: Callable[[str], object]


def _one_of(*parts: str) -> Callable[[str], bool]:
    return lambda text: any(part in text for part in parts)


def _padded(text: str) -> bool:
    lines = f"\n{text}\n"
    ends = (" \n", "\n ", "\t\n", "\n\t", "\r\n")
    return any(end in lines for end in ends) or not text.isascii()


# The first bytes of what is beyond ASCII stand for all of it.
BEYOND = "\u0080"
CONTROLS = "".join(map(chr, [*range(1, 10), *range(11, 32), 127]))
_NOT_ASCII: Callable[[str], bool] = lambda text: not text.isascii()  # noqa: E731

KINDS = (
    Kind(
        "scientific",
        "a large number that a spreadsheet has rounded",
        "+",
        _one_of("E+", "e+"),
        re.compile(r"[+-]?\d+(?:[.,]\d+)?[eE]\+\d+").fullmatch,
    ),
    Kind(
        "decimal",
        "a number with decimals",
        ".,",
        _one_of(".0", ",0"),
        re.compile(r"[+-]?\d+[.,]0+").fullmatch,
    ),
    Kind(
        "spreadsheet_error",
        "an error of a spreadsheet",
        "#",
        _one_of("#"),
        re.compile(
            r"#(?:N/A|REF!|VALUE!|NAME\?|DIV/0!|NULL!|NUM!|SPILL!|CALC!|NV|WERT!|BEZUG!)|##+"
        ).fullmatch,
    ),
    Kind(
        "object",
        "the name of an object in place of its value",
        "[<",
        _one_of("[object ", " object at 0x"),
        re.compile(r"\[object \w*\]|<[\w.]+ object at 0x[0-9a-fA-F]+>").fullmatch,
    ),
    Kind(
        "placeholder",
        "a placeholder that nobody filled in",
        "{%<",
        _one_of("{", "%", "<"),
        re.compile(r"\{\{.*\}\}|\$?\{[\w. ]+\}|%%?[A-Za-z_]+%%?|<[A-Za-z_ ]+>").fullmatch,
    ),
    Kind("spaces", "spaces around it", " \t\r" + BEYOND, _padded, lambda user_id: user_id != user_id.strip()),
    Kind(
        "unseen",
        "a character that nobody sees",
        CONTROLS + BEYOND,
        re.compile(rf"[\x00-\x09\x0b-\x1f\x7f{UNSEEN}]").search,
        re.compile(rf"[\x00-\x1f\x7f{UNSEEN}]").search,
    ),
    Kind(
        "broken",
        "a character that was broken on the way",
        BEYOND,
        _NOT_ASCII,
        re.compile("\ufffd|Ã[\x80-\xbf]|â€").search,
    ),
    Kind(
        "quoted",
        "quotes around it",
        "'\"" + BEYOND,
        _one_of("'", '"', "”", "’"),
        re.compile(r"'.*'|\".*\"|[“„].*[”“]|‘.*’|'[^']+", re.DOTALL).fullmatch,
    ),
    Kind("separator", "a semicolon or a tab inside", ";\t", _one_of(";", "\t"), _one_of(";", "\t")),
    Kind(
        "frame",
        "a line of a printed table",
        "-=+|() ",
        _one_of("--", "==", "row"),
        re.compile(r"[-+=|\s]{3,}|\(?\d+ rows?(?: (?:affected|selected|returned|in set).*)?\)?").fullmatch,
    ),
)
SPELT = {"nothing": NOTHING_SPELT, "heading": HEADINGS_SPELT}
WORDS = {kind.code: kind.words for kind in KINDS}
WORDS |= {"nothing": "a word for nothing", "heading": "a heading among the ids"}


@dataclass
class Suspicions:
    """What was seen so far: by kind, how many and the first of them."""

    counts: dict[str, int] = field(default_factory=dict)
    samples: dict[str, list[str]] = field(default_factory=dict)

    def look(self, ids: Sequence[str], text: str) -> None:
        """Look at a block of ids; `text` is the same ids, one a line."""
        signs = set(text.encode().translate(None, PLAIN).decode("latin-1"))
        if max(signs, default="") >= BEYOND:
            signs.add(BEYOND)
        for kind in KINDS:
            if not signs.isdisjoint(kind.signs) and kind.may_hold(text):
                self._note(kind.code, [user_id for user_id in ids if kind.found(user_id)])
        for code, spelt in SPELT.items():
            if words := spelt.intersection(ids):
                self._note(code, [user_id for user_id in ids if user_id in words])

    def _note(self, code: str, found: Sequence[str]) -> None:
        if not found:
            return
        self.counts[code] = self.counts.get(code, 0) + len(found)
        samples = self.samples.setdefault(code, [])
        for user_id in found:
            if len(samples) == SAMPLES:
                return
            if user_id[:100] not in samples:
                samples.append(user_id[:100])

    def as_json(self) -> list[dict[str, Any]]:
        """Return each kind with its words, count and samples, the most frequent first."""
        by_count = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return [
            {"kind": code, "words": WORDS[code], "count": count, "samples": self.samples[code]}
            for code, count in by_count
        ]

    def sentence(self) -> str:
        return in_words(self.as_json())


def in_words(found: Sequence[dict[str, Any]]) -> str:
    """Return suspicions, as `as_json` gives them, in one line; '' for none."""
    return "; ".join(
        f"{item['count']:,} with {item['words']} ({', '.join(map(repr, item['samples']))})" for item in found
    )
