"""The account of samples: submitted = accepted + rejected + dead-lettered + in flight, by dataset, and what breaks that."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from headrace.core.dossiers import Decision, Dossier, Verdict
from headrace.core.retractions import RetractionRequested

Identity = tuple[str, str, int, str]
"""Dataset id, sample id, revision, content hash: what a submission is counted under."""


def identity_of(dossier: Dossier) -> Identity:
    """Under which identity a dossier's sample is counted."""
    sample = dossier.sample
    return sample.dataset_id, sample.id, sample.revision, sample.content_hash


@dataclass(frozen=True, slots=True)
class Account:
    """The four numbers, and how the rejected and the dead-lettered divide.

    submitted + `decided_again` + `ended_unsubmitted` = accepted + rejected + dead-lettered + in flight, and both of these are 0
    unless something is wrong: `decided_again` counts the ends of samples beyond their submissions (a sample that is sent twice is
    decided twice, once as already admitted), `ended_unsubmitted` those of samples of which no submission is known, lost or older
    than the topic retains. In flight are submissions that have not ended, counted sample by sample, so that nothing makes up
    for one that is missing. `retracted` says how many of the accepted were taken back since, or on their way; they stay among the
    accepted.
    """

    submitted: int = 0
    accepted: int = 0
    rejected: int = 0
    dead_lettered: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    dead_letters_by_service: dict[str, int] = field(default_factory=dict)
    retracted: int = 0
    in_flight: int = 0
    decided_again: int = 0
    ended_unsubmitted: int = 0


@dataclass(slots=True)
class _Entry:
    submitted: int = 0
    decided: int = 0
    dead: int = 0
    accepted: bool = False

    @property
    def dead_now(self) -> int:
        """Its dead letters that did not come back to be decided."""
        return max(0, min(self.dead, max(self.submitted, 1) - self.decided))

    @property
    def surplus(self) -> int:
        """Its ends beyond its submissions; below 0 as many are still in flight."""
        return self.decided + self.dead_now - self.submitted


class Ledger:
    """Counts ends against submissions, whatever the order in which the topics are read.

    A dead letter that was redriven and then decided counts as decided, so nothing counts twice.
    """

    def __init__(self) -> None:
        self._entries: dict[Identity, _Entry] = {}
        self._verdicts: Counter[tuple[str, Verdict]] = Counter()
        self._reasons: Counter[tuple[str, str]] = Counter()
        self._dead: dict[Identity, str] = {}
        self._retracted: dict[tuple[str, str], int] = {}

    def submitted(self, dossier: Dossier) -> None:
        """A sample passed the door."""
        self._entry(dossier).submitted += 1

    def decided(self, dossier: Dossier) -> None:
        """A sample was accepted or rejected; the last decision in the dossier says which and why."""
        decision: Decision = dossier.decisions[-1]
        dataset = dossier.sample.dataset_id
        entry = self._entry(dossier)
        entry.decided += 1
        entry.accepted |= decision.verdict is Verdict.ACCEPTED
        self._verdicts[dataset, decision.verdict] += 1
        if decision.verdict is Verdict.REJECTED:
            self._reasons[dataset, decision.reason] += 1

    def dead_lettered(self, dossier: Dossier, service: str) -> None:
        """A sample ended in the dead letters of a service."""
        self._entry(dossier).dead += 1
        self._dead[identity_of(dossier)] = service

    def retracted(self, asked: RetractionRequested) -> None:
        """A sample was taken back, whether it was accepted or not."""
        key = (asked.dataset_id, asked.sample_id)
        self._retracted[key] = max(asked.revision, self._retracted.get(key, asked.revision))

    def datasets(self) -> list[str]:
        """The datasets seen, sorted."""
        return sorted({identity[0] for identity in self._entries})

    def account(self, dataset: str | None = None) -> Account:
        """The account of one dataset, or of all."""
        entries = [(i, e) for i, e in self._entries.items() if dataset in {None, i[0]}]
        dead = {identity: entry.dead_now for identity, entry in entries}
        return Account(
            submitted=sum(entry.submitted for _, entry in entries),
            accepted=self._count(dataset, Verdict.ACCEPTED),
            rejected=self._count(dataset, Verdict.REJECTED),
            dead_lettered=sum(dead.values()),
            reasons=_merged(self._reasons, dataset),
            dead_letters_by_service=_by_service((self._dead[i], n) for i, n in dead.items() if n),
            retracted=sum(entry.accepted and i[2] <= self._retracted.get(i[:2], -1) for i, entry in entries),
            in_flight=sum(max(0, -entry.surplus) for _, entry in entries),
            decided_again=sum(max(0, entry.surplus) for _, entry in entries if entry.submitted),
            ended_unsubmitted=sum(entry.surplus for _, entry in entries if not entry.submitted),
        )

    def _count(self, dataset: str | None, verdict: Verdict) -> int:
        return sum(n for (name, seen), n in self._verdicts.items() if seen is verdict and dataset in {None, name})

    def _entry(self, dossier: Dossier) -> _Entry:
        return self._entries.setdefault(identity_of(dossier), _Entry())


def _merged(counts: Counter[tuple[str, str]], dataset: str | None) -> dict[str, int]:
    merged: Counter[str] = Counter()
    for (name, reason), count in counts.items():
        if dataset in {None, name}:
            merged[reason] += count
    return dict(merged.most_common())


def _by_service(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for service, count in pairs:
        counts[service] += count
    return dict(counts.most_common())
