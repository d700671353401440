"""The real driver, with a partner in memory in place of HTTP, and one thread in place of many.

Requests that are in flight are answered in a random order; a crash may come before a request, after
the partner acted on it, or within a transaction.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from urllib.parse import urlsplit

from requests.structures import CaseInsensitiveDict

from destinations.errors import Temporary
from destinations.transport import Transport
from syncs.delivery.loop import Loop
from syncs.models import Driver
from tests.partner import Partner


class Crash(BaseException):
    """The process ends here: nothing may catch it."""


@dataclass
class Chance:
    """When something happens in a drive. `crash` and others are asked at each point with its name."""

    random: random.Random
    crash: float = 0.0
    at: Callable[[str], None] = lambda point: None

    def point(self, name: str) -> None:
        self.at(name)
        if self.crash and self.random.random() < self.crash:
            raise Crash(name)


@dataclass
class Pool:
    """Takes the place of the threads: tasks wait here, and one at a time is picked and done."""

    chance: Chance
    tasks: list = field(default_factory=list)

    def submit(self, task: Callable[..., None], work, request, not_before: float) -> None:
        """Take a request on its way; no remove may set out while an add of one of its users is under way."""
        if request.operation == "remove":
            under_way = [other for _, (_, other, _) in self.tasks if other.operation == "add"]
            added = {(other.url, user) for other in under_way for user in other.user_ids}
            both = added & {(request.url.replace("/remove", "/add"), user) for user in request.user_ids}
            assert not both, f"removed while an add is in flight: {both}"
        self.tasks.append((task, (work, request, not_before)))

    def step(self) -> None:
        if self.tasks:
            task, arguments = self.tasks.pop(self.chance.random.randrange(len(self.tasks)))
            task(*arguments)

    def shutdown(self, **kwargs: object) -> None:
        """What is in flight when the process dies may reach the partner, or not."""
        while self.tasks:
            task, arguments = self.tasks.pop()
            if self.chance.random.random() < 0.5:
                task(*arguments)


class MemoryTransport(Transport):
    partner: Partner
    chance: Chance

    def send(self, request):
        self.chance.point("before request")
        auth = self.endpoint.auth()
        path = urlsplit(request.url).path
        _, fault = self.partner.answer(path, json.loads(request.body), auth[1] if auth else "")
        self.chance.point("after request")
        if fault.how != "reply":
            raise Temporary("No reply.", code="reset", unknown_outcome=True)
        headers = CaseInsensitiveDict({"Content-Type": "application/json", **fault.headers})
        response = SimpleNamespace(status_code=fault.status, headers=headers)
        return self._judge(request, response, json.dumps(fault.body).encode(), 0.0)


def memory_loop(partner: Partner, chance: Chance) -> type[Loop]:
    """Return the class to put in the place of `drive.Loop`."""

    class MemoryLoop(Loop):
        def __init__(self, *arguments, **more):
            super().__init__(*arguments, **more)
            self.sender.pool = Pool(chance)
            self.sender.transport = MemoryTransport(self.endpoint)
            self.sender.transport.partner, self.sender.transport.chance = partner, chance
            self.outbox.commit = partial(self._commit, self.outbox.commit)

        def _collect(self):
            self.sender.pool.step()
            super()._collect()

        def _commit(self, commit):
            chance.point("before commit")
            if chance.crash and self.outbox.writes and chance.random.random() < 0.3:
                self.outbox.write(lambda: chance.point("within commit"))
            commit()
            chance.point("after commit")

        def close(self):
            self.sender.transport.chance = Chance(chance.random)
            super().close()

    return MemoryLoop


def bury(destination_id: int) -> None:
    """The lease of a driver that crashed runs out."""
    Driver.objects.filter(destination_id=destination_id).update(until=None)
