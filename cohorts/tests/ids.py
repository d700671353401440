"""User ids that have broken something somewhere, and a function for cohorts made of them."""

from cohorts.models import Cohort

# In byte order these mix with each other: accents composed and not, a private-use character beside an
# emoji (UTF-16 would swap them), quotes of three languages, line breaks, control characters.
WEIRD = [
    "a",
    "A",
    "B",
    "aa",
    "a b",
    " lead",
    "trail ",
    "é",
    "e\u0301",
    "\uffff",
    "\U00010000",
    "😀",
    "ß",
    "ﬀ",
    "ff",
    "ı",
    "İ",
    "it's",
    'say "hi"',
    '"',
    "'",
    "back\\slash",
    "\\",
    "two\nlines",
    "carriage\rreturn",
    "tab\there",
    "\x01",
    "unit\x1f",
    "\x7f",
    "next\x85line",
    "line\u2028",
    "\ufeffbom",
    "%s",
    "%",
    "{}",
    "a,b",
    "=1+1",
    "0",
    "10",
    "9",
    "-1",
    "null",
    "x" * 1024,
    "é" * 512,
    "עברית",
    "\u202eevil",
]


def make_cohort(key: str = "buyers", **values) -> Cohort:
    return Cohort.objects.create(key=key, name=values.pop("name", key.title()), **values)
