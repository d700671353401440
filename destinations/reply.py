"""What a partner answered, as a value. A leaf: errors carry one, the transport makes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Reply:
    """`latency` and `retry_after` are in seconds; `excerpt` holds no secret.

    list_id: the new list's id, for a create call. job_id: the partner has only accepted the request, and is
    asked by this id what became of it. failed_users: users of this request that were
    understood to have failed although the reply is a success. said: the partner's words on users that it
    names as failed, where it has any.
    """

    status: int
    retry_after: float | None
    content_type: str
    excerpt: str
    latency: float
    list_id: str | None = None
    job_id: str | None = None
    failed_users: tuple[str, ...] = ()
    said: Mapping[str, str] = field(default_factory=dict)
