"""The wait for the mails of a play."""

from pathlib import Path

from vin.demo.mails import MailBox
from vin.demo.play import until_told

EML = b"To: medewerker-1@vin-demo.test\r\nX-VIN-Match: M-1\r\nX-VIN-Match: M-2\r\n\r\n"


async def test_who_is_not_told_is_waited_for_until_nothing_more_comes(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(EML)
    told: list[int] = []

    await until_told(MailBox(tmp_path), 3, told.append, patience_seconds=0.3)

    assert told == [2]
