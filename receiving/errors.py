"""What a partner's call can be answered with when it is not a 200.

ApiError            status, code, message; always JSON
  BadRequest        400  the body or the address: which field, why
  Unauthorized      401  no key, a malformed, unknown, expired or revoked one
  NotFound          404  no such list or address
  InvalidUsers      404  users that the workspace does not take, named
  TooLarge          413  the body or the number of items
  NotJson           415  the type, the charset or the encoding of the body
  RateLimited       429  with Retry-After
"""

from collections.abc import Sequence
from typing import Any


class ApiError(Exception):
    """A reply: `{"error": {"code", "message"}, …more}` with a status and headers."""

    status = 400
    code = "invalid_request"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.status = status or self.status
        self.headers = headers or {}
        self.more = more

    def body(self) -> dict[str, Any]:
        return {"error": {"code": self.code, "message": self.message}, **self.more}


class BadRequest(ApiError):
    pass


class Unauthorized(ApiError):
    status = 401
    code = "unauthorized"

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"WWW-Authenticate": 'Basic realm="api key", charset="UTF-8"'})


class NotFound(ApiError):
    status = 404
    code = "not_found"


class InvalidUsers(ApiError):
    status = 404
    code = "invalid_user_id"

    def __init__(self, user_ids: Sequence[str]) -> None:
        super().__init__(
            f"{len(user_ids)} of the users are not taken in this workspace; nothing was applied.",
            invalidUserIds=list(user_ids),
        )


class TooLarge(ApiError):
    status = 413
    code = "too_large"


class NotJson(ApiError):
    status = 415
    code = "unsupported_media_type"


class RateLimited(ApiError):
    status = 429
    code = "rate_limited"

    def __init__(self, retry_after: int, headers: dict[str, str] | None = None) -> None:
        super().__init__(
            f"Too many calls with this key: try again in {retry_after} s.",
            headers={**(headers or {}), "Retry-After": str(retry_after)},
        )


def list_not_found(list_id: str) -> NotFound:
    """Another workspace's list is not found either, so that a key learns nothing of it."""
    return NotFound(f"There is no list {list_id[:50]!r} in this workspace.", code="list_not_found")
