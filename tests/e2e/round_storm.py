"""Services killed in every phase of a round."""

import asyncio
import random
import time
from collections import Counter

from headrace.adapters.rounds.round_states import RoundStates
from headrace.core.rounds.state import Phase, RoundState
from tests.e2e.spine import Spine

PHASES = (Phase.SURVEYING, Phase.THRESHOLDS, Phase.REFINING, Phase.VALIDATING, Phase.COMMITTING)
"""Those in which a round stands that waits for nobody's training; what it passes in one step is none of them."""
OTHERS = ("scoring", "refinement", "datasets", "diversity", "admission")
_AT_WORK = {
    Phase.SURVEYING: "scoring",
    Phase.THRESHOLDS: "diversity",
    Phase.REFINING: "datasets",
    Phase.VALIDATING: "refinement",
    Phase.COMMITTING: "datasets",
}
"""Who has most to do, or has just had it."""
_MOMENT_S = {Phase.SURVEYING: 1.0, Phase.VALIDATING: 0.6, Phase.COMMITTING: 0.5}
"""How far into a phase the first kill may come; the others are too short for a choice."""
_SERVERS = ("triton", "object-store")
_FURTHER_S = (4.0, 9.0)
"""How long after the kill before one more comes: a killed service has to get somewhere."""


class RoundStorm:
    """In each phase kills the controller, who is at work then, and one more; and where a phase lasts a few more and a server.

    The controller goes first, so that the phase lasts; `killed` counts what was killed by phase. To be called from the main
    thread: the kernel ends a tethered process when the thread that started it ends.
    """

    def __init__(self, spine: Spine, seed: int) -> None:
        self._spine = spine
        self._rng = random.Random(seed)
        more = self._rng.sample(OTHERS, len(OTHERS))
        self._plan = {
            phase: dict.fromkeys(("controller", _AT_WORK[phase], other)) for phase, other in zip(PHASES, more, strict=True)
        }
        self._next_at = float("inf")
        self._further = [self._rng.choice(OTHERS), *self._rng.sample(_SERVERS, 2), self._rng.choice(OTHERS)]
        self.killed: Counter[tuple[Phase, str]] = Counter()

    async def at(self, states: RoundStates, state: RoundState) -> None:
        """Kills what is to be killed in the phase in which the round stands; what ended by itself is started again."""
        self._spine.revive()
        if state.phase in self._plan:
            victims = list(self._plan.pop(state.phase))
            await asyncio.sleep(self._rng.uniform(0, _MOMENT_S.get(state.phase, 0)))
        elif time.monotonic() > self._next_at and self._further:
            victims = [self._further.pop()]
        else:
            return
        for victim in victims:
            self._spine.kill(victim)
            await asyncio.sleep(self._rng.uniform(0, 0.2))
        for victim in self._rng.sample(victims, len(victims)):
            self._spine.restart(victim)
        await states.refresh()  # none of them serves so soon
        now = states.state_of(state.dataset_id, state.round_id)
        self.killed.update((now.phase if now else state.phase, victim) for victim in victims)
        self._next_at = time.monotonic() + self._rng.uniform(*_FURTHER_S)

    @property
    def phases(self) -> set[Phase]:
        """In which a controller was killed."""
        return {phase for phase, victim in self.killed if victim == "controller"}

    def told(self) -> str:
        """What was killed, phase by phase."""
        by_phase = {
            phase: [f"{name} {self.killed[phase, name]}" for each, name in self.killed if each == phase] for phase in PHASES
        }
        return "; ".join(f"{phase}: {', '.join(names)}" for phase, names in by_phase.items())

    def kills_of(self, name: str) -> int:
        """How often it was killed."""
        return sum(count for (_, victim), count in self.killed.items() if victim == name)
