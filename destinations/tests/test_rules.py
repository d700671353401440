import json

import pytest

from destinations import errors
from destinations.classify import classify
from destinations.endpoint import Endpoint, Kind
from destinations.payloads import Operation, Request
from destinations.reply_paths import look
from destinations.rules import check_rules

LIST = Endpoint(name="acme", base_url="https://partner.example")
PROPERTY = Endpoint(name="acme", base_url="https://partner.example", kind=Kind.PROPERTY)
ADD = Request(Operation.ADD, "POST", "https://partner.example", {}, b"", 3, ("u1", "u2", "3"))
CREATE = Request(Operation.CREATE, "POST", "https://partner.example", {}, b"", 0)
JSON = {"Content-Type": "application/json"}
WORDS = {"reason": "why", "message": "In words."}


def verdict(status, data=None, *, endpoint=LIST, request=ADD, headers=JSON):
    body = data if isinstance(data, bytes) else json.dumps(data).encode() if data is not None else b""
    return classify(endpoint, request, status, headers, body)


TABLE = [
    *[(status, errors.Temporary) for status in (408, 409, 423, 424, 425, 429)],
    *[(status, errors.Temporary) for status in (500, 502, 503, 504, 506, 507, 520, 599)],
    *[(status, errors.Rejected) for status in (400, 422)],
    *[(status, errors.Refused) for status in (401, 403)],
    *[(status, errors.Misconfigured) for status in (301, 302, 303, 304, 307, 308)],
    *[(status, errors.Misconfigured) for status in (402, 405, 406, 411, 414, 415, 418, 426, 431, 451)],
    *[(status, errors.Misconfigured) for status in (501, 505)],
    (404, errors.NotFound),
    (410, errors.ListGone),
    (413, errors.TooLarge),
    *[(status, None) for status in (200, 201, 202, 204)],
]


@pytest.mark.parametrize(("status", "error"), TABLE)
def test_the_failure_table_for_add(status, error):
    assert verdict(status).error is error


@pytest.mark.parametrize("status", [400, 404, 410, 413, 422])
def test_a_create_that_is_refused_is_a_matter_of_configuration(status):
    assert (
        verdict(status, {"error": {"code": "list_not_found"}}, request=CREATE).error is errors.Misconfigured
    )


@pytest.mark.parametrize("status", [429, 500])
def test_a_create_is_retried_like_all_else(status):
    assert verdict(status, request=CREATE).error is errors.Temporary


@pytest.mark.parametrize(
    ("data", "error", "named"),
    [
        (
            {"error": {"code": "invalid_user_id"}, "invalidUserIds": ["u1", "u2"]},
            errors.Rejected,
            ("u1", "u2"),
        ),
        ({"error": {"code": "invalid_user_id"}, "invalidUserIds": [3]}, errors.Rejected, ("3",)),
        ({"errors": [{"userId": "u2", "why": "no"}, {"user_id": "u1"}]}, errors.Rejected, ("u2", "u1")),
        ({"error": {"code": "invalid_user_id"}}, errors.Rejected, ()),
        ({"invalidUserIds": ["somebody else"]}, errors.NotFound, ()),
        ({"error": {"code": "list_not_found"}}, errors.ListGone, ()),
        ({"code": "LIST_NOT_FOUND"}, errors.ListGone, ()),
        ({"error": "list_not_found"}, errors.ListGone, ()),
        ({"detail": "Not found."}, errors.NotFound, ()),
        (b"<h1>Not found</h1>", errors.NotFound, ()),
        (b"[" * 60_000, errors.NotFound, ()),
    ],
)
def test_a_404_is_about_users_or_the_list_or_nobody_knows(data, error, named):
    found = verdict(404, data)
    assert (found.error, found.named_users) == (error, named)


def test_a_property_destination_has_no_list_to_lose():
    assert verdict(404, {"code": "list_not_found"}, endpoint=PROPERTY).error is errors.NotFound
    assert verdict(410, endpoint=PROPERTY).error is errors.Misconfigured


def test_a_400_names_only_users_of_its_request():
    found = verdict(400, {"invalidUserIds": ["u1", "stranger", "u1"]})
    assert found.named_users == ("u1",)


@pytest.mark.parametrize(
    ("status", "unknown"), [(200, True), (408, True), (500, True), (503, True), (429, False), (409, False)]
)
def test_a_partner_that_failed_may_have_applied_the_request(status, unknown):
    html = {"Content-Type": "text/html"}
    assert verdict(status, headers=html).unknown_outcome is unknown


def test_code_and_words_of_the_partner_are_passed_on():
    found = verdict(422, {"error": {"code": "bad_ids", "message": "Two ids are bad"}})
    assert found.code == "bad_ids"
    assert found.message == "The partner answered 422 (bad_ids): Two ids are bad."
    found = verdict(400, {"message": "Invalid.", "details": [{"message": "ids[3] is too long"}]})
    assert found.message == "The partner answered 400: Invalid. ids[3] is too long."
    found = verdict(400, {"message": "Too many ids", "details": [{"message": "Too many ids"}]})
    assert found.message == "The partner answered 400: Too many ids."
    assert verdict(503).code == "http_503"
    assert verdict(503).message == "The partner answered 503."


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("listId", b'{"listId": 123}', "123"),
        ("listId", b'{"listId": "a b/c"}', "a b/c"),
        ("listId", b'{"listId": 12345678901234567890123}', "12345678901234567890123"),
        ("listId", b'{"listId": 1.0}', "1.0"),
        ("response.listId", b'{"response": {"listId": 5}}', "5"),
        ("data.0.id", b'{"data": [{"id": "x"}, {"id": "y"}]}', "x"),
        ("listId", b'{"listId": null}', None),
        ("listId", b'{"listId": true}', None),
        ("listId", b'{"listId": ""}', None),
        ("listId", b'{"listId": ".."}', None),
        ("listId", b'{"listId": {"a": 1}}', None),
        ("listId", b'{"listId": "\\ud800"}', None),
        ("listId", b'{"list_id": 1}', None),
        ("listId", b"[]", None),
        ("listId", b"", None),
        ("listId", b"{", None),
    ],
)
def test_the_list_id_is_opaque_and_must_be_usable(path, body, expected):
    endpoint = Endpoint(name="a", base_url="https://a.example", list_id_place=path)
    found = verdict(200, body, endpoint=endpoint, request=CREATE)
    assert found.list_id == expected
    assert found.error is (None if expected else errors.Misconfigured)
    assert found.unknown_outcome is (expected is None)


def test_look_walks_through_lists():
    data = {"errors": [{"user": {"id": "a"}}, {"user": {"id": "b"}}, {"other": 1}]}
    assert list(look(data, "errors.user.id")) == ["a", "b"]
    assert list(look(data, "errors.1.user.id")) == ["b"]
    assert list(look(data, "errors.9.user.id")) == []


def by_rule(rule, status, data=None, *, endpoint=LIST, request=ADD):
    rule = {"reason": "why", "message": "In words.", **rule}
    check_rules([rule])
    from dataclasses import replace

    return verdict(status, data, endpoint=replace(endpoint, rules=[rule]), request=request)


@pytest.mark.parametrize(
    ("then", "error"),
    [
        ("retry", errors.Temporary),
        ("reject", errors.Rejected),
        ("recreate", errors.ListGone),
        ("pause", errors.Misconfigured),
    ],
)
def test_a_rule_decides_before_the_table(then, error):
    found = by_rule({"status": 418, "then": then}, 418)
    assert (found.error, found.code, found.message) == (error, "why", "In words.")


@pytest.mark.parametrize(
    ("rule", "status", "data", "matches"),
    [
        ({"status": 400, "code": "busy"}, 400, {"error": {"code": "busy"}}, True),
        ({"status": 400, "code": "busy"}, 400, {"error": {"code": "bad"}}, False),
        ({"status": 400, "code": 1234}, 400, {"code": 1234}, True),
        ({"status": 400, "code": "1234"}, 400, {"errors": [{"code": 1}, {"code": 1234}]}, True),
        ({"status": 400, "code": "busy"}, 422, {"code": "busy"}, False),
        ({"status": "4xx"}, 422, None, True),
        ({"status": "4xx"}, 400, None, True),
        ({"status": "5xx"}, 400, None, False),
    ],
)
def test_a_rule_holds_for_a_status_or_class_and_a_code(rule, status, data, matches):
    found = by_rule(rule | {"then": "retry"}, status, data)
    assert (found.error is errors.Temporary) is matches


def test_a_200_that_says_that_users_failed():
    rule = {"status": 200, "then": "users_failed", "users_place": "failed.id"}
    found = by_rule(rule, 200, {"failed": [{"id": "u2"}, {"id": "stranger"}]})
    assert (found.error, found.named_users) == (None, ("u2",))
    assert by_rule(rule, 200, {"failed": []}).named_users == ()


def test_a_200_that_says_failure_can_be_a_retry():
    rule = {"status": 200, "code": "overloaded", "then": "retry"}
    found = by_rule(rule, 200, {"status": "failure", "error": {"code": "overloaded"}})
    assert (found.error, found.unknown_outcome) == (errors.Temporary, True)


def test_a_create_names_no_user_and_has_no_list_to_make_anew():
    for then in ("reject", "recreate"):
        assert by_rule({"status": 404, "then": then}, 404, request=CREATE).error is errors.Misconfigured
    assert by_rule({"status": 404, "then": "recreate"}, 404, endpoint=PROPERTY).error is errors.Misconfigured


def test_users_failed_does_not_take_a_login_page_for_a_delivery():
    rule = {"status": 200, "then": "users_failed", "reason": "some", "message": "Some failed."}
    endpoint = Endpoint(name="a", base_url="https://a.example", rules=[rule])
    found = verdict(200, b"<html>", endpoint=endpoint, headers={"Content-Type": "text/html"})
    assert found.error is errors.Misconfigured


def test_users_failed_does_not_swallow_a_create_without_a_list_id():
    rule = {"status": "2xx", "then": "users_failed"}
    assert by_rule(rule, 200, {"listId": 5}, request=CREATE).list_id == "5"
    assert by_rule(rule, 200, {}, request=CREATE).error is errors.Misconfigured


GOOD = {"status": 409, "then": "retry", "reason": "locked", "message": "Locked."}


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ({}, "Rules are a list"),
        (["x"], "Rule 1: it is no object"),
        ([GOOD, {**GOOD, "then": "dance"}], "Rule 2: 'then' must be one of retry, reject"),
        ([{**GOOD, "status": 99}], "'status'"),
        ([{**GOOD, "status": True}], "'status'"),
        ([{**GOOD, "status": "6xx"}], "'status'"),
        ([{**GOOD, "status": []}], "'status' is missing"),
        ([{**GOOD, "status": [1]}], "'status'"),
        ([{**GOOD, "then": ["retry"]}], "'then'"),
        ([{**GOOD, "reason": ""}], "'reason' is missing"),
        ([{**GOOD, "reason": "x" * 101}], "longer"),
        ([{**GOOD, "message": "a\nb"}], "one line"),
        ([{**GOOD, "message": 5}], "one line"),
        ([{**GOOD, "code": {}}], "'code'"),
        ([{**GOOD, "code": True}], "'code'"),
        ([{**GOOD, "users_place": 1}], "'users_place'"),
        ([{**GOOD, "surprise": 1}], "unknown field 'surprise'"),
        ([{**GOOD, "then": "users_failed"}], "2xx"),
    ],
)
def test_a_bad_rule_is_reported_by_number_and_field(rules, problem):
    with pytest.raises(ValueError, match=problem):
        check_rules(rules)


@pytest.mark.parametrize(
    ("rule", "data", "named"),
    [
        ({"users_place": "errors", "by": "index", "field": "index"}, {"errors": [{"index": 2}]}, ("3",)),
        ({"users_place": "bad", "by": "index"}, {"bad": {"time": [0], "name": [1, 0]}}, ("u1", "u2")),
        ({"users_place": "bad", "by": "index"}, {"bad": [1]}, ("u2",)),
        (
            {"users_place": "errors", "by": "pointer", "field": "source.pointer"},
            {"errors": [{"source": {"pointer": "/data/1/id"}}]},
            ("u2",),
        ),
        ({"users_place": "failures", "by": "key"}, {"failures": {"u2": "no such user"}}, ("u2",)),
        (
            {"users_place": "responses", "by": "order", "unless": {"status": "2xx"}},
            {"responses": [{"status": 201}, {"status": 404}, {"status": 200}]},
            ("u2",),
        ),
        (
            {"users_place": "results", "field": "id", "where": {"status": ["4xx", "error"]}},
            {
                "results": [
                    {"id": "u1", "status": 400},
                    {"id": "u2", "status": "error"},
                    {"id": 3, "status": 200},
                ]
            },
            ("u1", "u2"),
        ),
    ],
)
def test_users_failed_names_users_by_id_index_pointer_key_and_order(rule, data, named):
    found = by_rule({"status": 200, "then": "users_failed", **rule}, 200, data)
    assert (found.error, found.named_users) == (None, named)


def test_users_failed_of_several_paths_add_up():
    rules = [
        {"status": 200, "then": "users_failed", "users_place": f"failedUpdates.{name}", **WORDS}
        for name in ("invalidUserIds", "notFoundUserIds")
    ]
    check_rules(rules)
    endpoint = Endpoint(name="a", base_url="https://a.example", rules=rules)
    data = {"failedUpdates": {"invalidUserIds": ["u1"], "notFoundUserIds": ["3"]}, "failCount": 2}
    found = verdict(200, data, endpoint=endpoint)
    assert (found.error, found.named_users) == (None, ("u1", "3"))


@pytest.mark.parametrize(
    ("rule", "data", "named"),
    [
        ({"taken_place": "ok"}, {"ok": 2, "errors": [{"index": 0}]}, None),
        ({"taken_place": "ok"}, {"ok": 1, "errors": [{"index": 0}]}, ("u1",)),
        ({"failed_place": "bad"}, {"bad": 2, "errors": [{"index": 0}]}, ("u1",)),
        ({"failed_place": "bad"}, {"bad": 1, "errors": [{"index": 0}]}, None),
        ({"failed_place": "bad"}, {"bad": 3, "errors": []}, ()),
        ({}, {"errors": [{"index": 0}, {"index": 99}]}, ("u1",)),
        ({}, {"errors": [{"index": 0}, {"why": "who knows"}]}, ("u1",)),
    ],
)
def test_users_who_are_counted_but_not_named_are_looked_for(rule, data, named):
    reading = {"users_place": "errors", "by": "index", "field": "index"}
    found = by_rule({"status": 200, "then": "users_failed", **reading, **rule}, 200, data)
    if named is None:
        assert (found.error, found.named_users) == (None, ("u1",))
    else:
        assert (found.error, found.named_users) == (errors.Rejected, named)


def test_users_failed_that_names_nobody_does_not_hide_what_the_reply_says():
    rule = {"status": 200, "then": "users_failed", "users_place": "failed.id"}
    for data in ({"errors": ["no"]}, {"failed": [{"id": "stranger"}]}, {"success": False}):
        assert by_rule(rule, 200, data).error is errors.Misconfigured
    both = {"failed": [{"id": "u1"}], "errors": [{"id": "somebody"}]}
    assert by_rule(rule, 200, both).error is errors.Misconfigured


def test_a_rule_can_ask_what_stands_at_a_path():
    rule = {"status": 200, "at": "code", "equals": [50002, "busy"], "then": "retry"}
    assert by_rule(rule, 200, {"code": 50002}).error is errors.Temporary
    assert by_rule(rule, 200, {"code": 0}).error is None
    flag = {"status": 200, "at": "success", "equals": False, "then": "reject"}
    assert by_rule(flag, 200, {"success": False}).error is errors.Rejected


def test_a_409_can_be_success():
    rule = {"status": 409, "then": "success"}
    assert by_rule(rule, 409, {"error": "is a member already"}).error is None
    assert verdict(409).error is errors.Temporary


@pytest.mark.parametrize(
    ("status", "data", "headers", "error"),
    [
        (403, None, {"Retry-After": "30"}, errors.Temporary),
        (403, {"message": "API rate limit exceeded"}, {}, errors.Temporary),
        (403, {"error": {"code": "TOO_MANY_REQUESTS"}}, {}, errors.Temporary),
        (403, b"Rate Limit Exceeded", {}, errors.Temporary),
        (403, None, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "60"}, errors.Temporary),
        (403, {"message": "Forbidden"}, {"X-RateLimit-Remaining": "10"}, errors.Refused),
        (400, {"error": {"message": "Request rate limit reached"}}, {}, errors.Temporary),
        (401, None, {"Retry-After": "30"}, errors.Refused),
    ],
)
def test_a_refusal_that_speaks_of_a_rate_is_a_wait(status, data, headers, error):
    assert verdict(status, data, headers=JSON | headers).error is error


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (400, {"error": {"code": "list_not_found"}}),
        (400, {"code": "LIST_DOES_NOT_EXIST", "message": "The list does not exist"}),
        (422, {"message": "Cohort 17 no longer exists"}),
        (400, {"errors": [{"code": 1404, "message": "No such audience"}]}),
    ],
)
def test_a_400_about_the_list_asks_whether_it_is_there_and_proposes_a_rule(status, data):
    found = verdict(status, data)
    assert found.error is errors.NotFound
    check_rules([found.suggested_rule])
    endpoint = Endpoint(name="a", base_url="https://a.example", rules=[found.suggested_rule])
    assert verdict(status, data, endpoint=endpoint).error is errors.ListGone
    assert verdict(status, {"message": "bad id"}).error is errors.Rejected


def test_a_400_that_names_users_is_about_them():
    data = {"message": "list 7 not found for", "invalidUserIds": ["u1"]}
    assert verdict(400, data).error is errors.Rejected


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"status": "2xx", "then": "success"}, "needs 'code' or 'at'"),
        ({"status": 401, "then": "success"}, "needs a 'code'"),
        ({"equals": 1}, "'equals' needs 'at'"),
        ({"by": "index"}, "belongs to 'users_failed'"),
        ({"status": 200, "then": "users_failed", "by": "luck", "users_place": "a"}, "'by' must be one of"),
        ({"status": 200, "then": "users_failed", "by": "index"}, "'users_place' is missing"),
        ({"status": 200, "then": "users_failed", "users_place": "a", "where": []}, "'where'"),
        ({"at": "a..b"}, "'at'"),
    ],
)
def test_a_rule_that_could_not_work_is_refused(more, problem):
    with pytest.raises(ValueError, match=problem):
        check_rules([{**GOOD, **more}])
