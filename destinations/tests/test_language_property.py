"""Random destinations in the language, and a partner in memory that answers by them in a random dialect.

Nobody is taken for delivered whom it did not take. LANGUAGE_EXAMPLES says how many are drawn.
"""

import json
import os

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from destinations import errors
from destinations.classify import Verdict, classify
from destinations.endpoint import AuthMode, BodyFormat, Delivery, Endpoint, Kind, ListIdFrom, to_json
from destinations.partners.fake import FakePartner
from destinations.payloads import Encoder, Operation, Request
from destinations.reading import known_as

IDS = st.text(alphabet="abzZ059 _-.$/\\\"'{}|&?=%#+:@é日😀", min_size=1, max_size=12).filter(
    lambda text: text.strip() and text not in (".", "..")
)
ROWS = {"ids": "$user_id", "objects": {"id": "$user_id"}, "rows": [{"k": "x", "v": ["$user_id"]}]}
ROWS |= {"paths": {"path": "/p/$list_id/${user_id|url}", "n": 1}, "hashed": {"h": "${user_id|sha256}"}}
FRAMES = ({"ids": "$items"}, "$items", {"a": {"list": "$list_id", "x": "$items"}, "$$n": [1, None]})
DIALECTS = {
    "id": ({"users_place": "errors"}, {"errors": {"$each_failed": "$user_id"}}),
    "row": (
        {"users_place": "d.errors", "field": "u"},
        {"d": {"errors": {"$each_failed": {"u": "$user_id"}}}},
    ),
    "index": (
        {"users_place": "errors", "by": "index", "field": "i"},
        {"errors": {"$each_failed": {"i": "$index"}}},
    ),
    "key": ({"users_place": "failed", "by": "key"}, {"failed": {"$by_failed": "no such user"}}),
    "order": (
        {"users_place": "r", "by": "order", "unless": {"status": "2xx"}},
        {"r": {"$each": {"status": 201}, "failed": {"status": 404}}},
    ),
    "counts": ({"users_place": "errors", "failed_place": "failCount"}, {"failCount": "$failed"}),
    "flag": ({"users_place": "errors"}, {"success": False, "message": "some were not taken"}),
}
WORDS = {"then": "users_failed", "reason": "failed", "message": "Failed."}


@st.composite
def partners(draw):
    """Draw a destination, and how a partner of that kind answers."""
    kind, row, frame = (
        draw(st.sampled_from(Kind)),
        draw(st.sampled_from(sorted(ROWS))),
        draw(st.sampled_from(FRAMES)),
    )
    item, methods = ROWS[row], {}
    is_property = kind == Kind.PROPERTY
    delivery = draw(st.sampled_from(Delivery)) if is_property else Delivery.BATCH
    if is_property:
        item = {"user": item, "set": {"$external_name": "$value"}}
        item = json.loads(json.dumps(item).replace("/$list_id", ""))
        frame = json.loads(json.dumps(frame).replace("$list_id", "$cohort_id"))
    elif row == "ids" and draw(st.booleans()):
        frame = {"joined": "${items|join:\n}"}
    for name in ("add", "remove") if not is_property else ("batch", "identify"):
        methods[name] = draw(st.sampled_from(["POST", "PUT", "PATCH", "DELETE"]))
    leaver = (
        draw(st.sampled_from(["", to_json({"gone": item})]))
        if not is_property and "joined" not in frame
        else ""
    )
    dialect, whole = draw(st.sampled_from(sorted(DIALECTS))), draw(st.booleans())
    configured = draw(st.sampled_from([dialect, dialect, *sorted(DIALECTS), ""]))
    rules = [{"status": "2xx", **WORDS, **DIALECTS[configured][0]}] if configured else []
    status = draw(st.sampled_from([200, 201, 202, 207, 400, 422]))
    fake = {"ok": {"status": 200, "body": {}}, "failed": {"status": status, "body": DIALECTS[dialect][1]}}
    # Who says in a 2xx that some failed has taken the others; who says that it all failed, nobody perhaps.
    fake |= {"whole": True} if status >= 400 or (whole and dialect == "flag") else {}
    # One that only accepts a request says by its words of later who failed.
    polls = delivery == Delivery.BATCH and draw(st.booleans())
    poll_fields: dict[str, object] = {}
    if polls:
        poll_fields = {"id": "d.job", "state": "d.state", "done": ["done", True], "failed": ["failed"]}
        rules = [{**rule, "for": "poll"} for rule in rules]
        state = "failed" if fake.get("whole") else draw(st.sampled_from(["done", True]))
        says = fake["failed"]["body"]
        failed = {**says, "d": {**says.get("d", {}), "state": state}}
        fake |= {
            "ok": {"status": draw(st.sampled_from([200, 202])), "body": {"d": {"job": "$job_id"}}},
            "job": {
                "pending": {"status": 200, "body": {"d": {"state": "working"}}},
                "done": {"status": 200, "body": {"d": {"state": draw(st.sampled_from(["done", True]))}}},
                "failed": {"status": 200, "body": failed},
                "polls": draw(st.integers(0, 2)),
            },
        }
    formats = [BodyFormat.JSON]
    if frame == "$items" and delivery == Delivery.BATCH:
        formats += [BodyFormat.NDJSON]
        flat = not is_property and row in ("ids", "objects", "hashed") and not leaver
        formats += [BodyFormat.CSV] if flat else []
    body_format = draw(st.sampled_from(formats))
    both = not is_property and body_format == BodyFormat.JSON and draw(st.booleans())
    endpoint = Endpoint(
        name="drawn",
        base_url="https://partner.example/base",
        kind=kind,
        delivery=delivery,
        auth_mode=draw(st.sampled_from([mode for mode in AuthMode if mode != AuthMode.OAUTH2])),
        auth_header="X-Key",
        auth_username="user",
        credential="the-credential",
        secrets={"two": "the-second-secret"},
        extra_headers={"X-Two": "$secret_two"} if draw(st.booleans()) else {},
        list_id_from=ListIdFrom.NAMED,
        add_path="/l/$list_id/in?k=1",
        remove_path="/l/$list_id/out",
        identify_path=draw(st.sampled_from(["/u"] if row == "hashed" else ["/u/$user_id", "/u"])),
        add_template=to_json(frame),
        remove_template=to_json(frame),
        batch_template=to_json(frame),
        item_template=to_json(item),
        list_item_template=to_json(item),
        remove_item_template=leaver,
        change_template=to_json({"l": "$list_id", "in": "$added", "out": "$removed"}) if both else "",
        methods=methods,
        value_words=draw(st.sampled_from([{}, {"in": "1", "out": ""}, {"in": 1, "out": None}])),
        body_format=body_format,
        gzip=draw(st.booleans()),
        poll_path="/jobs/$job_id?x=1" if polls else "",
        poll_fields=poll_fields,
        rules=rules,
    )
    return endpoint, fake


def parted(users, leaving):
    return [user for user in users if user not in leaving], [user for user in users if user in leaving]


class Sender:
    """Sends batches as a run does: whom a reply names is left out, whom it does not is found by halves."""

    def __init__(self, endpoint: Endpoint, partner: FakePartner) -> None:
        self.endpoint, self.partner = endpoint, partner
        self.encoder = Encoder(
            endpoint, cohort_name="B", cohort_key="b", external_name="B: $b", list_id="B: $b", now=1.0
        )
        self.delivered: set[str] = set()
        # Of a change, who leaves.
        self.leaving: set[str] = set()
        self.single = endpoint.kind == Kind.PROPERTY and endpoint.delivery == Delivery.SINGLE

    def send(self, operation: Operation, users: tuple[str, ...]) -> None:
        for part in [(user,) for user in users] if self.single else [users] if users else []:
            self._send(operation, part)

    def _send(self, operation: Operation, users: tuple[str, ...]) -> None:
        encoder = self.encoder
        if operation == Operation.CHANGE:
            enter, leave = parted(users, self.leaving)
            users = (*enter, *leave)
            operation = operation if enter and leave else Operation.ADD if enter else Operation.REMOVE
        if operation == Operation.CHANGE:
            request = encoder.change(enter, leave)
        else:
            request = encoder.single(operation, users[0]) if self.single else encoder.batch(operation, users)
        found = self._ask(request)
        while found.job_id is not None:
            found = self._ask(encoder.poll(found.job_id, users))
        failed = set(found.named_users)
        if found.error is None:
            self.delivered |= set(users) - failed
        elif found.error is errors.Rejected and len(users) > 1:
            left = tuple(user for user in users if user not in failed)
            parts = [left] if failed else [users[: len(users) // 2], users[len(users) // 2 :]]
            for part in parts:
                if part:
                    self._send(operation, part)

    def _ask(self, request: Request) -> Verdict:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if auth := self.endpoint.auth():
            headers[auth[0].lower()] = auth[1]
        target = request.url.removeprefix("https://partner.example")
        answer = self.partner.answer(request.method, target, headers, request.body)
        assert not self.partner.refused, (self.partner.refused, request)
        body = b"" if answer.body is None else json.dumps(answer.body).encode()
        return classify(self.endpoint, request, answer.status, {}, body)


EXAMPLES = int(os.environ.get("LANGUAGE_EXAMPLES", "150"))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(partners(), st.lists(IDS, min_size=1, max_size=8, unique=True), st.data())
def test_nobody_is_delivered_whom_the_partner_did_not_take(drawn, ids, data):
    endpoint, fake = drawn
    known = known_as(endpoint)
    assume(len({known(user) for user in ids}) == len(ids))
    partner = FakePartner(endpoint, fake)
    unknown = data.draw(st.sets(st.sampled_from(ids)))
    partner.unknown = {known(user) for user in unknown}
    adding = Sender(endpoint, partner)
    adding.send(Operation.ADD, tuple(ids))
    held = partner.members("B: $b")
    assert {known(user) for user in adding.delivered} <= held
    assert not adding.delivered & unknown
    if not unknown:
        assert adding.delivered == set(ids)
    if endpoint.change_template:
        both = Sender(endpoint, partner)
        both.leaving = set(ids[::2])
        both.send(Operation.CHANGE, tuple(ids))
        held = partner.members("B: $b")
        assert {known(user) for user in both.delivered - both.leaving} <= held
        assert not {known(user) for user in both.delivered & both.leaving} & held
        assert not (both.delivered - both.leaving) & unknown
        if not unknown - both.leaving:
            assert both.delivered == set(ids)
    removing = Sender(endpoint, partner)
    removing.send(Operation.REMOVE, tuple(ids))
    assert not {known(user) for user in removing.delivered} & partner.members("B: $b")
    assert removing.delivered == set(ids)
