"""Use case on children who move: reporters and the new follow-up officer are told (G6, D2).

The signals stay with their reporters. A reporter is told his own files and the municipality;
the officer whom to reach, and nothing of a child.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import UUID, uuid4

from notify import ledger
from notify import moves as told_moves
from notify.carrier import UndeliveredError
from notify.letters import Colleague, MovedLetter
from notify.moves import NewMove
from notify.retry import Outcome, Result
from schemas.database import Db
from schemas.dates import local_date
from vin import officers, registry
from vin.crypto.seal import DataKeys, Sealed
from vin.registry import SealedContact
from vin.signals import reference_binding


@dataclass(frozen=True, slots=True, kw_only=True)
class Living:
    """A live signal on a child that moved, with its sealed reference."""

    signal: UUID
    organisation: UUID
    reporter: UUID
    reference: Sealed = field(repr=False)


async def tell(
    db: Db, signals: Sequence[tuple[UUID, UUID]], municipality: str, now: datetime
) -> None:
    """Write notices on these (signal, reporter) of a child that moved; once for each move."""
    untold = set(await told_moves.select_untold(db, [each for each, _ in signals], municipality))
    by_recipient: dict[UUID, list[UUID]] = defaultdict(list)
    for signal, reporter in signals:
        if signal in untold:
            by_recipient[reporter].append(signal)
    officer = await officers.select_follow_up(db, municipality)
    if by_recipient and officer is not None:
        by_recipient[officer.id] = sorted(untold)
    standings = await registry.select_standings(db, by_recipient, local_date(now))
    parties = {recipient: standing.organisation for recipient, standing in standings.items()}
    notices = [
        NewMove(uuid4(), recipient, children, municipality, parties.get(recipient))
        for recipient, children in sorted(by_recipient.items())
    ]
    await told_moves.append(db, notices, now)


async def address(db: Db, notice: UUID, keys: DataKeys, today: date) -> str | None:
    """Where a notice on a move goes now; None when there is nobody, or it is another notice."""
    move = await told_moves.select_move(db, notice)
    recipient = await ledger.select_reporter(db, notice)
    if move is None or recipient is None:
        return None
    addressee = await find_addressee(db, recipient, move[0], today)
    return addressee.open(keys).email if addressee else None


async def find_addressee(
    db: Db, recipient: UUID, municipality: str, today: date
) -> SealedContact | None:
    """The reporter or who stands in for him (W3); else the municipality's officer as it is now.

    UndeliveredError while mail to all of these comes back, and while the reporter's organisation
    has no agreement: then it waits for the holder (W2).
    """
    standing = (await registry.select_standings(db, [recipient], today)).get(recipient)
    if standing is not None:
        found = (await registry.select_recipients(db, [recipient], today)).get(recipient)
        waits = standing.unmailable or not standing.has_agreement
    else:
        officer = await officers.select_follow_up(db, municipality)
        found = officer.contact if officer and not officer.unmailable else None
        waits = officer is not None and officer.unmailable
    if found is None and waits:
        raise UndeliveredError(Outcome(Result.NOBODY))
    return found


async def compose(db: Db, notice: UUID, keys: DataKeys, today: date) -> MovedLetter | None:
    """The letter on a move; None when no signal is left that lives, or it is another notice.

    Until the caller's transaction ends no signal that it tells of can end.
    """
    move = await told_moves.select_move(db, notice)
    recipient = await ledger.select_reporter(db, notice)
    if move is None or recipient is None:
        return None
    await registry.hold_reporters(db, [recipient])
    living = await share_living(db, move[1], today)
    if not living:
        return None
    addressee = await find_addressee(db, recipient, move[0], today)
    if addressee is None:
        return None
    files = await own_files(db, recipient, living, today)
    others = await reporters_of(db, living, keys, today) if files is None else []
    if not files and not others:
        return None
    return MovedLetter(
        **addressee.addressing(keys),
        municipality=await officers.select_municipality(db, move[0]),
        references=[open_reference(each, keys) for each in files or ()],
        reporters=others,
    )


async def own_files(
    db: Db, recipient: UUID, living: Sequence[Living], today: date
) -> list[Living] | None:
    """Those of these signals that a reporter has, or who succeeded him; None for an officer."""
    standings = await registry.select_standings(
        db, {recipient, *(each.reporter for each in living)}, today
    )
    if recipient not in standings:
        return None
    now_his = standings[recipient].box
    return [each for each in living if standings[each.reporter].box == now_his]


async def reporters_of(
    db: Db, living: Sequence[Living], keys: DataKeys, today: date
) -> list[Colleague]:
    """Whom to reach on these signals, each once; of a shielded organisation its broker (A5)."""
    contacts = await registry.select_contacts(db, {each.reporter for each in living}, today)
    colleagues = []
    for sealed in contacts.values():
        contact = sealed.open(keys)
        colleagues.append(
            Colleague(
                name=contact.name,
                function=contact.function,
                organisation=sealed.organisation_name,
                phone=contact.phone,
                email=contact.email,
                reachable=contact.reachable,
            )
        )
    return list(dict.fromkeys(colleagues))


def open_reference(living: Living, keys: DataKeys) -> str:
    """The file that a signal belongs to, for its own side."""
    binding = reference_binding(living.signal, living.organisation)
    return keys.open(living.reference, binding).decode()


async def share_living(db: Db, signals: Sequence[UUID], today: date) -> list[Living]:
    """Those of these signals that live today, kept from ending until this transaction does."""
    rows = await db.fetch(
        """
        -- moves.share_living
        SELECT id, organisation_id, reporter_id, reference_epoch, reference
          FROM matching.signal
         WHERE id = ANY($1)
           AND status = 'live'
           AND remove_on > $2
           AND destroy_by > $2
         ORDER BY id
           FOR SHARE
        """,
        list(signals),
        today,
    )
    return [
        Living(
            signal=row["id"],
            organisation=row["organisation_id"],
            reporter=row["reporter_id"],
            reference=Sealed(row["reference_epoch"], row["reference"]),
        )
        for row in rows
    ]
