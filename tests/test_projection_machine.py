"""A state machine: what is known of people changes, and by what partners know them, while runs crash.

The histories of `syncs.tests.test_machine`, with a model of keys in plain Python: at the end each partner
holds the keys of the members who are sendable, and nobody else's; and whoever asked to be forgotten is
nowhere: not at a partner, in a table, the database's file, the files of events or the log.
"""

import base64
import itertools
import logging
from collections import defaultdict
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone
from hypothesis import settings as settings_of
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from cohorts import members
from cohortsite import forgetting
from destinations.models import Destination
from events.compact import compact
from events.models import EventFile
from people import profiles, suppression
from people.erasing import ask
from people.identifiers import Kind
from people.models import Erasure, ErasureState
from people.profiles import Said
from people.suppression import entry_of
from receiving.keys import create_key
from receiving.models import Workspace
from syncs import lifecycle, links, projecting
from syncs.choices import Trigger
from syncs.delivery import loop
from syncs.models import Sync
from syncs.suppressing import take_effect
from syncs.tests.memory import Crash
from syncs.tests.test_machine import FATES, HISTORIES, Syncs, _hypothesis
from tests import remains, world
from tests.partner import Partner

_histories = itertools.count(1)
PEOPLE, ADDRESSES = range(5), range(3)
EMAIL, DEVICE, USER_ID = ({"field": name} for name in ("email", "device", "user_id"))
# What a destination may say of people: identifiers, and which of them are sent.
MAPPINGS = [
    ([], "first"),
    ([EMAIL], "first"),
    ([EMAIL, USER_ID], "first"),
    ([EMAIL, DEVICE], "all"),
    ([USER_ID], "first"),
]
WHO = st.sampled_from(PEOPLE)
SOME = st.sets(WHO, min_size=1)
EMAILS = st.none() | st.sampled_from(ADDRESSES)


class Projected(Syncs):
    authorization: str
    folder: Path

    @initialize(inside=SOME, size=st.integers(1, 4), mappings=st.tuples(*[st.sampled_from(MAPPINGS)] * 3))
    def set_up(self, inside, size, mappings):
        self.history = next(_histories)
        self.partner = Partner()
        self.partner.fault = self.fault
        self.fates, self.bad, self.dies_at = iter(()), set(), 0
        self.known, self.suppressed = {}, set()
        self.forgotten, self.ever = set(), defaultdict(set)
        self.cohort = world.cohort([self.user(who) for who in inside])
        self.make_syncs(size)
        for which, mapping in enumerate(mappings):
            self.a_destination_knows_people_otherwise(which, mapping)

    def user(self, who):
        return f"{self.history:06}-u{who}"

    def address(self, number):
        return f"{self.history:06}-a{number}@example.com"

    @rule(bad=st.sets(st.sampled_from(ADDRESSES), max_size=1))
    def the_partner_refuses_these_users(self, bad):
        self.bad = {self.address(number) for number in bad}

    @rule(members=SOME)
    def the_cohort_is_refreshed(self, members):
        world.fill(self.cohort, [self.user(who) for who in members])

    @rule(user=WHO)
    def a_user_joins_or_leaves(self, user):
        inside = set(members.in_version(self.cohort.pk, self.cohort.version))
        held = members.held_back_of(self.cohort.pk)
        inside |= set(members.in_version(held, self.cohort.version))
        world.fill(self.cohort, inside ^ {self.user(user)})

    @rule(news=st.dictionaries(WHO, st.tuples(EMAILS, st.sets(st.integers(0, 2))), min_size=1))
    def something_else_is_known_of_some(self, news):
        said = []
        for who, (email, devices) in news.items():
            if self.is_gone(self.user(who)):
                continue  # who writes about somebody again has them again
            address = None if email is None else self.address(email)
            fields = {"email": address, "device": [f"{self.history}-d{one}" for one in sorted(devices)]}
            said.append(Said(self.user(who), fields, timezone.now()))
            self.known[self.user(who)] = fields
            self.ever[address].add(self.user(who))
        profiles.write("shop", said)

    @rule(which=st.integers(0, 2), mapping=st.sampled_from(MAPPINGS))
    def a_destination_knows_people_otherwise(self, which, mapping):
        identifiers, sent = mapping
        Destination.objects.filter(pk=self.syncs[which].destination_id).update(
            identifiers=identifiers, identifiers_sent=sent, profiles_workspace="shop"
        )

    @rule(who=st.sampled_from([*PEOPLE, *(f"a{one}" for one in ADDRESSES)]))
    def somebody_is_suppressed_or_not_any_more(self, who):
        by_address = isinstance(who, str)
        value = self.address(int(who[1:])) if by_address else self.user(who)
        if self.is_gone(value):
            return
        entry = entry_of(Kind.EMAIL if by_address else Kind.USER_ID, value)
        if value in self.suppressed:
            suppression.lift([entry])
        else:
            suppression.add([entry], suppression.Said())
        self.suppressed ^= {value}

    @rule(block=st.integers(2, 4), which=st.integers(0, 2), fates=FATES)
    def a_projection_dies(self, block, which, fates):
        """The process ends after it has committed some of its blocks."""
        written, calls = links.write, itertools.count(1)

        def dies(*arguments):
            if next(calls) == block:
                raise Crash("in a projection")
            written(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(links, "write", dies)
            patch.setattr(projecting, "BLOCK", 1)
            try:
                lifecycle.start(self.syncs[which], trigger=Trigger.COMMAND)
                self.fates = iter(fates)
                self.drive(self.syncs[which])
            except lifecycle.CannotRun:
                return
        world.mend(self.syncs[which].destination)

    @rule(who=WHO, dies_after=st.sampled_from([None, *forgetting.PARTS]), fates=FATES)
    def somebody_asks_to_be_forgotten(self, who, dies_after, fates):
        """Some of it happens now, until the process dies; the rest when all is well again."""
        user = self.user(who)
        call = {"type": "track", "userId": user, "event": "bought", "properties": {"of": user}}
        reply = Client().post(
            "/track", call, "application/json", headers={"Authorization": self.authorization}
        )
        assert reply.status_code == 200, reply.content
        compact("shop")
        ask(user, by="a test")
        self.forgotten.add(user)
        self.fates = iter(fates)

        with pytest.MonkeyPatch.context() as patch:
            if dies_after:
                patch.setitem(forgetting.PARTS, dies_after, _dies_after(forgetting.PARTS[dies_after]))
            with suppress(Crash):
                self.go_on_forgetting()

    def go_on_forgetting(self):
        take_effect()
        for sync in self.syncs:
            self.drive(sync)
            world.mend(sync.destination)
        EventFile.objects.filter(state="retired").update(retired_at=timezone.now() - timedelta(days=9))
        Erasure.objects.filter(state=ErasureState.WAITING).update(next_at=timezone.now())
        forgetting.go_on()

    def is_gone(self, user):
        waits = Erasure.objects.filter(user_id=user, state=ErasureState.WAITING)
        return user in self.forgotten and not waits.exists()

    def teardown(self):
        if not hasattr(self, "syncs"):
            return
        super().teardown()
        for _ in range(4):
            self.go_on_forgetting()
        waiting = Erasure.objects.filter(state=ErasureState.WAITING)
        assert not waiting, [erasure.waits for erasure in waiting]
        self.look_for_who_was_forgotten()

    def look_for_who_was_forgotten(self):
        theirs = [address for address, users in self.ever.items() if address and users <= self.forgotten]
        texts = [*self.forgotten, *theirs]
        held = set().union(*self.partner.lists.values())
        held |= {user for user, traits in self.partner.traits.items() if any(traits.values())}
        assert not held & set(texts)
        if texts:
            assert not remains.in_tables(*texts)
            assert not remains.on_disk(self.folder, *texts)

    # --- the model ----------------------------------------------------------------------------

    def members_at(self, sync, version):
        return set(members.in_version(Sync.objects.get(pk=sync.pk).sent_id, version))

    def wanted(self, sync):
        destination = Destination.objects.get(pk=sync.destination_id)
        names = [one["field"] for one in destination.identifiers] or ["user_id"]
        inside = set(members.in_version(self.cohort.pk, self.cohort_version()))
        assert not inside & {user for user in self.forgotten if self.is_gone(user)}
        found = set()
        for user in inside:
            fields = {**self.known.get(user, {}), "user_id": user}
            if "email" in names and fields.get("email") in self.suppressed:
                continue
            for name in names:
                value = fields.get(name)
                keys = value if isinstance(value, list) else [value] if value else []
                found.update(keys)
                if keys and destination.identifiers_sent == "first":
                    break
        return found

    def cohort_version(self):
        self.cohort.refresh_from_db()
        return self.cohort.version


def _dies_after(part):
    def dies(erasure):
        part(erasure)
        raise Crash("in an erasure")

    return dies


@pytest.fixture
def log_file(tmp_path):
    """All that is logged while the test runs, in a file beside the events'."""
    handler, root = logging.FileHandler(tmp_path / "log"), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield
    root.setLevel(before)
    root.removeHandler(handler)
    handler.close()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(7200)
def test_partners_hold_the_keys_of_the_model_whatever_happened(settings, monkeypatch, tmp_path, log_file):
    settings.EVENTS_DIR = tmp_path / "events"
    settings.RETRY_TIME_SCALE = 0.0
    monkeypatch.setattr(loop, "LOOK_EVERY", 0.0)
    settings.EVENTS_KEEP_DAYS = 0
    _, key = create_key(Workspace.objects.create(slug="shop"), name="k")
    Projected.authorization = "Basic " + base64.b64encode(f"{key}:".encode()).decode()
    Projected.folder, Projected.patch = tmp_path, monkeypatch
    # Each history makes projections in a thread of its own: a third of those of plain ids.
    few = settings_of(_hypothesis(), max_examples=max(HISTORIES // 3, 1))
    run_state_machine_as_test(Projected, settings=few)
