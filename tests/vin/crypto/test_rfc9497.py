"""Every vector of RFC 9497 for P256-SHA256: mode 1 by VIN, all modes by the reference."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.vin.crypto import reference
from vin.crypto import oprf

DOCUMENT = Path(__file__).parents[2] / "data" / "rfc9497-p256-sha256.json"


@dataclass(frozen=True)
class Batch:
    """One vector: a batch of messages, and all that must come of it."""

    mode: int
    seed: bytes
    key_info: bytes
    key: int
    public_key: bytes
    info: bytes | None
    messages: list[bytes]
    blinds: list[int]
    blinded: list[bytes]
    evaluated: list[bytes]
    outputs: list[bytes]
    nonce: int
    proof: bytes


def read_batches() -> list[Batch]:
    return [
        Batch(
            mode=suite["mode"],
            seed=bytes.fromhex(suite["seed"]),
            key_info=bytes.fromhex(suite["keyInfo"]),
            key=int(suite["skSm"], 16),
            public_key=bytes.fromhex(suite.get("pkSm", "")),
            info=bytes.fromhex(vector["Info"]) if "Info" in vector else None,
            messages=octets(vector["Input"]),
            blinds=[int.from_bytes(blind) for blind in octets(vector["Blind"])],
            blinded=octets(vector["BlindedElement"]),
            evaluated=octets(vector["EvaluationElement"]),
            outputs=octets(vector["Output"]),
            nonce=int(vector.get("Proof", {}).get("r", "0"), 16),
            proof=bytes.fromhex(vector.get("Proof", {}).get("proof", "")),
        )
        for suite in json.loads(DOCUMENT.read_text())
        for vector in suite["vectors"]
    ]


def octets(joined: str) -> list[bytes]:
    return [bytes.fromhex(part) for part in joined.split(",")]


def name(batch: Batch) -> str:
    return f"mode {batch.mode}, {len(batch.messages)} of {len(batch.messages[0])} bytes"


BATCHES = read_batches()
MODE_1 = [batch for batch in BATCHES if batch.mode == 1]


def test_there_are_eight_vectors() -> None:
    assert len(BATCHES) == 8
    assert len(MODE_1) == 3


@pytest.mark.parametrize("batch", MODE_1, ids=name)
def test_the_seed_gives_the_key_of_the_rfc(batch: Batch) -> None:
    key = oprf.Key.from_seed(batch.seed, batch.key_info)

    assert key.scalar.value == batch.key
    assert key.public_key == batch.public_key


@pytest.mark.parametrize("batch", MODE_1, ids=name)
def test_blinding_gives_the_blinded_elements_of_the_rfc(batch: Batch) -> None:
    pairs = zip(batch.messages, batch.blinds, strict=True)

    assert [oprf.blind(*pair) for pair in pairs] == list(
        zip(batch.blinds, batch.blinded, strict=True)
    )


@pytest.mark.parametrize("batch", MODE_1, ids=name)
def test_evaluating_gives_the_elements_of_the_rfc(batch: Batch) -> None:
    assert oprf.multiply_all(oprf.Key.from_scalar(batch.key), batch.blinded) == batch.evaluated


@pytest.mark.parametrize("batch", MODE_1, ids=name)
def test_the_proof_is_that_of_the_rfc_and_verifies(batch: Batch) -> None:
    key = oprf.Key.from_scalar(batch.key)

    proof = oprf.prove(key, batch.blinded, batch.evaluated, batch.nonce)

    assert proof == batch.proof
    oprf.verify(batch.public_key, batch.blinded, batch.evaluated, proof)


@pytest.mark.parametrize("batch", MODE_1, ids=name)
def test_what_is_unblinded_finalizes_to_the_output_of_the_rfc(batch: Batch) -> None:
    for i, message in enumerate(batch.messages):
        element = oprf.unblind(batch.blinds[i], batch.evaluated[i])

        assert reference.finalize(message, 1, element, None) == batch.outputs[i]


@pytest.mark.parametrize("batch", BATCHES, ids=name)
def test_the_reference_gives_every_output_of_every_mode(batch: Batch) -> None:
    mode = reference.Mode(batch.mode)
    key = mode.derive_key(batch.seed, batch.key_info)
    if batch.info is not None:
        # Mode 2 evaluates with the inverse, and proves it the other way round.
        proving = key + mode.tweak(batch.info)
        factor, sides = pow(proving, -1, reference.ORDER), (batch.evaluated, batch.blinded)
    else:
        proving, factor, sides = key, key, (batch.blinded, batch.evaluated)

    assert key == batch.key
    for i, message in enumerate(batch.messages):
        blinded = reference.multiply(batch.blinds[i], mode.hash_to_group(message))
        evaluated = reference.encode(reference.multiply(factor, blinded))
        assert reference.encode(blinded) == batch.blinded[i]
        assert evaluated == batch.evaluated[i]
        assert (
            reference.finalize(message, batch.blinds[i], evaluated, batch.info) == batch.outputs[i]
        )
    if batch.mode > 0:
        assert mode.prove(proving, *sides, batch.nonce) == batch.proof
