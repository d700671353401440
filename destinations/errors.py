"""What can go wrong with one request, as one tree. Whoever raises chooses the policy.

    DeliveryError
    ├── Temporary       try again, as `retry.decide` says
    ├── Rejected        the data is at fault: some users, named or not
    ├── NotFound        a bare 404 on add or remove: a user or the list, nobody can tell yet
    ├── ListGone        the partner says that the list does not exist (any more)
    ├── Refused         401 or 403: the credential; pause, mark no user
    ├── Misconfigured   the address, a certificate, a path, a login page; pause, mark no user
    └── TooLarge        413: halve the batch

The table is the design page's "Failure table"; `rules.classify` applies it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from destinations.transport import Reply


class DeliveryError(Exception):
    """One request did not do what it should.

    message: one sentence for people; it holds no secret.
    code: a short word for machines and lists: the rule's reason, else the code in the partner's reply,
        else `http_503`, or what failed below HTTP (`dns`, `connect`, `timeout`, `deadline`, `reset`,
        `truncated`, `garbled`, `tls`, `certificate`, `address_refused`, `interrupted`).
    reply: what the partner answered; None when no complete reply came.
    unknown_outcome: the partner may have applied the request.
    retry_after: seconds that the partner asked us to wait, or None.
    named_users: users of this request that the reply names as the ones at fault.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        reply: "Reply | None" = None,
        unknown_outcome: bool = False,
        retry_after: float | None = None,
        named_users: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reply = reply
        self.unknown_outcome = unknown_outcome
        self.retry_after = retry_after
        self.named_users = tuple(named_users)


class Temporary(DeliveryError):
    """Worth another try later."""


class Rejected(DeliveryError):
    """The partner refuses the data of one or more users."""


class NotFound(DeliveryError):
    """A bare 404. A property destination has no list: there it is a user, or the address."""


class ListGone(DeliveryError):
    """The list is gone at the partner: a new one must be created and filled."""


class Refused(DeliveryError):
    """The partner does not accept the credential."""


class Misconfigured(DeliveryError):
    """A person must change something before another request makes sense."""


class TooLarge(DeliveryError):
    """The body is larger than the partner takes."""
