"""What a reply says of each user that it names, for whoever looks a rejected user up. Pure."""

from collections.abc import Collection, Iterator, Mapping

# Where a row that names a user has its words, in order of preference.
WORDS = (
    *("message", "reason", "error_message", "errorMessage", "error", "detail", "description"),
    *("title", "code", "error_code", "errorCode", "status"),
)


def said_of(users: Collection[str], data: object) -> dict[str, str]:
    """Return the partner's words on those of these users of whom it says something.

    data: a parsed reply (see `reply_paths`). A user is named by a row that holds the id, itself or one object
    further in (`{"record": {"identity": "u1"}, "error": …}`), or by a key (`{"u1": "unsubscribed"}`).
    """
    found: dict[str, str] = {}
    left = [data]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            for user, words in _of_row(users, value):
                found.setdefault(user, words)
            left += value.values()
        elif isinstance(value, list):
            left += value
    return found


def _of_row(users: Collection[str], row: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for key, value in row.items():
        if key in users and (words := _words(value)):
            yield key, words
    if words := _words(row):
        inner = [one for value in row.values() if isinstance(value, dict) for one in value.values()]
        yield from ((one, words) for one in (*row.values(), *inner) if isinstance(one, str) and one in users)


def _words(value: object) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return ""
    said = (_words(value[name]) for name in WORDS if isinstance(value.get(name), str | dict))
    return next((words for words in said if words), "")
