"""One letter of each kind, and with each thing that changes how it looks."""

from collections.abc import Mapping
from datetime import date

from notify.letters import (
    Colleague,
    Kind,
    Language,
    Letter,
    MatchItem,
    MatchLetter,
    MovedLetter,
    ReminderItem,
    ReminderLetter,
    Step,
)

READER = "reporter1@basisschool-de-regenboog.example"
CERTIFICATE = b"certificate"
ANSWER = "https://vin.noord-holland-noord.example/answer/" + "Xq8_b-2Lw0" * 5
MATCH_URL = "https://dossier.regenboog.example/vin/{number}?open=ja"
STEPS: tuple[Step, ...] = ("reminder", "overdue", "worklist", "monitoring_3", "monitoring_12")


def match_item(place: int = 0, kind: Kind = "child", *, answer: bool = True) -> MatchItem:
    return MatchItem(
        reference=f"D-2026.003{place}",
        number=f"M-7KQ4-9XW{place}-2",
        kind=kind,
        name=f"Reporter {place + 2}",
        function="Jeugdverpleegkundige" if place else "Jeugdarts",
        organisation="Stichting Jeugdgezondheidszorg Hollands Noorden",
        phone="(072) 123 45 67",
        email=f"reporter{place + 2}.jeugdgezondheidszorg@hollands-noorden.example",
        reachable=None if place else "ma t/m do 9-17 uur",
        answer_url=ANSWER if answer else None,
    )


def reminder_item(place: int = 0, *, colleague: bool = False, bare: bool = False) -> ReminderItem:
    return ReminderItem(
        number=f"M-7KQ4-9XW{place}-2",
        matched_on=date(2026, 11, 20 - place),
        reference=None if bare else f"D-2026.003{place}",
        reporter=f"Reporter {place + 2}" if colleague else None,
        answer_url=None if bare else ANSWER,
    )


def every_letter(language: Language) -> Mapping[str, Letter]:
    kinds: tuple[Kind, ...] = ("child", "household", "possible")
    items = [match_item(place, kind) for place, kind in enumerate(kinds)]
    colleague = Colleague(
        name="Reporter 2",
        function="Jeugdarts",
        organisation="GGD",
        phone="072 123 45 67",
        email="reporter2@ggd.example",
    )
    matches = {
        "match": MatchLetter(recipient=READER, language=language, items=items[:1]),
        "matches": MatchLetter(recipient=READER, language=language, items=items),
        "sealed": MatchLetter(
            recipient=READER,
            language=language,
            items=items[:2],
            mode="smime",
            certificate=CERTIFICATE,
        ),
        "link_only": MatchLetter(
            recipient=READER,
            language=language,
            items=items[1:],
            mode="link_only",
            match_url=MATCH_URL,
        ),
        "no_link": MatchLetter(
            recipient=READER, language=language, items=items[:1], mode="link_only"
        ),
    }
    moves = {
        "moved": MovedLetter(
            recipient=READER, language=language, municipality="Alkmaar", references=["D-1"]
        ),
        "moved_officer": MovedLetter(
            recipient=READER, language=language, municipality=None, reporters=[colleague]
        ),
    }
    return {**matches, **moves, **_reminders(language)}


def _reminders(language: Language) -> Mapping[str, Letter]:
    own: dict[str, Letter] = {
        step: ReminderLetter(
            recipient=READER,
            language=language,
            step=step,
            items=[reminder_item(place, bare=step == "worklist") for place in range(count)],
        )
        for count, step in enumerate(STEPS, start=1)
    }
    colleagues = {
        f"{step}_colleague": ReminderLetter(
            recipient=READER,
            language=language,
            step=step,
            items=[reminder_item(place, colleague=True) for place in range(2)],
        )
        for step in STEPS
    }
    return {**own, **colleagues}
