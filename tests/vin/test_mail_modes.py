"""How an organisation wants its mails: from the region file to the letter."""

from collections.abc import Mapping
from email import message_from_bytes
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from notify.letters import MatchLetter
from notify.render import render
from schemas.database import Db
from tests.officers import make_municipality, make_officer
from tests.region_files import OFFICER, organisation, parse, region_data
from tests.team import NOW, Team, make_team
from tests.vin.crypto.certificates import certificate, pem, rsa_key, write_signer
from tests.world import SECRETS
from vin.certificates import with_certificates
from vin.crypto.smime import MailSeal
from vin.errors import StartError
from vin.onboard import onboard
from vin.region import Region

READER = rsa_key("reader")
CERTIFICATE = certificate(READER, name="school")
PEM = pem(CERTIFICATE).decode()
DER = CERTIFICATE.public_bytes(Encoding.DER)
MATCH_URL = "https://school.example/match/{number}"


def region_with(**school: object) -> Region:
    data = region_data()
    data["organisations"] = [{**organisation(0), **school}]
    return parse(data)


async def applied(db: Db, region: Region, folder: Path) -> Mapping[str, Any]:
    """Apply the region file; what the registry holds on its first school."""
    async with db.transaction():
        await onboard(db, with_certificates(region, folder), SECRETS.contact, "operator", NOW)
    row = await db.fetchrow(
        "SELECT mail_mode, match_url, smime_certificate FROM registry.organisation"
    )
    assert row
    return dict(row)


@pytest.mark.parametrize("given", ["school.pem", PEM])
async def test_a_certificate_stands_in_the_file_or_beside_it(
    db: Db, tmp_path: Path, given: str
) -> None:
    (tmp_path / "school.pem").write_text(PEM)

    stored = await applied(db, region_with(mail_mode="smime", smime_certificate=given), tmp_path)

    assert stored == {"mail_mode": "smime", "match_url": None, "smime_certificate": DER}


async def test_another_mode_reaches_the_registry_and_the_same_changes_nothing(
    db: Db, tmp_path: Path
) -> None:
    await applied(db, region_with(mail_mode="smime", smime_certificate=PEM), tmp_path)
    links = region_with(mail_mode="link_only", match_url=MATCH_URL)

    stored = await applied(db, links, tmp_path)

    assert stored == {
        "mail_mode": "link_only",
        "match_url": MATCH_URL,
        "smime_certificate": None,
    }
    async with db.transaction():
        again = await onboard(db, links, SECRETS.contact, "operator", NOW)
    assert again.lines() == []


def test_every_certificate_that_cannot_be_used_is_told_at_once(tmp_path: Path) -> None:
    data = region_data()
    (tmp_path / "short.pem").write_bytes(pem(certificate(rsa_key("short", 1024))))
    (tmp_path / "é.pem").write_text("é", encoding="utf-8")
    data["organisations"] = [
        {**organisation(number), "clients": [], "mail_mode": "smime", "smime_certificate": given}
        for number, given in enumerate(["absent.pem", "short.pem", "é.pem", PEM])
    ]

    with pytest.raises(StartError) as told:
        with_certificates(parse(data), tmp_path)

    assert str(told.value).splitlines() == [
        "These certificates cannot be used:",
        f"  school-0: {tmp_path / 'absent.pem'} cannot be read",
        "  school-1: its key is not RSA of at least 2048 bits",
        f"  school-2: {tmp_path / 'é.pem'} cannot be read",
    ]


@pytest.fixture
async def team(db: Db) -> Team:
    team = await make_team(db)
    await team.register(team.one, 1)
    await team.register(team.other, 1)
    await team.match()
    return team


async def letter(team: Team) -> MatchLetter:
    notice = await team.db.fetchval(
        "SELECT id FROM notify.notice WHERE reporter_id = $1", team.one.id
    )
    async with team.db.transaction():
        written = await team.composer.compose(team.db, notice)
    assert isinstance(written, MatchLetter)
    return written


async def set_mode(team: Team, mode: str, url: str | None, box: bytes | None) -> None:
    await team.db.execute(
        """
        UPDATE registry.organisation
           SET mail_mode = $2, match_url = $3, smime_certificate = $4
         WHERE id = $1
        """,
        team.organisation,
        mode,
        url,
        box,
    )


async def test_a_reporters_letter_is_as_his_organisation_wants_it(
    team: Team, tmp_path: Path
) -> None:
    await set_mode(team, "smime", None, DER)
    write_signer(tmp_path, rsa_key("vin"), certificate(rsa_key("vin"), name="vin"))
    seal = MailSeal.load(tmp_path)
    assert seal

    written = await letter(team)

    assert written.certificate == DER
    content = render(written, uuid4(), "vin@index.test", NOW).content
    box = message_from_bytes(seal.seal(content, DER)).get_payload(decode=True)
    assert isinstance(box, bytes)
    assert team.other.email.encode() in pkcs7.pkcs7_decrypt_der(box, CERTIFICATE, READER, [])


async def test_a_letter_with_links_only_leads_to_the_match(team: Team) -> None:
    await set_mode(team, "link_only", MATCH_URL, None)

    written = await letter(team)
    raw = render(written, uuid4(), "vin@index.test", NOW).as_bytes()

    assert written.mode == "link_only"
    assert team.other.email.encode() not in raw
    assert MATCH_URL.replace("{number}", written.items[0].number).encode() in raw


@pytest.mark.parametrize("mode", ["link_only", "smime"])
async def test_a_stand_in_of_the_organisation_gets_its_mode_and_the_municipalitys_does_not(
    team: Team, mode: str
) -> None:
    await set_mode(team, mode, None, DER if mode == "smime" else None)
    code = await make_municipality(team.db, team.organisation)
    await make_officer(team.db, "follow_up_officer", municipality=code)
    await make_officer(team.db, "coordinator", team.organisation)
    await team.end(team.one)

    assert (await letter(team)).mode == mode

    await team.db.execute("DELETE FROM registry.officer WHERE role = 'coordinator'")
    outside = await letter(team)
    assert (outside.mode, outside.certificate) == ("full", None)


async def test_w3_a_new_address_in_the_file_lets_mail_go_to_an_officer_again(
    db: Db, tmp_path: Path
) -> None:
    await applied(db, region_with(), tmp_path)
    await db.execute("UPDATE registry.officer SET mail_failed_at = now()")
    failed = "SELECT count(*) FROM registry.officer WHERE mail_failed_at IS NOT NULL"
    before = await db.fetchval(failed)

    await applied(db, region_with(), tmp_path)
    assert await db.fetchval(failed) == before == 2

    moved = {**OFFICER, "email": "new@school.example"}
    await applied(db, region_with(coordinators=[moved]), tmp_path)
    assert await db.fetchval(failed) == 1
