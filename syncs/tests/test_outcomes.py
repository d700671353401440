"""What follows from each reply: the failure table of docs/delivery.md, row by row, from the bytes on."""

import json
from dataclasses import replace
from typing import Any, cast

import pytest

from destinations.classify import classify
from destinations.endpoint import Endpoint, Kind
from destinations.errors import (
    DeliveryError,
    ListGone,
    Misconfigured,
    NotFound,
    Refused,
    Rejected,
    Temporary,
    TooLarge,
)
from destinations.payloads import Encoder, Operation
from destinations.reply import Reply
from syncs.choices import Step
from syncs.delivery import outcomes
from syncs.delivery.narrow import Narrowing
from syncs.delivery.outcomes import (
    NOTHING,
    TAKEN,
    Ask,
    Await,
    AwaitProof,
    CanaryFailed,
    Facts,
    FailRun,
    Halve,
    JobLost,
    LeaveOut,
    LeaveRetries,
    ListMade,
    LoseList,
    NextCandidate,
    OpenBreaker,
    Outcome,
    Park,
    PartFailed,
    Refuse,
    RetriesSpent,
    Retry,
    SendNext,
    Settle,
    after,
    as_named,
    decide,
    in_doubt,
    is_outcome_unknown,
)
from syncs.delivery.session import Session
from syncs.delivery.work import Canary, CreateList, Job, SendUsers, Work
from syncs.models import Batch, Rejection

USERS = ["u1", "u2", "u3", "u4"]
NOBODY = cast(Any, None)  # a decision asks the run for nothing: what it goes by are facts
LIST = Endpoint("p", "https://p.example")
PROPERTY = Endpoint("p", "https://p.example", kind=Kind.PROPERTY)
OK = Reply(200, None, "application/json", "{}", 0.1, list_id="7")
DOWN = Temporary("The partner answered 503.", code="http_503")
UNKNOWN = Rejected("The partner answered 400.", code="http_400")
BIG = TooLarge("The partner answered 413.", code="http_413")
BARE = NotFound("The partner answered 404.", code="http_404")


def replace_wait(error: Temporary, seconds: float) -> Temporary:
    return Temporary(error.message, code=error.code, retry_after=seconds)


def create(candidates: list[str] | None = None, **more: Any) -> CreateList:
    return CreateList(Batch(step=Step.CREATE, **more), NOBODY, candidates or [])


def send(users: list[str] = USERS, *, tries: int = 0, retried: bool = False, **more: Any) -> SendUsers:
    rows = {user: Rejection(user_id=user) for user in users} if retried else {}
    return SendUsers(Batch(step=Step.ADD, tries=tries), NOBODY, Narrowing(users), rows, **more)


def canary(**more: Any) -> Canary:
    return Canary(Batch(step=Step.ADD), NOBODY, "u9", **more)


def answer(
    status: int, body: object = "", headers: dict[str, str] | None = None, *, to: str = "add", at=LIST
) -> Reply | DeliveryError:
    """Return what the destination makes of such a reply to a request for USERS."""
    encoder = Encoder(at, cohort_name="C", cohort_key="c", external_name="C", list_id="7", run_id="1")
    request = encoder.create() if to == "create" else encoder.batch(Operation.ADD, USERS)
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    verdict = classify(at, request, status, headers or {"Content-Type": "application/json"}, data)
    if verdict.error is None:
        return replace(OK, status=status, list_id=verdict.list_id, failed_users=verdict.named_users)
    return verdict.error(
        verdict.message,
        code=verdict.code,
        unknown_outcome=verdict.unknown_outcome,
        retry_after=verdict.retry_after,
        named_users=verdict.named_users,
    )


def replace_status(error: Any, status: int) -> Temporary:
    return Temporary(error.message, code=error.code, reply=replace(OK, status=status))


def ask(otherwise: Outcome, **more: Any) -> Ask:
    return Ask(otherwise, **more)


def set_up_wrong(outcome: Outcome) -> bool:
    return isinstance(outcome, FailRun) and outcome.pause and outcome.if_unchanged


LOST = LoseList(emptied=False, anew=True, pause=False)
HTML = {"Content-Type": "text/html"}


@pytest.mark.parametrize(
    "status, body, headers",
    [
        (301, "", {"Location": "/x"}),
        (401, "", {}),
        (403, "", {}),
        (402, "", {}),
        (405, "", {}),
        (501, "", {}),
        (505, "", {}),
        (200, "<html>Log in</html>", HTML),
        (200, "<!DOCTYPE html><title>Log in</title>", {"Content-Type": "text/plain"}),
        (207, {"results": [{"status": 400}]}, {}),
        (200, {"success": False}, {}),
        (200, {"status": "error"}, {}),
        (201, {"errors": [{"index": 3}]}, {}),
        (200, {"successCount": 0, "failCount": 10}, {}),
    ],
)
def test_what_only_a_person_can_mend_pauses_the_destination_and_marks_nobody(status, body, headers):
    assert set_up_wrong(decide(send(), answer(status, body, headers), Facts(accepted=3)))


@pytest.mark.parametrize("code", ["certificate", "address_refused"])
def test_a_certificate_or_a_forbidden_address_pauses_the_destination(code):
    assert set_up_wrong(decide(send(), Misconfigured("No.", code=code), Facts()))


@pytest.mark.parametrize("status", [408, 409, 423, 424, 425, 429, 500, 502, 503, 504, 520])
def test_what_passes_by_itself_is_tried_again_after_a_wait(status):
    assert decide(send(), answer(status), Facts()) == Retry(1.0)


@pytest.mark.parametrize("code", ["dns", "connect", "reset", "timeout", "tls", "truncated", "garbled"])
def test_a_request_without_a_reply_is_tried_again(code):
    assert decide(send(tries=2), Temporary("No reply.", code=code), Facts(chance=1.0)) == Retry(4 * 1.1)


@pytest.mark.parametrize(
    "work, reply, facts, outcome",
    [
        # Accepted.
        (send(), answer(200, {}), Facts(), TAKEN),
        (send(), answer(200, {}), Facts(is_over=True), TAKEN),
        (canary(), answer(204), Facts(), TAKEN),
        (create(), answer(201, {"listId": "7"}, to="create"), Facts(), ListMade()),
        (create(unknown_outcome=True), OK, Facts(), ListMade(outcomes.SECOND_LIST)),
        # A run that has ended: what comes back is written down, and nothing follows.
        (send(), DOWN, Facts(is_over=True), NOTHING),
        (send(), UNKNOWN, Facts(is_over=True), NOTHING),
        (canary(), BARE, Facts(is_over=True), NOTHING),
        # Waits.
        (send(), answer(429, headers={"Retry-After": "30"}), Facts(), Retry(30.0)),
        (send(), answer(403, headers={"Retry-After": "30"}), Facts(), Retry(30.0)),
        (send(), answer(403, {"message": "Rate limit exceeded."}), Facts(), Retry(1.0)),
        (send(), answer(503, headers={"Retry-After": "5"}), Facts(scale=0.1), Retry(0.5)),
        (
            send(tries=3),
            answer(429, headers={"Retry-After": "1800"}),
            Facts(),
            Park(1800.0, "The partner asked us to wait: The partner answered 429."),
        ),
        (
            send(),
            answer(429, headers={"Retry-After": "9" * 23}),
            Facts(),
            Park(24 * 3600.0, "The partner asked us to wait: The partner answered 429."),
        ),
        # Retries spent.
        (send(tries=7), DOWN, Facts(), Retry(128.0)),
        (send(tries=8), DOWN, Facts(), RetriesSpent(opens=False)),
        (send(tries=8), DOWN, Facts(spent_in_a_row=1), RetriesSpent(opens=False)),
        (send(tries=8), DOWN, Facts(spent_in_a_row=2), RetriesSpent(opens=True)),
        (create(tries=8), DOWN, Facts(), RetriesSpent(opens=True)),
        # The breaker is open: one try must do, and a batch asks for a canary first.
        (send(), DOWN, Facts(breaker_open=True), ask(OpenBreaker(DOWN.message), requeue=True)),
        (canary(), DOWN, Facts(breaker_open=True), OpenBreaker(DOWN.message)),
        (canary(), DOWN, Facts(some_spent=True), OpenBreaker(DOWN.message)),
        (canary(), DOWN, Facts(), Retry(1.0)),
        # Refused users.
        (send(), answer(400), Facts(accepted=1), Refuse(cast(Any, ...), alone=False, doubt=False)),
        (send(), answer(422), Facts(accepted=1), Refuse(cast(Any, ...), alone=False, doubt=False)),
        (send(), UNKNOWN, Facts(refused=2), Refuse(UNKNOWN, alone=False, doubt=False)),
        (send(), UNKNOWN, Facts(refused=3), Refuse(UNKNOWN, alone=True, doubt=False)),
        (send(), UNKNOWN, Facts(accepted=1, refused=19), Refuse(UNKNOWN, alone=False, doubt=True)),
        (send(["u1"]), UNKNOWN, Facts(refused=20, all_at_fault=12), Refuse(UNKNOWN, True, doubt=False)),
        (send(["u1"]), UNKNOWN, Facts(refused=20, all_at_fault=13), Refuse(UNKNOWN, True, doubt=True)),
        (send(), UNKNOWN, Facts(refused=40, all_at_fault=13), Refuse(UNKNOWN, True, doubt=False)),
        (send(retried=True), UNKNOWN, Facts(retries_over=True), LeaveOut()),
        (
            send(),
            answer(404, {"error": "unknown_user", "userIds": ["u2"]}),
            Facts(accepted=1),
            Refuse(cast(Any, ...), alone=False, doubt=False),
        ),
        # Too large.
        (send(), answer(413), Facts(), Halve(cast(Any, ...))),
        (
            send(["u1"]),
            TooLarge("Big.", code="http_413"),
            Facts(accepted=1),
            Refuse(cast(Any, ...), False, False),
        ),
        # The list.
        (create(["u1", "u2"]), UNKNOWN, Facts(), NextCandidate()),
        (create(["u1", "u2"]), DOWN, Facts(), Retry(1.0)),
        (send(), answer(410), Facts(), LOST),
        (send(), answer(404, {"error": "list_not_found"}), Facts(), LOST),
        (send(), answer(410), Facts(is_emptying=True), LoseList(emptied=True, anew=False, pause=False)),
        (send(), answer(410), Facts(follows_lost_list=True), LoseList(False, anew=False, pause=True)),
        (send(), BARE, Facts(is_emptying=True), Refuse(BARE, False, False)),
        (send(list_exists=True), BARE, Facts(accepted=1), Refuse(BARE, False, False)),
    ],
)
def test_what_follows_from_a_reply(work: Work, reply, facts, outcome):
    got = decide(work, as_named(work, reply), facts)
    error = getattr(outcome, "error", None)
    assert got == (replace(outcome, error=reply) if error is ... else outcome)


def test_a_list_that_is_made_with_nobody_is_for_a_person():
    assert set_up_wrong(decide(create(["u5"]), UNKNOWN, Facts()))
    assert set_up_wrong(decide(create(), UNKNOWN, Facts()))


WHOLE = Facts(replaces=True, accepted=1)
NAMED = Rejected("The partner answered 400.", code="http_400", named_users=["u2"])


@pytest.mark.parametrize(
    ("reply", "facts", "outcome"),
    [
        (OK, WHOLE, TAKEN),
        (DOWN, WHOLE, Retry(1.0)),
        (DOWN, replace(WHOLE, breaker_open=True), OpenBreaker(DOWN.message)),
        (NAMED, WHOLE, Refuse(NAMED, alone=False, doubt=False)),
        (NAMED, replace(WHOLE, accepted=0, refused=19), Refuse(NAMED, alone=False, doubt=False)),
        (BARE, WHOLE, LOST),
        (ListGone("Gone.", code="http_410"), WHOLE, LOST),
    ],
)
def test_what_follows_when_a_whole_list_is_sent(reply, facts, outcome):
    assert decide(send(), reply, facts) == outcome


@pytest.mark.parametrize("reply", [UNKNOWN, BIG, NAMED])
def test_a_whole_list_that_is_refused_is_sent_in_no_parts(reply):
    facts = replace(WHOLE, refused=20) if reply is NAMED else WHOLE
    outcome = decide(send(), reply, facts)
    assert isinstance(outcome, FailRun) and outcome.pause == (reply is BIG)
    assert decide(send(tries=8), DOWN, WHOLE) == OpenBreaker(DOWN.message)
    assert set_up_wrong(decide(send(), BARE, replace(WHOLE, made_list=True)))


def send_part(*, begun: int = 1, **more: Any) -> SendUsers:
    """Return a whole list in two requests, of which the first is to be sent."""
    session = Session(USERS, 2, begun=begun - 1)
    return SendUsers(Batch(step=Step.ADD, **more), NOBODY, session)


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (OK, TAKEN),
        (answer(503), Retry(1.0, anew=True)),
        (Temporary("No reply.", code="timeout", unknown_outcome=True), Retry(1.0, anew=True)),
        (replace_status(answer(429), 429), Retry(1.0)),
        (replace_status(answer(409), 409), Retry(1.0)),
        (BIG, Halve(BIG)),
        (NAMED, Refuse(NAMED, alone=False, doubt=False)),
        (BARE, LOST),
    ],
)
def test_what_follows_when_a_whole_list_is_sent_in_several_requests(reply, outcome):
    assert decide(send_part(), reply, WHOLE) == outcome


def test_another_session_is_not_begun_for_ever():
    assert decide(send_part(begun=8), DOWN, WHOLE) == Retry(1.0, anew=True)
    assert decide(send_part(begun=9), DOWN, WHOLE) == OpenBreaker(DOWN.message)
    assert isinstance(decide(send_part(begun=20), NAMED, WHOLE), FailRun)
    assert isinstance(decide(send_part(), UNKNOWN, WHOLE), FailRun)


WORKING = Reply(202, None, "application/json", "{}", 0.1, job_id="j")
AT = 1_000_000.0


def job(polls: int = 0, *, age: float = 10.0, **more: Any) -> SendUsers:
    return send(job=Job("j", AT - age, polls), **more)


POLLING = Facts(now=AT, polling={"wait": 5, "longest": 60, "most": 100})


@pytest.mark.parametrize(
    ("work", "reply", "facts", "outcome"),
    [
        (send(), WORKING, POLLING, Await("j", 5)),
        (send(), replace(WORKING, retry_after=30.0), POLLING, Await("j", 30.0)),
        (send(), WORKING, replace(POLLING, is_over=True), NOTHING),
        (send(), WORKING, Facts(now=AT), Await("j", 5.0)),
        (job(1), WORKING, POLLING, Await("j", 10)),
        (send(), WORKING, Facts(now=AT, polling={"wait": 600}), Await("j", 600)),
        (job(1), WORKING, Facts(now=AT, polling={"wait": 600}), Await("j", 600)),
        (job(3), WORKING, POLLING, Await("j", 40)),
        (job(4), WORKING, POLLING, Await("j", 60)),
        (job(30_000), WORKING, POLLING, Await("j", 60)),
        (job(3, age=9), WORKING, replace(POLLING, scale=0.1), Await("j", 4.0)),
        (job(age=99), WORKING, POLLING, Await("j", 5)),
        (job(age=100), WORKING, POLLING, JobLost(Retry(1.0))),
        (job(age=5 * 3600), WORKING, Facts(now=AT), Await("j", 5.0)),
        (job(age=6 * 3600), WORKING, Facts(now=AT), JobLost(Retry(1.0))),
        (job(1), DOWN, POLLING, Await("j", 10)),
        (job(1), replace_wait(DOWN, 50.0), POLLING, Await("j", 50.0)),
        (job(age=100), DOWN, POLLING, JobLost(Retry(1.0))),
        (job(), BARE, POLLING, JobLost(Retry(1.0))),
        (job(tries=8), BARE, POLLING, JobLost(RetriesSpent(opens=False))),
        (job(), DOWN, replace(POLLING, is_over=True), NOTHING),
        (job(), OK, POLLING, TAKEN),
        (job(), UNKNOWN, POLLING, Refuse(UNKNOWN, alone=False, doubt=False)),
        (job(), BIG, POLLING, Halve(BIG)),
    ],
)
def test_what_follows_from_what_is_said_of_an_accepted_request(work: Work, reply, facts, outcome):
    assert decide(work, as_named(work, reply), facts) == outcome


@pytest.mark.parametrize(
    "error", [Refused("No.", code="http_401"), Misconfigured("No.", code="no_job_state")]
)
def test_a_partner_that_cannot_be_asked_is_for_a_person(error):
    assert set_up_wrong(decide(job(), error, POLLING))


def test_a_question_that_fails_leaves_the_request_as_it_was():
    assert is_outcome_unknown(send(), DOWN)
    assert not is_outcome_unknown(job(), DOWN) and not is_outcome_unknown(job(), BARE)
    assert is_outcome_unknown(job(), Rejected("No.", code="job_failed", unknown_outcome=True))


def test_a_bare_404_asks_whether_the_list_is_there__and_else_is_about_users():
    work = send()
    refusal = Refuse(BARE, alone=False, doubt=False)
    assert decide(work, answer(404), Facts(accepted=1)) != refusal
    assert decide(work, BARE, Facts(accepted=1)) == Ask(refusal, once=False, waiting=work)


def test_a_400_that_speaks_of_the_list_asks_first__too():
    work = send()
    reply = answer(400, {"error": {"message": "The list does not exist."}})
    assert isinstance(reply, NotFound)
    assert isinstance(decide(work, reply, Facts(accepted=1)), Ask)


def test_a_success_that_names_everybody_as_failed_is_a_refusal():
    reply = replace(OK, failed_users=tuple(USERS))
    got = as_named(send(), reply)
    assert isinstance(got, Rejected)
    assert got.named_users == tuple(USERS)
    assert as_named(send(), replace(OK, failed_users=("u1",))).failed_users == ("u1",)
    assert as_named(create(), replace(OK, failed_users=("u1",))).failed_users == ("u1",)


def test_only_a_refusal_is_certain():
    assert is_outcome_unknown(send(), DOWN), "one who says later may have taken the users"
    assert not is_outcome_unknown(create(), DOWN), "of a list, only what is likely counts"
    assert is_outcome_unknown(create(), Temporary("No reply.", code="reset", unknown_outcome=True))
    assert not is_outcome_unknown(send(), UNKNOWN)
    assert not is_outcome_unknown(send(), OK)


def test_a_part_that_had_its_one_try_is_undelivered():
    work = send()
    work.narrowing.give_up(DOWN)
    slow = Temporary("Later.", code="http_429", retry_after=7.0)
    assert decide(work, DOWN, Facts()) == PartFailed(0.0)
    assert decide(work, slow, Facts()) == PartFailed(7.0)


@pytest.mark.parametrize("error", [BARE, UNKNOWN])
def test_one_witness_proves_nothing__another_is_asked_until_five_were(error):
    waiting = send()
    got = decide(canary(waiting=waiting), error, Facts(witnesses=4, refused=1, last_message="No."))
    assert isinstance(got, CanaryFailed)
    assert isinstance(got.then, Ask)
    assert (got.then.waiting, got.then.once) == (waiting, False)
    last = decide(canary(waiting=waiting), error, Facts(witnesses=5, refused=1, last_message="No."))
    assert last == CanaryFailed(got.then.otherwise)


@pytest.mark.parametrize(
    "error, facts, then",
    [
        (BARE, Facts(), LOST),
        (ListGone("Gone.", code="http_410"), Facts(), LOST),
        (UNKNOWN, Facts(refused=1, only_404=False), FailRun),
        (BARE, Facts(is_list=False), set_up_wrong),
        (Refused("The key is refused.", code="http_401"), Facts(), set_up_wrong),
        (TooLarge("Big.", code="http_413"), Facts(), set_up_wrong),
    ],
)
def test_what_a_canary_that_fails_says(error, facts, then):
    got = decide(canary(), error, replace(facts, witnesses=5))
    assert isinstance(got, CanaryFailed)
    if isinstance(then, Outcome):
        assert got.then == then
    else:
        assert then(got.then) is True if then is set_up_wrong else isinstance(got.then, then)


@pytest.mark.parametrize(
    "facts, outcome",
    [
        (Facts(refused=14, is_asking=True), NOTHING),
        (Facts(refused=14, is_over=True), NOTHING),
        (Facts(accepted=1, refused=20), Ask(NOTHING)),
        (Facts(refused=3, only_refused_before=True), Ask(LeaveRetries())),
        (Facts(refused=14), Ask(LOST)),
        (Facts(refused=14, follows_lost_list=True), Ask(LoseList(False, anew=False, pause=True))),
        (Facts(last_message="Down.", some_spent=True), Ask(OpenBreaker("Down."))),
    ],
)
def test_is_it_the_users_or_does_the_partner_refuse_everybody(facts, outcome):
    assert in_doubt(facts) == outcome


@pytest.mark.parametrize(
    "facts, words, pause",
    [
        (Facts(refused=14, made_list=True, last_message="404."), "“Start over”", True),
        (Facts(refused=14, is_list=False, last_message="404."), "check the paths. 404.", True),
        (
            Facts(refused=14, only_404=False, last_message="400."),
            "so nobody is marked as rejected. 400.",
            False,
        ),
    ],
)
def test_a_partner_that_refuses_everybody_ends_the_run_in_one_sentence(facts, words, pause):
    asked = in_doubt(facts)
    assert isinstance(asked, Ask)
    assert isinstance(asked.otherwise, FailRun)
    assert words in asked.otherwise.reason
    assert asked.otherwise.pause == pause


def through(reply: str) -> SendUsers:
    """Return a batch of which nobody is left to be tried, since the partner said so."""
    work = send(["u1"])
    if reply == "refused":
        work.narrowing.reject(UNKNOWN)
    elif reply == "spent":
        work.narrowing.give_up(DOWN)
        work.narrowing.give_up(DOWN)
        work.spent_at = 5
    else:
        work.narrowing.accept()
    return work


@pytest.mark.parametrize(
    "work, facts, outcome",
    [
        (send(), Facts(), SendNext()),
        (through("accepted"), Facts(), Settle()),
        (through("refused"), Facts(), AwaitProof()),
        (through("refused"), Facts(accepted=1), Settle()),
        (through("spent"), Facts(), AwaitProof()),
        (through("spent"), Facts(accepted=1, accepted_in_all=6), Settle()),
        (
            through("spent"),
            Facts(accepted=1, accepted_in_all=5),
            Ask(OpenBreaker(outcomes.NONE_WENT_THROUGH), unproven=True),
        ),
        (through("spent"), Facts(accepted=1, accepted_in_all=5, is_asking=True), AwaitProof()),
    ],
)
def test_what_becomes_of_a_batch_whose_piece_is_through(work, facts, outcome):
    assert after(work, facts) == outcome
