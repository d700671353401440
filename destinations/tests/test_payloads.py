import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from destinations.endpoint import Endpoint, Kind, to_json
from destinations.payloads import Encoder, Operation, check_list_id, external_name, slug
from destinations.templates import TemplateError, check_known, parse_template, substitute

LIST = Endpoint(name="acme", base_url="https://partner.example/api/")
PROPERTY = Endpoint(name="acme", base_url="https://partner.example", kind=Kind.PROPERTY)


def encoder(endpoint: Endpoint, **fields: str | None) -> Encoder:
    known: dict[str, str | None] = {
        "cohort_name": "Buyers",
        "cohort_key": "buyers",
        "external_name": "Buyers: buyers",
        "list_id": "7",
    }
    return Encoder(endpoint, **(known | fields))  # type: ignore[arg-type]


def with_fields(endpoint: Endpoint, **fields: object) -> Endpoint:
    from dataclasses import replace

    return replace(endpoint, **fields)  # type: ignore[arg-type]


def test_slug_is_the_protocols_example():
    assert slug("Saturday's cohort & héllo") == "Saturday-s-cohort-he-llo"
    assert len(slug("x" * 300)) == 100


def test_external_name_follows_template_and_slug():
    assert external_name(LIST, "Left a cart", "carts") == "[Amplitude] Left a cart: carts"
    slugged = with_fields(LIST, slug_names=True, name_template="$$ $cohort_name/$cohort_id")
    assert external_name(slugged, "Left a cart", "carts") == "$ Left-a-cart/carts"


def test_variables_are_substituted_once_and_only_in_parsed_json():
    nasty = '$user_id "}, {"$items": $$'
    body = json.loads(encoder(PROPERTY, external_name=nasty).batch(Operation.ADD, ["$value"]).body)
    (item,) = body["batch"]
    assert item["traits"] == {nasty: True}
    assert item["userId"] == "$value"


def test_a_dollar_is_written_twice():
    endpoint = with_fields(LIST, create_template='{"$$name": "5 $$", "n": "$cohort_id$$"}')
    assert encoder(endpoint).create().body == b'{"$name":"5 $","n":"buyers$"}'


def test_paths_are_quoted_and_never_climb():
    request = encoder(LIST, list_id="a/../b?c#d é").batch(Operation.ADD, ["u"])
    assert request.url == "https://partner.example/api/lists/a%2F..%2Fb%3Fc%23d%20%C3%A9/add"
    climbing = with_fields(LIST, add_path="/lists/$cohort_name/add/$list_id")
    with pytest.raises(TemplateError, match="dot"):
        encoder(climbing, cohort_name="..").batch(Operation.ADD, ["u"])


@pytest.mark.parametrize("list_id", ["", " ", ".", "..", "a\nb", "\x00", "\ud800", "x" * 1025])
def test_list_ids_that_no_path_can_carry_are_refused(list_id):
    with pytest.raises(ValueError, match="list id"):
        check_list_id(list_id)


def test_without_a_list_id_a_list_cannot_be_added_to():
    with pytest.raises(TemplateError, match="create the list first"):
        encoder(LIST, list_id=None).batch(Operation.ADD, ["u"])
    assert encoder(LIST, list_id=None).create().users == 0


@pytest.mark.parametrize(
    ("text", "field", "problem"),
    [
        ('{"a": "$nope"}', "add_template", r"Unknown variable \$nope. Known here: \$cohort_id, .*\$items"),
        ('{"$nope": 1}', "create_template", r"Unknown variable \$nope"),
        ('{"a": "$items"}', "create_template", None),
        ('{"a": "$user_id"}', "batch_template", r"Unknown variable \$user_id"),
        ('{"a": "5 $ off"}', "create_template", r"write \$\$"),
        ('{"a": "ids: $items"}', "add_template", "must stand once, alone"),
        ('{"$items": 1}', "add_template", "must stand once, alone"),
        ('{"a": "$items", "b": "$items"}', "add_template", "must stand once, alone"),
        ('"text"', "add_template", "JSON object"),
        ("{", "add_template", "Not JSON"),
        ('{"a": NaN}', "add_template", "NaN"),
        ('{"a": 1e999}', "add_template", None),
        ('{"a": 99999999999999999999999}', "add_template", "cannot be sent"),
        ('{"a": "\\ud800"}', "add_template", "cannot be sent"),
        ("[" * 100_000, "add_template", "cannot be sent"),
    ],
)
def test_a_bad_template_says_what_is_wrong(text, field, problem):
    if problem is None:
        assert parse_template(text, field)
        return
    with pytest.raises(TemplateError, match=problem):
        parse_template(text, field)


def test_a_path_knows_no_items():
    with pytest.raises(TemplateError, match=r"Unknown variable \$items"):
        check_known(iter(("/lists/$items",)), "add_path")
    with pytest.raises(TemplateError, match=r"Unknown variable \$external_name"):
        substitute("$external_name", {}, "name_template")


def test_value_alone_is_json_and_within_text_is_text():
    template = to_json({"u": "$user_id", "on": "$value", "text": "is $value", "$value": 1})
    endpoint = with_fields(PROPERTY, item_template=template)
    assert (
        encoder(endpoint).single(Operation.REMOVE, "u").body
        == b'{"u":"u","on":false,"text":"is false","false":1}'
    )


def test_user_ids_may_stand_anywhere_in_an_item():
    endpoint = with_fields(PROPERTY, item_template='{"id": "crm:$user_id", "by": {"$user_id": "$value"}}')
    body = encoder(endpoint).batch(Operation.ADD, ['a"b', "ü"]).body
    assert json.loads(body) == {
        "batch": [{"id": 'crm:a"b', "by": {'a"b': True}}, {"id": "crm:ü", "by": {"ü": True}}]
    }


USER_IDS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), min_size=1)


@given(user_ids=USER_IDS, max_bytes=st.integers(200, 3000))
@pytest.mark.parametrize("endpoint", [LIST, PROPERTY, with_fields(PROPERTY, message_ids=True)])
def test_bodies_hold_exactly_the_users_and_fits_is_exact(endpoint, user_ids, max_bytes):
    encode = encoder(with_fields(endpoint, max_bytes=max_bytes))
    body = encode.batch(Operation.ADD, user_ids).body
    data = json.loads(body)
    found = data["userIds"] if endpoint.kind == Kind.LIST else [item["userId"] for item in data["batch"]]
    assert found == user_ids
    count = encode.fits(Operation.ADD, user_ids)
    assert count == 1 or len(encode.batch(Operation.ADD, user_ids[:count]).body) <= max_bytes
    if count < len(user_ids):
        assert len(encode.batch(Operation.ADD, user_ids[: count + 1]).body) > max_bytes


def test_message_ids_differ_by_run_user_and_value_and_are_the_same_in_a_retry():
    endpoint = with_fields(PROPERTY, message_ids=True)

    def message_id(run: str, operation: Operation, user: str) -> str:
        return str(json.loads(encoder(endpoint, run_id=run).single(operation, user).body)["messageId"])

    ids = {
        message_id(run, operation, user)
        for run in ("1", "2")
        for operation in (Operation.ADD, Operation.REMOVE)
        for user in ("a", "b")
    }
    assert len(ids) == 8
    assert message_id("1", Operation.ADD, "a") in ids


def test_idempotency_keys_differ_by_run_operation_and_users():
    endpoint = with_fields(LIST, idempotency_key=True)

    def key(run: str, operation: Operation, *users: str) -> str:
        return encoder(endpoint, run_id=run).batch(operation, users).headers["Idempotency-Key"]

    keys = [
        key("1", Operation.ADD, "a"),
        key("2", Operation.ADD, "a"),
        key("1", Operation.REMOVE, "a"),
        key("1", Operation.ADD, "a", "b"),
    ]
    assert len(set(keys)) == 4
    assert key("1", Operation.ADD, "a") == keys[0]


@pytest.mark.parametrize(
    ("field", "value", "moves"),
    [
        ("base_url", "https://other.example", True),
        ("base_url", "https://partner.example/api", False),  # only the final slash is gone
        ("kind", Kind.PROPERTY, True),
        ("add_path", "/v2/lists/$list_id/add", True),
        ("batch_path", "/v2/batch", False),  # a list destination does not use it
        ("credential", "rotated", False),
        ("auth_mode", "bearer", True),
        ("auth_username", "someone", False),  # mode KEY does not use it
        ("threads", 8, False),
    ],
)
def test_fingerprint_changes_with_where_the_data_goes(field, value, moves):
    assert (with_fields(LIST, **{field: value}).fingerprint != LIST.fingerprint) is moves


def test_fingerprint_counts_the_user_name_of_basic():
    one, other = (with_fields(LIST, auth_mode="basic", auth_username=name) for name in ("a", "b"))
    assert one.fingerprint != other.fingerprint
