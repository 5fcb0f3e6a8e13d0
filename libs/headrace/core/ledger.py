"""The account of samples: submitted = accepted + rejected + dead-lettered + in flight, by construction and by dataset."""

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
    """The four numbers, which always close, and how the rejected and the dead-lettered divide.

    `retracted` says how many of the accepted were taken back since, or on their way; they stay among the accepted.
    """

    submitted: int = 0
    accepted: int = 0
    rejected: int = 0
    dead_lettered: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    dead_letters_by_service: dict[str, int] = field(default_factory=dict)
    retracted: int = 0

    @property
    def in_flight(self) -> int:
        return self.submitted - self.accepted - self.rejected - self.dead_lettered


@dataclass(slots=True)
class _Entry:
    submitted: int = 0
    decided: int = 0
    dead: int = 0
    accepted: bool = False


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
        dead = {identity: _dead_now(entry) for identity, entry in entries}
        return Account(
            submitted=sum(max(entry.submitted, entry.decided + _dead_now(entry)) for _, entry in entries),
            accepted=self._count(dataset, Verdict.ACCEPTED),
            rejected=self._count(dataset, Verdict.REJECTED),
            dead_lettered=sum(dead.values()),
            reasons=_merged(self._reasons, dataset),
            dead_letters_by_service=_by_service((self._dead[i], n) for i, n in dead.items() if n),
            retracted=sum(entry.accepted and i[2] <= self._retracted.get(i[:2], -1) for i, entry in entries),
        )

    def _count(self, dataset: str | None, verdict: Verdict) -> int:
        return sum(n for (name, seen), n in self._verdicts.items() if seen is verdict and dataset in {None, name})

    def _entry(self, dossier: Dossier) -> _Entry:
        return self._entries.setdefault(identity_of(dossier), _Entry())


def _dead_now(entry: _Entry) -> int:
    return max(0, min(entry.dead, max(entry.submitted, 1) - entry.decided))


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
