"""Random replies of a partner that knows whom it took: nobody is delivered whom it says it did not take."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from destinations import errors
from destinations.classify import classify
from destinations.endpoint import Endpoint
from destinations.payloads import Operation, Request

USERS = tuple(f"u{number}" for number in range(8))
ADD = Request(Operation.ADD, "POST", "https://partner.example", {}, b"", len(USERS), USERS)
WORDS = {"status": "2xx", "then": "users_failed", "reason": "failed", "message": "Failed."}


def row_by(how, user):
    index = USERS.index(user)
    return {
        "id": user,
        "index": {"index": index, "why": "no"},
        "pointer": {"source": {"pointer": f"/data/{index}/id"}},
    }[how]


RULES = {
    "id": {"users_place": "errors"},
    "index": {"users_place": "errors", "by": "index", "field": "index"},
    "pointer": {"users_place": "errors", "by": "pointer", "field": "source.pointer"},
    "order": {"users_place": "rows", "by": "order", "unless": {"status": "2xx"}},
    "key": {"users_place": "errors", "by": "key"},
}


@st.composite
def replies(draw):
    """Draw whom the partner did not take, and a reply that says so in one or several ways."""
    failed = draw(st.sets(st.sampled_from(USERS)))
    how = draw(st.sampled_from(sorted(RULES)))
    said = {}
    if how == "order":
        said["rows"] = [{"status": 404 if user in failed else 200} for user in USERS]
    elif how == "key":
        said["errors"] = dict.fromkeys(sorted(failed), "no such user")
    else:
        said["errors"] = [row_by(how, user) for user in sorted(failed)]
    if draw(st.booleans()):
        said["failCount"] = len(failed)
    unnamed = draw(st.sampled_from([0, 0, 1])) if "failCount" in said and failed else 0
    if unnamed:  # it says that more failed than it names
        said["failCount"] += unnamed
    if draw(st.booleans()):
        said["success"] = not failed
    noise = draw(st.dictionaries(st.sampled_from(["id", "took_ms", "message", "trace"]), st.text(max_size=5)))
    wrapped = draw(st.booleans())
    rule = {**WORDS, **RULES[how]}
    if wrapped:
        rule["users_place"] = f"data.{rule['users_place']}"
    configured = draw(st.lists(st.sampled_from([rule, {**WORDS, "users_place": "elsewhere"}]), max_size=2))
    return (failed, unnamed), configured, {**noise, "data": said} if wrapped else {**noise, **said}


@settings(max_examples=400, deadline=None)
@given(replies(), st.sampled_from([200, 201, 202, 207]))
def test_nobody_is_delivered_whom_the_partner_says_it_did_not_take(drawn, status):
    (failed, unnamed), rules, body = drawn
    endpoint = Endpoint(name="acme", base_url="https://partner.example", rules=rules)
    found = classify(endpoint, ADD, status, {}, json.dumps(body).encode())
    if found.error is None:
        assert set(found.named_users) == failed and not unnamed
    else:
        assert found.error in (errors.Misconfigured, errors.Rejected)
        assert set(found.named_users) <= failed
        assert failed or status == 207
