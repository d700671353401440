"""The partner under test: the list or property that the checks use, who was put there, and what it holds."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from destinations.certify.talk import Answer, Talk
from destinations.endpoint import AuthMode, Delivery, Kind
from destinations.errors import DeliveryError
from destinations.payloads import Encoder, Operation, Request, external_name
from destinations.reading import read_pages

COHORT_NAME = "Certification"
Held = tuple[int, str]  # how many, and the digest of docs/protocol.md


class Subject:
    """users: ids that the partner knows; without them, ids are made up around `token`."""

    def __init__(self, talk: Talk, token: str, users: Sequence[str] = ()) -> None:
        self.talk, self.endpoint, self.token, self.users = talk, talk.endpoint, token, users
        self.name = external_name(self.endpoint, COHORT_NAME, token)
        self.lists: list[str] = []
        self.touched: set[str] = set()
        self.ever = 0  # users added, one of several checks counted once for each
        self.profile: dict[str, Any] = {}
        self.refusals: list[Answer] = []  # of what should be refused, to look at their form
        self._list_id: str | None = None
        self._can_read: bool | None = None
        self.encoder = self._encoder()

    @property
    def list_id(self) -> str | None:
        return self._list_id

    def use_list(self, list_id: str) -> None:
        self._list_id = list_id
        self.lists.append(list_id)
        self.encoder = self._encoder(list_id)

    def ids(self, count: int, about: str = "u") -> list[str]:
        """Return so many user ids, always the same for the same `about`; fewer when fewer are known."""
        if self.users:
            return sorted(self.users[:count])
        return [f"certify-{self.token}-{about}{number:05}" for number in range(count)]

    def request(self, operation: Operation, ids: Sequence[str], list_id: str | None = None) -> Request:
        """Return the request; list_id: another list than that of the checks."""
        encoder = self._encoder(list_id) if list_id is not None else self.encoder
        if self.is_single:
            return encoder.single(operation, ids[0])
        return encoder.batch(operation, list(ids))

    @property
    def is_single(self) -> bool:
        """Whether the partner takes one user a request."""
        return self.endpoint.kind == Kind.PROPERTY and self.endpoint.delivery == Delivery.SINGLE

    def send(self, operation: Operation, ids: Sequence[str]) -> Answer:
        """Add or remove users; one that takes one user a request gets several requests."""
        self.ever += len(set(ids) - self.touched)
        self.touched.update(ids)
        parts = [[user_id] for user_id in ids] if self.is_single else [list(ids)]
        for part in parts:
            answer = self.talk.ask(self.request(operation, part))
            if not answer.is_ok:
                break
        return answer

    def send_with_key(self, request: Request, credential: str) -> Answer:
        """Send a request with another credential."""
        other = Talk(replace(self.endpoint, credential=credential), self.talk.until)
        try:
            return other.ask(request)
        finally:
            self.talk.answers += other.answers
            other.close()

    @property
    def asks_key(self) -> bool:
        return self.endpoint.auth_mode != AuthMode.NONE

    def held(self) -> Held | None:
        """Return what the partner holds, by its read call or the digest; None if it shows nothing."""
        if self._can_read is False:
            return None
        found = self._read() if self.endpoint.read_path else self._digest()
        if self._can_read is None:
            self._can_read = found is not None
            self.profile["digest"] = found is not None and not self.endpoint.read_path
        return found

    def _digest(self) -> Held | None:
        base = self.endpoint.base_url.rstrip("/")
        url = f"{base}/traits/digest?name={quote(self.name, safe='')}"
        if self.endpoint.kind == Kind.LIST:
            url = f"{base}/lists/{quote(self.list_id or '', safe='')}/digest"
        data = self.talk.ask(self._get("GET", url)).data
        if not isinstance(data, dict) or not str(data.get("count", "")).isdecimal() or "digest" not in data:
            return None
        return int(data["count"]), str(data["digest"])

    def _read(self) -> Held | None:
        ids: set[str] = set()
        try:
            for page in read_pages(self.talk.transport, self.encoder.look(Operation.READ)):
                ids.update(page)
        except DeliveryError:
            return None
        return expected(ids)

    def delete_list(self, list_id: str) -> bool:
        """Delete a list as the protocol's readers allow; say whether it is gone."""
        if self.endpoint.create_path != "/lists":
            return False
        url = f"{self.endpoint.base_url.rstrip('/')}/lists/{quote(list_id, safe='')}"
        return self.talk.ask(self._get("DELETE", url)).is_ok

    def _get(self, method: str, url: str) -> Request:
        headers = {"Accept": "application/json", **self.endpoint.extra_headers}
        return Request(Operation.TEST, method, url, headers, b"", 0)

    def _encoder(self, list_id: str | None = None) -> Encoder:
        return Encoder(
            self.endpoint,
            cohort_name=COHORT_NAME,
            cohort_key=self.token,
            external_name=self.name,
            list_id=list_id,
        )


def expected(ids: Iterable[str]) -> Held:
    """Return what a partner that holds just these users says."""
    distinct = set(ids)
    total = sum(int.from_bytes(hashlib.sha256(user_id.encode()).digest()) for user_id in distinct)
    return len(distinct), f"{total % 2**256:064x}"
