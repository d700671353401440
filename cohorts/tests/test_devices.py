"""What devices did counts for whoever they turn out to be of, and for nobody else."""

import json
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from cohorts import behavioral
from cohorts.definitions import parse
from events import spool
from events.catalogue import user_properties
from events.compact import compact
from events.correct import Wanted, delete_events, delete_people, is_in_replaced_files, undo_import
from events.engine import MissingTable
from events.importing import import_file
from events.merges import UnknownDevice, decide, find_devices
from events.models import Correction, EventFile, FileKind, FileState
from events.person import rows_of
from events.records import InvalidRecord, event_line, owner_line, traits_line

pytestmark = pytest.mark.django_db(transaction=True)
AT = datetime(2026, 1, 2, tzinfo=UTC)
LATER = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _events_dir(settings: Any, tmp_path: Path) -> None:
    settings.EVENTS_DIR = tmp_path / "events"


def seen(device: str = "", user: str | None = None, event: str = "visit", insert_id: str = "") -> bytes:
    return event_line(
        {"user_id": user, "device_id": device, "event": event, "time": AT, "insert_id": insert_id}
    )


def take(*events: bytes, said: tuple[bytes, ...] = ()) -> None:
    spool.append_lines("default", b"".join(events), b"".join(said))
    compact("default")


def who(where: dict[str, Any] | None = None) -> list[str]:
    """The members of everybody who ever visited, or of another condition."""
    definition = parse({"version": 1, "where": where or {"performed": {"event": "visit"}}})
    return list(behavioral.members(definition, timezone.now(), cohorts=lambda key: []))


def owners() -> dict[str, str]:
    return {one.device: one.user_id for one in find_devices("default")}


def imported(tmp_path: Path, *lines: dict[str, Any], name: str = "a.jsonl") -> Any:
    path = tmp_path / name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return import_file("default", path)


def test_what_was_done_before_the_login_counts_for_who_logged_in() -> None:
    take(seen("d1"), seen("d2"), seen(user="u1", event="other"))
    assert who() == []
    take(said=(owner_line("d1", "u1", LATER),))
    assert who() == ["u1"]
    take(seen("d1", event="late"))
    assert who({"performed": {"event": "late"}}) == ["u1"]
    assert who({"performed": {"event": "*", "count": {"=": 3}}}) == ["u1"]


def test_the_first_who_is_named_has_the_device_in_whatever_order_it_is_said() -> None:
    take(seen("d"), said=(owner_line("d", "second", LATER),))
    assert who() == ["second"]
    take(said=(owner_line("d", "first", AT), owner_line("d", "second", LATER)))
    assert who() == ["first"]
    for _ in range(9):  # files are merged, and the first word is kept
        take(said=(owner_line("d", "second", LATER),))
    assert EventFile.objects.filter(kind=FileKind.TRAITS, state=FileState.RETIRED).exists()
    assert who() == ["first"]


def test_a_user_is_never_made_another_one() -> None:
    """An id that is a device's and a user's alike: what came under the user's name stays the user's."""
    take(seen(user="ada"), seen("ada", event="late"), said=(owner_line("ada", "bob", AT),))
    assert who() == ["ada"] and who({"performed": {"event": "late"}}) == ["bob"]
    with pytest.raises(InvalidRecord, match="reserved"):
        traits_line({"user_id": "ada", "time": AT, "traits": {"\x01said": "bob"}})
    with pytest.raises(InvalidRecord, match="reserved"):
        event_line({"user_id": "\x01ada", "event": "e", "time": AT})


def test_no_device_is_a_member_or_a_user_or_a_property() -> None:
    take(seen("d"), seen("e"), seen(user="u", event="other"), said=(owner_line("d", "u", AT),))
    take(said=(traits_line({"user_id": "v", "time": AT, "traits": {"vip": True}}),))
    assert who({"not": {"performed": {"event": "nothing"}}}) == ["u", "v"]
    assert who({"user": {"property": "\x01said", "is_set": True}}) == []
    assert [entry.property_name for entry in user_properties("default")] == ["vip"]


def test_a_definition_that_needs_users_is_refused_when_only_devices_are_known() -> None:
    take(seen("d"), said=(owner_line("d", "u", AT),))
    with pytest.raises(MissingTable, match="users"):
        who({"not": {"performed": {"event": "nothing"}}})


def test_a_merge_is_taken_back_and_stays_so_and_can_be_made_by_hand() -> None:
    take(seen("d"), said=(owner_line("d", "u", AT),))
    out = StringIO()
    call_command("merge_devices", "d", "--take-back", "--by", "Ada", stdout=out)
    assert (out.getvalue().strip(), who()) == ("d is nobody's.", [])
    take(said=(owner_line("d", "u", AT),))
    assert who() == [] and owners() == {"d": ""}
    with pytest.raises(CommandError, match="nobody's"):
        call_command("merge_devices", "d", "--take-back")
    call_command("merge_devices", "d", "--into", "v", stdout=StringIO())
    assert who() == ["v"]
    listed = StringIO()
    call_command("list_devices", "--user", "v", "--json", stdout=listed)
    [one] = json.loads(listed.getvalue())
    assert (one["device"], one["user_id"], one["decided"]) == ("d", "v", True)
    assert [c.by for c in Correction.objects.order_by("id")][0] == "Ada"
    assert [c.sentence for c in Correction.objects.order_by("id")] == [
        "A device was taken from its user.", "A device was made a user's.",
    ]  # fmt: skip


def test_an_import_that_is_undone_takes_along_whose_devices_it_said_they_are(tmp_path: Path) -> None:
    take(seen("d"))
    done = imported(
        tmp_path, {"userId": "u", "anonymousId": "d", "event": "login", "timestamp": "2026-01-03"}
    )
    assert who() == ["u"]
    undo_import("default", done.key, "Ada")
    assert who() == [] and owners() == {}


def test_the_erasure_of_a_person_takes_what_their_devices_did_along() -> None:
    take(seen("d"), seen("e"), seen(user="u"), seen(user="v"))
    take(said=(owner_line("d", "u", AT), owner_line("d", "v", LATER), owner_line("e", "v", AT)))
    assert delete_people("default", ["u"], "Ada").events == 2
    assert who() == ["v"] and owners() == {"e": "v"}
    assert [event.get("device") for event in rows_of("default", "v")["events"]] == ["e", None]
    assert is_in_replaced_files("default", "u") and not is_in_replaced_files("default", "w")
    take(seen("d"))
    assert who() == ["v"]


def test_a_persons_events_are_deleted_with_those_of_their_devices() -> None:
    take(seen("d"), seen("e"), seen(user="u"), said=(owner_line("d", "u", AT), owner_line("e", "v", AT)))
    assert delete_events("default", "Ada", Wanted(user_id="u")).events == 2
    assert who() == ["v"]


@pytest.mark.parametrize(
    "lines",
    [
        [
            {"type": "track", "anonymousId": "d", "event": "visit", "timestamp": "2026-01-02"},
            {"type": "identify", "anonymousId": "d", "userId": "u", "timestamp": "2026-01-03"},
        ],
        [
            {"type": "page", "anonymousId": "d", "name": "Home", "timestamp": "2026-01-02"},
            {"type": "track", "anonymousId": "d", "event": "visit", "timestamp": "2026-01-02"},
            {"type": "alias", "previousId": "d", "userId": "u", "timestamp": "2026-01-03"},
        ],
        [
            {"event_type": "visit", "device_id": "d", "event_time": "2026-01-02 03:04:05"},
            {"event_type": "login", "device_id": "d", "user_id": "u", "event_time": "2026-01-02 03:04:06"},
        ],
        [
            {"event": "visit", "properties": {"time": 1767312000, "distinct_id": "$device:d"}},
            {"event": "login", "properties": {"time": 1767312060, "distinct_id": "u", "$device_id": "d",
                                              "$user_id": "u"}},
        ],
        [
            {"event": "visit", "properties": {"time": 1767312000, "distinct_id": "d", "$device_id": "d"}},
            {"event": "$identify", "properties": {"time": 1767312060, "distinct_id": "u", "$anon_id": "d",
                                                  "$identified_id": "u"}},
        ],
        [
            {"event": "visit", "properties": {"time": 1767312000, "distinct_id": "$device:d"}},
            {"event": "$create_alias", "properties": {"time": 1767312060, "distinct_id": "d", "alias": "u"}},
        ],
        [
            {"event": "visit", "properties": {"time": 1767312000, "distinct_id": "$device:d"}},
            {"event": "$merge", "properties": {"time": 1767312060, "distinct_id": "u",
                                               "$distinct_ids": ["u", "$device:d"]}},
        ],
    ],
    ids=["identify", "alias", "amplitude", "mixpanel", "$identify", "$create_alias", "$merge"],
)  # fmt: skip
def test_each_vendors_lines_say_whose_a_device_is(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    done = imported(tmp_path, *lines)
    assert (done.bad_lines, who(), owners()) == (0, ["u"], {"d": "u"})


def test_a_line_that_would_make_one_of_two_users_is_a_bad_one(tmp_path: Path) -> None:
    merge = {"time": 1767312060, "distinct_id": "u", "$distinct_ids": ["u", "v"]}
    visit = {"time": 1767312060, "distinct_id": "u"}
    done = imported(
        tmp_path, {"event": "visit", "properties": visit}, {"event": "$merge", "properties": merge}
    )
    assert (done.bad_lines, who(), owners()) == (1, ["u"], {})
    assert "merges two users" in done.problems[0]


def test_a_device_that_is_named_in_each_line_is_said_once(tmp_path: Path) -> None:
    lines = [
        {"userId": "u", "anonymousId": "d", "event": "visit", "timestamp": f"2026-01-{day:02}"}
        for day in (9, 7, 8, 9)
    ]
    done = imported(tmp_path, *lines)
    [one] = find_devices("default")
    assert (done.rows, one.user_id, one.since) == (4, "u", datetime(2026, 1, 7, tzinfo=UTC))


def test_a_device_that_is_nobodys_is_not_taken_back() -> None:
    take(seen("d"))
    with pytest.raises(UnknownDevice, match="nobody's"):
        decide("default", "d", "", "Ada")
    with pytest.raises(InvalidRecord, match="user id"):
        decide("default", "d", "\x01x", "Ada")
