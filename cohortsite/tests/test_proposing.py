"""Four eyes: what one person changes of a destination or a definition holds when another has approved it."""

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.utils import timezone

from cohorts.models import Cohort
from cohortsite import apply, proposing, records, roles, silence, tokens
from cohortsite.models import Proposal, ProposalState
from cohortsite.proposal_pages import TONES
from cohortsite.records import changes_of
from cohortsite.tests.test_stale_forms import opened
from destinations.models import Destination
from events.models import CatalogueEntry, Correction, NameKind, NameRule
from events.naming import decide as decide_name
from syncs.choices import AlertKind
from syncs.models import Alert
from tests import world

pytestmark = pytest.mark.django_db
JSON = "application/json"
BOUGHT = {"version": 1, "where": {"performed": {"event": "purchase"}}}
LEFT = {"version": 1, "where": {"performed": {"event": "left"}}}


@pytest.fixture(autouse=True)
def four_eyes(settings):
    settings.FOUR_EYES = True


def person(name: str, role: str = "administrator") -> User:
    roles.grant()
    user = User.objects.create_user(name, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    return user


def client_of(name: str, role: str = "administrator") -> Client:
    client = Client()
    client.force_login(person(name, role))
    return client


@pytest.fixture
def ada():
    return client_of("ada")


@pytest.fixture
def bob():
    return client_of("bob")


@pytest.fixture
def acme():
    return world.destination("http://127.0.0.1:9", name="acme")


def patch(client: Client, **fields):
    return client.patch("/api/v1/destinations/acme", fields, content_type=JSON)


def decide(client: Client, what: str, proposal: Proposal, seen: str = "0"):
    url = f"/admin/cohortsite/proposal/{proposal.pk}/do/{what}/"
    return client.post(url, {"text": "As agreed", "seen": seen if what == "approve" else ""}, follow=True)


def said(reply) -> str:
    return " ".join(map(str, reply.context["messages"]))


def test_a_form_proposes_and_another_person_approves(ada, bob, acme):
    url = f"/admin/destinations/destination/{acme.pk}/change/"
    page = ada.get(url).content.decode()
    assert "what you save here is a proposal" in page
    reply = ada.post(url, opened(ada, url) | {"rate": "5", "credential": "n3w-s3cret"}, follow=True)
    proposal = Proposal.objects.get()
    assert reply.redirect_chain[-1][0] == proposal.get_absolute_url()
    acme.refresh_from_db()
    assert (acme.rate, acme.credential.reveal()) == (None, world.KEY)
    page = reply.content.decode()
    for text in ("Rate", "empty", ">5.0<", "Credential", "changed", "another person"):
        assert text in page, text
    assert "n3w-s3cret" not in page and "/do/approve/" not in page and "/do/withdraw/" in page

    assert "/do/approve/" in bob.get(proposal.get_absolute_url()).content.decode()
    assert "is now what was proposed" in said(decide(bob, "approve", proposal))
    acme.refresh_from_db()
    proposal.refresh_from_db()
    assert (acme.rate, acme.credential.reveal()) == (5.0, "n3w-s3cret")
    assert (proposal.state, proposal.decided_by, proposal.reason) == ("approved", "bob", "As agreed")
    assert not proposal.credential
    latest = changes_of(acme)[0]
    assert (latest.who, latest.reason) == ("bob", f"Proposal {proposal.pk} by ada")
    history = bob.get(f"/admin/destinations/destination/{acme.pk}/history/").content.decode()
    assert f"Proposal {proposal.pk} by ada" in history


def test_the_proposer_decides_nothing_whatever_they_may_do(acme):
    root = User.objects.create_superuser("root")
    client = Client()
    client.force_login(root)
    reply = patch(client, rate=5)
    assert reply.status_code == 202, reply.content
    proposal = Proposal.objects.get()
    assert decide(client, "approve", proposal).status_code == 403
    assert decide(client, "refuse", proposal).status_code == 403
    # Another name is no other person.
    User.objects.filter(pk=root.pk).update(username="groot")
    api = f"/api/v1/proposals/{proposal.pk}/approve"
    assert client.post(api, {"reason": "x"}, content_type=JSON).status_code == 409
    proposal.refresh_from_db()
    assert proposal.state == "waiting"
    decide(client, "withdraw", proposal)
    proposal.refresh_from_db()
    assert proposal.state == "withdrawn"


def test_an_operator_proposes_and_may_not_decide(acme, bob):
    operator = client_of("olga", "operator")
    reply = patch(operator, title="Acme, Inc.")
    assert reply.status_code == 202
    assert reply["Location"] == f"/api/v1/proposals/{Proposal.objects.get().pk}"
    patch(bob, rate=7)
    assert decide(operator, "approve", Proposal.objects.get(proposer="bob")).status_code == 403
    assert operator.get("/admin/destinations/destination/add/?preset=custom").status_code == 200
    assert client_of("vera", "viewer").patch("/api/v1/destinations/acme").status_code == 403
    assert operator.delete("/api/v1/destinations/acme").status_code == 403


def test_a_token_that_only_reads_proposes_nothing(acme):
    for scope, status in (("read", 403), ("run", 202)):
        user = person(f"u-{scope}")
        _, text = tokens.create(user, "t", scope=scope)
        reply = Client().patch(
            "/api/v1/destinations/acme",
            {"rate": 5},
            content_type=JSON,
            headers={"Authorization": f"Token {text}"},
        )
        assert reply.status_code == status, scope


def test_what_says_nothing_of_who_is_sent_where_is_changed_by_one(ada, acme):
    assert patch(ada, title="Acme, Inc.").status_code == 200
    cohort = world.cohort(key="buyers")
    reply = ada.patch("/api/v1/cohorts/buyers", {"tags": ["spring"], "owner": "ada"}, content_type=JSON)
    assert reply.status_code == 200
    cohort.refresh_from_db()
    assert (cohort.tags, Proposal.objects.count()) == (["spring"], 0)


def test_over_rest_secrets_are_masked_and_nothing_is_stored_in_clear(ada, bob, acme):
    body = patch(ada, credential="n3w-s3cret", secrets={"one": "a-s3cret"}, rate=5).json()["proposal"]
    described = {(one["name"], one["before"], one["after"]) for one in body["difference"]}
    assert described == {
        ("Rate", "empty", "5.0"), ("Credential", "set", "changed"), ("Secret one", "not set", "set")
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM cohortsite_proposal")
        assert "s3cret" not in str(cursor.fetchall())
    url = f"/api/v1/proposals/{body['id']}"
    assert bob.post(f"{url}/approve", {}, content_type=JSON).status_code == 400
    reply = bob.post(f"{url}/approve", {"reason": "ok"}, content_type=JSON)
    assert (reply.status_code, reply.json()["state"]) == (200, "approved")
    acme.refresh_from_db()
    assert (acme.credential.reveal(), acme.named_secrets.reveal()) == ("n3w-s3cret", {"one": "a-s3cret"})
    again = bob.post(f"{url}/refuse", {"reason": "no"}, content_type=JSON)
    assert (again.status_code, again.json()["error"]["message"]) == (409, "It was decided already.")


def test_a_definition_is_shown_in_words(ada, bob):
    cohort = world.cohort(key="buyers", source_kind="behavioral", definition=BOUGHT)
    reply = ada.patch("/api/v1/cohorts/buyers", {"definition": LEFT}, content_type=JSON)
    assert reply.status_code == 202, reply.content
    words = reply.json()["proposal"]["difference"][-1]
    assert words["name"] == "Definition, in words"
    assert "purchase" in words["before"] and "left" in words["after"]
    decide(bob, "approve", Proposal.objects.get())
    cohort.refresh_from_db()
    assert cohort.definition == LEFT


def test_new_ones_are_made_when_they_are_approved(ada, bob):
    given = {"name": "acme", "preset": "amplitude-list", "base_url": "http://127.0.0.1:9", "credential": "k"}
    assert ada.post("/api/v1/destinations", given, content_type=JSON).status_code == 202
    carts = {
        "key": "carts", "name": "Carts", "source_kind": "behavioral", "definition": BOUGHT,
        "schedule_kind": "daily", "schedule_at": "09:30", "active_to": "2030-01-01T00:00:00Z",
    }  # fmt: skip
    assert ada.post("/api/v1/cohorts", carts, content_type=JSON).status_code == 202
    assert (Destination.objects.count(), Cohort.objects.count()) == (0, 0)
    for proposal in Proposal.objects.all():
        assert "is now what was proposed" in said(decide(bob, "approve", proposal))
    acme, cohort = Destination.objects.get(), Cohort.objects.get()
    assert (acme.kind, acme.preset, acme.credential.reveal()) == ("list", "amplitude-list", "k")
    assert (str(cohort.schedule_at), cohort.active_to.year) == ("09:30:00", 2030)
    assert cohort.next_due_at is not None
    # Members are given to it, and none has been.
    assert ada.post("/api/v1/cohorts", {"key": "a", "name": "A"}, content_type=JSON).status_code == 201


def name_said(client: Client, **decision):
    return client.post("/api/v1/event-names", decision, content_type=JSON)


def test_another_name_of_events_is_approved_and_hiding_one_is_not_asked_about(ada, bob):
    assert name_said(ada, name="song_play", hidden=True).status_code == 201
    assert name_said(ada, name="song_play", renamed_to="play").status_code == 202
    proposal = Proposal.objects.get()
    assert str(proposal) == "Change of rule of a name song_play"
    assert NameRule.objects.get().renamed_to == ""
    rule = NameRule.objects.get()
    assert proposal.get_absolute_url() in bob.get(rule.get_absolute_url()).content.decode()
    assert "is now what was proposed" in said(decide(bob, "approve", proposal))
    rule.refresh_from_db()
    assert (rule.renamed_to, rule.hidden) == ("play", True)
    assert Correction.objects.order_by("pk").last().by == "bob"
    assert changes_of(rule)[0].reason == f"Proposal {proposal.pk} by ada"
    # Taken back whole, there is no rule any more.
    assert name_said(ada, name="song_play", renamed_to="", hidden=False).status_code == 202
    decide(bob, "approve", Proposal.objects.first())
    assert not NameRule.objects.exists()


def test_a_new_name_that_leads_to_another_by_then_is_not_approved(ada, bob):
    assert name_said(ada, name="song_play", renamed_to="play").status_code == 202
    assert str(Proposal.objects.get()) == "New rule of a name song_play"
    decide_name("default", NameKind.EVENT, "play", "cron", renamed_to="listen")
    assert "called “listen” now" in said(decide(bob, "approve", Proposal.objects.get()))
    assert Proposal.objects.get().state == "waiting" and NameRule.objects.count() == 1


def test_the_same_name_changed_meanwhile_is_a_conflict(ada, bob):
    decide_name("default", NameKind.EVENT, "song_play", "cron", hidden=True)
    assert name_said(ada, name="song_play", renamed_to="play").status_code == 202
    decide_name("default", NameKind.EVENT, "song_play", "cron", renamed_to="listen")
    assert proposing.conflicts(Proposal.objects.get()) == {"renamed_to"}
    decide(bob, "approve", Proposal.objects.get(), seen="1")
    assert NameRule.objects.get().renamed_to == "listen"


def test_an_operator_proposes_what_a_name_means_by_form_and_by_rest(ada):
    olga = client_of("olga", "operator")
    assert name_said(olga, name="song_play", hidden=True).status_code == 202
    url = "/admin/events/namerule/add/"
    given = {"workspace": "default", "kind": "event", "name": "pause", "forbidden": "Never sent."}
    reply = olga.post(url, given, follow=True)
    assert "another person has to approve it" in said(reply)
    assert not NameRule.objects.exists() and Proposal.objects.count() == 2
    assert "is now what was proposed" in said(decide(ada, "approve", Proposal.objects.first()))
    assert NameRule.objects.get().forbidden == "Never sent."
    # What holds already is no proposal.
    again = {"name": "pause", "forbidden": "Never sent."}
    assert name_said(olga, **again).status_code == 201 and Proposal.objects.count() == 2


def test_a_button_of_the_catalogue_proposes_too(ada):
    entry = CatalogueEntry.objects.create(
        workspace="default", event="song_play", count=1, last_seen=timezone.now()
    )
    url = f"/admin/events/catalogueentry/{entry.pk}/do/rename/"
    reply = ada.post(url, {"text": "play", "seen": ""}, follow=True)
    assert reply.redirect_chain[-1][0] == Proposal.objects.get().get_absolute_url()
    assert not NameRule.objects.exists()


def test_two_new_ones_with_one_name_make_one(ada, bob):
    given = {"name": "acme", "preset": "amplitude-list", "base_url": "http://127.0.0.1:9", "credential": "k"}
    for _ in range(2):
        assert ada.post("/api/v1/destinations", given, content_type=JSON).status_code == 202
    first, second = Proposal.objects.order_by("pk")
    decide(bob, "approve", first)
    assert "already exists" in said(decide(bob, "approve", second))
    second.refresh_from_db()
    assert (second.state, Destination.objects.count()) == ("waiting", 1)


def test_what_changed_meanwhile_is_shown_and_the_same_field_is_a_conflict(ada, bob, acme):
    patch(ada, rate=5)
    patch(ada, batch_size=10)
    rate, size = Proposal.objects.order_by("pk")
    acme.rate = 9
    acme.save_fields(["rate"])
    page = bob.get(rate.get_absolute_url()).content.decode()
    assert "In conflict: Rate" in page and "/do/approve/" not in page
    api = f"/api/v1/proposals/{rate.pk}"
    assert bob.get(api).json()["conflicts"] == ["rate"]
    reply = bob.post(f"{api}/approve", {"reason": "x"}, content_type=JSON)
    assert reply.json()["error"]["message"] == "Changed by somebody else since: rate."
    # The other is about something else, but the approver has to have seen it.
    assert "not possible any more" in said(decide(bob, "approve", size, seen="0"))
    assert "is now what was proposed" in said(decide(bob, "approve", size, seen="1"))
    acme.refresh_from_db()
    assert (acme.rate, acme.batch_size) == (9, 10)


def test_the_same_field_is_a_conflict_however_often_others_changed_something(ada, bob, acme):
    patch(ada, rate=5)
    for size in range(records.SHOWN):
        acme.batch_size = size + 1
        acme.save_fields(["batch_size"])
    proposal = Proposal.objects.get()
    assert proposing.conflicts(proposal) == set()
    acme.rate = 9
    acme.save_fields(["rate"])
    assert proposing.conflicts(proposal) == {"rate"}
    decide(bob, "approve", proposal, seen=str(records.SHOWN + 1))
    acme.refresh_from_db()
    assert acme.rate == 9


def test_who_may_only_propose_and_changes_nothing_proposes_nothing(acme):
    olga = client_of("olga", "operator")
    reply = patch(olga, base_url=acme.base_url)
    assert (reply.status_code, reply.json()["name"]) == (200, "acme")
    url = f"/admin/destinations/destination/{acme.pk}/change/"
    reply = olga.post(url, opened(olga, url), follow=True)
    assert "nothing is proposed" in said(reply)
    assert reply.redirect_chain[-1][0] == acme.get_absolute_url()
    assert not Proposal.objects.exists()


def test_a_secret_that_somebody_else_replaced_is_a_conflict(ada, bob, acme):
    patch(ada, credential="mine")
    acme.credential = "theirs"
    acme.save_fields(["credential"])
    assert proposing.conflicts(Proposal.objects.get()) == {"credential"}


def test_another_address_is_confirmed_by_the_proposer_and_shown_to_the_approver(ada, bob, acme):
    before = acme.fingerprint
    moved = {"base_url": "http://127.0.0.1:9/v2"}
    assert patch(ada, **moved).json()["error"]["code"] == "move_not_confirmed"
    assert patch(ada, **moved, confirm_move=True).status_code == 202
    proposal = Proposal.objects.get()
    assert "Data would go to another place" in bob.get(proposal.get_absolute_url()).content.decode()
    decide(bob, "approve", proposal)
    acme.refresh_from_db()
    assert acme.accepted_fingerprint == acme.fingerprint != before


def test_a_query_is_approved_by_who_may_set_one(settings, ada, acme):
    settings.QUERY_DATABASES = {"warehouse": "postgres://127.0.0.1/x"}
    query = {
        "key": "q", "name": "Q", "source_kind": "query", "query_database": "warehouse",
        "query_sql": "SELECT user_id FROM a",
    }  # fmt: skip
    assert ada.post("/api/v1/cohorts", query, content_type=JSON).status_code == 202
    proposal = Proposal.objects.get()
    carl = person("carl", "viewer")
    for name in ("add_cohort", "change_cohort"):
        carl.user_permissions.add(_permission(name))
    assert not proposing.may_decide(User.objects.get(pk=carl.pk), proposal)
    carl.user_permissions.add(_permission("use_query_source"))
    assert proposing.may_decide(User.objects.get(pk=carl.pk), proposal)


def _permission(name: str):
    return Permission.objects.get(codename=name, content_type__app_label="cohorts")


def test_what_was_deleted_meanwhile_cannot_be_approved(ada, bob, acme):
    patch(ada, rate=5)
    acme.delete()
    proposal = Proposal.objects.get()
    assert bob.get(proposal.get_absolute_url()).status_code == 200
    assert "not there any more" in said(decide(bob, "approve", proposal))


def test_those_that_wait_are_on_the_overview_the_row_and_in_an_alert(ada, bob, acme):
    world.sync(world.cohort(["a"]), acme)
    patch(ada, rate=5)
    proposal = Proposal.objects.get()
    assert "change waits for a second person" in " ".join(bob.get("/admin/").content.decode().split())
    page = bob.get(acme.get_absolute_url()).content.decode()
    assert proposal.get_absolute_url() in page
    assert proposal.get_absolute_url() in bob.get("/admin/cohortsite/proposal/").content.decode()
    silence.tell()
    alert = Alert.objects.get(kind=AlertKind.PROPOSED)
    assert (
        alert.sentence == "Change of destination acme: ada proposes it, and another person has to approve it."
    )
    decide(bob, "refuse", proposal)
    cache.clear()
    silence.tell()
    assert Alert.objects.filter(kind=AlertKind.RECOVERED, was=AlertKind.PROPOSED).count() == 1


def test_a_configuration_file_asks_nobody_and_the_history_says_so(acme):
    document = {
        "destinations": [
            {"name": "acme", "preset": "amplitude-list", "base_url": "http://127.0.0.1:9", "rate": 3}
        ]
    }
    apply.apply(document)
    acme.refresh_from_db()
    assert (acme.rate, changes_of(acme)[0].reason) == (3, "A configuration file")


def test_each_state_has_a_tone():
    assert set(TONES) == set(ProposalState)


def test_switched_off_nothing_is_proposed(settings, ada, acme):
    settings.FOUR_EYES = False
    assert patch(ada, rate=5).status_code == 200
    assert not Proposal.objects.exists()
    assert "Proposals" not in ada.get("/admin/").content.decode()
    assert client_of("olga", "operator").patch("/api/v1/destinations/acme", {}).status_code == 403
