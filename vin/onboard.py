"""Applies a region file; applying it again changes nothing."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from notify import ledger
from notify.ledger import Channel
from schemas.database import Db
from vin import audit, holder, officers, region_store
from vin.audit import Entry, Event
from vin.crypto.seal import DataKeys
from vin.errors import StartError
from vin.excluded import apply_excluded
from vin.keyholder import store
from vin.region import Region
from vin.region_rows import Rows, rows_of

DOMAINS = ("child", "parent", "address", "weak")


@dataclass(frozen=True, slots=True)
class Changes:
    """How many rows were written or removed in each table; those without are left out."""

    rows: Mapping[str, int]

    def lines(self) -> list[str]:
        return [f"{table} {count}" for table, count in sorted(self.rows.items())]


async def onboard(
    db: Db,
    region: Region,
    keys: DataKeys,
    operator: str,
    now: datetime,
    addresses: Collection[UUID] = (),
) -> Changes:
    """Make the registry equal to the region file, in the caller's transaction.

    `addresses` are the tokens of those that never match. StartError where the database
    belongs to another region, or a unit that is gone from the file still has reporters.
    """
    earlier = await region_store.lock_region(db)
    if earlier not in {None, region.region.code}:
        message = f"This database belongs to region {earlier!r}, the file to another."
        raise StartError(message)
    rows = rows_of(region)
    await _refuse_used_units(db, rows)
    written = Counter(await _apply(db, region, rows, keys, now))
    changes = Changes(written + Counter(excluded_address=await apply_excluded(db, addresses)))
    if changes.rows:
        await audit.append(db, now, [_entry(operator, changes)])
    return changes


async def onboard_keyholder(db: Db, region: Region) -> list[str]:
    """Make the key holder's clients and quotas those of the region file; what changed."""
    clients = list(_keyholder_clients(region))
    async with db.transaction():
        written = [await store.upsert_client(db, client) for client in clients]
        shut = await store.deactivate_others(db, [client.id for client in clients])
    changes = Changes(+Counter(keyholder_client=sum(written) + shut))
    return changes.lines()


def _keyholder_clients(region: Region) -> Iterator[store.Client]:
    domains = tuple(f"{region.region.code}/{name}" for name in DOMAINS)
    for organisation in region.organisations:
        for client in organisation.clients:
            yield store.Client(
                id=client.id,
                organisation_id=region.organisation_id(organisation),
                organisation=organisation.code,
                # Shut out here as well, whatever an access token says.
                active=client.active and "evaluations" in client.scopes,
                domains=domains,
                reporter_quota=organisation.quota.reporter_per_day,
                organisation_quota=organisation.quota.organisation_per_day,
            )


async def _apply(
    db: Db, region: Region, rows: Rows, keys: DataKeys, now: datetime
) -> Mapping[str, int]:
    written = Counter(
        region=await region_store.apply_region(db, region),
        channel=await ledger.update_policies(db, _ambiguous(region)),
        municipality=await region_store.apply_municipalities(db, rows.municipalities),
        category=await region_store.apply_categories(db, rows.categories),
        organisation=await region_store.apply_organisations(db, rows.organisations),
        agreement=await region_store.apply_agreements(db, rows.agreements),
        unit=await region_store.apply_units(db, rows.units),
        client=await region_store.apply_clients(db, rows.clients),
        officer=await officers.apply_officers(db, rows.officers, keys),
        holder=await holder.apply_holder(db, region, keys, now),
    )
    # `+` leaves out what is zero.
    return written + Counter(await region_store.delete_others(db, rows))


def _ambiguous(region: Region) -> dict[Channel, str]:
    policies = region.policies
    return {Channel.MAIL: policies.mail_ambiguous, Channel.WEBHOOK: policies.webhook_ambiguous}


async def _refuse_used_units(db: Db, rows: Rows) -> None:
    used = await region_store.select_used_units(db, rows)
    if used:
        message = (
            f"These units have reporters and must stay in the file: {', '.join(used)}. "
            "An organisation stops registering when its agreement has a valid_to."
        )
        raise StartError(message)


def _entry(operator: str, changes: Changes) -> Entry:
    return Entry(
        event=Event.REGION_ONBOARDED,
        actor_kind="operator",
        actor=operator,
        object_kind="region",
        object_id=None,
        detail={"changes": changes.lines()},
    )
