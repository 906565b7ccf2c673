"""What a channel must be able to do: hand one delivery over, step by step."""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from notify.attempts import Claim
from notify.errors import NotifyError
from notify.ledger import Channel
from notify.retry import Outcome
from schemas.database import Db


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


Carriers: TypeAlias = Mapping[Channel, Callable[[Claim], Carrier]]
