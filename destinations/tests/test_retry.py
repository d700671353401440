import pytest

from destinations.errors import (
    ListGone,
    Misconfigured,
    NotFound,
    Refused,
    Rejected,
    Temporary,
    TooLarge,
)
from destinations.retry import PARK_AT_MOST, Action, Decision, decide


def low(a: float, b: float) -> float:
    return a


def high(a: float, b: float) -> float:
    return b


def temporary(retry_after: float | None = None) -> Temporary:
    return Temporary("no", code="http_503", retry_after=retry_after)


@pytest.mark.parametrize("attempt", range(1, 9))
def test_eight_retries_double_with_up_to_ten_percent_more(attempt):
    base = 2.0 ** (attempt - 1)
    assert decide(attempt, temporary(), uniform=low, scale=1) == Decision(Action.RETRY, base)
    assert decide(attempt, temporary(), uniform=high, scale=1).wait == pytest.approx(base * 1.1)


def test_the_last_wait_is_over_two_minutes_and_the_ninth_failure_is_the_end():
    assert decide(8, temporary(), uniform=low, scale=1).wait > 120
    assert decide(9, temporary(), uniform=low, scale=1) == Decision(Action.GIVE_UP)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (0.0, Decision(Action.RETRY, 4.0)),
        (2.0, Decision(Action.RETRY, 4.0)),
        (60.0, Decision(Action.RETRY, 60.0)),
        (900.0, Decision(Action.RETRY, 900.0)),
        (901.0, Decision(Action.PARK, 901.0)),
        (1e9, Decision(Action.PARK, PARK_AT_MOST)),
    ],
)
def test_retry_after_lengthens_a_wait_and_beyond_15_minutes_parks(asked, expected):
    assert decide(3, temporary(asked), uniform=low, scale=1) == expected


def test_parking_spends_no_try():
    assert decide(9, temporary(3600), uniform=low, scale=1).action == Action.PARK


def test_scale_shortens_every_wait():
    assert decide(1, temporary(), uniform=low, scale=0.001).wait == 0.001
    assert decide(1, temporary(3600), uniform=low, scale=0.001) == Decision(Action.PARK, 3.6)


@pytest.mark.parametrize("kind", [Rejected, NotFound, ListGone, Refused, Misconfigured, TooLarge])
def test_nothing_but_a_temporary_failure_is_retried(kind):
    assert decide(1, kind("no", code="x"), uniform=low, scale=1) == Decision(Action.GIVE_UP)
