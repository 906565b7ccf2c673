"""What a channel must be able to do: hand one delivery over, step by step."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias, TypeVar
from uuid import UUID

from notify.attempts import Claim
from notify.errors import NotifyError
from notify.ledger import Channel
from notify.retry import Outcome
from schemas.database import Db

_T = TypeVar("_T")


class UndeliveredError(NotifyError):
    """The attempt ends here, and `outcome` says how; its text holds no address."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.result)
        self.outcome = outcome


class Carrier(Protocol):
    """Carries one claim; each step ends in an `UndeliveredError` when it cannot go on.

    Steps come in this order, and `leave` always comes.
    """

    async def introduce(self) -> None:
        """Everything that can go wrong before the other server has the message."""
        ...

    async def compose(self, db: Db) -> bytes:
        """Check again that it may be told, and write the message.

        Runs in the transaction that notes DATA: what it checked must hold until that ends.
        """
        ...

    async def hand_over(self, message: bytes) -> Outcome:
        """Send the message; without a clear answer it may have arrived."""
        ...

    async def leave(self) -> None:
        """Let go of what `introduce` took; never fails."""
        ...


# What was asked on each delivery or notice, and what keeps it from being delivered; None: gone.
Answers: TypeAlias = Mapping[UUID, _T | UndeliveredError | None]


class Desk(Protocol):
    """Makes the carriers of a channel."""

    def carrier(self, held: Claim) -> Carrier: ...

    async def prepare(self, db: Db, claims: Sequence[Claim]) -> None:
        """Look up at once what the carriers of these will `compose` from, in its transaction."""
        ...


Desks: TypeAlias = Mapping[Channel, Desk]
