"""Devices: whose an event is before anybody has said so, and whose a device turns out to be.

What a device did is stored with its id, and PREFIX in front of it, where a user's id would stand; no user id
that comes in begins so. Whose a device is stands among the users' properties, under two names:

    SAID      by a call or a line that named both; the first by time counts
    DECIDED   by a person of this site; the last counts, before all that was said; empty: nobody's

A device is one user's or nobody's, and a user is never another one: so no word of a sender makes one person
of two who are known.
"""

from collections.abc import Sequence

PREFIX = "\x01"
# Of the ids in a file, those below are devices'.
USERS = "\x02"
SAID, DECIDED = f"{PREFIX}said", f"{PREFIX}decided"
# What a file is marked with, alongside its columns: it has rows of devices; it says whose devices are, and
# perhaps nothing else.
OF_DEVICES, OF_OWNERS, ONLY_OWNERS = "devices", "owners", "only owners"


def last_first() -> str:
    """SQL for the order in which the greatest of a user's values counts: the last, and of SAID the first."""
    time = f"CASE WHEN name = '{SAID}' THEN -epoch_us(time) ELSE epoch_us(time) END"
    return f"{{decided: name = '{DECIDED}', t: {time}, s: coalesce(s, '')}}"


def owners_in(paths: Sequence[str]) -> str:
    """SQL for `device`, with its prefix, and `person` of the devices that are somebody's, by files of traits;
    and `since`, `decided`, of those that are nobody's, too."""
    files = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
    word = f"arg_max({{person: s, since: time, decided: name = '{DECIDED}'}}, {last_first()})"
    found = (
        f"SELECT user_id AS device, {word} AS w FROM read_parquet([{files}], union_by_name = true) "
        f"WHERE name IN ('{DECIDED}', '{SAID}') AND user_id < '{USERS}' GROUP BY user_id"
    )
    return f"SELECT device, w.person AS person, w.since AS since, w.decided AS decided FROM ({found})"
