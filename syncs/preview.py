"""What a run would do, without doing it."""

from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from destinations.endpoint import Kind
from destinations.payloads import external_name
from destinations.transport import describe
from syncs import rejections
from syncs.choices import RunMode, Step
from syncs.feed import SINGLES, Feed
from syncs.models import Run, Sync
from syncs.plan import Plan
from syncs.start import CannotRun

SAMPLE = 20


@dataclass(frozen=True)
class Preview:
    """Counts are of users; samples hold the first of them in user order.

    `first_request` is the request as it would be sent, the credential masked; '' when there is none.
    """

    sync: str
    mode: str
    from_version: int
    to_version: int
    adds: int
    removes: int
    retries: int
    sample_adds: list[str]
    sample_removes: list[str]
    external_name: str
    creates_list: bool
    first_request: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def preview(sync: Sync, *, mode: str = RunMode.CHANGES) -> Preview:
    """Return what a run of the sync would send now. Writes nothing and sends nothing.

    Raises CannotRun, payloads.TemplateError or secrets.SecretUnreadable, with a sentence for a person.
    """
    if sync.cohort.version == 0:
        raise CannotRun(f"{sync.cohort.name} is not calculated yet: give it members first.")
    endpoint = sync.destination.endpoint()
    sync.external_name = sync.external_name or external_name(endpoint, sync.cohort.name, sync.cohort.key)
    run = Run(
        pk=0,  # none: Django refuses to ask for the batches of a run without a key
        sync=sync,
        mode=mode,
        from_version=sync.settled_version,
        to_version=sync.cohort.version,
        from_dirty=sync.dirty,
    )
    plan = Plan.of(run)
    creates = endpoint.kind == Kind.LIST and sync.list_id is None and mode != RunMode.EMPTY
    return Preview(
        sync=str(sync),
        mode=mode,
        from_version=run.from_version,
        to_version=run.to_version,
        adds=plan.count(Step.ADD),
        removes=plan.count(Step.REMOVE),
        retries=sum(len(users) for _, users in rejections.due(run, plan, forget=lambda keys: None)),
        sample_adds=list(islice(plan.users(Step.ADD), SAMPLE)),
        sample_removes=list(islice(plan.users(Step.REMOVE), SAMPLE)),
        external_name=sync.external_name,
        creates_list=creates,
        first_request=_first_request(Feed(run, endpoint, None), plan, creates),
    )


def _first_request(feed: Feed, plan: Plan, creates: bool) -> str:
    if creates:
        return describe(feed.encode(Step.CREATE, []), feed.endpoint)
    for step in (Step.ADD, Step.REMOVE):
        if users := list(islice(plan.users(step), min(feed.most, SINGLES if feed.single else feed.most))):
            return describe(feed.encode(step, users), feed.endpoint)
    return ""
