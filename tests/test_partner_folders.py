"""The contract of every partner's folder, over real HTTP, with a strict fake that is made from the folder."""

import json

import pytest

from destinations import filters, try_out
from destinations.endpoint import Kind, ListIdFrom
from destinations.partners import replies
from destinations.partners.fake import Answer, FakePartner
from destinations.partners.folder import Partner
from destinations.partners.golden import CREDENTIAL, as_text, endpoint_of, requests_of
from destinations.partners.serve import served
from destinations.partners.writing import page_of
from destinations.payloads import Operation
from destinations.presets import PRESETS
from destinations.reading import known_as, read_members
from destinations.sessions import has_parts
from destinations.templates import alone, strings
from syncs.choices import RunState, Step
from syncs.models import Sync
from tests import world

pytestmark = pytest.mark.slow
SLUGS = list(PRESETS)
COUNT = 60


@pytest.fixture
def server():
    with served() as started:
        yield started


@pytest.fixture(params=SLUGS)
def partner(request) -> Partner:
    return PRESETS[request.param]


@pytest.fixture
def rehearsal(server, partner):
    """A sync to the fake of a partner's folder."""
    cohort = world.cohort(world.users(COUNT))
    endpoint = endpoint_of(partner, server.url)
    given = {cohort.key: "1001"} if endpoint.list_id_from == ListIdFrom.GIVEN else {}
    more = {"auth_username": "user"} if endpoint.auth_mode == "basic" else {}
    more |= {"oauth": dict(endpoint.oauth)} if endpoint.oauth else {}
    more |= {"batch_size": COUNT // 3 + 1} if has_parts(endpoint) else {}
    destination = world.destination(
        server.url,
        partner.slug,
        credential=CREDENTIAL,
        secrets=dict(endpoint.secrets),
        given_lists=given,
        rate=None,
        **{"threads": 1, **more},
    )
    server.partner = FakePartner(destination.endpoint(), partner.fake)
    return world.sync(cohort, destination)


def as_sent(endpoint, user):
    """Return how the partner knows a user: through the filters of the template."""
    template = endpoint.item_template if endpoint.kind == Kind.PROPERTY else endpoint.list_item_template
    for text in strings(json.loads(template)):
        variable = alone(text)
        if variable and variable.name == "user_id":
            return filters.apply(variable.filters, user)
    return user


def look(server, sync):
    """The test call is answered, and what the read call reads is what the partner has."""
    sync = Sync.objects.select_related("destination", "cohort").get(pk=sync.pk)
    endpoint = sync.destination.endpoint()
    if endpoint.test_path:
        made = try_out.make_request(endpoint, Operation.TEST, "", "")
        assert try_out.send(endpoint, made).error is None, server.partner.refused
    if endpoint.read_path:
        names = {"external_name": world.name_at_partner(sync), "cohort_key": sync.cohort.key}
        read = list(read_members(endpoint, sync.list_id or "1001", **names))
        known = known_as(endpoint)
        assert sorted(read) == sorted({known(user) for user in world.wanted(sync)}) == sorted(wanted(sync))


def held(server, sync):
    sync = Sync.objects.select_related("destination", "cohort").get(pk=sync.pk)
    endpoint = sync.destination.endpoint()
    given = endpoint.list_id_from == ListIdFrom.GIVEN
    return server.partner.members("1001" if given else world.name_at_partner(sync))


def wanted(sync, *, less=()):
    endpoint = sync.destination.endpoint()
    return {as_sent(endpoint, user) for user in world.wanted(sync) - set(less)}


@pytest.mark.django_db(transaction=True)
def test_full_increment_and_a_refused_user_in_the_middle(server, rehearsal):
    run = world.run(rehearsal)
    assert run.state == RunState.SUCCEEDED, (run.reason, server.partner.refused)
    assert held(server, rehearsal) == wanted(rehearsal)
    look(server, rehearsal)

    world.fill(rehearsal.cohort, world.users(COUNT, first=3))
    run = world.run(rehearsal)
    assert (run.state, run.added, run.removed) == (RunState.SUCCEEDED, 3, 3), (
        run.reason,
        server.partner.refused,
    )
    assert held(server, rehearsal) == wanted(rehearsal)
    if rehearsal.destination.change_template:
        world.fill(rehearsal.cohort, world.users(COUNT, first=4))
        run = world.run(rehearsal)
        assert [batch.step for batch in run.batches.all()] == [Step.CHANGE]
        assert held(server, rehearsal) == wanted(rehearsal)

    if rehearsal.destination.replaces_lists:
        world.fill(rehearsal.cohort, [])
        run = world.run(rehearsal)
        assert (run.state, held(server, rehearsal)) == (RunState.SUCCEEDED, set()), server.partner.refused
        look(server, rehearsal)
        return  # whom it does not take is not known of either: see test_whole_lists
    bad = world.users(1, first=COUNT + 4)[0]
    server.partner.unknown = {as_sent(rehearsal.destination.endpoint(), bad)}
    world.fill(rehearsal.cohort, world.users(COUNT, first=7))
    run = world.run(rehearsal)
    assert (run.state, run.rejected) == (RunState.PARTIAL, 1), (run.reason, server.partner.refused)
    assert world.rejected(rehearsal) == {bad}
    assert held(server, rehearsal) == wanted(rehearsal, less=[bad])


@pytest.mark.django_db(transaction=True)
def test_a_rate_limit_and_an_answer_that_is_lost(server, rehearsal):
    partner = server.partner
    left = [Answer(429, {"message": "slow down"}, {"Retry-After": "1"}), Answer(503, None)]

    def fault(name):
        return left.pop(0) if left and name not in ("create", "find") else None

    partner.fault = fault
    run = world.run(rehearsal)
    assert run.state == RunState.SUCCEEDED, (run.reason, partner.refused)
    assert not left and held(server, rehearsal) == wanted(rehearsal)


@pytest.mark.django_db(transaction=True)
def test_a_lost_list_is_made_anew_where_the_partner_makes_lists(server, rehearsal, partner):
    endpoint = rehearsal.destination.endpoint()
    if endpoint.kind == Kind.PROPERTY or endpoint.list_id_from in (ListIdFrom.GIVEN, ListIdFrom.NAMED):
        return  # there is no list to lose, or a person has made it
    world.run(rehearsal)
    server.partner.lose_lists()
    world.fill(rehearsal.cohort, world.users(COUNT, first=2))
    world.run(rehearsal)
    world.go(rehearsal.destination)
    assert held(server, rehearsal) == wanted(rehearsal), server.partner.refused


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("partner", ["amplitude-cohort-new"], indirect=True)
def test_a_list_is_made_with_a_first_user_whom_the_partner_takes(server, rehearsal):
    """Two of the first users are unknown: the list is made with the third, and they are found as ever."""
    bad = world.users(2)
    server.partner.unknown = set(bad)
    run = world.run(rehearsal)
    assert (run.state, run.added, run.rejected) == (RunState.PARTIAL, COUNT - 2, 2), run.reason
    assert server.partner.calls.count("create") == 3 and len(server.partner.lists) == 1
    assert held(server, rehearsal) == wanted(rehearsal, less=bad)
    assert world.rejected(rehearsal) == set(bad)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("partner", ["amplitude-cohort-new"], indirect=True)
def test_no_list_is_made_for_a_cohort_without_users__and_one_when_somebody_enters(server, rehearsal):
    world.fill(rehearsal.cohort, [])
    assert world.run(rehearsal).state == RunState.SUCCEEDED
    assert server.partner.calls == []
    world.fill(rehearsal.cohort, world.users(2))
    assert world.run(rehearsal).state == RunState.SUCCEEDED
    assert held(server, rehearsal) == wanted(rehearsal) == set(world.users(2))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("partner", ["amplitude-cohort-new"], indirect=True)
def test_a_partner_that_makes_no_list_with_anybody_is_asked_five_times_and_pauses(server, rehearsal):
    server.partner.unknown = set(world.users(COUNT))
    run = world.run(rehearsal)
    assert run.state == RunState.FAILED and "The list cannot be created." in run.reason
    assert server.partner.calls == ["create"] * 5
    rehearsal.destination.refresh_from_db()
    assert rehearsal.destination.is_paused


def test_its_requests_are_those_of_the_folder_to_the_byte(partner):
    kept = {path.stem: path.read_text() for path in (partner.folder / "requests").glob("*.http")}
    assert kept == {name: as_text(request, endpoint) for name, request, endpoint in requests_of(partner)}


def test_its_replies_are_understood_as_the_folder_says(partner):
    kept = json.loads((partner.folder / "replies.json").read_text())
    names = [entry["name"] for entry in kept]
    assert len(set(names)) == len(names) and {"success", "slow down", "wrong key"} <= set(names)
    for entry in kept:
        assert replies.follows(partner, entry) == entry["follows"], entry
    assert replies.renewed(partner) == (partner.folder / "replies.json").read_text()


def test_its_page_says_what_the_data_says(partner):
    assert (partner.folder / "README.md").read_text() == page_of(partner)


def test_the_fake_refuses_what_the_folder_does_not_say(partner):
    """Another method, a field more, a wrong key: none of them is taken."""
    endpoint = endpoint_of(partner, "http://127.0.0.1:9")
    fake = FakePartner(endpoint, partner.fake)
    fake.lists["1001"] = set()
    requests = {name: request for name, request, _ in requests_of(partner)}
    add = requests["add"]
    target = add.url.removeprefix("https://partner.example").removeprefix(
        str(partner.fields.get("base_url", ""))
    )
    headers = {name.lower(): value for name, value in add.headers.items()}
    if auth := endpoint.auth("fake-token"):
        headers[auth[0].lower()] = auth[1]
        assert fake.answer(add.method, target, headers | {auth[0].lower(): "wrong"}, add.body).status == 401
    assert fake.answer("TRACE", target, headers, add.body).status == 405
    assert fake.answer(add.method, f"{target}x/y", headers, add.body).status in (404, 405)
    assert fake.answer(add.method, target, headers, add.body + b'&more={"a"}').status == 400
    assert fake.answer(add.method, target, headers, add.body).status < 300
