"""What a partner's replies mean for a destination that speaks to it: `replies.json` in the partner's folder.

Each is a reply to one operation (`add` or `remove`) about `u1` and `ü 2`, and what must follow from it. Those
of GENERATED follow from `fake`; others are written by hand, from the vendor's page, and stay as they are.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from destinations.classify import classify
from destinations.partners.fake import filled_reply
from destinations.partners.folder import Partner
from destinations.partners.golden import JOB_ID, requests_of
from destinations.reading import known_as

Entry = dict[str, Any]
# Replies about an accepted request: the fake's, and whether a user failed in it.
JOB_REPLIES = {"still processing": ("pending", False), "done": ("done", False), "not done": ("failed", True)}
GENERATED = (
    *JOB_REPLIES,
    "success",
    "one user failed",
    "the list is gone",
    "slow down",
    "wrong key",
    "out of order",
)


def generated(partner: Partner) -> Iterator[Entry]:
    """Yield the replies that the fake of the folder gives, and what follows from each."""
    _, request, endpoint = next(made for made in requests_of(partner) if made[0] == "add")
    known = known_as(endpoint)
    users = [(known(user), True) for user in request.user_ids]
    fake = partner.fake
    yield _reply("success", fake.get("ok", {"status": 200, "body": {}}), [], users)
    for name, (key, bad) in JOB_REPLIES.items() if endpoint.poll_path else ():
        yield _reply(name, fake["job"][key], [(0, users[0][0])] if bad else [], users) | {"operation": "poll"}
    if "failed" in fake:
        yield _reply("one user failed", fake["failed"], [(0, users[0][0])], users)
    if "unknown_list" in fake:
        yield _reply("the list is gone", fake["unknown_list"], [], users)
    yield {"name": "slow down", "operation": "add", "status": 429, "headers": {"Retry-After": "7"}}
    yield {"name": "wrong key", "operation": "add", "status": 401}
    yield {"name": "out of order", "operation": "add", "status": 503}


def follows(partner: Partner, entry: Entry) -> dict[str, Any]:
    """Return what follows from a reply: who is delivered and who failed, or the error and the wait."""
    _, request, endpoint = next(made for made in requests_of(partner) if made[0] == entry["operation"])
    body = json.dumps(entry["body"]).encode() if entry.get("body") is not None else b""
    found = classify(endpoint, request, entry["status"], entry.get("headers", {}), body)
    failed = list(found.named_users)
    if found.job_id is not None:
        return {"asked_again_by": found.job_id}
    if found.error is None:
        return {"delivered": [user for user in request.user_ids if user not in failed], "failed": failed}
    wait = {} if found.retry_after is None else {"wait": found.retry_after}
    return {"error": found.error.__name__, "failed": failed, **wait}


def renewed(partner: Partner) -> str:
    """Return the text of the folder's file: generated replies made anew, and those that people wrote."""
    where = partner.folder / "replies.json"
    kept = json.loads(where.read_text()) if where.exists() else []
    made = [entry | {"follows": follows(partner, entry)} for entry in generated(partner)]
    made += [entry for entry in kept if entry["name"] not in GENERATED]
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def _reply(
    name: str, said: Mapping[str, Any], bad: list[tuple[int, str]], users: list[tuple[str, bool]]
) -> Entry:
    body = json.loads(json.dumps(filled_reply(said.get("body"), bad, users)).replace("$job_id", JOB_ID))
    entry: Entry = {"name": name, "operation": "add", "status": said["status"]}
    return entry if body is None else entry | {"body": body}
