"""A 2xx that says otherwise is no delivery; a 2xx that is plain is one."""

import json

import pytest

from destinations import errors
from destinations.classify import classify
from destinations.endpoint import Endpoint
from destinations.payloads import Operation, Request
from destinations.rules import check_rules

LIST = Endpoint(name="acme", base_url="https://partner.example")
USERS = tuple(f"u{number}" for number in range(10))
ADD = Request(Operation.ADD, "POST", "https://partner.example", {}, b"", 10, USERS)
REMOVE = Request(Operation.REMOVE, "POST", "https://partner.example", {}, b"", 10, USERS)
CREATE = Request(Operation.CREATE, "POST", "https://partner.example", {}, b"", 0)


def verdict(body, status=200, *, rules=(), request=ADD, content_type="application/json"):
    check_rules(list(rules))
    endpoint = Endpoint(name="acme", base_url="https://partner.example", rules=rules)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return classify(endpoint, request, status, {"Content-Type": content_type}, raw)


OTHERWISE: list[object] = [
    {"success": False},
    {"success": "false"},
    {"success": 0},
    {"ok": False},
    {"isSuccess": False},
    {"status": "error"},
    {"status": "failure"},
    {"status": "FAILED"},
    {"status": "partial_success"},
    {"status": False},
    {"status": 400},
    {"statusCode": "422"},
    {"stat": "fail"},
    {"result": "error"},
    {"result": {"success": False}},
    {"data": {"status": "error"}},
    {"code": 50002},
    {"code": 40001, "message": "Too many", "data": {}},
    {"code": "invalid_token"},
    {"code": -1},
    {"errcode": 40013},
    {"error_code": 7},
    {"errorCode": "LIMIT"},
    {"errno": 3},
    {"error": "list not found"},
    {"error": 17},
    {"error": True},
    {"error": {"message": "not allowed"}},
    {"error": {"code": 190}},
    {"errors": [{"index": 3}]},
    {"errors": [{"index": 0}]},
    {"errors": ["bad"]},
    {"errors": {"u1": "bad"}},
    {"errors": 2},
    {"Errors": [{}, {"a": 1}]},
    {"data": {"errors": [{"message": "no"}]}},
    {"errorMessage": "No such list"},
    {"errmsg": "invalid credential"},
    {"hasErrors": True},
    {"isError": True},
    {"failed": ["u1"]},
    {"failed": 1},
    {"failed": True},
    {"failures": [{"id": "u1"}]},
    {"failure_count": 1},
    {"successCount": 0, "failCount": 10},
    {"successCount": 9},
    {"success_count": 8, "invalid_count": 2},
    {"num_received": 10, "num_invalid_entries": 2},
    {"failedRecords": "3"},
    {"failcount": 3},
    {"errorcount": 3},
    {"invalidUserIds": ["u3"]},
    {"unprocessed": [{"record": {}}]},
    {"rejected": [{"id": "u2"}]},
    {"notFound": ["u2"]},
    {"recordIdsMissing": ["u2"]},
    {"failedUpdates": {"invalidUserIds": [], "notFoundUserIds": ["u2"]}},
    {"validationErrors": [{"field": "x"}]},
    {"exceptions": [{"code": 1}]},
    {"fault": {"faultstring": "no such list"}},
    {"responses": [{"status": 200}, {"status": 403, "path": "/v1"}]},
    {"results": [{"ok": True}, {"ok": False}]},
    {"elements": [{"status": 201}, {"status": 400}]},
    {"multistatus": [{"status": "422 Unprocessable"}]},
    [{"status": 200}, {"status": 404}],
    [{"success": True}, {"success": False}],
    {"type": "error.list", "request_id": "x"},
    {"object": "error"},
    {"message": "Error: no such audience"},
    {"message": "Failed to add users"},
    {"success": "n"},
    {"wasSuccessful": False},
    {"requestStatus": "FAILED"},
    {"request_status": "SUCCESS", "users": [{"sub_request_status": "ERROR"}]},
    {"upload_status": "error"},
    {"result": "NG"},
    {"error_cnt": 2},
    {"bad_records": 2},
    {"nonExistentUsers": ["u2"]},
    {"non_existing_ids": ["u2"]},
    {"violations": [{"field": "x"}]},
    {"results": {"u1": "error", "u2": "ok"}},
    {"users": {"u1": "invalid"}},
    {"data": {"addUsers": {"__typename": "NotFoundError"}}},
    "error: unknown key",
    False,
    0,
]


@pytest.mark.parametrize("body", OTHERWISE, ids=json.dumps)
def test_a_200_that_says_that_it_failed_is_never_delivered(body):
    found = verdict(body)
    assert found.error is errors.Misconfigured
    assert found.message.startswith("The partner answered 200, and says ")
    assert found.message.endswith("; tell this destination how to read it.")
    assert found.unknown_outcome


@pytest.mark.parametrize("body", OTHERWISE, ids=json.dumps)
def test_what_is_proposed_is_a_rule_that_can_be_used_and_does_not_deliver(body):
    proposed = verdict(body).suggested_rule
    again = verdict(body, rules=[proposed])
    named = set(again.named_users)
    assert again.error is not None or named, proposed


@pytest.mark.parametrize("body", OTHERWISE[:20], ids=json.dumps)
@pytest.mark.parametrize("content_type", ["text/plain", "", "application/octet-stream"])
def test_json_is_read_whatever_it_is_called(body, content_type):
    assert verdict(body, content_type=content_type).error is errors.Misconfigured


HARMLESS: list[object] = [
    {},
    [],
    None,
    {"success": True},
    {"success": 1},
    {"status": "ok"},
    {"status": "success", "message": "10 users added"},
    {"status": "accepted"},
    {"status": "queued"},
    {"status": 200},
    {"status": 1},
    {"status": 0},
    {"code": 0},
    {"code": "0"},
    {"code": 200},
    {"code": "ok"},
    {"code": "SUCCESS", "msg": "success"},
    {"code": "vip-customers"},
    {"code": "00000"},
    {"errcode": 0, "errmsg": "ok"},
    {"errorCode": ""},
    {"error": None},
    {"error": ""},
    {"error": False},
    {"error": {}},
    {"error": 0},
    {"error": "none"},
    {"error": {"code": 0, "message": "fine"}},
    {"errors": []},
    {"errors": {}},
    {"errors": None},
    {"errors": [None]},
    {"errors": {"count": 0, "items": []}},
    {"failed": 0, "successCount": 10},
    {"failed": []},
    {"failCount": "0"},
    {"failedUpdates": {"invalidUserIds": [], "conflictUserIds": []}, "successCount": 10},
    {"num_received": 10, "num_invalid_entries": 0, "invalid_entry_samples": {}},
    {"hasErrors": False},
    {"errorRate": 0.01},
    {"failedAt": "2026-01-01"},
    {"failOnError": True},
    {"warnings": ["slow"]},
    {"skipped": 3},
    {"added": 3, "ignored": 7},
    {"message": "0 errors"},
    {"message": "Errors: 0"},
    {"message": "Failed: 0, added: 10"},
    {"message": "Success"},
    {"responses": [{"status": 200}, {"status": 201}]},
    {"data": [{"id": 5, "code": 17}]},
    {"nonExistentUsers": [], "badRecords": 0, "errorCnt": "0"},
    {"type": "errorless"},
    {"results": {"u1": "ok", "u2": "added"}},
    {"__typename": "AddUsersPayload"},
    {"plan": "failed", "lists": {"u1": "error"}},
    {"user": {"traits": {"status": "failed", "errors": ["x"]}}},
    {"request": {"error": "x"}},
    {"received": 10, "changed": 10},
    {"processed": 0},
    "ok",
    1,
    True,
]


@pytest.mark.parametrize("body", HARMLESS, ids=json.dumps)
def test_a_200_that_says_nothing_of_a_failure_is_delivered(body):
    assert verdict(body).error is None


@pytest.mark.parametrize(
    ("body", "delivered"),
    [
        ({"responses": [{"status": 201}, {"status": 400}]}, False),
        ({"results": [{"status": 200}, {"status": 201}]}, True),
        ({"results": []}, False),
        ({"accepted": 10}, False),
        (b"", False),
        (b"<d:multistatus xmlns:d='DAV:'><d:status>HTTP/1.1 403</d:status></d:multistatus>", False),
    ],
)
def test_a_207_is_delivered_only_when_each_of_its_rows_is(body, delivered):
    assert (verdict(body, 207, content_type="application/xml").error is None) is delivered


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", b"<!DOCTYPE html><title>Log in</title>"),
        ("application/xhtml+xml", b"<html/>"),
        ("", b"<html><body>hello</body></html>"),
        ("application/json", b"\xef\xbb\xbf  \r\n<!doctype html>"),
        ("application/octet-stream", b"\n\n<HTML>"),
        ("text/xml", b'<?xml version="1.0"?><!DOCTYPE html PUBLIC "x"><html/>'),
        ("text/plain", "<!DOCTYPE html>".encode("utf-16")),
        ("text/html; charset=utf-8", b"Please log in"),
        ("TEXT/HTML", b""),
        ("text/html", b'{"ok": true}'),
        ("text/plain", b"<!-- proxy --><html>"),
    ],
)
def test_a_page_is_no_reply_whatever_its_type(content_type, body):
    found = verdict(body, content_type=content_type)
    assert (found.error, found.code) == (errors.Misconfigured, "html")


@pytest.mark.parametrize(
    ("content_type", "body", "delivered"),
    [
        ("application/xml", b"<ok/>", True),
        ("text/plain", b"OK", True),
        ("text/plain", b"", True),
        ("application/xml", b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", False),
        ("text/plain", b"ERROR: invalid key", False),
        ("text/plain", b"0 errors", True),
        ("text/xml", b"<?xml version='1.0'?><response success=\"false\"/>", False),
        ("text/xml", b"<response><status>error</status></response>", False),
        ("text/xml", b"<rsp stat='fail'><err/></rsp>", False),
        ("text/xml", b"<response><status>ok</status><success>true</success></response>", True),
        ("text/plain", b"status=error", False),
        ("application/x-www-form-urlencoded", b"id=5&success=false", False),
        ("application/x-www-form-urlencoded", b"success=1&status=ok", True),
        ("application/x-ndjson", b'{"status":200}\n{"status":409}\n', False),
        ("application/x-ndjson", b'{"status":200}\n{"status":200}\n', True),
    ],
)
def test_what_is_no_json_is_read_as_far_as_it_is_plain(content_type, body, delivered):
    assert (verdict(body, content_type=content_type).error is None) is delivered


def test_whom_a_remove_does_not_find_has_left():
    body = {"recordIdsMissing": ["u2"], "not_found": ["u3"]}
    assert verdict(body, request=REMOVE).error is None
    assert verdict(body, request=ADD).error is errors.Misconfigured


def test_a_create_that_failed_with_a_200_makes_no_list():
    assert verdict({"success": False, "listId": 5}, request=CREATE).error is errors.Misconfigured
    assert verdict({"listId": 5, "errors": []}, request=CREATE).list_id == "5"


def test_a_long_reply_is_read_as_far_as_it_goes():
    body = json.dumps({"success": False, "echo": ["x" * 50] * 2000}).encode()[:65_536]
    found = classify(LIST, ADD, 200, {"Content-Type": "application/json"}, body, cut=True)
    assert found.error is errors.Misconfigured
    fine = json.dumps({"success": True, "echo": ["x" * 50] * 2000}).encode()[:65_536]
    assert classify(LIST, ADD, 200, {"Content-Type": "application/json"}, fine, cut=True).error is None


def test_a_success_rule_settles_that_something_is_no_failure_and_nothing_else():
    notes = {"status": 200, "at": "errors", "then": "success", "reason": "notes", "message": "Only notes."}
    assert verdict({"errors": ["note"]}, rules=[notes]).error is None
    assert verdict({"errors": ["note"], "success": False}, rules=[notes]).error is errors.Misconfigured
    code = {"status": 200, "code": 1000, "then": "success", "reason": "fine", "message": "1000 is fine."}
    assert verdict({"code": 1000}, rules=[code]).error is None
    assert verdict({"code": 1000, "errors": [1]}, rules=[code]).error is errors.Misconfigured
