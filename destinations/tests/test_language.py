"""What a destination can say of its partner, as requests: the bytes of each part of the language."""

import gzip
import hashlib
import hmac
import json
import re
import threading
from base64 import urlsafe_b64decode
from contextlib import contextmanager
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from django.core.exceptions import ValidationError
from requests.structures import CaseInsensitiveDict

from destinations.classify import classify
from destinations.endpoint import MASK, AuthMode, BodyFormat, Delivery, Endpoint, Kind, ListIdFrom
from destinations.errors import Misconfigured, NotFound, Refused, Rejected, Temporary
from destinations.filters import FILTERS, OF_SECRETS
from destinations.models import Destination
from destinations.payloads import Encoder, Operation, needs_first_user
from destinations.templates import TemplateError
from destinations.tests.partner import answer, partner, says
from destinations.tokens import Tokens
from destinations.transport import Transport, describe

NOW = 1_800_000_000.5


def encoder(list_id="7", **fields):
    endpoint = Endpoint(name="acme", base_url="https://partner.example", **fields)
    return Encoder(
        endpoint, cohort_name="Buyers", cohort_key="buyers", external_name="Buyers", list_id=list_id, now=NOW
    )


def body(template, item='"$user_id"', users=("u1", "ü/2"), **fields):
    made = encoder(add_template=template, list_item_template=item, **fields)
    return made.batch(Operation.ADD, list(users)).body.decode()


@pytest.mark.parametrize(
    ("template", "item", "expected"),
    [
        ('{"users": "$items"}', '{"id": "$user_id"}', '{"users":[{"id":"u1"},{"id":"ü/2"}]}'),
        ('"$items"', '{"$$distinct_id": "$user_id"}', '[{"$distinct_id":"u1"},{"$distinct_id":"ü/2"}]'),
        ('{"listId": "${list_id|number}"}', '"$user_id"', '{"listId":7}'),
        ('{"records": "${items|join}"}', '"$user_id"', '{"records":"u1,ü/2"}'),
        ('{"records": "${items|join:; }"}', '"$user_id"', '{"records":"u1; ü/2"}'),
        ('["a", "$items"]', '["$user_id"]', '["a",[["u1"],["ü/2"]]]'),
        ('{"at": "$now", "s": "${now_unix|number}"}', '"x"', '{"at":"2027-01-15T08:00:00Z","s":1800000000}'),
        ('{"p": "$items"}', '"/records/${user_id|url}"', '{"p":["/records/u1","/records/%C3%BC%2F2"]}'),
        ('{"p": "$items"}', '"${user_id|upper}"', '{"p":["U1","Ü/2"]}'),
        ('{"p": "${items|default:no body}"}', '"$user_id"', '{"p":["u1","ü/2"]}'),
    ],
)
def test_a_list_body_has_any_shape(template, item, expected):
    assert body(template, item) == expected


@pytest.mark.parametrize(
    ("template", "item", "expected"),
    [
        ('{"p": "${items|default: x:y }"}', '"$user_id"', '{"p":[" x:y "]}'),
        ('{"p": "${items|default:x}"}', '{"id": "$user_id"}', '{"p":[{"id":"x"}]}'),
        ('{"p": "${items|join:,|default:x}"}', '"$user_id"', '{"p":"x"}'),
        ('{"p": "$items"}', '"$user_id"', '{"p":[]}'),
    ],
)
def test_a_list_without_users_has_whom_the_template_says(template, item, expected):
    assert body(template, item, users=()) == expected


@pytest.mark.parametrize(
    ("chain", "given", "expected"),
    [
        ("trim|lower", " Ann@Example.COM ", "ann@example.com"),
        ("digits", "+49 (30) 12", "493012"),
        ("sha256", "u1", hashlib.sha256(b"u1").hexdigest()),
        ("trim|lower|sha256", " U1", hashlib.sha256(b"u1").hexdigest()),
        ("base64", "ü", "w7w="),
        ("hex", "ü", "c3bc"),
        ("url", "../../other/x", "..%2F..%2Fother%2Fx"),
        ("url", "..", "%2E%2E"),
        ("json", 'a","admin":"\\é', 'a\\",\\"admin\\":\\"\\\\é'),
    ],
)
def test_filters_change_a_value_on_its_way(chain, given, expected):
    assert json.loads(body('{"a": "$items"}', f'"${{user_id|{chain}}}"', users=[given])) == {"a": [expected]}


def test_an_id_in_json_within_a_text_stays_one_text():
    item = '{"body": "{\\"id\\": \\"${user_id|json}\\"}"}'
    nasty = 'u","admin":true,"x":"\\'
    [sent] = json.loads(body('{"requests": "$items"}', item, users=[nasty]))["requests"]
    assert json.loads(sent["body"]) == {"id": nasty}


def test_a_number_is_one_or_is_refused():
    assert (
        body('{"ids": "$items"}', '{"id": "${user_id|number}"}', users=["7", "8"])
        == '{"ids":[{"id":7},{"id":8}]}'
    )
    with pytest.raises(TemplateError, match="whole number"):
        body('{"ids": "$items"}', '"${user_id|number}"', users=["u1"])


def test_value_words_replace_true_and_false():
    made = encoder(
        kind=Kind.PROPERTY,
        value_words={"in": "1", "out": ""},
        item_template='{"id": "$user_id", "tags": {"$external_name": "$value"}}',
    )
    assert made.batch(Operation.ADD, ["u"]).body == b'{"batch":[{"id":"u","tags":{"Buyers":"1"}}]}'
    assert made.batch(Operation.REMOVE, ["u"]).body == b'{"batch":[{"id":"u","tags":{"Buyers":""}}]}'


def test_each_operation_has_a_method_and_a_path_may_hold_the_user():
    made = encoder(
        batch_size=1,
        methods={"add": "PUT", "remove": "DELETE"},
        remove_path="/lists/$list_id/members/$user_id",
        remove_template="null",
    )
    add, remove = made.batch(Operation.ADD, ["u1"]), made.batch(Operation.REMOVE, ["a/../b"])
    assert (add.method, remove.method) == ("PUT", "DELETE")
    assert (remove.url, remove.body) == ("https://partner.example/lists/7/members/a%2F..%2Fb", b"")
    assert "Content-Type" not in remove.headers
    single = encoder(
        kind=Kind.PROPERTY,
        delivery=Delivery.SINGLE,
        methods={"identify": "PATCH"},
        identify_path="/u/$user_id",
    )
    assert single.single(Operation.ADD, "x y").url == "https://partner.example/u/x%20y"
    assert single.single(Operation.ADD, "z").url == "https://partner.example/u/z"
    assert single.single(Operation.REMOVE, "z").method == "PATCH"


def test_a_form_a_line_each_and_gzip():
    form = encoder(
        body_format=BodyFormat.FORM, add_template='{"ids": "${items|join:,}", "n": "$external_name"}'
    )
    made = form.batch(Operation.ADD, ["a b", "c&d"])
    assert made.body == b"ids=a+b%2Cc%26d&n=Buyers"
    assert made.headers["Content-Type"] == "application/x-www-form-urlencoded"
    lines = encoder(
        body_format=BodyFormat.NDJSON, add_template='"$items"', list_item_template='{"id": "$user_id"}'
    )
    assert lines.batch(Operation.ADD, ["a", "b"]).body == b'{"id":"a"}\n{"id":"b"}\n'
    zipped = encoder(gzip=True).batch(Operation.ADD, ["a"])
    assert json.loads(gzip.decompress(zipped.body))["userIds"] == ["a"]
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert '"userIds":["a"]' in describe(zipped, encoder(gzip=True).endpoint)


def test_a_line_of_csv_each_below_the_names():
    table = encoder(
        body_format=BodyFormat.CSV,
        add_template='"$items"',
        list_item_template='{"email": "${user_id|lower}", "n": 1, "on": true}',
    )
    made = table.batch(Operation.ADD, ["A@x", 'b,"c"\nd', "ü"])
    assert made.body.decode() == 'email,n,on\r\na@x,1,true\r\n"b,""c""\nd",1,true\r\nü,1,true\r\n'
    assert made.headers["Content-Type"] == "text/csv; charset=utf-8"
    create = table.create()
    assert (create.headers["Content-Type"], create.body[:1]) == ("application/json", b"{")
    ids = encoder(body_format=BodyFormat.CSV, add_template='"$items"')
    assert ids.batch(Operation.ADD, ["a", "b,c"]).body == b'a\r\n"b,c"\r\n'
    rows = encoder(
        body_format=BodyFormat.CSV, add_template='"$items"', list_item_template='["$user_id", "x"]'
    )
    assert rows.batch(Operation.ADD, ["a"]).body == b"a,x\r\n"


@pytest.mark.parametrize("item", ['"$user_id"', '{"id": "$user_id"}', '["$user_id", "${user_id|sha256}"]'])
def test_csv_stays_below_the_byte_limit(item):
    table = encoder(
        body_format=BodyFormat.CSV, add_template='"$items"', list_item_template=item, max_bytes=10_000
    )
    users = [f'"{number:040},"' for number in range(10_000)]
    fits = table.fits(Operation.ADD, users)
    assert 80 < fits < 250
    assert len(table.batch(Operation.ADD, users[:fits]).body) <= 10_000


def test_a_list_is_made_with_its_first_user_where_a_partner_makes_none_without():
    made = encoder(
        create_template='{"name": "$external_name", "ids": "$items"}', list_item_template='{"id": "$user_id"}'
    )
    request = made.create(["u1"])
    assert (request.body, request.user_ids) == (b'{"name":"Buyers","ids":[{"id":"u1"}]}', ["u1"])
    assert needs_first_user(made.endpoint) and not needs_first_user(encoder().endpoint)


FIELDS = {"id": "r.id", "state": "r.state", "done": ["OK", True], "failed": ["KO", "PARTLY"]}
POLLS = {"poll_path": "/jobs/$job_id?list=$list_id", "poll_fields": FIELDS}
FAILED = {"then": "users_failed", "reason": "no", "message": "No.", "users_place": "bad", "status": 200}


def said(operation, status, body, headers=None, **fields):
    """Return what a reply to an add means, or to the question what became of it."""
    made = encoder(**{**POLLS, "rules": [{**FAILED, "for": "poll"}], **fields})
    request = made.poll("a/b", ["u1", "u2"]) if operation == "poll" else made.batch(operation, ["u1", "u2"])
    return classify(
        made.endpoint, request, status, CaseInsensitiveDict(headers or {}), json.dumps(body).encode()
    )


def test_a_request_that_is_only_accepted_is_asked_about_by_its_id():
    request = encoder(**POLLS).poll("a/b ü", ["u1"])
    assert (request.method, request.body) == ("GET", b"")
    assert request.url == "https://partner.example/jobs/a%2Fb%20%C3%BC?list=7"
    assert "Content-Type" not in request.headers
    assert encoder(**POLLS, methods={"poll": "POST"}).poll("a", []).method == "POST"


@pytest.mark.parametrize(
    ("path", "body", "headers", "job_id"),
    [
        ("r.id", {"r": {"id": 17}}, {}, "17"),
        ("header:Location", {}, {"Location": "/v1/jobs/ab%20c/"}, "ab c"),
        ("header:location", {}, {"Location": "https://elsewhere.example/jobs/ab?x=1"}, "ab"),
        ("header:X-Job", {}, {"X-Job": "j"}, "j"),
    ],
)
def test_where_the_id_of_an_accepted_request_stands(path, body, headers, job_id):
    found = said(Operation.ADD, 202, body, headers, poll_fields={**FIELDS, "id": path})
    assert (found.error, found.job_id, found.named_users) == (None, job_id, ())


@pytest.mark.parametrize(
    ("operation", "status", "body", "error", "words"),
    [
        # An accepted request without an id, or with words of failure, is no delivery.
        (Operation.ADD, 202, {}, Misconfigured, "without the id of the request at 'r.id'"),
        (Operation.REMOVE, 200, {"r": {"id": ".."}}, Misconfigured, "without the id"),
        (Operation.ADD, 202, {"r": {"id": "j"}, "errors": ["no"]}, Misconfigured, '"errors"'),
        # The later reply.
        ("poll", 200, {"r": {"state": "KO"}, "message": "too big"}, Rejected, "KO (too big)"),
        ("poll", 200, {"r": [{"state": "OK"}, {"state": "PARTLY"}]}, Rejected, "PARTLY."),
        ("poll", 200, {"r": {}}, Misconfigured, "without the state"),
        ("poll", 200, {"r": {"state": "OK"}, "errors": ["no"]}, Misconfigured, '"errors"'),
        ("poll", 404, {"invalidUserIds": ["u1"]}, NotFound, "404"),
        ("poll", 410, {}, NotFound, "410"),
        ("poll", 400, {"invalidUserIds": ["u1"]}, Misconfigured, "400"),
        ("poll", 422, {}, Misconfigured, "422"),
        ("poll", 401, {}, Refused, "credential"),
        ("poll", 503, {}, Temporary, "503"),
        ("poll", 303, {}, Misconfigured, "303"),
    ],
)
def test_what_is_no_success_of_an_accepted_request(operation, status, body, error, words):
    found = said(operation, status, body)
    assert (found.error, found.job_id, found.named_users) == (error, None, ())
    assert words in found.message


def test_what_becomes_of_an_accepted_request():
    assert said("poll", 200, {"r": {"state": "QUEUED"}}).job_id == "a/b"
    assert said("poll", 200, {"r": [{"state": "OK"}, {"state": "QUEUED"}]}).job_id == "a/b"
    for state in ("OK", True):
        done = said("poll", 200, {"r": {"state": state}})
        assert (done.error, done.job_id, done.named_users) == (None, None, ())
    some = said("poll", 200, {"r": {"state": "OK"}, "bad": ["u2"]})
    assert (some.error, some.named_users) == (None, ("u2",))
    named = said("poll", 200, {"r": {"state": "PARTLY"}, "bad": ["u2"]})
    assert (named.error, named.named_users) == (Rejected, ("u2",))


def test_only_rules_for_it_are_about_the_later_reply():
    """One that forgives a 404 of a remove, say, must not make a lost request a delivery."""
    forgives = [{"status": 404, "then": "success", "reason": "gone", "message": "Gone."}]
    assert said("poll", 404, {}, rules=forgives).error is NotFound
    assert said(Operation.REMOVE, 404, {}, rules=forgives).error is None
    asked = [{**forgives[0], "for": "poll", "code": "done"}]
    assert said("poll", 404, {"code": "done"}, rules=asked).error is None
    at_once = [{"status": 200, "then": "success", "at": "r.now", "reason": "now", "message": "At once."}]
    assert said(Operation.ADD, 200, {"r": {"now": True}}, rules=at_once).job_id is None
    named = [{**FAILED, "status": "2xx"}]
    first = said(Operation.ADD, 202, {"r": {"id": "j"}, "bad": ["u1"]}, rules=named)
    assert (first.error, first.named_users) == (Rejected, ("u1",))


def test_a_form_stays_below_the_byte_limit():
    form = encoder(body_format=BodyFormat.FORM, add_template='{"ids": "${items|join:,}"}', max_bytes=10_000)
    users = ["ü" * 200] * 100
    fits = form.fits(Operation.ADD, users)
    assert 0 < fits < 100
    assert len(form.batch(Operation.ADD, users[:fits]).body) <= 10_000


def test_named_secrets_stand_in_bodies_paths_and_headers_and_are_masked(make_endpoint):
    with partner(says(answer())) as server:
        endpoint = make_endpoint(
            base_url=server.url,
            secrets={"second": "s3cond-secret", "sign": "k"},
            add_path="/add?token=$secret_second",
            add_template='{"token": "$secret_second", "list": "$list_id", "users": "$items"}',
            extra_headers={"X-Second": "Key $secret_second", "X-Price": "5 $ a month"},
            signature={"header": "X-Signature", "secret": "sign", "prefix": "sha256="},
        )
        made = Encoder(endpoint, cohort_name="B", cohort_key="b", external_name="B", list_id="7")
        request = made.batch(Operation.ADD, ["u1"])
        transport = Transport(endpoint)
        transport.send(request)
        transport.close()
        raw = server.requests[0]
    digest = hmac.new(b"k", request.body, "sha256").hexdigest()
    assert f"X-Signature: sha256={digest}".encode() in raw
    assert b"X-Second: Key s3cond-secret" in raw and b"X-Price: 5 $ a month" in raw
    assert b"POST /add?token=s3cond-secret HTTP" in raw and b'"token":"s3cond-secret"' in raw
    shown = describe(request, endpoint)
    assert "s3cond" not in shown and digest not in shown


@pytest.mark.parametrize("name", OF_SECRETS)
def test_a_secret_is_masked_in_each_form_that_a_filter_gives_it(make_endpoint, name):
    endpoint = make_endpoint(
        secrets={"second": "s3cond/secret"},
        add_template=f'{{"token": "${{secret_second|{name}}}", "u": "$items"}}',
    )
    made = Encoder(endpoint, cohort_name="B", cohort_key="b", external_name="B", list_id="7")
    request = made.batch(Operation.ADD, ["u1"])
    assert FILTERS[name]("s3cond/secret").encode() in request.body
    assert f'"token":"{MASK}"' in describe(request, endpoint)


def test_a_list_id_is_given_or_the_name_itself_without_a_request(make_endpoint):
    named = encoder(None, list_id_from=ListIdFrom.NAMED).create()
    given = encoder(None, list_id_from=ListIdFrom.GIVEN, given_lists={"buyers": "55"}).create()
    transport = Transport(make_endpoint())
    assert [transport.send(request).list_id for request in (named, given)] == ["Buyers", "55"]
    with pytest.raises(TemplateError, match="No list id is given for the cohort 'buyers'"):
        encoder(None, list_id_from=ListIdFrom.GIVEN, given_lists={"other": "1"}).create()


LISTS = b'{"lists": [{"name": "Other", "id": 1}, {"name": "Buyers", "id": 42}]}'


@pytest.mark.parametrize(
    ("replies", "list_id", "calls"),
    [
        ([answer(body=LISTS)], "42", ["GET /lists?name=Buyers"]),
        (
            [answer(body=b'{"lists": []}'), answer(body=b'{"listId": 9}')],
            "9",
            ["GET /lists?name=Buyers", "POST /lists"],
        ),
        (
            [answer("404 Not Found"), answer(body=b'{"listId": 9}')],
            "9",
            ["GET /lists?name=Buyers", "POST /lists"],
        ),
    ],
)
def test_a_list_is_found_by_its_name_or_else_created(make_endpoint, replies, list_id, calls):
    left = list(replies)
    with partner(lambda sock: sock.sendall(left.pop(0)), keep_alive=True) as server:
        endpoint = make_endpoint(
            base_url=server.url,
            list_id_from=ListIdFrom.FOUND,
            find_path="/lists?name=$external_name",
            find_places={"rows": "lists", "name": "name", "id": "id"},
        )
        made = Encoder(endpoint, cohort_name="B", cohort_key="b", external_name="Buyers")
        transport = Transport(endpoint)
        assert transport.send(made.create()).list_id == list_id
        transport.close()
    assert [request.split(b" HTTP")[0].decode() for request in server.requests] == calls


def test_a_look_up_that_is_refused_creates_nothing(make_endpoint):
    with partner(says(answer("401 Unauthorized"))) as server:
        endpoint = make_endpoint(
            base_url=server.url,
            list_id_from=ListIdFrom.FOUND,
            find_path="/l",
            find_places={"name": "n", "id": "i"},
        )
        made = Encoder(endpoint, cohort_name="B", cohort_key="b", external_name="Buyers")
        with pytest.raises(Refused):
            Transport(endpoint).send(made.create())
    assert len(server.requests) == 1


def test_a_list_id_may_stand_in_a_header_of_the_reply(make_endpoint):
    with partner(says(answer("201 Created", b"", "X-Linkedin-Id: 8811\r\n"))) as server:
        endpoint = make_endpoint(base_url=server.url, list_id_place="header:x-linkedin-id")
        made = Encoder(endpoint, cohort_name="B", cohort_key="b", external_name="Buyers")
        assert Transport(endpoint).send(made.create()).list_id == "8811"


def oauth_endpoint(make_endpoint, server, **oauth):
    values = {"grant": "client_credentials", "token_url": f"{server.url}/token", "client_id": "me", **oauth}
    return make_endpoint(base_url=server.url, auth_mode=AuthMode.OAUTH2, oauth=values)


class Issuer:
    """Issues tokens t1, t2, …; of the calls it accepts only the latest one."""

    def __init__(self):
        self.issued = 0
        self.accepts = 1
        self.lock = threading.Lock()

    def reply(self, request):
        with self.lock:
            if request.startswith(b"POST /token"):
                self.issued += 1
                return answer(body=b'{"access_token": "t%d", "expires_in": 3600}' % self.issued)
            good = b"Authorization: Bearer t%d\r\n" % max(self.accepts, 1)
            return answer() if good in request else answer("401 Unauthorized", b"{}")


@contextmanager
def served(issuer):
    """Serve an issuer: what it answers depends on the request that came last."""
    came = []
    with partner(lambda sock: sock.sendall(issuer.reply(came[0].requests[-1])), keep_alive=True) as server:
        came.append(server)
        yield server


def test_a_token_is_fetched_once_and_shared(make_endpoint, add_request):
    with served(Issuer()) as server:
        endpoint = oauth_endpoint(make_endpoint, server, scope="a b")
        first, second = Transport(endpoint), Transport(endpoint)
        for transport in (first, second, first):
            transport.send(add_request(endpoint))
            transport.close()
    tokens = [request for request in server.requests if request.startswith(b"POST /token")]
    assert len(tokens) == 1 and len(server.requests) == 4
    form = tokens[0].split(b"\r\n\r\n")[1].decode()
    assert form == "grant_type=client_credentials&scope=a+b&client_id=me&client_secret=s3cret-key-0123"
    assert b"Authorization" not in tokens[0]


def test_a_token_that_is_not_accepted_is_renewed_once(make_endpoint, add_request):
    issuer = Issuer()
    with served(issuer) as server:
        endpoint = oauth_endpoint(make_endpoint, server)
        transport = Transport(endpoint)
        transport.send(add_request(endpoint))
        issuer.accepts = 2
        transport.send(add_request(endpoint))
        assert issuer.issued == 2
        issuer.accepts = 99
        with pytest.raises(Refused):
            transport.send(add_request(endpoint))
        assert issuer.issued == 3
        transport.close()


def test_an_issuer_that_gives_no_token_is_a_refused_credential(make_endpoint, add_request):
    reply = answer(
        "400 Bad Request", b'{"error": "invalid_client", "error_description": "no s3cret-key-0123"}'
    )
    with partner(says(reply)) as server:
        endpoint = oauth_endpoint(make_endpoint, server)
        with pytest.raises(Refused) as caught:
            Transport(endpoint).send(add_request(endpoint))
    assert "gives none" in caught.value.message and "s3cret" not in caught.value.message


def test_a_jwt_is_signed_with_the_private_key(make_endpoint, add_request):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    endpoint = Endpoint(name="a", base_url="https://a.example", auth_mode=AuthMode.OAUTH2, credential=pem)
    endpoint = replace(
        endpoint,
        oauth={"grant": "jwt_bearer", "token_url": "https://i.example/t", "issuer": "me", "scope": "s"},
    )
    form = Tokens(endpoint).request().body.decode()
    assert form.startswith("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=")
    head, claims, signed = form.rpartition("=")[2].split(".")

    def plain(text):
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))

    key.public_key().verify(plain(signed), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
    read = json.loads(plain(claims))
    assert (read["iss"], read["aud"], read["scope"]) == ("me", "https://i.example/t", "s")
    assert read["exp"] - read["iat"] == 300
    with pytest.raises(Misconfigured, match="no private key"):
        Tokens(replace(endpoint, credential="nonsense")).request()


BOTH = '{"in": "$added", "out": "$removed"}'
BY_INDEX = {"status": "2xx", "then": "users_failed", "reason": "no", "message": "No.", "by": "index"}
BY_INDEX |= {"users_place": "errors"}
NO_MEMBER = {"status": 404, "for": "remove", "then": "success", "reason": "no", "message": "Is none."}


def test_a_change_is_written_as_its_adds_and_removes_are():
    """Two arrays, one array, joined texts and a form; its order is that of its users' ids."""
    leaver = '{"id": "${user_id|upper}", "off": true}'
    for template, more, body in (
        (
            {"l": "$list_id", "in": "$added", "out": "$removed"},
            {},
            {"l": "7", "in": ["a", "c"], "out": ["b"]},
        ),
        (
            {"u": "$items"},
            {"list_item_template": '{"id": "$user_id", "v": "$value"}'},
            {"u": [{"id": "a", "v": True}, {"id": "c", "v": True}, {"id": "b", "v": False}]},
        ),
        (
            ["$added", "$removed"],
            {"remove_item_template": leaver},
            [["a", "c"], [{"id": "B", "off": True}]],
        ),
        ({"in": "${added|join:,}", "out": "${removed|join:,}"}, {}, {"in": "a,c", "out": "b"}),
        ({"n": "${list_id|number}", "all": "${items|join:;}"}, {}, {"n": 7, "all": "a;c;b"}),
    ):
        endpoint = Endpoint("p", "https://p.example", change_template=json.dumps(template), **more)
        encoder = Encoder(endpoint, cohort_name="C", cohort_key="c", external_name="C", list_id="7")
        request = encoder.change(["a", "c"], ["b"])
        assert json.loads(request.body) == body
        assert (request.operation, request.method, request.users) == (Operation.CHANGE, "POST", 3)
        assert (request.url, list(request.user_ids)) == ("https://p.example/lists/7/add", ["a", "c", "b"])
    form = replace(endpoint, change_template=BOTH, body_format=BodyFormat.FORM)
    encoder = Encoder(form, cohort_name="C", cohort_key="c", external_name="C", list_id="7")
    assert encoder.change(["a"], ["b"]).body == b"in=%5B%22a%22%5D&out=%5B%22b%22%5D"


def test_a_change_is_cut_to_the_byte_limit():
    leaver = json.dumps({"id": "$user_id", "why": "x" * 900})
    endpoint = Endpoint("p", "https://p.example", change_template=BOTH, remove_item_template=leaver)
    endpoint = replace(endpoint, max_bytes=10_000)
    encoder = Encoder(endpoint, cohort_name="C", cohort_key="c", external_name="C", list_id="7")
    users = [f"u{number:03}" for number in range(100)]
    count = encoder.fits(Operation.CHANGE, users)
    assert count == 10
    assert len(encoder.change(users[:1], users[1:count]).body) <= 10_000
    assert len(encoder.change(users[:1], users[1 : count + 2]).body) > 10_000


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"add_template": '{"userIds": ["$items"]}'}, "without brackets"),
        ({"add_template": '{"a": {"ids": "$items", "n": 1, "n": 2}}'}, "stands twice"),
        (
            {"add_template": '{"r": "${items|join:,}"}', "list_item_template": '{"id": "$user_id"}'},
            "must be a text",
        ),
        ({"add_template": '{"ids": "$items", "k": "${secret_k|hex}"}'}, "a secret takes one of"),
        ({"add_template": '{"ids": "$items", "k": "${secret_k|base64|base64}"}'}, "a secret takes one of"),
        ({"remove_item_template": '{"path": "/people/$user_id"}'}, "must be quoted"),
        ({"replaces_lists": True, "batch_size": 1}, "A whole list is many users a request"),
        ({"batch_size": 10_001}, "10,000 at most"),
        (
            {"add_template": '{"s": "$session", "last": "$is_last", "ids": "$items"}'},
            "$is_last is for whole lists that travel in several requests",
        ),
        (
            {"replaces_lists": True, "add_template": '{"n": "${sequence|number}", "ids": "$items"}'},
            "$is_last is missing: the partner could not tell which requests are one list",
        ),
        (
            {
                "replaces_lists": True,
                "batch_size": 10_001,
                "add_template": '{"s": "$session", "last": "$is_last", "ids": "$items"}',
            },
            "10,000 at most",
        ),
        ({"remove_template": '{"s": "$session", "ids": "$items"}'}, "Unknown variable $session"),
        ({"add_template": '{"ids": "${items|default:x}"}'}, "for a whole list without users"),
        (
            {"replaces_lists": True, "create_template": '{"n": "$external_name", "i": "${items|default:x}"}'},
            "for a whole list without users",
        ),
        ({"add_template": '{"ids": "${items|default}"}'}, "Who stands on a list without users?"),
        ({"add_template": '{"ids": "$items", "k": "${list_id|default:x}"}'}, "are for $items"),
        ({"replaces_lists": True, "kind": "property"}, "there is no list to replace"),
        ({"poll_path": "/jobs/$job_id"}, "Both say how a request is asked about"),
        ({"poll_fields": {"id": "i", "state": "s", "done": ["x"]}}, "Both say how a request is asked about"),
        (
            {"poll_path": "/jobs", "poll_fields": {"id": "i", "state": "s", "done": ["x"]}},
            "could not tell which request",
        ),
        ({"body_format": "csv"}, 'write "$items" alone'),
        ({"body_format": "ndjson"}, 'write "$items" alone'),
        (
            {
                "body_format": "csv",
                "add_template": '"$items"',
                "list_item_template": '{"a": {"b": "$user_id"}}',
            },
            "A line of CSV has texts and numbers",
        ),
        (
            {
                "create_template": '{"name": "$external_name", "ids": "$items"}',
                "list_item_template": '{"p": "/l/$list_id/${user_id|url}"}',
            },
            "is not known yet when the list is made",
        ),
        ({"create_template": '{"name": "$external_name", "id": "$items"}'}, "names one user"),
        ({"remove_item_template": '{"body": "{\\"id\\": \\"$user_id\\"}"}'}, "must be escaped"),
        ({"remove_item_template": '{"body": "{\\"id\\":\\"${user_id|lower}\\"}"}'}, "must be escaped"),
        ({"remove_item_template": '{"id": "x"}'}, "could not tell which user"),
        ({"read_path": "/members", "read_places": {"rows": "m"}}, "could not tell which list"),
        ({"change_template": '{"in": "$added"}'}, 'Write "$added" and "$removed"'),
        ({"change_template": '{"in": "$added", "out": "$removed", "a": "$items"}'}, 'Write "$added"'),
        ({"change_template": '{"in": "$added", "also": "$added", "out": "$removed"}'}, "must stand once"),
        ({"change_template": '{"in": ["$added"], "out": "$removed"}'}, "without brackets"),
        ({"change_template": '{"in": "${added|default:x}", "out": "$removed"}'}, "makes no sense"),
        ({"change_template": '{"user_id": "$added", "out": "$removed"}'}, "names one user"),
        ({"change_template": '{"u": "$items"}'}, "nothing tells who leaves"),
        ({"change_template": '{"in": "$added", "out": "$remove"}'}, "Did you mean $removed?"),
        ({"change_template": "null"}, 'Write "$added" and "$removed"'),
        ({"change_template": BOTH, "batch_size": 1}, "of several users a request"),
        ({"change_template": BOTH, "kind": "property"}, "are for lists"),
        ({"change_template": BOTH, "replaces_lists": True}, "not where whole lists are sent"),
        ({"change_template": BOTH, "rules": [BY_INDEX]}, "Rule 1 counts users in the batch"),
        ({"change_template": BOTH, "rules": [BY_INDEX | {"for": "poll"}]}, "Rule 1 counts users"),
        ({"change_template": BOTH, "rules": [BY_INDEX | {"for": "add"}]}, "add one for 'change'"),
        ({"change_template": BOTH, "rules": [NO_MEMBER]}, "add one for 'change'"),
        ({"add_template": '{"ids": "$added"}'}, "Unknown variable $added"),
        ({"read_path": "/lists/$list_id"}, "Where does that reply have the members"),
        ({"test_path": "/me?api_key=abcdef123456"}, "looks like a secret"),
    ],
)
def test_what_a_template_or_a_call_cannot_mean_is_refused_with_what_would_be_right(fields, words):
    row = Destination.from_preset("amplitude-list")
    row.name, row.base_url, row.credential = "acme", "https://partner.example", "a-credential-1"
    row.seal_secrets({"k": "another-secret-1"})
    for name, value in fields.items():
        setattr(row, name, value)
    with pytest.raises(ValidationError, match=re.escape(words)):
        row.clean()
