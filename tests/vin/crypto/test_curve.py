import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.vin.crypto import reference
from vin.crypto import curve
from vin.crypto.curve import ORDER, ElementError, Scalar

HALF = ORDER // 2
EDGES = (1, 2, 3, HALF, HALF + 1, ORDER - 3, ORDER - 2, ORDER - 1)

scalars = st.sampled_from(EDGES) | st.integers(1, ORDER - 1)


def point(factor: int) -> curve.Point:
    return curve.decode(reference.encode(reference.multiply(factor, reference.BASE)))


def product(scalar: int, factor: int) -> bytes:
    return reference.encode(reference.multiply(scalar * factor, reference.BASE))


@pytest.mark.parametrize("scalar", EDGES)
@pytest.mark.parametrize("factor", EDGES)
def test_products_are_right_at_the_edges_of_the_scalars(scalar: int, factor: int) -> None:
    [found] = curve.multiply([(Scalar.of(scalar), point(factor))])

    assert curve.encode(found) == product(scalar, factor)


@settings(max_examples=30, deadline=None)
@given(pairs=st.lists(st.tuples(scalars, scalars), max_size=4))
def test_a_batch_gives_the_product_of_each_pair(pairs: list[tuple[int, int]]) -> None:
    found = curve.multiply([(Scalar.of(scalar), point(factor)) for scalar, factor in pairs])

    assert [curve.encode(each) for each in found] == [product(*pair) for pair in pairs]


def test_the_point_whose_x_is_0_is_multiplied_as_any_other() -> None:
    at_zero = bytes([2]) + bytes(32)

    for scalar in EDGES:
        [found] = curve.multiply([(Scalar.of(scalar), curve.decode(at_zero))])
        expected = reference.multiply(scalar, reference.decode(at_zero))
        assert curve.encode(found) == reference.encode(expected)


@settings(max_examples=30, deadline=None)
@given(factors=st.lists(st.integers(1, 2**64), min_size=1, max_size=4))
@example(factors=[5, 5])
@example(factors=[1, 1, 2])
def test_sums_are_those_of_the_textbook(factors: list[int]) -> None:
    found = curve.add(map(point, factors))

    assert curve.encode(found) == product(1, sum(factors))


def test_a_sum_that_is_the_identity_is_refused() -> None:
    with pytest.raises(ElementError, match="identity"):
        curve.add([point(7), point(ORDER - 7)])


@pytest.mark.parametrize("value", [-1, 0, ORDER, ORDER + 1, 2**256 - 1])
def test_numbers_outside_the_group_order_are_no_scalars(value: int) -> None:
    with pytest.raises(ValueError, match="scalar"):
        Scalar.of(value)


@settings(max_examples=25, deadline=None)
@given(u=st.integers(0, reference.P - 1))
@example(u=0)
@example(u=1)
@example(u=reference.P - 1)
def test_field_elements_map_to_the_points_of_the_textbook(u: int) -> None:
    assert curve.encode(curve.map_to_curve(u)) == reference.encode(reference.map_to_curve(u))


@settings(max_examples=25, deadline=None)
@given(message=st.binary(max_size=300), dst=st.binary(min_size=1, max_size=255))
def test_hashing_to_a_scalar_is_that_of_the_textbook(message: bytes, dst: bytes) -> None:
    expected = int.from_bytes(reference.expand_message_xmd(message, dst, 48)) % ORDER

    assert curve.hash_to_scalar(message, dst) == expected


def test_a_scalar_does_not_show_its_number() -> None:
    assert "12345" not in repr(Scalar.of(12345))
