"""A whole list in several requests: what each of them says."""

import json

import pytest

from destinations.endpoint import Endpoint
from destinations.payloads import Encoder, Operation
from destinations.sessions import WIDEST, Part, alone, has_parts, new_number

TEMPLATE = {
    "session": {"id": "${session|number}", "n": "${sequence|number}", "last": "$is_last", "of": "$total"},
    "ids": "$items",
}


def endpoint(**more) -> Endpoint:
    values = {"replaces_lists": True, "add_template": json.dumps(TEMPLATE), **more}
    return Endpoint("p", "https://p.example", **values)


def encoder(of: Endpoint) -> Encoder:
    return Encoder(of, cohort_name="C", cohort_key="c", external_name="C", list_id="7")


def test_a_request_says_which_part_of_which_session_it_is() -> None:
    made = encoder(endpoint()).batch(Operation.ADD, ["u1", "u2"], Part("123456789012345", 3, False, 9))
    assert json.loads(made.body) == {
        "session": {"id": 123456789012345, "n": 3, "last": False, "of": "9"},
        "ids": ["u1", "u2"],
    }
    alone_ = json.loads(encoder(endpoint()).batch(Operation.ADD, ["u1"]).body)["session"]
    assert (alone_["n"], alone_["last"], alone_["of"]) == (1, True, "1")


def test_the_address_may_say_it() -> None:
    path = "/lists/$list_id/replace?session=$session&part=$sequence&last=$is_last"
    made = encoder(endpoint(add_path=path, add_template='{"ids": "$items"}'))
    urls = [made.batch(Operation.ADD, ["u"], Part("1", n, n == 2, 2)).url for n in (1, 2)]
    assert [url.partition("?")[2] for url in urls] == [
        "session=1&part=1&last=false",
        "session=1&part=2&last=true",
    ]


def test_only_a_whole_list_has_parts() -> None:
    assert has_parts(endpoint())
    assert not has_parts(endpoint(replaces_lists=False))
    assert not has_parts(endpoint(add_template='{"ids": "$items"}'))


@pytest.mark.parametrize("max_bytes", [200, 300, 1000])
def test_no_part_is_longer_than_the_byte_limit(max_bytes) -> None:
    made = encoder(endpoint(max_bytes=max_bytes))
    users = [f"user-{number}" for number in range(200)]
    count = made.fits(Operation.ADD, users)
    assert 1 <= count < len(users)
    assert len(made.batch(Operation.ADD, users[:count], WIDEST).body) <= max_bytes
    assert len(made.batch(Operation.ADD, users[: count + 1], WIDEST).body) > max_bytes


def test_numbers_of_sessions_are_digits_that_json_holds_and_differ() -> None:
    numbers = {new_number() for _ in range(100)}
    assert len(numbers) == 100
    assert all(len(one) == 15 and one.isdigit() and int(one) < 2**53 for one in numbers)
    assert alone(3).values == {"session": "100000000000000", "sequence": "1", "is_last": "true", "total": "3"}
