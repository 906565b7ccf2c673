"""SQL of who takes part, as registering, matching and notices ask for it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import TypedDict
from uuid import UUID

from notify.letters import Language, Mode
from schemas.database import Db
from vin.contacts import Contact, officer_binding, open_contact, reporter_binding
from vin.crypto.seal import Binding, DataKeys, Sealed

ReporterKey = tuple[UUID, str]
Box = tuple[Sealed, Binding]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entitled:
    """A reporter, and whether W1 lets him register on the day that was asked for."""

    reporter: UUID
    unit: UUID
    match_unit: UUID
    entitled: bool


class Addressing(TypedDict):
    """What every letter is told of its reader (`notify.letters.Addressed`)."""

    recipient: str
    language: Language
    mode: Mode
    match_url: str | None
    certificate: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How an organisation wants its mails."""

    language: Language
    mode: Mode = "full"
    match_url: str | None = None
    certificate: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedContact:
    """Contact data as stored, with what else a notice tells of whom to reach."""

    organisation_name: str = field(repr=False)
    style: Style
    box: Box = field(repr=False)

    def open(self, keys: DataKeys) -> Contact:
        return open_contact(keys, *self.box)

    def addressing(self, keys: DataKeys) -> Addressing:
        """What a letter to them begins with."""
        return Addressing(
            recipient=self.open(keys).email,
            language=self.style.language,
            mode=self.style.mode,
            match_url=self.style.match_url,
            certificate=self.style.certificate,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A reporter, or the last of those who succeeded one another in his place (W3).

    Without an agreement in force nobody reaches it (W2). `broker_name` is what a shielded
    organisation is called towards others (A5); `unmailable` is whose mail came back.
    """

    left: bool
    unmailable: bool
    has_agreement: bool
    organisation: UUID
    organisation_name: str = field(repr=False)
    municipality: str | None
    style: Style
    broker_name: str | None
    box: Box = field(repr=False)


@dataclass(frozen=True, slots=True)
class Officer:
    """Who may stand in, and whether his mail came back."""

    box: Box = field(repr=False)
    unmailable: bool


# By role and by what it is held for: an organisation's id, or a municipality's code.
Officers = Mapping[tuple[str, UUID | str | None], Officer]
Choice = Callable[[Standing, Officers], SealedContact | None]


async def entitle(db: Db, wanted: Sequence[ReporterKey], on: date) -> dict[ReporterKey, Entitled]:
    """Tell for each known reporter whether W1 holds on that local date.

    One who left is unknown. No reporter found can leave until the caller's transaction
    ends. The rows are locked in the order of their ids, so that two batches never wait in a
    circle.
    """
    rows = await db.fetch(
        """
        -- registry.entitle
        SELECT r.id, r.organisation_id, r.reporter_id, r.unit_id, u.match_unit_id,
               c.valid_from <= $3 AND (c.valid_to IS NULL OR c.valid_to >= $3)
               AND EXISTS (
                   SELECT FROM registry.agreement AS a
                    WHERE a.organisation_id = r.organisation_id
                      AND a.valid_from <= $3
                      AND (a.valid_to IS NULL OR a.valid_to >= $3)) AS entitled
          FROM registry.reporter AS r
          JOIN registry.unit AS u ON u.id = r.unit_id
          JOIN registry.organisation AS o ON o.id = r.organisation_id
          JOIN registry.category AS c ON c.code = o.category
         WHERE (r.organisation_id, r.reporter_id) IN (
               SELECT * FROM unnest($1::uuid[], $2::text[]))
           AND r.ended_at IS NULL
         ORDER BY r.id
           FOR KEY SHARE OF r
        """,
        [organisation for organisation, _ in wanted],
        [reporter_id for _, reporter_id in wanted],
        on,
    )
    return {
        (row["organisation_id"], row["reporter_id"]): Entitled(
            reporter=row["id"],
            unit=row["unit_id"],
            match_unit=row["match_unit_id"],
            entitled=row["entitled"],
        )
        for row in rows
    }


async def select_recipients(
    db: Db, reporters: Collection[UUID], on: date
) -> dict[UUID, SealedContact]:
    """Where reporters' own notices go on that local date (W3).

    To himself, or for one who left to his successor; where that one left or mail to him comes
    back to a coordinator of his organisation, else to a follow-up officer of its municipality.
    Absent is for whom there is nobody, or no agreement: then it waits for the holder (W2).
    """
    return await _select(db, reporters, on, recipient_of)


async def select_overseers(
    db: Db, reporters: Collection[UUID], on: date
) -> dict[UUID, SealedContact]:
    """Who looks after reporters: a coordinator of the organisation, else as `select_recipients`."""
    standings = await select_standings(db, reporters, on)
    officers = await select_officers(db, [replace(each, left=True) for each in standings.values()])
    return _choose(standings, officers, overseer_of)


async def select_contacts(
    db: Db, reporters: Collection[UUID], on: date
) -> dict[UUID, SealedContact]:
    """Whom others are shown for reporters: himself or who stands in for him, or a broker (A5).

    He can be called, even while mail to him comes back. Absent is who has no agreement (W2).
    """
    return await _select(db, reporters, on, contact_of)


def recipient_of(standing: Standing, officers: Officers) -> SealedContact | None:
    """W3: never somebody who left, and never a dead mailbox."""
    if standing.left or standing.unmailable:
        working = {place: each for place, each in officers.items() if not each.unmailable}
        return _stand_in(standing, working)
    return _contact(standing, standing.box)


def overseer_of(standing: Standing, officers: Officers) -> SealedContact | None:
    """A2: who is told that a match is overdue."""
    coordinator = officers.get(("coordinator", standing.organisation))
    if coordinator is None or coordinator.unmailable:
        return recipient_of(standing, officers)
    return _contact(standing, coordinator.box)


def contact_of(standing: Standing, officers: Officers) -> SealedContact | None:
    """A5: of a shielded organisation nobody but the broker, not even where there is none."""
    if standing.broker_name is not None:
        broker = officers.get(("broker", standing.organisation))
        return _contact(standing, broker.box, standing.broker_name) if broker else None
    return _stand_in(standing, officers) if standing.left else _contact(standing, standing.box)


def _stand_in(standing: Standing, officers: Officers) -> SealedContact | None:
    """The officer is of no organisation, so his mails look as those of the municipality do."""
    coordinator = officers.get(("coordinator", standing.organisation))
    if coordinator:
        return _contact(standing, coordinator.box)
    officer = officers.get(("follow_up_officer", standing.municipality))
    if officer is None:
        return None
    return replace(_contact(standing, officer.box), style=Style(language=standing.style.language))


def _contact(standing: Standing, box: Box, name: str | None = None) -> SealedContact:
    return SealedContact(
        organisation_name=name or standing.organisation_name, style=standing.style, box=box
    )


async def _select(
    db: Db, reporters: Collection[UUID], on: date, choose: Choice
) -> dict[UUID, SealedContact]:
    standings = await select_standings(db, reporters, on)
    return _choose(standings, await select_officers(db, standings.values()), choose)


def _choose(
    standings: Mapping[UUID, Standing], officers: Officers, choose: Choice
) -> dict[UUID, SealedContact]:
    """W2: of an organisation without an agreement nobody is reached."""
    chosen = {
        asked: choose(standing, officers)
        for asked, standing in standings.items()
        if standing.has_agreement
    }
    return {asked: contact for asked, contact in chosen.items() if contact is not None}


async def has_agreement(db: Db, organisation: UUID, on: date) -> bool:
    """Tell whether the organisation takes part on that local date (W1, W2)."""
    found: bool = await db.fetchval(
        """
        -- registry.has_agreement
        SELECT EXISTS (
               SELECT
                 FROM registry.agreement
                WHERE organisation_id = $1
                  AND valid_from <= $2
                  AND (valid_to IS NULL OR valid_to >= $2))
        """,
        organisation,
        on,
    )
    return found


async def select_standings(db: Db, reporters: Collection[UUID], on: date) -> dict[UUID, Standing]:
    """Follow each reporter to the last who succeeded; no row points back, so that ends."""
    rows = await db.fetch(
        """
        -- registry.select_standings
        WITH RECURSIVE chain (asked, id, successor_id) AS (
             SELECT id, id, successor_id
               FROM registry.reporter
              WHERE id = ANY($1::uuid[])
              UNION
             SELECT chain.asked, r.id, r.successor_id
               FROM chain
               JOIN registry.reporter AS r ON r.id = chain.successor_id)
        SELECT chain.asked, r.id, r.ended_at IS NOT NULL AS ended,
               r.mail_failed_at IS NOT NULL AS unmailable, r.contact_epoch, r.contact,
               r.organisation_id, o.name, o.municipality,
               o.language, o.mail_mode, o.match_url, o.smime_certificate,
               CASE WHEN o.shielded THEN o.broker_name END AS broker_name,
               EXISTS (
                   SELECT FROM registry.agreement AS a
                    WHERE a.organisation_id = o.id
                      AND a.valid_from <= $2
                      AND (a.valid_to IS NULL OR a.valid_to >= $2)) AS has_agreement
          FROM chain
          JOIN registry.reporter AS r ON r.id = chain.id
          JOIN registry.organisation AS o ON o.id = r.organisation_id
         WHERE chain.successor_id IS NULL
        """,
        list(reporters),
        on,
    )
    return {
        row["asked"]: Standing(
            left=row["ended"],
            unmailable=row["unmailable"],
            has_agreement=row["has_agreement"],
            organisation=row["organisation_id"],
            organisation_name=row["name"],
            municipality=row["municipality"],
            style=Style(
                language=row["language"],
                mode=row["mail_mode"],
                match_url=row["match_url"],
                certificate=row["smime_certificate"],
            ),
            broker_name=row["broker_name"],
            box=(
                Sealed(row["contact_epoch"], row["contact"]),
                reporter_binding(row["id"], row["organisation_id"]),
            ),
        )
        for row in rows
    }


async def select_officers(db: Db, standings: Collection[Standing]) -> Officers:
    """Who may stand in for these: of each role always the same one.

    The first by id, of those whom mail reaches while there is one.
    """
    wanted = [each for each in standings if each.left or each.unmailable or each.broker_name]
    if not wanted:
        return {}
    rows = await db.fetch(
        """
        -- registry.select_officers
        SELECT DISTINCT ON (role, organisation_id, municipality)
               id, role, organisation_id, municipality, contact_epoch, contact,
               mail_failed_at IS NOT NULL AS unmailable
          FROM registry.officer
         WHERE role IN ('coordinator', 'broker') AND organisation_id = ANY($1::uuid[])
            OR role = 'follow_up_officer' AND municipality = ANY($2::text[])
         ORDER BY role, organisation_id, municipality, mail_failed_at IS NOT NULL, id
        """,
        [each.organisation for each in wanted],
        [each.municipality for each in wanted],
    )
    return {
        (row["role"], row["organisation_id"] or row["municipality"]): Officer(
            (
                Sealed(row["contact_epoch"], row["contact"]),
                officer_binding(row["id"], row["organisation_id"]),
            ),
            row["unmailable"],
        )
        for row in rows
    }


async def hold_reporters(db: Db, reporters: Collection[UUID]) -> None:
    """Keep whom `select_recipients` finds from leaving until the caller's transaction ends.

    Each in a chain is locked before his successor is read, so none can slip in after.
    """
    following = set(reporters)
    while following:
        rows = await db.fetch(
            """
            -- registry.hold_reporters
            SELECT successor_id
              FROM registry.reporter
             WHERE id = ANY($1)
             ORDER BY id
               FOR KEY SHARE
            """,
            list(following),
        )
        following = {row["successor_id"] for row in rows if row["successor_id"]}


async def select_reporter_ids(db: Db, reporters: Collection[UUID]) -> dict[UUID, str]:
    """Name reporters as their organisations do."""
    rows = await db.fetch(
        """
        -- registry.select_reporter_ids
        SELECT id, reporter_id
          FROM registry.reporter
         WHERE id = ANY($1::uuid[])
        """,
        list(reporters),
    )
    return {row["id"]: row["reporter_id"] for row in rows}


async def select_reporter(db: Db, organisation: UUID, reporter_id: str) -> UUID | None:
    """Find a reporter by the name that his organisation gave him."""
    found: UUID | None = await db.fetchval(
        """
        -- registry.select_reporter
        SELECT id
          FROM registry.reporter
         WHERE organisation_id = $1 AND reporter_id = $2
        """,
        organisation,
        reporter_id,
    )
    return found


async def select_digest(db: Db) -> timedelta:
    """How long new matches wait for each other, once a reporter was told something (M9)."""
    seconds: int | None = await db.fetchval(
        """
        -- registry.select_digest
        SELECT digest_seconds
          FROM registry.region
        """
    )
    return timedelta(seconds=seconds or 0)
