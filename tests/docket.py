"""What is on record, and what each act does to it by law."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from tests.law import VOID_KEPT, Hubs, Key, Match, Notice, Rules, Signal, dutch_date

File = tuple[int, object]


@dataclass(slots=True)
class Docket:
    """All signals, matches and notices; every method is one act, at the instant `now`."""

    rules: Rules
    now: datetime
    signals: list[Signal] = field(default_factory=list)
    matches: list[Match] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    waiting: list[Signal] = field(default_factory=list)
    files: dict[File, Signal] = field(default_factory=dict)
    families: dict[int, frozenset[Key]] = field(default_factory=dict)
    left: dict[int, int | None] = field(default_factory=dict)

    @property
    def today(self) -> date:
        return dutch_date(self.now)

    def is_live(self, signal: Signal) -> bool:
        """L1, L2, L4: neither withdrawn nor at the end of its dates."""
        return signal.may_match_at(self.now)

    def register(self, new: Signal) -> Signal:
        """M7: who registers the same child again gets his live signal; twins differ in the file."""
        file = self.file_of(new)
        own = self.files.get(file)
        heirs = (s for s in self.signals if self.file_of(s) == file and self.is_live(s))
        if own is None or not self.is_live(own):
            own = next(heirs, None)
        if own is not None:
            self.files[file] = own
            return own
        self.files[file] = new
        self.signals.append(new)
        self.waiting.append(new)
        return new

    def file_of(self, signal: Signal) -> File:
        """M7: what makes it the same child for the same reporter; twins differ in the file."""
        return signal.reporter, (
            signal.best_key if signal.child is not None else (signal.name, signal.file)
        )

    def match(self, limit: int) -> None:
        """M12: who waits longest decides whether a turn is on families or on matches."""
        claimed = list(dict.fromkeys(self.waiting[:limit]))
        outdated = [signal for signal in claimed if self.is_outdated(signal)]
        renews = claimed[:1] == outdated[:1]
        done = outdated if renews else [each for each in claimed if each not in outdated]
        rest = [each for each in self.waiting[:limit] if each not in done]
        self.waiting = rest + self.waiting[limit:]
        if renews:
            self.take_families(outdated)
        else:
            self.tell_matches(done)

    def tell_matches(self, claimed: Sequence[Signal]) -> None:
        """M9: what one turn finds is told to each reporter at once, and only once."""
        self.rules.hubs |= self.crowded(claimed)
        self.offer_history([signal for signal in claimed if signal.history is None])
        found = [m for new in claimed for other in self.signals for m in self.pair(new, other)]
        for reporter in {leg.reporter for match in found for leg in match.legs}:
            tells = {(m, leg) for m in found for leg in m.legs if leg.reporter == reporter}
            self.notices.append(Notice(reporter, tells))

    def crowded(self, signals: Collection[Signal]) -> Hubs:
        """M5: the hubs among the keys of these that nobody noticed before."""
        keys = {key for signal in signals for key in signal.household}
        found = self.rules.new_hubs(keys, self.signals)
        return {key: (since, self.now) for key, since in found.items()}

    def pair(self, a: Signal, b: Signal) -> list[Match]:
        """M1, L4, L7: a match of two strangers who were both live when their link came about."""
        link = self.rules.link(a, b, {key: since for key, (since, _) in self.rules.hubs.items()})
        if link is None or self.matched(a, b) or not self.rules.are_strangers(a, b):
            return []
        kind, since = link
        if not (a.may_match_at(since) and b.may_match_at(since)):
            return []
        self.matches.append(Match([a, b], kind, self.now))
        return self.matches[-1:]

    def matched(self, a: Signal, b: Signal) -> bool:
        """M9, M12: only after a void match may two signals match anew."""
        return any({*m.legs} == {a, b} and m.status != "void" for m in self.matches)

    def offer_history(self, claimed: Collection[Signal]) -> None:
        """L6: once, of what he does not know from a match."""
        for new in claimed:
            met = [old for old in self.signals if self.rules.is_history(new, old)]
            new.history = frozenset(old for old in met if not self.matched(new, old)) or None

    def is_outdated(self, signal: Signal) -> bool:
        """M12: the register's word on a child's family stands above its reporters'."""
        family = self.families.get(signal.child or 0, signal.household)
        return not signal.ground and signal.household != family

    def take_families(self, signals: Collection[Signal]) -> None:
        for signal in signals:
            self.take_family(signal, self.families[signal.child or 0])
        self.settle(signals)

    def take_family(
        self, signal: Signal, family: frozenset[Key], at: datetime | None = None
    ) -> None:
        """Keys that stay are as old as they were; the others came `at`, or with the signal."""
        lost = signal.household - family
        for key in lost:
            signal.added.pop(key, None)
        if at is not None:
            signal.added |= dict.fromkeys(family - signal.household, at)
        signal.household = family
        self.forget_hubs(lost)

    def settle(self, changed: Collection[Signal]) -> None:
        """M11, M12: an open match rests on the keys as they are now, or is void."""
        hubs = self.crowded(changed) | self.rules.hubs
        for match in self.matches:
            if set(changed) & {*match.legs} and self.status(match) == "open":
                a, b = match.legs
                link = self.rules.link(a, b, self.rules.standing(match, hubs))
                match.kind = link[0] if link else match.kind
                if link is None:
                    match.void(self.now)
        self.waiting += changed

    def find_child(self, signal: Signal, child: int) -> bool:
        """M11: the number is found; not if the reporter has another live signal on that child."""
        file = signal.reporter, ("child", child)
        others = [s for s in self.signals if self.file_of(s) == file and self.is_live(s)]
        if signal.child is not None or others:
            return signal.child == child
        self.files = {file: each for file, each in self.files.items() if each is not signal}
        self.files[signal.reporter, ("child", child)] = signal
        signal.child = child
        signal.added["child", child] = self.now
        if child in self.families:
            self.take_family(signal, self.families[child], self.now)
        self.settle([signal])
        return True

    def replace_family(self, signal: Signal, family: frozenset[Key]) -> None:
        """M12: by its reporter, unless the register told."""
        if signal.child not in self.families:
            self.take_family(signal, family, self.now)
            self.settle([signal])

    def register_tells(self, child: int, family: frozenset[Key]) -> None:
        """M12: the population register on a child that has signals."""
        same = self.same_child(child)
        if same:
            self.families[child] = family
            changed = [s for s in same if self.is_live(s) and s.household != family]
            for signal in changed:
                self.take_family(signal, family, self.now)
            self.settle(changed)

    def same_child(self, child: int | None) -> list[Signal]:
        return [s for s in self.signals if child and s.child == child and self.outlives(s)]

    def leave(self, who: int, successor: int | None) -> None:  # noqa: C901 - as W3 tells it
        """W3: what is live or archived goes to the successor, with what was to be told."""
        self.left[who] = successor
        if successor is None:
            return
        moved = {s for s in self.signals if s.reporter == who and self.outlives(s)}
        for signal in moved:
            signal.reporter = successor
        for notice in self.notices:
            if any(leg in moved for _, leg in notice.tells):
                notice.reporter = successor
        for signal in self.signals:
            own = self.files.get(self.file_of(signal))
            if signal in moved and self.is_live(signal) and not (own and self.is_live(own)):
                self.files[self.file_of(signal)] = signal
        for match in self.matches:
            if match.status == "open" and len({leg.reporter for leg in match.legs}) == 1:
                match.status = "closed"  # M7

    def outlives(self, signal: Signal) -> bool:
        """L3: live or archived; an unjustified signal has lost its keys, so nobody finds it."""
        return not signal.destroyed and signal.ground != "unjustified"

    def standing(self, reporter: int) -> int | None:
        """W3: the last of those who succeeded one another, if he is still there."""
        standing: int | None = reporter
        while standing is not None and standing in self.left:
            standing = self.left[standing]
        return standing

    def withdraw(self, signal: Signal, ground: str) -> None:
        """L2, L5: an unjustified leg voids the match, any other end closes it."""
        signal.ground, signal.withdrawn_at = ground, self.now
        for match in self.matches_of(signal):
            if ground == "unjustified":
                match.void(self.now)
            elif match.status == "open":
                match.status = "closed"
        self.forget_family(signal.child)
        self.forget_hubs(signal.household)

    def matches_of(self, signal: Signal) -> list[Match]:
        return [match for match in self.matches if signal in match.legs]

    def sweep(self) -> list[Signal]:
        """L3, L4: destroy whose day came, what leaves the archive, and the void after 30 days."""
        due = self.destroy([s for s in self.signals if not s.destroyed and self.is_due(s)])
        for match in [each for each in self.matches if self.was_void_long(each)]:
            self.drop(match)
        return due

    def was_void_long(self, match: Match) -> bool:
        """L5: for whatever reason, so that its end tells nobody which."""
        return match.voided_at is not None and match.voided_at < self.now - VOID_KEPT

    def is_due(self, signal: Signal) -> bool:
        if signal.ground == "unjustified" and signal.withdrawn_at:
            return signal.destroy_by <= self.today or signal.withdrawn_at < self.now - VOID_KEPT
        return signal.archive_ends_on <= self.today

    def destroy(self, signals: Sequence[Signal]) -> list[Signal]:
        """L4: gone with their matches and with all that was to be told of them."""
        for signal in signals:
            for match in self.matches_of(signal):
                self.drop(match)
            self.forget(signal)
        return list(signals)

    def erase(self, signal: Signal) -> list[Signal]:
        """L5: gone itself; the other side keeps a void match, without contact data."""
        for match in self.matches_of(signal):
            match.void(self.now)
            match.legs.remove(signal)
            if not match.legs:
                self.drop(match)
        self.forget(signal)
        return [signal]

    def drop(self, match: Match) -> None:
        self.matches.remove(match)
        for notice in self.notices:
            notice.tells = {tell for tell in notice.tells if tell[0] is not match}

    def forget(self, signal: Signal) -> None:
        signal.destroyed = True
        for each in self.signals:
            if each.history and signal in each.history:
                each.history = each.history - {signal} or None
                each.opened = each.opened and each.history is not None
        self.waiting = [each for each in self.waiting if each is not signal]
        for notice in self.notices:
            notice.tells = {tell for tell in notice.tells if tell[1] is not signal}
        self.forget_family(signal.child)
        self.forget_hubs(signal.household)

    def forget_hubs(self, keys: frozenset[Key]) -> None:
        """D1: a hub is known as long as somebody carries the key."""
        carried = {key for s in self.signals if self.outlives(s) for key in s.household}
        for key in keys - carried:
            self.rules.hubs.pop(key, None)

    def forget_family(self, child: int | None) -> None:
        """D1: what the register told is kept for signals, so not longer than these."""
        if child is not None and not self.same_child(child):
            self.families.pop(child, None)

    def die(self, signal: Signal) -> list[Signal]:
        """S11: all signals on the child by number go."""
        same = [] if signal.ground == "unjustified" else self.same_child(signal.child)
        return self.destroy(same or [signal])

    def is_visible(self, signal: Signal) -> bool:
        return not signal.destroyed and self.today < signal.destroy_by  # L4

    def is_shown(self, match: Match) -> bool:
        return all(map(self.is_visible, match.legs)) and not self.was_void_long(match)  # L4, L5

    def has_history(self, signal: Signal) -> bool:
        """L3, L6: only of what the archive still has."""
        return any(self.is_archived(old) for old in signal.history or ())

    def is_archived(self, signal: Signal) -> bool:
        return not signal.destroyed and self.today < signal.archive_ends_on

    def status(self, match: Match) -> str:
        """L1, L5: dates decide, however far the sweeper is."""
        over = any(leg.ends_on <= self.today for leg in match.legs)
        return "closed" if match.status == "open" and over else match.status

    def contact(self, match: Match, own: Signal) -> int | None:
        """L5, D2: the other reporter, as long as the match is open and no longer."""
        other = next((leg.reporter for leg in match.legs if leg is not own), None)
        return self.standing(other) if other is not None and self.status(match) == "open" else None

    def sides(self, organisation: int) -> list[tuple[Match, Signal]]:
        """D4: an organisation sees its own sides of matches, and nothing else."""
        return [
            (match, leg)
            for match in self.matches
            for leg in match.legs
            if self.rules.reporters[leg.reporter].organisation == organisation
            and self.is_shown(match)
        ]
