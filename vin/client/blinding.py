"""Identifiers out, elements in: the key holder sees neither, and cannot cheat unnoticed.

All of this takes about a millisecond for each identifier, less than handing it to a thread
would save a server that has other work.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import TypeAdapter

from vin.client.answers import read_answer
from vin.client.errors import CAMEL, AnswerError, KeyHolderError
from vin.client.identifiers import ADDRESS, BSN, DEMOGRAPHIC, frame
from vin.client.keys import Bytes, PublicKey, encode
from vin.client.registration import Bsn, Registration
from vin.client.transport import Json
from vin.crypto import oprf


@dataclass(frozen=True, slots=True)
class Value:
    """A normalised identifier, what its key is for, and what it says of itself in a signal."""

    use: str
    kind: str
    text: str = field(repr=False)
    label: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Batch:
    """The values of one domain; only the blinded elements may leave this side."""

    key: PublicKey
    values: Sequence[Value]
    scalars: Sequence[int] = field(repr=False)
    blinded: Sequence[bytes] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedBatch:
    """The key holder's part of a batch."""

    domain: str
    epoch: int
    evaluated: tuple[Bytes, ...]
    proof: Bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What the key holder answers."""

    __pydantic_config__ = CAMEL

    batches: tuple[EvaluatedBatch, ...]
    permit: str = field(repr=False)
    quota_left: int


EVALUATION = TypeAdapter(Evaluation)


def values_of(registration: Registration) -> list[Value]:
    """List the child, then the parents, each once, then the address."""
    child = registration.child
    if isinstance(child, Bsn):
        values = [Value("child", BSN, child.value, {"kind": "bsn"})]
    else:
        values = [Value("weak", DEMOGRAPHIC, child.value, {"kind": "demographic"})]
    values += [
        Value("parent", BSN, parent.value, {"role": "parent"})
        for parent in dict.fromkeys(registration.parents)
    ]
    if registration.address is not None:
        values.append(Value("address", ADDRESS, registration.address.value, {"role": "address"}))
    return values


def address_values(addresses: Sequence[str]) -> list[Value]:
    """List normalised addresses for what they are, and not for a signal."""
    return [Value("address", ADDRESS, address, {}) for address in addresses]


def blind(values: Sequence[Value], keys: Mapping[str, PublicKey]) -> list[Batch]:
    """Blind the values, in one batch for each domain."""
    batches = []
    for use in dict.fromkeys(value.use for value in values):
        if use not in keys:
            message = f"The key holder has no key for the domain {use}."
            raise KeyHolderError(message)
        own = [value for value in values if value.use == use]
        hidden = [oprf.blind(frame(value.kind, value.text)) for value in own]
        scalars, blinded = zip(*hidden, strict=True)
        batches.append(Batch(keys[use], own, scalars, blinded))
    return batches


def evaluation_body(reporter_id: str, batches: Sequence[Batch]) -> Json:
    """Ask the key holder for all of a registration at once."""
    return {
        "reporterId": reporter_id,
        "batches": [
            {
                "domain": batch.key.domain,
                "epoch": batch.key.epoch,
                "blinded": [encode(element) for element in batch.blinded],
            }
            for batch in batches
        ],
    }


def unblind(batches: Sequence[Batch], document: Json) -> tuple[list[Json], str]:
    """Check the key holder's work; return the values' elements as in a signal, and the permit."""
    evaluation = read_answer(EVALUATION, document)
    asked = [batch.key.name for batch in batches]
    if [f"{each.domain}/{each.epoch}" for each in evaluation.batches] != asked:
        message = "The key holder answered other batches than were asked."
        raise AnswerError(message)
    members = [
        member
        for batch, evaluated in zip(batches, evaluation.batches, strict=True)
        for member in _open(batch, evaluated)
    ]
    return members, evaluation.permit


def _open(batch: Batch, answer: EvaluatedBatch) -> list[Json]:
    try:
        oprf.verify(batch.key.public_key, batch.blinded, answer.evaluated, answer.proof)
    except oprf.ProofError as error:
        message = f"The key holder did not prove that it used the key {batch.key.name}."
        raise KeyHolderError(message) from error
    return [
        {
            **value.label,
            "domain": batch.key.domain,
            "epoch": batch.key.epoch,
            "element": encode(oprf.unblind(scalar, element)),
        }
        for value, scalar, element in zip(
            batch.values, batch.scalars, answer.evaluated, strict=True
        )
    ]
