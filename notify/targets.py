"""Where webhooks may go: public addresses, and what the operator listed.

An address is judged as it is connected to, after its name was looked up: neither a literal in
another spelling nor a name that changes its mind leads inside.
"""

import re
from dataclasses import dataclass
from enum import Enum
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final, Self, TypeAlias

from yarl import URL

IpAddress: TypeAlias = IPv4Address | IPv6Address
IpNetwork: TypeAlias = IPv4Network | IPv6Network

HTTPS_PORT: Final = 443
URL_CHARACTERS: Final = 2000
_VISIBLE: Final = re.compile(r"[!-~]+")
_HOST: Final = re.compile(r"[A-Za-z0-9._:-]+")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
# What not every Python knows: protocol assignments, Teredo, documentation (RFC 6890, 9637).
_NOT_PUBLIC: Final = (
    IPv4Network("192.0.0.0/24"),
    IPv6Network("2001::/32"),
    IPv6Network("3fff::/20"),
)


class TargetFault(Enum):
    """Why no webhook may have a URL: a code, and a sentence without the URL."""

    URL = "url", f"Expected an http or https URL of at most {URL_CHARACTERS} characters."
    EXTRA = "url", "Expected a URL without user, password and fragment."
    SCHEME = "scheme", "Expected an https URL."
    PORT = "port", "Expected port 443."
    ADDRESS = "address", "Expected a public address."

    def __init__(self, code: str, reason: str) -> None:
        self.code = code
        self.reason = reason


class TargetError(ValueError):
    """A URL that no webhook may have."""

    def __init__(self, fault: TargetFault) -> None:
        super().__init__(fault.reason)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Targets:
    """What the operator listed, names of hosts and networks: private ones, any port, no TLS."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[IpNetwork, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read hosts and networks with commas between; ValueError where it is no such list."""
        hosts: set[str] = set()
        networks: list[IpNetwork] = []
        for entry in text.split(","):
            try:
                networks.append(ip_network(entry.strip()))
            except ValueError:
                hosts.add(_name(entry.strip()))
        return cls(frozenset(hosts), tuple(networks))

    def check(self, text: str) -> URL:
        """Read the URL of a webhook; TargetError where it may not be one.

        Names are not looked up here: what they stand for is judged at each delivery.
        """
        url = _read(text)
        if self.lists(url):
            return url
        if url.scheme != "https":
            raise TargetError(TargetFault.SCHEME)
        if url.port != HTTPS_PORT:
            raise TargetError(TargetFault.PORT)
        address = _literal(url)
        if address is not None and not self.permits(address):
            raise TargetError(TargetFault.ADDRESS)
        return url

    def lists(self, url: URL) -> bool:
        """Tell whether the operator listed the URL's host."""
        address = _literal(url)
        return self.trusts(url) if address is None else self._has(address)

    def trusts(self, url: URL) -> bool:
        """Tell whether the operator listed the host by name, whatever its address is."""
        return (url.raw_host or "").rstrip(".") in self.hosts

    def permits(self, address: IpAddress) -> bool:
        """Tell whether a connection may be made to the address."""
        meant = _unwrapped(address)
        return self._has(address) or self._has(meant) or _is_public(meant)

    def _has(self, address: IpAddress) -> bool:
        return any(address in network for network in self.networks)


PUBLIC_ONLY: Final = Targets()


def _name(entry: str) -> str:
    if not _NAME.fullmatch(entry):
        raise ValueError
    return entry.lower().rstrip(".")


def _read(text: str) -> URL:
    try:
        url = URL(text)
        complete = bool(url.scheme in {"http", "https"} and url.host and url.port)
    except ValueError:
        raise TargetError(TargetFault.URL) from None
    plain = len(text) <= URL_CHARACTERS and _VISIBLE.fullmatch(text)
    if not (complete and plain and _HOST.fullmatch(url.raw_host or "")):
        raise TargetError(TargetFault.URL)
    if url.raw_user is not None or url.raw_password is not None or url.raw_fragment:
        raise TargetError(TargetFault.EXTRA)
    return url


def _literal(url: URL) -> IpAddress | None:
    try:
        return ip_address(url.raw_host or "")
    except ValueError:
        return None


def _unwrapped(address: IpAddress) -> IpAddress:
    """What is reached by an address that holds another: mapped, NAT64, 6to4."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address


def _is_public(address: IpAddress) -> bool:
    if any(address in network for network in _NOT_PUBLIC) or address.is_multicast:
        return False
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not address.is_reserved
