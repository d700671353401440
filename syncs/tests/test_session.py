"""A whole list in several requests: nobody is delivered before the last is taken, no two are mixed."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from destinations.errors import Rejected
from syncs.delivery.session import Session

REFUSED = Rejected("No.", code="no")
USERS = [f"u{number}" for number in range(5)]


def test_parts_follow_one_another_and_only_the_last_delivers() -> None:
    session = Session(USERS, 2)
    seen = []
    while not session.done:
        assert session.delivered == 0
        part = session.part
        seen.append((part.sequence, part.is_last, part.total, list(session.piece)))
        session.accept()
    assert seen == [(1, False, 5, USERS[:2]), (2, False, 5, USERS[2:4]), (3, True, 5, USERS[4:])]
    assert (session.delivered, session.begun) == (5, 1)


def test_another_session_begins_with_the_first_user_and_without_who_was_refused() -> None:
    session = Session(USERS, 2)
    number = session.part.session
    session.accept()
    session.reject(REFUSED, ["u3"])
    assert (session.part.sequence, session.part.total, session.piece) == (1, 4, ["u0", "u1"])
    assert session.part.session != number
    session.accept(["u1"], REFUSED)
    session.accept()
    assert (session.done, session.delivered, set(session.rejected)) == (True, 3, {"u1", "u3"})


def test_a_list_without_users_is_one_request() -> None:
    session = Session([], 2)
    assert (session.part.sequence, session.part.is_last, session.piece) == (1, True, [])
    session.accept()
    assert (session.done, session.delivered) == (True, 0)


def test_one_that_was_too_large_is_begun_anew_in_smaller_parts() -> None:
    session = Session(USERS, 4)
    session.halve(REFUSED)
    assert (session.most, session.piece, session.part.sequence) == (2, ["u0", "u1"], 1)


@given(
    st.integers(1, 30),
    st.integers(1, 8),
    st.lists(st.sampled_from(["take", "some", "cut", "name"])),
    st.data(),
)
def test_a_partner_that_counts_whole_sessions_holds_who_is_delivered(count, most, replies, data) -> None:
    users = [f"u{number:02d}" for number in range(count)]

    def fits(piece: Sequence[str]) -> int:
        return max(len(piece) - 1, 1) if piece else 0

    session = Session(users, most, fits=fits)
    open_: dict[str, set[str]] = {}
    held: set[str] = set()
    for what in [*replies, *["take"] * (2 * count + 2)]:
        if session.done:
            break
        part, piece = session.part, list(session.piece)
        if what == "cut":
            session.begin_anew()
        elif what == "name" and len(piece) > 1:
            session.reject(REFUSED, [data.draw(st.sampled_from(piece))])
        else:
            bad = [data.draw(st.sampled_from(piece))] if what == "some" and len(piece) > 1 else []
            assert (part.sequence == 1) == (part.session not in open_)
            open_.setdefault(part.session, set()).update(set(piece) - set(bad))
            held = open_[part.session] if part.is_last else held
            session.accept(bad, REFUSED)
    assert session.done
    assert held == set(users) - set(session.rejected)
    assert session.delivered == len(held)
