"""What the index told, held against what is true."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from vin.client.answers import Match
from vin.demo.mails import Mail
from vin.demo.oracle import Key, Pair
from vin.demo.truth import Reporter

Side = tuple[str, str]  # a match number, and the address of one of its reporters


@dataclass(frozen=True, slots=True)
class Truth:
    """Who has which signal, and which pairs of signals are a match of which kind."""

    signals: Mapping[UUID, Key]
    expected: Mapping[Pair, str]
    reporters: Mapping[str, Reporter]

    def email(self, signal: UUID) -> str:
        """Give the address of a signal's reporter, in lower case; nothing for a stranger's."""
        key = self.signals.get(signal)
        return self.reporters[key[0]].email.lower() if key else ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How often something is not there that should be, and the other way round."""

    kinds: Counter[str]
    missed: int
    unexpected: int


def judge(truth: Truth, matches: Sequence[Match], mails: Sequence[Mail]) -> Verdict:
    """Hold every side of every match, and every mail, against the truth."""
    by_number: defaultdict[str, list[Match]] = defaultdict(list)
    for match in matches:
        by_number[match.number].append(match)
    found = Counter(_seen(truth, sides) for sides in by_number.values())
    wanted = Counter(truth.expected.items())
    others = {_side(truth, each): _other(truth, each, by_number[each.number]) for each in matches}
    told = Counter((number, mail.recipient) for mail in mails for number in mail.numbers)
    due = Counter(others.keys())
    wrong_contacts = [each for each in matches if _contact(each) != others[_side(truth, each)]]
    wrong_mails = [mail for mail in mails if not _names_the_others(mail, others)]
    doubled_signals = len(truth.signals) - len(set(truth.signals.values()))
    return Verdict(
        kinds=Counter(sides[0].kind for sides in by_number.values()),
        missed=(wanted - found).total() + (due - told).total(),
        unexpected=(found - wanted).total()
        + (told - due).total()
        + len(wrong_contacts)
        + len(wrong_mails)
        + doubled_signals,
    )


def _side(truth: Truth, match: Match) -> Side:
    return match.number, truth.email(match.signal_id)


def _seen(truth: Truth, sides: Sequence[Match]) -> tuple[Pair, str]:
    """Tell which pair a match is of; one that is not seen alike from two sides is of no pair."""
    kinds = {match.kind for match in sides}
    pair = frozenset(truth.signals.get(match.signal_id, ()) for match in sides)
    if len(sides) == len(pair) and len(kinds) == 1:
        return pair, kinds.pop()
    return frozenset(), "one-sided"


def _other(truth: Truth, match: Match, sides: Sequence[Match]) -> str:
    """Give the address of the other side, of which there is one."""
    others = {truth.email(side.signal_id) for side in sides if side.signal_id != match.signal_id}
    return others.pop() if len(others) == 1 else ""


def _contact(match: Match) -> str:
    return match.contact.email.lower() if match.contact else ""


def _names_the_others(mail: Mail, others: Mapping[Side, str]) -> bool:
    return mail.named == {others.get((number, mail.recipient)) for number in mail.numbers}
