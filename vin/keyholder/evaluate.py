"""The use case: elements in, paid for by a quota; evaluations, proofs and a permit out."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from vin.crypto.sign import PERMIT_LIFETIME, Permit, make_permit
from vin.errors import Fault, InvalidBodyError, NotAuthenticatedError, TokenFault, WrongEpochError
from vin.keyholder.arithmetic import Batch, Evaluation
from vin.keyholder.context import Context
from vin.keyholder.quota import reserve
from vin.keyholder.store import Client, select_client


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Elements that a client wants evaluated for one of its reporters."""

    client_id: str
    reporter_id: str
    batches: Sequence[Batch]

    @property
    def elements(self) -> int:
        return sum(len(batch.blinded) for batch in self.batches)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of it; `quota_left` is today's, of reporter or organisation."""

    evaluations: Sequence[Evaluation]
    permit: str
    quota_left: int


async def evaluate(context: Context, wanted: Wanted) -> Done:
    """Check, then count, then evaluate: a refused request costs nothing, a failed one its quota.

    InvalidBodyError for an unknown domain, WrongEpochError, QuotaExceededError.
    """
    quota_left = await _pay(context, wanted)
    evaluations = await context.evaluator.evaluate(wanted.batches)
    return Done(
        evaluations=evaluations,
        permit=_permit(context, wanted, context.utcnow()),
        quota_left=quota_left,
    )


async def _pay(context: Context, wanted: Wanted) -> int:
    seconds = context.store_seconds
    async with asyncio.timeout(seconds), context.pool.acquire(timeout=seconds) as db:
        client = await select_client(db, wanted.client_id)
        if client is None:
            raise NotAuthenticatedError(TokenFault.INACTIVE)
        check_keys(wanted.batches, client, context.evaluator.epoch)
        async with db.transaction():
            return await reserve(db, client, wanted.reporter_id, wanted.elements, context.utcnow())


def check_keys(batches: Sequence[Batch], client: Client, epoch: int) -> None:
    """Refuse domains that are not the client's region's, and keys that are not in use."""
    faults = [
        Fault(f"batches.{place}.domain", "unknown", "This domain is not of your region.")
        for place, batch in enumerate(batches)
        if batch.domain not in client.domains
    ]
    if faults:
        raise InvalidBodyError(faults)
    wrong = {batch.domain: epoch for batch in batches if batch.epoch != epoch}
    if wrong:
        raise WrongEpochError(wrong)


def _permit(context: Context, wanted: Wanted, now: datetime) -> str:
    permit = Permit(
        client_id=wanted.client_id,
        reporter_id=wanted.reporter_id,
        elements={f"{each.domain}/{each.epoch}": len(each.blinded) for each in wanted.batches},
        id=str(uuid4()),
        expires_at=now + PERMIT_LIFETIME,
    )
    return make_permit(context.permit_key, permit, context.keyholder_url, context.api_url, now)
