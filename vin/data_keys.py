"""The keys that seal contact data: kept in the database, wrapped by a key that is not."""

from datetime import datetime

from schemas.database import Db
from vin.crypto.seal import DataKeys, KeyEncryptionKey, SealError, new_data_key
from vin.errors import StartError


async def ensure_data_key(db: Db, kek: KeyEncryptionKey, at: datetime) -> None:
    """Make the first data key where there is none; several may try at once."""
    await db.execute(
        """
        -- data_keys.ensure_data_key
        INSERT INTO registry.data_key (epoch, wrapped, created_at)
        SELECT 1, $1, $2
         WHERE NOT EXISTS (SELECT FROM registry.data_key)
            ON CONFLICT (epoch) DO NOTHING
        """,
        kek.wrap(new_data_key()),
        at,
    )


async def load_data_keys(db: Db, kek: KeyEncryptionKey) -> DataKeys:
    """Unwrap the data keys of all epochs; StartError where that cannot be done."""
    rows = await db.fetch(
        """
        -- data_keys.load_data_keys
        SELECT epoch, wrapped
          FROM registry.data_key
        """
    )
    if not rows:
        message = "There is no key for contact data yet: run `vin onboard` first."
        raise StartError(message)
    try:
        return DataKeys({row["epoch"]: kek.unwrap(row["wrapped"]) for row in rows})
    except SealError as error:
        message = "The key file for contact data does not belong to this database."
        raise StartError(message) from error
