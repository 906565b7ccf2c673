from typing import TYPE_CHECKING
from uuid import uuid4

from notify import ledger
from notify.contents import Contents, select_contents
from notify.ledger import NewNotice
from notify.moves import NewMove, append
from tests.notify.conftest import AT

if TYPE_CHECKING:
    from asyncpg import Pool, Record


async def test_each_notice_tells_its_own(pool: "Pool[Record]") -> None:
    one = NewNotice(uuid4(), uuid4(), [(uuid4(), uuid4()), (uuid4(), uuid4())])
    two = NewNotice(uuid4(), uuid4(), [(uuid4(), uuid4())])
    moved = NewMove(uuid4(), uuid4(), [uuid4()], "GM0361")
    async with pool.acquire() as db, db.transaction():
        await ledger.append(db, [one, two], AT)
        await append(db, [moved], AT)

        found = await select_contents(db, [one.id, two.id, moved.id, uuid4()])

    assert found == {
        one.id: Contents("match", one.reporter_id, sorted(one.matches)),
        two.id: Contents("match", two.reporter_id, list(two.matches)),
        moved.id: Contents("moved", moved.recipient, []),
    }
