"""A whole list in several requests, which counts at the partner when the last one is taken, or not at all.

Pure, and in memory only: a session that was cut is never gone on with, so that two are never mixed. Whoever
is refused by name is left out of the next one, which begins with the first user again.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from destinations.errors import DeliveryError
from destinations.sessions import Part, new_number
from syncs.delivery.narrow import Narrowing


@dataclass
class Session(Narrowing):
    """`fits` says how many of some users, from the start, one request holds. `begun` counts sessions.

    `delivered` is 0 until the last part is taken.
    """

    fits: Callable[[Sequence[str]], int] = len
    begun: int = 0
    part: Part = field(init=False)
    _list: list[str] = field(default_factory=list)
    _start: int = 0
    _failed: int = 0

    def __post_init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Begin another session, with all who were not refused."""
        self._list = [user for user in self.users if user not in self.rejected]
        self._start = self._failed = 0
        self.begun += 1
        self.part = Part(new_number(), 0, False, len(self._list))
        self._advance()

    def accept(self, failed: Collection[str] = (), error: DeliveryError | None = None) -> None:
        named = set(failed) & set(self.piece) if failed else set()
        if error:
            self.rejected |= {user: error.about(user) for user in self.piece if user in named}
        self._failed += len(named)
        self._start += len(self.piece)
        if self.part.is_last:
            self.delivered, self.piece = len(self._list) - self._failed, []
        else:
            self._advance()

    def reject(self, error: DeliveryError, named: Collection[str] = (), *, alone: bool = False) -> None:
        self.rejected |= {user: error.about(user) for user in self.piece if user in set(named)}
        self.begin_anew()

    def halve(self, error: DeliveryError) -> None:
        self.most = (len(self.piece) + 1) // 2
        self.begin_anew()

    def _advance(self) -> None:
        piece = self._list[self._start : self._start + self.most]
        self.piece = piece[: self.fits(piece)]
        is_last = self._start + len(self.piece) == len(self._list)
        self.part = Part(self.part.session, self.part.sequence + 1, is_last, self.part.total)
