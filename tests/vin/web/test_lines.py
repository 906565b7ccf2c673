from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from vin.web.lines import MAX_LINE_BYTES, Line, Splitter

LONG = b"x" * (MAX_LINE_BYTES + 1)


def split(chunks: list[bytes]) -> list[Line]:
    splitter = Splitter()
    return [line for chunk in [*chunks, b"\n"] for line in splitter.take(chunk)]


@given(
    lines=st.lists(st.sampled_from([b"", b"a", b" b \r", b"cd"])), cuts=st.lists(st.integers(0, 40))
)
@example(lines=[], cuts=[])
def test_lines_are_the_same_however_they_arrive(lines: list[bytes], cuts: list[int]) -> None:
    whole = b"\n".join(lines)
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    chunks = [whole[start:end] for start, end in pairwise(places)]

    expected = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    assert split(chunks) == expected


def test_a_line_that_is_too_long_is_told_once_and_the_next_is_read() -> None:
    longest = LONG[:-1]

    assert split([LONG + b"\na\n"]) == [(1, None), (2, b"a")]
    assert split([LONG[:9], LONG, LONG, b"\na"]) == [(1, None), (2, b"a")]
    assert split([b"a\n", LONG, LONG]) == [(1, b"a"), (2, None)]
    assert split([LONG, b"y" * 9, b"\n", longest]) == [(1, None), (2, longest)]


def test_no_more_than_a_line_is_kept() -> None:
    splitter = Splitter()
    for _ in range(100):
        assert splitter.take(LONG) == []

    assert len(splitter._rest) <= MAX_LINE_BYTES  # noqa: SLF001 - what it keeps is the point
