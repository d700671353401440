"""Narrowing finds exactly the users at fault, in few requests, and loses nobody on the way."""

import random
from collections.abc import Callable, Collection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destinations.errors import Rejected, Temporary, TooLarge
from syncs.delivery.narrow import ONCE_PIECES, Narrowing

NO = Rejected("no", code="no")
DOWN = Temporary("down", code="http_503")
BIG = TooLarge("big", code="http_413")


def users(count: int) -> list[str]:
    return [f"u{number:04d}" for number in range(count)]


def narrow(
    narrowing: Narrowing,
    bad: Collection[str],
    names: Callable[[list[str]], list[str]] = lambda found: [],
    alone: Callable[[], bool] = lambda: False,
) -> list[list[str]]:
    """Play a partner that refuses pieces with bad users and names some of them; return the requests."""
    sent = []
    while not narrowing.done:
        piece = list(narrowing.piece)
        sent.append(piece)
        assert len(sent) <= 4 * len(narrowing.users) + 10, "it does not come to an end"
        if found := [user for user in piece if user in bad]:
            narrowing.reject(NO, names(found), alone=alone())
        else:
            narrowing.accept()
    return sent


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_any_users_at_fault_are_found_exactly_and_all_others_delivered(data):
    everyone = users(data.draw(st.integers(1, 60)))
    bad = data.draw(st.sets(st.sampled_from(everyone)))
    most = data.draw(st.sampled_from([0, 0, 1, 7]))
    named = data.draw(st.integers(0, 3))
    narrowing = Narrowing(everyone, most=most)
    alone = st.booleans() if data.draw(st.booleans()) else st.just(False)
    sent = narrow(narrowing, bad, lambda found: found[:named], lambda: data.draw(alone))
    assert set(narrowing.rejected) == bad
    assert narrowing.delivered == len(everyone) - len(bad)
    good = [user for piece in sent if not bad & set(piece) for user in piece]
    assert sorted(good) == sorted(set(everyone) - bad), "each is delivered once"
    assert not most or max(map(len, sent)) <= most


def test_one_bad_user_in_a_thousand_costs_at_most_14_requests_wherever_it_stands():
    everyone = users(1000)
    most = max(len(narrow(Narrowing(everyone), {user})) for user in everyone)
    assert 11 <= most <= 14, most


def test_nobody_is_lost_when_the_rest_is_left():
    narrowing = Narrowing(users(100), most=30)
    for _ in range(5):
        narrowing.reject(NO, alone=True)
    narrowing.leave()
    assert narrowing.done
    assert sorted([*narrowing.rejected, *narrowing.left]) == users(100)


def positions() -> list[list[int]]:
    """Five places in a thousand: spread so that no two share a half for long, at the ends, at random."""
    fixed = [
        [0, 1, 2, 3, 4],
        [995, 996, 997, 998, 999],
        [0, 250, 500, 750, 999],
        [124, 374, 624, 874, 999],
        [499, 500, 501, 0, 999],
        [1, 3, 7, 15, 31],
        [999, 749, 874, 936, 968],
        [i * 199 for i in range(5)],
    ]
    chance = random.Random(7)
    return fixed + [chance.sample(range(1000), 5) for _ in range(300)]


def test_five_bad_users_in_a_thousand_cost_at_most_60_requests_in_adversarial_positions():
    everyone = users(1000)
    worst = max(len(narrow(Narrowing(everyone), {everyone[i] for i in at})) for at in positions())
    # Climb from the worst: move one user at a time to wherever it costs more.
    chance = random.Random(11)
    at = max(positions(), key=lambda p: len(narrow(Narrowing(everyone), {everyone[i] for i in p})))
    for _ in range(300):
        moved = [*at]
        moved[chance.randrange(5)] = chance.randrange(1000)
        if len(set(moved)) == 5:
            cost = len(narrow(Narrowing(everyone), {everyone[i] for i in moved}))
            if cost >= worst:
                worst, at = cost, moved
    assert 40 <= worst <= 60, (worst, at)


def test_named_users_cost_one_request_more():
    bad = set(users(1000)[::100])
    sent = narrow(Narrowing(users(1000)), bad, lambda found: found)
    assert [len(piece) for piece in sent] == [1000, 990]


def test_users_whom_the_reply_names_but_who_were_not_sent_are_nobodys_fault():
    narrowing = Narrowing(users(2))
    narrowing.reject(NO, ["stranger"])
    assert len(narrowing.piece) == 1
    assert not narrowing.rejected


def test_a_success_that_names_failed_users_rejects_them_and_delivers_the_others():
    narrowing = Narrowing(users(10))
    narrowing.accept(["u0003", "stranger"], NO)
    assert narrowing.done
    assert set(narrowing.rejected) == {"u0003"}
    assert narrowing.delivered == 9


def test_too_large_halves_until_it_fits_and_keeps_everybody():
    narrowing = Narrowing(users(1000))
    sent = []
    while not narrowing.done:
        sent.append(len(narrowing.piece))
        narrowing.halve(BIG) if len(narrowing.piece) > 130 else narrowing.accept()
    assert sent[:4] == [1000, 500, 250, 125]
    assert set(sent[3:]) == {125}
    assert narrowing.delivered == 1000


def test_one_user_who_is_too_large_alone_is_rejected():
    narrowing = Narrowing(["huge"])
    narrowing.halve(BIG)
    assert narrowing.done
    assert set(narrowing.rejected) == {"huge"}


def test_spent_retries_try_each_part_once_and_what_fails_again_is_undelivered():
    narrowing = Narrowing(users(1000))
    narrowing.give_up(DOWN)
    sent = []
    while not narrowing.done:
        assert narrowing.once
        sent.append(narrowing.piece)
        narrowing.give_up(DOWN) if "u0123" in narrowing.piece else narrowing.accept()
    assert len(sent) == ONCE_PIECES
    assert set(narrowing.undelivered) == set(users(200)[100:])
    assert narrowing.delivered == 900


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_whatever_is_answered_nobody_is_lost_or_counted_twice(data):
    everyone = users(data.draw(st.integers(1, 40)))
    narrowing = Narrowing(everyone, most=data.draw(st.sampled_from([0, 0, 1, 5])))
    delivered: list[str] = []
    for _ in range(400):
        if narrowing.done:
            break
        piece = list(narrowing.piece)
        answer = data.draw(st.sampled_from(["accept", "some", "reject", "named", "halve", "spent"]))
        if answer == "accept":
            narrowing.accept()
            delivered += piece
        elif answer == "some":
            narrowing.accept(piece[:1], NO)
            delivered += piece[1:]
        elif answer == "spent":
            narrowing.give_up(DOWN)
        elif answer == "halve":
            narrowing.halve(BIG)
        else:
            narrowing.reject(NO, piece[-1:] if answer == "named" else [])
    while not narrowing.done:
        delivered += narrowing.piece
        narrowing.accept()
    assert narrowing.delivered == len(delivered)
    assert sorted([*delivered, *narrowing.rejected, *narrowing.undelivered]) == everyone


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_partner_that_refused_numbers_and_not_users_gets_everybody(count):
    """It refuses more than one user at a time, without ever saying that this is too large."""
    narrowing = Narrowing(users(count))
    while not narrowing.done:
        narrowing.reject(NO) if len(narrowing.piece) > 1 else narrowing.accept()
    assert narrowing.delivered == count
