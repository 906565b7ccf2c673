"""Makes the region's holder a reporter of the organisation that the region file names (W2)."""

from datetime import datetime

from schemas.database import Db
from vin import region_store, reporter_store
from vin.contacts import reporter_binding, seal_contact
from vin.crypto.seal import DataKeys
from vin.errors import StartError
from vin.region import Region, stable_id
from vin.reporter_store import ReporterRow

REPORTER_ID = "holder"


async def apply_holder(db: Db, region: Region, keys: DataKeys, now: datetime) -> int:
    """Write the holder as the region file has it; how many rows that changed.

    The first coordinator is whom notices go to. Who was the holder before keeps what he took
    over.
    """
    holder = region.holder()
    if holder is None:
        return await region_store.set_holder(db, None, None)
    organisation, unit = holder
    contact = organisation.coordinators[0].contact()
    id_ = stable_id(region.region.code, "reporter", organisation.code, REPORTER_ID)
    owner = region.organisation_id(organisation)
    row = ReporterRow(
        id=id_,
        organisation=owner,
        reporter_id=REPORTER_ID,
        unit=unit.code,
        designated_at=now,
        sealed=seal_contact(keys, contact, reporter_binding(id_, owner)),
    )
    stored = await reporter_store.claim_reporter(db, row, region.unit_id(organisation, unit))
    if stored.id != id_:
        message = f"{organisation.code} has a reporter {REPORTER_ID!r} of its own; end him first."
        raise StartError(message)
    is_changed = (stored.unit, stored.open(keys)) != (unit.code, contact)
    if is_changed:
        sealed = seal_contact(keys, contact, reporter_binding(stored.id, owner))
        unit_id = region.unit_id(organisation, unit)
        await reporter_store.update_reporter(db, stored.id, unit_id, sealed)
    if stored.left:
        await reporter_store.renew_reporter(db, stored.id, now)
    named = await region_store.set_holder(db, owner, stored.id)
    return named + (is_changed or stored.left)
