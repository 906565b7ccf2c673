import asyncio
import json
from pathlib import Path

from vin.client import Bsn, Client, Config, Registration, Reporter

UP = json.loads(Path("data/ready.json").read_text())
ABOUT = {"name": "Reporter 1", "function": "teacher", "phone": "000 000 0001"}


async def involve(me: dict[str, str], child: Bsn) -> None:
    key = Path(me["privateKeyFile"])
    config = Config(
        api=UP["api"], keyholder=UP["keyholder"], client_id=me["clientId"], private_key_file=key
    )
    async with Client.connect(config) as client:
        email = f"p-1@{me['clientId']}.example"
        await client.register_reporter(Reporter(id="p-1", email=email, unit=me["unit"], **ABOUT))
        await client.register(Registration(reporter_id="p-1", reference="D-1", child=child))
        await asyncio.sleep(1)
        async for match in client.matches():
            print(match.number, match.kind, match.contact)


for me in UP["clients"][:2]:
    asyncio.run(involve(me, Bsn("999990019")))
