"""Finding the few users of a batch that a partner does not take, so that the others are delivered.

Pure: values in, values out. One `Narrowing` belongs to one batch; it says which users to send next
(`piece`), and is told how that went. Only one piece is under way at a time.

A refused piece is *suspect*: it holds at least one user at fault. Users whom the reply names are
dropped at once. Else the suspect is halved, and one half is tried: is it refused, then it is the
suspect, and the other half waits with the rest; is it taken, then the other half is the suspect
without a request. A user who is alone and refused is at fault. Then the rest is sent whole, and so
on. The first user who is left over because everybody else was taken is tried alone, to be certain that
this partner refuses users and not numbers; later ones are not. One user at fault in 1,000 takes 12 or 13
requests, five take 57 at most.

While nobody was accepted in the run, halves teach too little: each may hold somebody at fault, wherever a
partner's unknown users stand. Then users are tried alone, picked at random (`alone`): the first who is
taken proves the partner well, and many who are refused, each by themselves, prove that it takes nobody.
"""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from destinations.errors import DeliveryError

ONCE_PIECES = 10
# With more users at fault than this, it is cheaper to try each half than to send the rest whole: at
# worst two requests a user, when everybody is at fault.
FEW = 8


@dataclass
class Narrowing:
    """`users`: whom to deliver. `most`: the most users in a piece (0: no limit).

    The results are `delivered` (a count), `rejected` (user to error), `undelivered` (the same) and `left`,
    who were not tried to the end.
    """

    users: Sequence[str]
    most: int = 0
    # Who is sent after them, and never in one piece with any of them.
    apart: Sequence[str] = ()
    delivered: int = 0
    rejected: dict[str, DeliveryError] = field(default_factory=dict)
    undelivered: dict[str, DeliveryError] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    piece: list[str] = field(default_factory=list)
    # The piece is one half of a suspect, and this is the other half.
    _other: list[str] = field(default_factory=list)
    _rest: list[str] = field(default_factory=list)
    _parts: list[list[str]] = field(default_factory=list)
    # Pieces after spent retries: each gets one try.
    _once: list[list[str]] = field(default_factory=list)
    once: bool = False
    _refusal: DeliveryError | None = None
    _confirmed: bool = False

    def __post_init__(self) -> None:
        self._rest = list(self.users)
        self._parts = [list(self.apart)] if self.apart else []
        self._advance()

    @property
    def done(self) -> bool:
        return not self.piece

    def accept(self, failed: Collection[str] = (), error: DeliveryError | None = None) -> None:
        """The partner took the piece, but for the users `failed`, whom its reply names with `error`."""
        named = set(failed) & set(self.piece) if failed else set()
        if named and error:
            self.rejected |= {user: error.about(user) for user in self.piece if user in named}
        self.delivered += len(self.piece) - len(named)
        suspect, self._other = self._other, []
        if len(suspect) == 1 and self._confirmed and self._refusal:
            self.rejected[suspect[0]] = self._refusal
            suspect = []
        if suspect:
            self._test(suspect)
        else:
            self._advance()

    def reject(self, error: DeliveryError, named: Collection[str] = (), *, alone: bool = False) -> None:
        """The partner refused the piece, and named users that are at fault, or none.

        `alone`: go on with one user, since nobody was accepted so far.
        """
        piece, other = self.piece, self._other
        self._other = []
        at_fault = set(named) & set(piece)
        self._refusal = error
        if len(piece) == 1:
            at_fault = set(piece)
            self._confirmed = True
        self._put_aside(other)
        if not at_fault:
            if alone:
                self.piece, self._other = _pick(piece)
            else:
                self._test(piece)
            return
        self.rejected |= {user: error.about(user) for user in piece if user in at_fault}
        self._put_aside([user for user in piece if user not in at_fault])
        self._advance()
        if alone and len(self.piece) > 1 and not self.once:
            self.piece, rest = _pick(self.piece)
            self._rest = sorted([*self._rest, *rest])

    def halve(self, error: DeliveryError) -> None:
        """The piece was too large for the partner: send no more than half of it at a time."""
        if len(self.piece) == 1:
            self.reject(error)
            return
        self.most = (len(self.piece) + 1) // 2
        self._rest = sorted([*self._rest, *self._other, *self.piece])
        self._other = []
        self._advance()

    def give_up(self, error: DeliveryError) -> None:
        """The retries of the piece are spent: try its parts once each; what fails again is undelivered."""
        if self.once:
            self.undelivered |= dict.fromkeys(self.piece, error)
            # The other half of a suspect was not tried yet.
            self._once += [self._other] if self._other else []
        else:
            users = sorted([*self.piece, *self._other])
            size = -(-len(users) // ONCE_PIECES)
            self._once += [users[i : i + size] for i in range(0, len(users), size)]
        self._other = []
        self._advance()

    def leave(self) -> None:
        """Try nobody more: of those who are left, nothing new is known."""
        waiting = [user for part in (*self._parts, *self._once) for user in part]
        self.left = [*self.piece, *self._other, *self._rest, *waiting]
        self.piece, self._other, self._rest, self._parts, self._once = [], [], [], [], []

    def _put_aside(self, users: list[str]) -> None:
        """Keep users of whom nothing is known: with all such, or, when many are at fault, by themselves."""
        if len(self.rejected) < FEW:
            self._rest = sorted([*self._rest, *users])
        elif users:
            self._parts.append(users)

    def _test(self, suspect: list[str]) -> None:
        """Try one half of a suspect; one user alone is tried alone."""
        half = (len(suspect) + 1) // 2
        self.piece, self._other = suspect[:half], suspect[half:]

    def _advance(self) -> None:
        """Go on with the rest, then with the parts that get one try."""
        self.once = False
        if not self._rest and self._parts:
            self._rest = self._parts.pop()
        most = self.most or len(self._rest)
        if self._rest:
            self.piece, self._rest = self._rest[:most], self._rest[most:]
        elif self._once:
            self.piece, self.once = self._once.pop(), True
        else:
            self.piece = []


def _pick(users: list[str]) -> tuple[list[str], list[str]]:
    """Return one of the users, and the others: any one, but the same each time."""
    at = random.Random(f"{len(users)} {users[0]}").randrange(len(users))
    return [users[at]], users[:at] + users[at + 1 :]
