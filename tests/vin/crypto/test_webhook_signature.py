import json
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from joserfc.jwk import ECKey
from standardwebhooks import Webhook, WebhookVerificationError

from vin.crypto import keyfile
from vin.crypto.keyfile import KeyFileError
from vin.crypto.signkey import UnfitKeyError
from vin.crypto.webhook import (
    WebhookKey,
    new_secret,
    read_secret_text,
    secret_text,
    signed_content,
)

BODY = b'{"type":"nl.vin.match.created"}'
NOW = int(datetime.now(UTC).timestamp())  # noqa: TID251 - the receiver's package reads the clock


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "keys"
    keyfile.generate_index(folder)
    return folder


@pytest.fixture
def key(folder: Path) -> WebhookKey:
    return WebhookKey.load(folder / keyfile.WEBHOOK_SIGNING)


def headers(key: WebhookKey, *secrets: bytes, second: int = NOW) -> dict[str, str]:
    return {
        "webhook-id": "msg-1",
        "webhook-timestamp": str(second),
        "webhook-signature": key.sign(signed_content("msg-1", second, BODY), secrets),
    }


def test_a_receiver_that_others_wrote_takes_the_shared_secret(key: WebhookKey) -> None:
    secret = new_secret()

    told = Webhook(secret_text(secret)).verify(BODY, headers(key, secret))

    assert told == json.loads(BODY)


def test_old_and_new_secret_both_hold_while_both_are_in_force(key: WebhookKey) -> None:
    new, old, other = new_secret(), new_secret(), new_secret()
    signed = headers(key, new, old)

    for secret in (new, old):
        Webhook(secret_text(secret)).verify(BODY, signed)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret_text(other)).verify(BODY, signed)


def test_each_part_of_the_message_is_signed(key: WebhookKey) -> None:
    secret = new_secret()
    signed = headers(key, secret)
    receiver = Webhook(secret_text(secret))

    for changed in ({"webhook-id": "msg-2"}, {"webhook-timestamp": str(NOW + 1)}):
        with pytest.raises(WebhookVerificationError):
            receiver.verify(BODY, {**signed, **changed})
    with pytest.raises(WebhookVerificationError):
        receiver.verify(BODY + b" ", signed)


def test_our_public_key_vouches_for_the_message_without_a_secret(key: WebhookKey) -> None:
    version, _, signature = headers(key)["webhook-signature"].partition(",")
    public = Ed25519PublicKey.from_public_bytes(b64decode(key.public.removeprefix("whpk_")))

    public.verify(b64decode(signature), f"msg-1.{NOW}.".encode() + BODY)

    assert version == "v1a"
    with pytest.raises(InvalidSignature):
        public.verify(b64decode(signature), f"msg-1.{NOW}.".encode() + BODY + b" ")


def test_a_secret_travels_as_text() -> None:
    secret = new_secret()

    assert read_secret_text(secret_text(secret)) == secret
    assert len(secret) == 32


@pytest.mark.parametrize("size", [24, 64])
def test_secrets_of_24_to_64_bytes_are_taken(size: int) -> None:
    assert read_secret_text("whsec_" + b64encode(bytes(size)).decode()) == bytes(size)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "whsec_" + b64encode(bytes(23)).decode(),
        "whsec_" + b64encode(bytes(65)).decode(),
        b64encode(bytes(24)).decode(),
        "whpk_" + b64encode(bytes(32)).decode(),
        "whsec_" + b64encode(bytes(32)).decode().rstrip("="),
        "whsec_" + "é" * 32,
        "whsec_" + "_" * 32,
    ],
)
def test_what_is_no_secret_is_refused(text: str) -> None:
    assert read_secret_text(text) is None


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    for name, content in {
        "p256.pem": ECKey.generate_key("P-256").as_pem(private=True),
        "public.pem": ECKey.generate_key("P-256").as_pem(private=False),
        "text.pem": b"no key",
    }.items():
        keyfile.write_secret(tmp_path / name, content)
        with pytest.raises(UnfitKeyError):
            WebhookKey.load(tmp_path / name)
    with pytest.raises(KeyFileError):
        WebhookKey.load(tmp_path / "absent.pem")


def test_the_key_shows_nothing_of_itself(key: WebhookKey) -> None:
    assert "0x" in repr(key)
    assert "Ed25519" not in repr(key)
