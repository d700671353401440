"""Damaged lines of the spool are set aside and named; all other lines count."""

import io
import os
import random
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from events import spool
from events.compact import compact, seal
from events.correct import delete_people
from events.models import EventFile, FileState
from events.records import event_line, is_intact, traits_line
from events.store import Folders, Incomplete, read_layout
from events.tests.conftest import Stored

pytestmark = pytest.mark.django_db(transaction=True)


def event(number: int) -> dict[str, Any]:
    properties = {"number": number}
    return {"user_id": f"u{number}", "event": "play", "time": "2024-05-01", "properties": properties}


def segment() -> Path:
    [path] = Folders("default").spool.glob("events-*.jsonl")
    return path


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def numbers(stored: Stored) -> list[int]:
    return [int(row[0]) for row in stored("SELECT n0_number FROM e ORDER BY 1")]


def test_a_damaged_line_is_set_aside_and_the_rest_goes_on(stored: Stored) -> None:
    spool.append("default", [event(number) for number in range(4)])
    lines = segment().read_bytes().splitlines(keepends=True)
    segment().write_bytes(b"".join([lines[0], b"\xff{damaged\n", *lines[2:]]))
    spool.append("default", [event(4)])
    assert compact("default").events == 4
    with pytest.raises(Incomplete, match="holds a damaged line"):
        read_layout("default")
    said = io.StringIO()
    with pytest.raises(CommandError, match="1 of 2 files"):
        call_command("check_events", stdout=said)
    [aside] = EventFile.objects.troubled("default")
    assert aside.name in said.getvalue() and "--give-up" in said.getvalue()
    assert (Folders("default").files / aside.name).read_bytes() == b"\xff{damaged\n"
    call_command("check_events", "--give-up", aside.name, stdout=io.StringIO())
    assert numbers(stored) == [0, 2, 3, 4]
    spool.append("default", [event(5)])
    compact("default")
    assert numbers(stored) == [0, 2, 3, 4, 5]


def test_any_flipped_bit_of_the_spool_is_found(stored: Stored) -> None:
    """Each bit of one line in turn: what is read is what was written, or the line is set aside."""
    whole = event_line(event(7)).removesuffix(b"\n")
    for bit in range(8 * len(whole)):
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        assert not any(is_intact(line) for line in bytes(broken).split(b"\n"))
    assert is_intact(whole)


def test_no_flipped_bit_takes_away_another_line(stored: Stored) -> None:
    draw = random.Random(3)
    for round_ in range(6):
        sent = range(10 * round_, 10 * round_ + 4)
        spool.append("default", [event(number) for number in sent])
        lines = segment().read_bytes().splitlines()
        # Line ends, too: of two lines that became one, both are named.
        position = draw.choice([len(lines[0]), len(lines[0]) + 1 + len(lines[1]), draw.randrange(500)])
        flip(segment(), 8 * position + draw.randrange(8))
        compact("default")
        aside = [
            (Folders("default").files / one.name).read_bytes()
            for one in EventFile.objects.troubled("default")
        ]
        EventFile.objects.troubled("default").retire()
        counted = {number for number in numbers(stored) if number in sent}
        assert len(aside) == 1 and len(counted) >= 2
        assert all(lines[number - sent[0]] in aside[0] or number in counted for number in sent) or (
            len(counted) == 3
        )


def test_a_line_end_that_is_damaged_or_lost_costs_no_line(stored: Stored) -> None:
    for number, harm in enumerate((b"\x0b", b"")):
        spool.append("default", [event(number)])
        content = segment().read_bytes()
        segment().write_bytes(content[:-1] + harm)
        compact("default")
    assert numbers(stored) == [0, 1]


def test_lines_of_the_last_release_have_no_sum_and_are_read(stored: Stored) -> None:
    lines = [event_line(event(number)).split(b',"c":')[0] + b"}\n" for number in (1, 2)]
    traits = traits_line({"user_id": "u", "time": "2024-05-01", "traits": {"a": None}})
    assert is_intact(traits.split(b',"c":')[0] + b"}")
    folder = Folders("default").make().spool
    (folder / "events-1.jsonl").write_bytes(lines[0] + lines[1].replace(b'"t":1', b'"t":"'))
    compact("default")
    assert [file.rows for file in EventFile.objects.order_by("id")] == [1, 1]
    assert EventFile.objects.filter(state=FileState.DAMAGED).count() == 1


def test_a_death_while_lines_are_set_aside_loses_and_doubles_nothing(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.append("default", [event(number) for number in range(3)])
    flip(segment(), 100)
    seal(Folders("default").make())
    [batch] = Folders("default").sealed.iterdir()

    def dies(*arguments: Any, **keywords: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(EventFile.objects, "update_or_create", dies)
    with pytest.raises(KeyboardInterrupt):
        compact("default")
    monkeypatch.undo()
    compact("default")
    assert [file.rows for file in EventFile.objects.troubled("default")] == [1]
    EventFile.objects.troubled("default").retire()
    assert numbers(stored) == [1, 2] and not batch.exists()


def test_damaged_lines_are_known_to_another_database_and_erased_with_a_person(stored: Stored) -> None:
    spool.append("default", [event(0), event(1)])
    flip(segment(), 100)
    compact("default")
    EventFile.objects.troubled("default").delete()
    with pytest.raises(Incomplete, match="damaged lines"):
        read_layout("default")
    EventFile.objects.troubled("default").retire()
    delete_people("default", ["u1"], "Ada")
    [aside] = EventFile.objects.filter(name__endswith=".jsonl")
    EventFile.objects.filter(state=FileState.RETIRED).update(retired_at="2024-05-01T00:00Z")
    compact("default")
    assert not (Folders("default").files / aside.name).exists()


def test_files_of_others_in_the_folders_are_left_alone(stored: Stored) -> None:
    folders = Folders("default").make()
    foreign = [folders.spool / "notes.jsonl", folders.sealed / ".DS_Store", folders.files / "README.txt"]
    for path in foreign:
        path.write_text("not ours\n")
    spool.append("default", [event(1)])
    compact("default")
    assert numbers(stored) == [1]
    assert [path.read_text() for path in foreign] == ["not ours\n"] * 3


def test_a_damaged_mark_of_a_publication_stops_nothing(stored: Stored) -> None:
    spool.append("default", [event(1)])
    Folders("default").make().marker.write_bytes(b'{"new": [')
    compact("default")
    assert numbers(stored) == [1]
    assert Folders("default").marker.with_suffix(".damaged").exists()


def test_a_file_from_the_future_is_taken_in(tmp_path: Path) -> None:
    """The clock was wrong when it was copied there."""
    from events.folder import inbox, scan

    inbox("default").mkdir(parents=True)
    path = inbox("default") / "a.csv"
    path.write_text("user_id,event,time\nu,a,2024-05-01\n")
    os.utime(path, (4_000_000_000, 4_000_000_000))
    assert [taken.error for taken in scan("default")] == [""]
