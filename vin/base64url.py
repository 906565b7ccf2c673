"""Bytes as base64url without padding (RFC 4648, section 5)."""

import base64
import binascii


def encode_base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_base64url(text: str) -> bytes | None:
    """Decode the one spelling of some bytes; None for every other text."""
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return decoded if encode_base64url(decoded) == text else None
