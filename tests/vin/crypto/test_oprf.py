import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vin.crypto import reference
from vin.crypto import oprf
from vin.crypto.oprf import ELEMENT_BYTES, ORDER, ElementError, Key, ProofError

BASE = reference.encode(reference.BASE)
OFF_CURVE = bytes([2]) + (1).to_bytes(32)

scalars = st.integers(1, ORDER - 1)
messages = st.binary(max_size=80)


@settings(max_examples=25, deadline=None)
@given(message=messages)
def test_hashing_to_the_group_is_that_of_the_textbook(message: bytes) -> None:
    expected = reference.Mode(1).hash_to_group(message)

    assert oprf.hash_to_group(message) == reference.encode(expected)


@settings(max_examples=25, deadline=None)
@given(message=messages, key=scalars, blind=scalars)
def test_unblinding_leaves_the_hash_times_the_key(message: bytes, key: int, blind: int) -> None:
    secret = Key.from_scalar(key)

    number, blinded = oprf.blind(message, blind)
    element = oprf.unblind(number, oprf.multiply(secret, blinded))

    assert element == oprf.multiply(secret, oprf.hash_to_group(message))


def test_a_message_is_blinded_anew_each_time() -> None:
    assert oprf.blind(b"message") != oprf.blind(b"message")


@settings(max_examples=25, deadline=None)
@given(key=scalars, factor=scalars)
def test_the_x_coordinate_is_that_of_the_product(key: int, factor: int) -> None:
    secret, element = Key.from_scalar(key), oprf.multiply(Key.from_scalar(factor), BASE)

    assert oprf.multiply_x(secret, element) == oprf.multiply(secret, element)[1:]


def test_seed_and_info_both_make_the_key() -> None:
    keys = {
        Key.from_seed(seed, info).public_key
        for seed in (bytes(32), bytes([1]) * 32)
        for info in (b"a", b"b", b"ab")
    }

    assert len(keys) == 6


def test_a_seed_is_the_key_of_the_textbook() -> None:
    expected = reference.Mode(1).derive_key(bytes(32), b"info")

    assert Key.from_seed(bytes(32), b"info").scalar.value == expected


def test_a_key_does_not_show_itself() -> None:
    assert "12345" not in repr(Key.from_scalar(12345))


@pytest.mark.parametrize(
    "element",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\0", id="the identity"),
        pytest.param(bytes(ELEMENT_BYTES), id="33 zeros"),
        pytest.param(BASE[:-1], id="32 bytes"),
        pytest.param(BASE + b"\0", id="34 bytes"),
        pytest.param(b"\4" + BASE[1:], id="the prefix of another form"),
        pytest.param(b"\6" + BASE[1:], id="a hybrid prefix"),
        pytest.param(b"\4" + BASE[1:] + reference.BASE[1].to_bytes(32), id="uncompressed"),
        pytest.param(OFF_CURVE, id="off the curve"),
        pytest.param(bytes([2]) + reference.P.to_bytes(32), id="0 written as P"),
        pytest.param(bytes([3]) + b"\xff" * 32, id="beyond the field"),
    ],
)
def test_what_is_no_compressed_point_is_refused(element: bytes) -> None:
    key = Key.from_scalar(7)

    with pytest.raises(ElementError):
        oprf.check_element(element)
    with pytest.raises(ElementError):
        oprf.multiply_all(key, [BASE, element])
    with pytest.raises(ElementError):
        oprf.multiply_x(key, element)
    with pytest.raises(ElementError):
        oprf.unblind(7, element)


@settings(deadline=None)
@given(data=st.binary(max_size=70) | st.binary(min_size=32, max_size=32).map(b"\2".__add__))
def test_any_bytes_are_a_point_of_the_textbook_or_refused(data: bytes) -> None:
    try:
        oprf.check_element(data)
    except ElementError:
        return
    assert reference.encode(reference.decode(data)) == data


KEY = Key.from_scalar(0xC0FFEE)
BLINDED = [oprf.blind(bytes([number]), number + 2)[1] for number in range(3)]
EVALUATED = oprf.multiply_all(KEY, BLINDED)
PROOF = oprf.prove(KEY, BLINDED, EVALUATED)


@settings(max_examples=10, deadline=None)
@given(key=scalars, nonce=scalars, size=st.integers(1, 3))
def test_proofs_are_those_of_the_textbook_and_verify(key: int, nonce: int, size: int) -> None:
    secret, blinded = Key.from_scalar(key), BLINDED[:size]
    evaluated = oprf.multiply_all(secret, blinded)

    proof = oprf.prove(secret, blinded, evaluated, nonce)

    assert proof == reference.Mode(1).prove(key, blinded, evaluated, nonce)
    oprf.verify(secret.public_key, blinded, evaluated, proof)


def test_each_proof_is_new_and_verifies() -> None:
    other = oprf.prove(KEY, BLINDED, EVALUATED)

    assert other != PROOF
    oprf.verify(KEY.public_key, BLINDED, EVALUATED, other)


def swapped(elements: list[bytes]) -> list[bytes]:
    return [elements[1], elements[0], *elements[2:]]


@pytest.mark.parametrize(
    ("blinded", "evaluated"),
    [
        pytest.param(BLINDED, swapped(EVALUATED), id="evaluated swapped"),
        pytest.param(swapped(BLINDED), swapped(EVALUATED), id="both swapped"),
        pytest.param(BLINDED[:2], EVALUATED[:2], id="both shortened"),
        pytest.param(BLINDED, EVALUATED[:2], id="one shortened"),
        pytest.param(BLINDED * 2, EVALUATED * 2, id="both repeated"),
        pytest.param(BLINDED, [EVALUATED[0]] * 3, id="one for all"),
        pytest.param(BLINDED, BLINDED, id="not evaluated"),
        pytest.param(BLINDED, [BASE, *EVALUATED[1:]], id="one replaced"),
        pytest.param(BLINDED, [OFF_CURVE, *EVALUATED[1:]], id="one off the curve"),
        pytest.param([], [], id="an empty batch"),
    ],
)
def test_a_proof_is_of_its_own_batch_only(blinded: list[bytes], evaluated: list[bytes]) -> None:
    with pytest.raises(ProofError):
        oprf.verify(KEY.public_key, blinded, evaluated, PROOF)


@pytest.mark.parametrize(
    "public_key",
    [
        pytest.param(Key.from_scalar(0xC0FFED).public_key, id="another key"),
        pytest.param(bytes([KEY.public_key[0] ^ 1]) + KEY.public_key[1:], id="its negative"),
        pytest.param(OFF_CURVE, id="off the curve"),
        pytest.param(b"", id="none"),
    ],
)
def test_a_proof_is_of_its_own_key_only(public_key: bytes) -> None:
    with pytest.raises(ProofError):
        oprf.verify(public_key, BLINDED, EVALUATED, PROOF)


def test_a_second_key_for_one_element_of_the_batch_is_noticed() -> None:
    mixed = [*EVALUATED[:2], oprf.multiply(Key.from_scalar(5), BLINDED[2])]

    with pytest.raises(ProofError):
        oprf.verify(KEY.public_key, BLINDED, mixed, oprf.prove(KEY, BLINDED, mixed))


@pytest.mark.parametrize("position", range(0, len(PROOF), 7))
def test_no_byte_of_a_proof_may_change(position: int) -> None:
    changed = bytearray(PROOF)
    changed[position] ^= 1

    with pytest.raises(ProofError):
        oprf.verify(KEY.public_key, BLINDED, EVALUATED, bytes(changed))


@pytest.mark.parametrize(
    "proof",
    [
        pytest.param(PROOF[:-1], id="63 bytes"),
        pytest.param(PROOF + b"\0", id="65 bytes"),
        pytest.param(bytes(32) + PROOF[32:], id="c is 0"),
        pytest.param(PROOF[:32] + bytes(32), id="s is 0"),
        pytest.param(ORDER.to_bytes(32) + PROOF[32:], id="c is the order"),
        pytest.param(PROOF[:32] + (ORDER + 1).to_bytes(32), id="s is beyond the order"),
        pytest.param(b"\xff" * 64, id="the largest numbers"),
    ],
)
def test_a_proof_is_two_scalars(proof: bytes) -> None:
    with pytest.raises(ProofError):
        oprf.verify(KEY.public_key, BLINDED, EVALUATED, proof)


def test_a_proof_built_to_meet_the_identity_is_refused() -> None:
    c = 17
    forged = c.to_bytes(32) + (-c * KEY.scalar.value % ORDER).to_bytes(32)

    with pytest.raises(ProofError, match="identity"):
        oprf.verify(KEY.public_key, BLINDED, EVALUATED, forged)


def test_nothing_is_proved_of_no_elements_or_of_unequal_lists() -> None:
    with pytest.raises(ValueError, match="at least one"):
        oprf.prove(KEY, [], [])
    with pytest.raises(ValueError, match="as many"):
        oprf.prove(KEY, BLINDED, EVALUATED[:2])


def test_the_self_test_passes() -> None:
    oprf.self_test()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vin.crypto.oprf._CONTEXT", b"OPRFV1-\x00-P256-SHA256"),
        ("vin.crypto.oprf._SEED", "a4" * 32),
        ("vin.crypto.oprf._KEY_INFO", b"other key"),
        ("vin.crypto.curve._Z", -11),
        ("vin.crypto.curve._A", -4),
        ("vin.crypto.curve._FIELD_BYTES", 47),
    ],
)
def test_the_self_test_notices_other_arithmetic(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    monkeypatch.setattr(name, value)

    with pytest.raises(oprf.SelfTestError):
        oprf.self_test()


@pytest.mark.parametrize("function", ["blind", "multiply_all", "prove", "verify"])
def test_the_self_test_runs_each_step(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    def fail(*_: object) -> None:
        raise ValueError(function)

    monkeypatch.setattr(oprf, function, fail)

    with pytest.raises(oprf.SelfTestError):
        oprf.self_test()


def test_parts_are_framed_so_that_no_others_join_alike() -> None:
    assert oprf.framed(b"ab", b"c") == bytes.fromhex("000261620001") + b"c"
    assert oprf.framed(b"a", b"bc") != oprf.framed(b"ab", b"c")
