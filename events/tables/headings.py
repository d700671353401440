"""Which first lines are headings, and which column holds the user ids: one list for members and events."""

import re
from collections.abc import Sequence

from events.tables.errors import NoSuchColumn, Unsure

# Columns that hold our user id whatever stands beside them, compared as `plain` writes them.
OURS = frozenset({"userid", "userids", "useridentifier"})
# What else a column of ids is called by those who export them.
_OTHERS = """
    id ids uid uids uuid uuids guid guids user users username usernames login logins
    customer customers customerid customerids customeridentifier clientid clientids memberid memberids
    contactid contactids personid personids profileid profileids accountid accountids subscriberid
    subscriberids visitorid visitorids playerid playerids leadid leadids shopperid buyerid recipientid
    distinctid distinctids mixpaneldistinctid amplitudeid amplitudeids externalid externalids externaluserid
    externalcustomerid anonymousid anonymousids deviceid deviceids canonicaluserid identity identifier
    identifiers email emails emailaddress emailaddresses mail useremail customeremail useruuid useruid
"""
KNOWN = OURS | frozenset(_OTHERS.split())
# The last word of what is plainly a heading, though we do not know it.
_LAST = """
    id ids uid uuid guid key keys email emails mail address identifier number no nr nummer code login name
    names user users customer customers member members contact contacts client clients person account
"""
LAST_WORDS = frozenset(_LAST.split())
LAST_PARTS = ("nummer", "number", "kennung", "identifier")
# Columns that hold the user id of an event: an e-mail address or a device may stand beside it.
OF_EVENTS = OURS | {
    "customerid",
    "distinctid",
    "externalid",
    "externaluserid",
    "personid",
    "memberid",
    "clientid",
}
DIGITS, EMAIL = re.compile(r"\d+"), re.compile(r"[^@\s]+@[^@\s]+")
UUID = re.compile(r"[0-9A-Fa-f]{8}-?(?:[0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12}")


def plain(heading: str) -> str:
    """Return a heading without what people spell differently: case, spaces, underscores, hyphens, dollars."""
    return re.sub(r"[\s_$:#\-]", "", heading.strip(" \t\ufeff\"'`[]").lower())


def is_known(cell: str, names: frozenset[str] = KNOWN) -> bool:
    """Say whether a cell is a known heading of user ids, bare or after its table: `Person.id`."""
    return plain(cell.rpartition(".")[2]) in names or plain(cell.replace(".", "")) in names


def looks_like_heading(first: str, others: Sequence[str]) -> bool:
    """Say whether the first line of one column, no known heading, may well be one.

    By its words (`crm contact id`), or since it is unlike all the others, of which there are two or more.
    """
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_]+", first)
    if words and not any(word.isdigit() for word in words) and "@" not in first:
        last = words[-1].lower()
        if (last in LAST_WORDS and len(words) > 1) or last.endswith(LAST_PARTS):
            return True
    if len(others) < 2:
        return False
    if any(all(map(kind.fullmatch, others)) and not kind.fullmatch(first) for kind in (DIGITS, EMAIL, UUID)):
        return True
    wordy = not any(c.isdigit() or c == "@" for c in first)
    if wordy and all(any(c.isdigit() or c == "@" for c in other) for other in others):
        return True
    return " " in first.strip() and not any(" " in other.strip() for other in others)


def column_of_ids(columns: Sequence[str], asked: str, *, heading: bool) -> int:
    """Return the index of the column with the user ids.

    `columns`: the cells of the first row, a heading or not. `asked`: the column's heading, or its number
    from 1 on where no heading says that; '' to find it by the known headings. Raises NoSuchColumn, or
    Unsure when there is none or more than one.
    """
    if asked:
        return _named(columns, asked, heading=heading)
    if len(columns) == 1:
        return 0
    shown = ", ".join(name[:50] for name in columns[:20])
    if heading:
        for names in (OURS, KNOWN):
            found = [index for index, name in enumerate(columns) if is_known(name, names)]
            if len(found) == 1:
                return found[0]
            if found:
                both = ", ".join(columns[index][:50] for index in found)
                raise Unsure(f"Several columns may hold the user ids: {both}. Name the one.", "column")
    raise Unsure(
        f"The file has {len(columns)} columns, of which none is known to hold user ids: {shown}. "
        "Name the one with the ids.",
        "column",
    )


def is_number(asked: str, columns: int) -> bool:
    """Say whether what was asked for is the number of one of so many columns."""
    return asked.isascii() and asked.isdigit() and 1 <= int(asked[:9]) <= columns


def _named(columns: Sequence[str], asked: str, *, heading: bool) -> int:
    found = [index for index, name in enumerate(columns) if name == asked] if heading else []
    if heading and not found:
        found = [index for index, name in enumerate(columns) if name.strip() == asked.strip()]
    if not found and is_number(asked, len(columns)):
        return int(asked) - 1
    if len(found) != 1:
        what = "several columns" if found else "no column"
        known = ", ".join(name[:50] for name in columns[:20])
        says = "its first line says" if heading else "it has no heading, and its first line says"
        raise NoSuchColumn(f"The file has {what} named {asked!r}; {says}: {known}.")
    return found[0]
