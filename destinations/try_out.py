"""Try a destination out: one request about a test user, sent because a person asked for it."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from destinations.endpoint import Endpoint, Kind, ListIdFrom
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
from destinations.payloads import Encoder, Operation, Request, external_name
from destinations.reading import read_pages
from destinations.reply import Reply
from destinations.transport import Transport

if TYPE_CHECKING:
    from destinations.models import Destination

COHORT_NAME = "Test cohort"
COHORT_KEY = "test"
TEST_USER = "cohort-sync-test-user"

ADVICE: dict[type[DeliveryError], str] = {
    Temporary: "A sync would try this again, up to 8 times, with growing waits.",
    Rejected: "A sync would look for the users at fault, and deliver the others.",
    NotFound: "Either the list, the user or the path does not exist there.",
    ListGone: "A sync would create a new list and fill it.",
    Refused: "Correct the credential or its kind. A sync would pause this destination.",
    Misconfigured: "Correct the configuration. A sync would pause this destination.",
    TooLarge: "A sync would send smaller batches.",
}
# The partner took the credential and read the request: it only does not know what we made up.
REACHED = (Rejected, NotFound, ListGone)
# These change nothing at the partner.
LOOKING = (Operation.TEST, Operation.READ)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. `error` is None for a success; `reply` is None when no complete reply came."""

    reply: Reply | None
    error: DeliveryError | None
    members: int | None = None  # of a read call, those on the first page

    @property
    def advice(self) -> str:
        return ADVICE[type(self.error)] if self.error else ""

    def is_reached(self, request: Request) -> bool:
        """Say whether the partner took the credential: a test call that it does not know proves nothing."""
        if self.error is None:
            return True
        return isinstance(self.error, REACHED) and request.operation != Operation.TEST

    def as_json(self) -> dict[str, Any]:
        """Return what the page shows of it."""
        return {
            "error": {"message": self.error.message} if self.error else None,
            "advice": self.advice,
            "suggested_rule": self.suggested_rule,
            "members": self.members,
            "reply": asdict(self.reply) if self.reply else None,
        }

    @property
    def suggested_rule(self) -> str:
        """Return a rule that would read this reply, as JSON for the field *Rules*; empty for none."""
        rule = self.error.suggested_rule if self.error else None
        return json.dumps(rule, ensure_ascii=False, indent=2) if rule else ""


def make_request(endpoint: Endpoint, operation: Operation, user_id: str, list_id: str) -> Request:
    """Return the request; TemplateError or ValueError when the list id is missing or cannot be one."""
    encoder = Encoder(
        endpoint,
        cohort_name=COHORT_NAME,
        cohort_key=COHORT_KEY,
        external_name=external_name(endpoint, COHORT_NAME, COHORT_KEY),
        list_id=list_id or None,
    )
    if operation in LOOKING:
        return encoder.look(operation)
    if operation == Operation.CREATE:
        return encoder.create([user_id])
    if endpoint.kind == Kind.PROPERTY and endpoint.delivery == "single":
        return encoder.single(operation, user_id)
    return encoder.batch(operation, [user_id])


def operations_of(endpoint: "Endpoint | Destination") -> list[Operation]:
    """Return what can be tried out with this destination."""
    found = [operation for operation in LOOKING if getattr(endpoint, f"{operation}_path")]
    created = endpoint.list_id_from in (ListIdFrom.CREATED, ListIdFrom.FOUND)
    if endpoint.kind == Kind.LIST and created:
        found.append(Operation.CREATE)
    return [*found, Operation.ADD, *([] if endpoint.replaces_lists else [Operation.REMOVE])]


def send(endpoint: Endpoint, request: Request) -> Outcome:
    """Send the request once, without retries; of a read call the first page alone is read."""
    transport = Transport(endpoint)
    try:
        if request.operation == Operation.READ:
            return Outcome(None, None, len(next(read_pages(transport, request, scale=0))))
        return Outcome(transport.send(request), None)
    except DeliveryError as error:
        return Outcome(error.reply, error)
    finally:
        transport.close()
