"""What can go wrong with one request, as one tree. Whoever raises chooses the policy.

    DeliveryError
    ├── Temporary       try again, as `retry.decide` says
    ├── Rejected        the data is at fault: some users, named or not
    ├── NotFound        a bare 404 on add or remove, or a 400 about the list: nobody can tell yet
    ├── ListGone        the partner says that the list does not exist (any more)
    ├── Refused         401 or 403: the credential; pause, mark no user
    ├── Misconfigured   the address, a certificate, a path, a login page; pause, mark no user
    └── TooLarge        413: halve the batch

The table stands in `docs/delivery.md`; `classify.classify` applies it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from destinations.reply import Reply


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
    suggested_rule: a rule of the destination (see `rules`) that would read this reply, for a person to judge.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        reply: Reply | None = None,
        unknown_outcome: bool = False,
        retry_after: float | None = None,
        named_users: Sequence[str] = (),
        suggested_rule: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reply = reply
        self.unknown_outcome = unknown_outcome
        self.retry_after = retry_after
        self.named_users = tuple(named_users)
        self.suggested_rule = suggested_rule

    def about(self, user_id: str) -> "DeliveryError":
        """Return this error as it concerns one user: in the partner's own words, if it named the user."""
        said = self.reply.said.get(user_id) if self.reply else None
        if not said:
            return self
        return type(self)(
            f"The partner says of this user: {said}",
            code=self.code,
            reply=self.reply,
            unknown_outcome=self.unknown_outcome,
        )


class Temporary(DeliveryError):
    """Worth another try later."""


class Rejected(DeliveryError):
    """The partner refuses the data of one or more users."""


class NotFound(DeliveryError):
    """A bare 404, or a 400 that says that there is no such list: a user, the list or the address."""


class ListGone(DeliveryError):
    """The list is gone at the partner: a new one must be created and filled."""


class Refused(DeliveryError):
    """The partner does not accept the credential."""


class Misconfigured(DeliveryError):
    """A person must change something before another request makes sense."""


class TooLarge(DeliveryError):
    """The body is larger than the partner takes."""
