"""What the key holder says and takes as JSON (contract §3.2)."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from vin.crypto.oprf import PROOF_BYTES
from vin.web.wire import (
    Base64Url,
    Domain,
    Element,
    Epoch,
    Instant,
    Point,
    ReporterCode,
    Wire,
    refusal,
)

MAX_ELEMENTS = 256
# One for each domain and epoch; more only makes work.
MAX_BATCHES = 16


def _few_enough(batches: "Sequence[BatchIn]") -> "Sequence[BatchIn]":
    if sum(len(batch.blinded) for batch in batches) > MAX_ELEMENTS:
        raise refusal(code="length", reason=f"At most {MAX_ELEMENTS} elements in all.")
    return batches


def _one_each(batches: "Sequence[BatchIn]") -> "Sequence[BatchIn]":
    if len({(batch.domain, batch.epoch) for batch in batches}) < len(batches):
        raise refusal(code="duplicate", reason="One batch for each domain and epoch.")
    return batches


class BatchIn(Wire):
    """Blinded elements for one key."""

    domain: Domain
    epoch: Epoch
    blinded: Annotated[list[Point], Field(min_length=1, max_length=MAX_ELEMENTS)]


class EvaluationIn(Wire):
    """What a reporter needs evaluated."""

    reporter_id: ReporterCode
    batches: Annotated[
        list[BatchIn],
        Field(min_length=1, max_length=MAX_BATCHES),
        AfterValidator(_few_enough),
        AfterValidator(_one_each),
    ]


class BatchOut(Wire):
    """The evaluated elements in order, and a batched DLEQ proof (c, then s)."""

    domain: Domain
    epoch: Epoch
    evaluated: list[Element]
    proof: Annotated[bytes, Base64Url(PROOF_BYTES)]


class EvaluationOut(Wire):
    """The evaluation, the permit that it pays for, and what is left of today's quota."""

    batches: list[BatchOut]
    permit: str
    quota_left: int


class KeyOut(Wire):
    """A public key, by which clients check proofs."""

    domain: Domain
    epoch: Epoch
    suite: Literal["P256-SHA256"] = "P256-SHA256"
    public_key: Element
    not_before: Instant
    not_after: Instant


class KeyList(Wire):
    """The keys that are valid now, one for each domain."""

    keys: list[KeyOut]
