"""The register of addresses that never match (M4): a file of the region's, applied as tokens."""

from collections.abc import Collection, Sequence
from pathlib import Path
from uuid import UUID

from pydantic import ValidationError

from schemas.database import Db
from vin.crypto.pseudonym import IndexKeys
from vin.errors import StartError
from vin.region import Region
from vin.web.faults import faults_of
from vin.web.wire import Domain, Epoch, Point, Wire


class ExcludedAddress(Wire):
    """A line of the file: an address's unblinded element."""

    domain: Domain
    epoch: Epoch
    element: Point


def read_excluded(region: Region, folder: Path) -> list[ExcludedAddress]:
    """Read the file that the region names, or raise StartError with every fault's line.

    `folder` is the region file's. A region that names no file excludes nothing.
    """
    if region.policies.excluded_addresses is None:
        return []
    path = folder / region.policies.excluded_addresses
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        message = f"Cannot read {path}: {error.strerror}."
        raise StartError(message) from error
    found: list[ExcludedAddress] = []
    faults: list[str] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            _read_line(line, f"{region.region.code}/address", f"line {number}: ", found, faults)
    if faults:
        raise StartError("\n  ".join([f"{path} cannot be used:", *faults]))
    return found


def _read_line(
    line: bytes, domain: str, place: str, found: list[ExcludedAddress], faults: list[str]
) -> None:
    try:
        address = ExcludedAddress.model_validate_json(line, by_alias=True, by_name=False)
    except ValidationError as error:
        faults += [f"{place}{fault.name}: {fault.reason}" for fault in faults_of(error)]
        return
    if address.domain == domain:
        found.append(address)
    else:
        faults.append(f"{place}domain: must be {domain}")


def excluded_tokens(addresses: Sequence[ExcludedAddress], keys: IndexKeys) -> set[UUID]:
    """What the index makes of the addresses."""
    return {keys.token(each.domain, each.epoch, each.element).lookup for each in addresses}


async def apply_excluded(db: Db, tokens: Collection[UUID]) -> int:
    """Make the register equal to these tokens; how many came or went."""
    changed: int = await db.fetchval(
        """
        -- excluded.apply_excluded
        WITH gone AS (
             DELETE FROM matching.excluded_address
              WHERE token <> ALL($1::uuid[])
             RETURNING 1
        ), new AS (
             INSERT INTO matching.excluded_address (token)
             SELECT * FROM unnest($1::uuid[])
                 ON CONFLICT DO NOTHING
             RETURNING 1
        )
        SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM new)
        """,
        list(tokens),
    )
    return changed
