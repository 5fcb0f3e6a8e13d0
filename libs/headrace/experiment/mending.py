"""A round's rewrites outside the stack: requested from a survey, written, measured, and decided as admission decides."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from headrace import checks
from headrace.checks import Workers
from headrace.core.decide import decide
from headrace.core.dossiers import (
    CURRENT,
    JUDGED,
    Dossier,
    DuplicateKind,
    Judgement,
    Neighbour,
    Placement,
    Rewrite,
    Signals,
    Verdict,
)
from headrace.core.policies import Policy
from headrace.core.rounds.acceptance import checks_of
from headrace.core.rounds.attempts import consequences_of
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.surveys import Judge
from headrace.core.samples import Sample
from headrace.experiment.model_side import Ask, Measured, ModelSide
from headrace.experiment.planting import Planted
from headrace.experiment.writing import Writer

_MODEL, _VERSION = "experiment", "1"


@dataclass(frozen=True, slots=True)
class Ended:
    """How the last attempt at a rewrite ended; `sample` where it was accepted."""

    rewrite: Rewrite
    reason: str
    sample: Sample | None = None


@dataclass(frozen=True, slots=True)
class Mender:
    """Mends rows of the planted data set by what its survey measured."""

    planted: Planted
    side: ModelSide
    writer: Writer
    policy: Policy
    folder: Path
    workers: Workers

    def rewrite(self, row: int, axis: Axis, round_id: str) -> Rewrite:
        """The request to rewrite this row on this axis, as a round makes it."""
        survey, current = self.planted.survey, self.planted.current
        neighbours = [each for each in survey.neighbours.rows[row].tolist() if each >= 0]
        parent = self.planted.rows[row].sample
        return Rewrite(
            round_id=round_id,
            round_ordinal=1,
            axis=axis.value,
            attempt=1,
            attempts_max=self.policy.rounds.attempts_max,
            parent=parent,
            bound=survey.thresholds[axis].bounds[-1].bound or 0.0,
            model=_MODEL,
            model_version=_VERSION,
            parent_embedding=current.prompts[row].tobytes(),
            parent_loss=_known(current.loss[row]),
            parent_density=_known(survey.rows.density[row]),
            parent_quality=_known(current.quality[row]),
            hints=tuple(self.planted.rows[each].sample.messages[-2].content for each in neighbours)
            if axis is Axis.SPARSE
            else (),
        )

    async def mended(self, rewrites: Sequence[Rewrite]) -> list[Ended]:
        """Each rewrite to its end: accepted, or turned away for good, or not made.

        Raises:
            Stop: the endpoint is gone.
            ModelSideFailed: the model's side failed.
            WorkerLost, WorkersGone: an answer could not be checked.
        """
        ended: list[Ended] = []
        pending, attempt = list(rewrites), 0
        while pending:
            attempt += 1
            written = await self.writer.write(pending)
            ended += [Ended(each.rewrite, f"not made: {each.reason}") for each in written if each.dossier is None]
            pending = []
            for decided in await self._decided([each.dossier for each in written if each.dossier is not None], attempt):
                if again := consequences_of(decided, self.policy, "experiment").again:
                    pending.append(again.rewrite)
                    continue
                decision, rewrite = decided.decisions[-1], decided.rewrite
                if rewrite is not None:
                    accepted = decided.sample if decision.verdict is Verdict.ACCEPTED else None
                    ended.append(Ended(rewrite, str(decision.reason), accepted))
        return ended

    async def _decided(self, dossiers: Sequence[Dossier], attempt: int) -> list[Dossier]:
        if not dossiers:
            return []
        asks = [Ask("rewrites", [each.sample for each in dossiers], self.planted.weights, judged=True)]
        found = (await self.side.measure(self.folder / f"attempt-{attempt}", asks))["rewrites"]
        return [await self._settled(self._with_decision(each, found, place)) for place, each in enumerate(dossiers)]

    async def _settled(self, decided: Dossier) -> Dossier:
        """Decided for good: the checks that the decision asks for are made, as validation makes them."""
        asked = decided.decisions[-1].checks_requested
        if not asked:
            return decided
        results = []
        for request in (each for each in checks_of(decided, self.policy) if each.check in asked):
            check = checks.load(request.check)
            if check.applies(decided, check.settings_of(request)):
                results.append(await check.run(decided, request, self.workers))
        checked = replace(decided, checks=tuple(results))
        return replace(checked, decisions=(*decided.decisions, decide(checked, self.policy)))

    def _with_decision(self, dossier: Dossier, found: Measured, place: int) -> Dossier:
        measured = replace(dossier, signals=(_signals(found, place),), placement=self._placement(dossier, found, place))
        return replace(measured, decisions=(decide(measured, self.policy),))

    def _placement(self, dossier: Dossier, found: Measured, place: int) -> Placement:
        """Where the rewrite lies among the rows, its own former self apart."""
        others = [row.sample for row in self.planted.rows]
        known = np.array([other.id != dossier.sample.id for other in others])
        alike = np.where(known, self.planted.current.conversations @ found.conversations[place], -1.0)
        nearest = int(alike.argmax())
        near = self.policy.diversity.near_duplicate_cosine
        is_near = near is not None and float(alike[nearest]) >= near
        parents = np.frombuffer(dossier.rewrite.parent_embedding, np.float32) if dossier.rewrite is not None else np.zeros(0)
        return Placement(
            duplicate_kind=DuplicateKind.NEAR if is_near else DuplicateKind.NONE,
            duplicate_of=Neighbour(others[nearest].id, others[nearest].revision, float(alike[nearest])) if is_near else None,
            neighbours=(),
            density=None,
            prompt_copies=0,
            model=_MODEL,
            model_version=_VERSION,
            compared_with=len(others),
            parent_cosine=float(found.prompts[place] @ parents),
        )


def reasons_of(ended: Sequence[Ended]) -> dict[str, int]:
    """How many rewrites ended for which reason, most frequent first."""
    return dict(Counter(each.reason for each in ended).most_common())


def _signals(found: Measured, place: int) -> Signals:
    scores = dict(zip(JUDGED, map(_known, found.scores[place].tolist()), strict=True))
    prompt, response = found.lengths[place].tolist()
    return Signals(
        CURRENT,
        _MODEL,
        _VERSION,
        loss_mean=_known(found.loss[place]),
        loss_std=None,
        prompt_tokens=prompt,
        response_tokens=response,
        truncated=bool(found.truncated[place]),
        error=found.errors[place],
        judgement=Judgement(Judge.LOGITS, "", **scores, error=found.judge_errors[place]),
    )


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
