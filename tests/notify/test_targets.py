from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.targets import PUBLIC_ONLY, IpAddress, TargetError, Targets

INSIDE = [
    "0.0.0.0",  # noqa: S104 - an address among others, nothing listens on it
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.8",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
]
INSIDE_6 = [
    "::",
    "::1",
    "::7f00:1",
    "64:ff9b:1::808:808",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::1",
]
PUBLIC = ["8.8.8.8", "93.184.216.34", "2606:4700::6810:1"]


def wrapped(address: IPv4Address) -> list[IpAddress]:
    """An address, and all that lead to it through something that unwraps them."""
    low = int(address)
    return [
        address,
        IPv6Address(int(IPv6Address("::ffff:0:0")) + low),
        IPv6Address(int(IPv6Address("64:ff9b::")) + low),
        IPv6Address(int(IPv6Address("2002::")) + (low << 80)),
    ]


@pytest.mark.parametrize("text", [*INSIDE, *INSIDE_6])
def test_what_lies_inside_is_no_target(text: str) -> None:
    assert not PUBLIC_ONLY.permits(ip_address(text))


@pytest.mark.parametrize("text", INSIDE)
def test_no_wrapping_leads_inside(text: str) -> None:
    forms = wrapped(IPv4Address(text))

    assert [str(form) for form in forms if PUBLIC_ONLY.permits(form)] == []


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_a_wrapped_address_is_a_target_just_as_the_plain_one(address: IPv4Address) -> None:
    judged = {PUBLIC_ONLY.permits(form) for form in wrapped(address)}

    assert judged == {address.is_global and not address.is_multicast and not _assigned(address)}


def _assigned(address: IPv4Address) -> bool:
    return address.packed[:3] == bytes([192, 0, 0])


@pytest.mark.parametrize("text", PUBLIC)
def test_the_public_internet_is_a_target(text: str) -> None:
    assert PUBLIC_ONLY.permits(ip_address(text))


def test_an_operator_may_list_private_networks() -> None:
    listed = Targets.parse("10.0.0.0/8, ::1")

    assert [text for text in INSIDE if listed.permits(ip_address(text))] == ["10.1.2.3"]
    assert [text for text in INSIDE_6 if listed.permits(ip_address(text))] == ["::1"]
    assert all(map(listed.permits, wrapped(IPv4Address("10.9.9.9"))))


@pytest.mark.parametrize("text", ["", "10.0.0.0/8,", "10.0.0.1/8", "a b", "https://a.example", "*"])
def test_a_list_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        Targets.parse(text)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example/vin?key=1",
        "https://hooks.example:443",
        "https://xn--mnchen-3ya.example/",
        "https://93.184.216.34/",
        "https://[2606:4700::1]/",
    ],
)
def test_https_on_its_own_port_may_be_a_webhook(url: str) -> None:
    assert str(PUBLIC_ONLY.check(url)).startswith("https://")


@pytest.mark.parametrize(
    ("code", "url"),
    [
        ("scheme", "http://hooks.example/"),
        ("port", "https://hooks.example:8443/"),
        ("address", "https://127.0.0.1/"),
        ("address", "https://[::1]/"),
        ("address", "https://[::ffff:127.0.0.1]/"),
        ("address", "https://[64:ff9b::a9fe:a9fe]/"),
        ("url", ""),
        ("url", "hooks.example"),
        ("url", "/vin"),
        ("url", "https:///vin"),
        ("url", "https://hooks.example:0/"),
        ("url", "https://hooks.example:99999/"),
        ("url", "ftp://hooks.example/"),
        ("url", "file:///etc/passwd"),
        ("url", "gopher://hooks.example:70/"),
        ("url", "https://hooks.example/a b"),
        ("url", "https://hooks.example/\r\nX: y"),
        ("url", "https://hööks.example/"),
        ("url", "https://①②⑦.0.0.1/"),
        ("url", "https://exa%6dple.nl/"),
        ("url", "https://xn--a/"),
        ("url", "https://[fe80::1%25eth0]/"),
        ("url", "https://hooks.example\\@127.0.0.1/"),
        ("url", "https://hooks.example/#" + "a"),
        ("url", "https://somebody@hooks.example/"),
        ("url", "https://somebody:secret@hooks.example/"),
        ("url", "https://hooks.example/" + "a" * 2000),
    ],
)
def test_what_is_no_webhook_is_refused_without_quoting_it(code: str, url: str) -> None:
    with pytest.raises(TargetError) as refused:
        PUBLIC_ONLY.check(url)

    assert refused.value.fault.code == code
    assert "example" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://case.intern.example:8080/hook",
        "https://CASE.intern.example./hook",
        "http://10.2.3.4:9000/",
        "http://[::1]:9000/",
    ],
)
def test_what_the_operator_listed_may_be_plain_and_on_any_port(url: str) -> None:
    listed = Targets.parse("Case.intern.example.,10.0.0.0/8,::1")

    assert str(listed.check(url)).lower().startswith("http")


def test_a_name_is_listed_whole() -> None:
    listed = Targets.parse("intern.example")

    for url in ("http://case.intern.example/", "http://intern.example.evil.example/"):
        with pytest.raises(TargetError):
            listed.check(url)
