import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from vin.fields import Email, Line, Phone

EMAIL, PHONE, LINE = (TypeAdapter[str](kind) for kind in (Email, Phone, Line))


def accepts(kind: TypeAdapter[str], text: str) -> bool:
    try:
        kind.validate_python(text)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    "text",
    [
        "a@b.test",
        "first.last+tag@mail.school.example",
        "o'brien@school.test",
        "x@sub-1.xn--80ak6aa92e.invalid",
        f"{'a' * 64}@school.test",
        f"a@{'b' * 63}.{'c' * 63}.{'d' * 63}.{'e' * 57}.nl",
    ],
)
def test_an_address_is_taken_without_a_look_up(text: str) -> None:
    assert accepts(EMAIL, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a@",
        "@b.test",
        "a@b",
        "a@b.1",
        "a@.test",
        "a@b..test",
        "a@-b.test",
        "a@b-.test",
        ".a@b.test",
        "a.@b.test",
        "a..b@c.test",
        "a@b.test.",
        "a b@c.test",
        " a@b.test",
        "a@b.test ",
        "a@b.test\n",
        "a@b.test\r\nBcc: c@d.test",
        "a@b.test,c@d.test",
        "a@b.test;c@d.test",
        "A <a@b.test>",
        '"a b"@c.test',
        "a@[127.0.0.1]",
        "a@b@c.test",
        "é@b.test",
        "a@bé.test",
        f"{'a' * 65}@school.test",
        f"a@{'b' * 64}.test",
        f"a@{'b' * 63}.{'c' * 63}.{'d' * 63}.{'e' * 58}.nl",
    ],
)
def test_anything_but_one_address_is_refused(text: str) -> None:
    assert not accepts(EMAIL, text)


@pytest.mark.parametrize("text", ["00000", "+31 (0)72-000 0001", "0" * 25])
def test_a_phone_number_may_be_written_as_people_do(text: str) -> None:
    assert accepts(PHONE, text)


@pytest.mark.parametrize(
    "text", ["0000", "0" * 26, "     ", "+-()+-", "072.0000001", "٠٧٢٠٠٠٠٠", "072-0001\n"]
)
def test_a_phone_number_of_another_form_is_refused(text: str) -> None:
    assert not accepts(PHONE, text)


@pytest.mark.parametrize(
    "text",
    ["", " ", "\u00a0", "a\nb", "a\rb", "a\x00b", "a\x85b", "a\u2028b", "a\u202eb", "x" * 101],
)
def test_a_line_holds_no_second_line_and_nothing_hidden(text: str) -> None:
    assert not accepts(LINE, text)


@given(st.text(st.characters(categories=("L", "M", "N", "P", "S")), min_size=1, max_size=100))
def test_a_line_takes_every_script(text: str) -> None:
    assert accepts(LINE, text)


@given(st.text())
def test_no_address_can_start_another_header(text: str) -> None:
    assert not accepts(EMAIL, text) or re.search(r"[\s,;<>()\"\\]", text) is None
