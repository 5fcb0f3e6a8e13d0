"""Deciding stored dossiers again under another policy, and counting what would change. No model is asked anything."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.core.decide import decide
from headrace.core.dossiers import Decision, Dossier, Verdict
from headrace.core.policies import Policy

EXAMPLES_MAX = 3


@dataclass(frozen=True, slots=True, order=True)
class Ending:
    """How a sample ended or would end."""

    verdict: str
    reason: str

    def __str__(self) -> str:
        return self.verdict if self.verdict == self.reason else f"{self.verdict}: {self.reason}"


@dataclass(slots=True)
class Moved:
    """How many samples would end otherwise in the same way, and the ids of the first few."""

    count: int = 0
    examples: list[str] = field(default_factory=list)


class Replay:
    """The tally of a replay under one policy.

    What a dossier holds is taken as it was measured: a sample's neighbours, density and copies of its prompt are those of the
    time it was placed, and a near-duplicate is known as one only where it was one then. `decided` counts samples, `unchanged`
    those whose verdict and reason stay, `checks_needed` those that would wait for a check that was never run, by check.
    """

    def __init__(self, policy: Policy, rulers: Mapping[str, str]) -> None:
        self._policy = policy
        self._rulers = rulers
        self.decided = 0
        self.unchanged = 0
        self.moved: dict[tuple[Ending, Ending], Moved] = {}
        self.checks_needed: Counter[str] = Counter()
        self.before: Counter[Ending] = Counter()
        self.after: Counter[Ending] = Counter()

    def add(self, dossier: Dossier) -> None:
        """Decide one dossier again; it ends with the decision that was made."""
        decision = decide(dossier, self._policy, self._rulers)
        before, after = _ending(dossier.decisions[-1]), _ending(decision)
        self.decided += 1
        self.before[before] += 1
        self.after[after] += 1
        self.checks_needed.update(decision.checks_requested)
        if before == after:
            self.unchanged += 1
            return
        moved = self.moved.setdefault((before, after), Moved())
        moved.count += 1
        if len(moved.examples) < EXAMPLES_MAX:
            moved.examples.append(dossier.sample.id)


def accepted_in(endings: Mapping[Ending, int]) -> int:
    """How many of these samples are accepted."""
    return sum(count for ending, count in endings.items() if ending.verdict == Verdict.ACCEPTED)


def _ending(decision: Decision) -> Ending:
    return Ending(str(decision.verdict), str(decision.reason))
