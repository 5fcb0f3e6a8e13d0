"""A round's rewrites from rows that were decided, in bounded memory."""

import hashlib
import heapq
import math

import pyarrow as pa
import pyarrow.compute as pc

from headrace.adapters.rounds.report.limits import ReportLimits
from headrace.adapters.rounds.report.shard_groups import rows_where
from headrace.adapters.versions.cost_tally import cost_tally
from headrace.adapters.wire import events as wire
from headrace.adapters.wire.fields import Undecodable
from headrace.core.dossiers import CURRENT, Dossier, Rewrite, Verdict
from headrace.core.ports.object_store import ObjectStore
from headrace.core.reasons import Reason
from headrace.core.rounds.attempts import is_last
from headrace.core.rounds.report.contents import Exchange, RewriteNumbers, RewriteSeen, RewriteShown
from headrace.core.rounds.rewrite_costs import STAGE, summed, tokens_of
from headrace.core.rounds.rules import Axis
from headrace.core.samples import Sample, last_assistant_index, response_text
from headrace.core.version_costs import StageCost, costs_added
from headrace.core.versions import Shard

_AXES = frozenset(Axis)
_MET_BYTES = 16


class Attempts:
    """A round's attempts as they pass: their numbers, what they cost, and for each axis and verdict a few whole dossiers.

    Each counts once, wherever it is met again: of a sample's revision with the same content the first decision.
    """

    def __init__(self, round_id: str, limits: ReportLimits) -> None:
        self._round_id = round_id
        self._limits = limits
        self._attempts = 0
        self._last = 0
        self._met: set[bytes] = set()
        self._seen: list[RewriteSeen] = []
        self._costs: dict[str, StageCost] = {}
        self._few: dict[tuple[Axis, bool], list[tuple[int, int, RewriteShown]]] = {}
        self._read_from: dict[str, int] = {}

    def look_through(self, objects: ObjectStore, shard: Shard, where: str) -> None:
        """Take the attempts in a shard of the version `where`. It blocks, and raises, as `rows_where` does."""
        for table in rows_where(objects, shard, ["origin_round"], self.are_ours, ["dossier", "costs"]):
            self.take(table, where)

    def are_ours(self, table: pa.Table) -> pa.Array:
        """Which rows say that the round made them."""
        return pc.fill_null(pc.equal(table["origin_round"], self._round_id), fill_value=False)

    def take(self, table: pa.Table, where: str) -> None:
        """Take rows that say so; those that carry no rewrite of this round are passed over."""
        places = [place for place, body in enumerate(table["dossier"].to_pylist()) if self._took(body)]
        if places:
            self._read_from[where] = self._read_from.get(where, 0) + len(places)
            self._costs = costs_added(self._costs, cost_tally(table.take(pa.array(places, pa.int64()))))

    def numbers(self, unread: int = 0) -> RewriteNumbers:
        """What passed, in an order that does not depend on how the rows lay."""
        kinds = [(axis, accepted) for axis in Axis for accepted in (True, False)]
        shown = [each for kind in kinds for _, _, each in sorted(self._few.get(kind, []), key=lambda item: -item[0])]
        seen = sorted(self._seen, key=lambda each: (each.axis, each.sample_id, each.revision))
        return RewriteNumbers(self._attempts, tuple(seen), tuple(shown), self._costs, self._last, dict(self._read_from), unread)

    def _took(self, body: bytes) -> bool:
        """Whether the dossier tells of an attempt that was not met before."""
        dossier = _dossier(body)
        seen = _seen(dossier, self._round_id) if dossier else None
        if dossier is None or dossier.rewrite is None or seen is None or self._is_known(dossier.sample):
            return False
        self._attempts += 1
        self._last += is_last(dossier.rewrite, dossier.decisions[-1])
        if len(self._seen) < self._limits.rewrites_max:
            self._seen.append(seen)
        self._consider(dossier, dossier.rewrite, seen)
        return True

    def _is_known(self, sample: Sample) -> bool:
        named = hashlib.sha256(f"{sample.id}/{sample.revision}/{sample.content_hash}".encode()).digest()[:_MET_BYTES]
        known = named in self._met
        if len(self._met) < self._limits.told_apart_max:
            self._met.add(named)
        return known

    def _consider(self, dossier: Dossier, rewrite: Rewrite, seen: RewriteSeen) -> None:
        """Keep those whose hashes are the least: a draw by chance that needs to know nothing of what is still to come."""
        name = f"{seen.sample_id}/{seen.revision}".encode()
        rank = -int.from_bytes(hashlib.sha256(name).digest()[:8])
        few = self._few.setdefault((seen.axis, seen.accepted), [])
        if len(few) < self._limits.shown_max or rank > few[0][0]:
            push = heapq.heappush if len(few) < self._limits.shown_max else heapq.heapreplace
            push(few, (rank, self._attempts, _shown(dossier, rewrite, seen, self._limits.chars_max)))


def _dossier(body: bytes) -> Dossier | None:
    """None where it was written by a release that this one cannot follow."""
    try:
        return wire.decode(Dossier, body)
    except Undecodable:
        return None


def _seen(dossier: Dossier, round_id: str) -> RewriteSeen | None:
    rewrite, sample = dossier.rewrite, dossier.sample
    if rewrite is None or rewrite.round_id != round_id or rewrite.axis not in _AXES or not dossier.decisions:
        return None
    axis, decision = Axis(rewrite.axis), dossier.decisions[-1]
    if decision.reason == Reason.ALREADY_ADMITTED:
        return None  # the decision that admitted it tells of the attempt
    parent = {Axis.HARD: rewrite.parent_loss, Axis.SPARSE: rewrite.parent_density, Axis.LOW_QUALITY: rewrite.parent_quality}[axis]
    return RewriteSeen(
        sample_id=sample.id,
        revision=sample.revision,
        parent_id=f"{rewrite.parent.id} revision {rewrite.parent.revision}",
        axis=axis,
        attempt=rewrite.attempt,
        accepted=decision.verdict is Verdict.ACCEPTED,
        reason=decision.reason,
        parent=_finite(parent),
        own=_finite(_own_number(dossier, axis)),
    )


def _own_number(dossier: Dossier, axis: Axis) -> float | None:
    """The number that is held against the parent's."""
    signals = dossier.signals_of(CURRENT)
    if axis is Axis.SPARSE:
        return dossier.placement.parent_cosine if dossier.placement else None
    if signals is None:
        return None
    if axis is Axis.HARD:
        return signals.loss_mean
    return signals.judgement.quality if signals.judgement else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _shown(dossier: Dossier, rewrite: Rewrite, seen: RewriteSeen, chars_max: int) -> RewriteShown:
    cost = summed([each for each in dossier.costs if each.stage == STAGE])
    told = any(each.stage == STAGE for each in dossier.costs)
    decision = dossier.decisions[-1]
    return RewriteShown(
        seen=seen,
        attempts_max=rewrite.attempts_max,
        parent=_exchange(rewrite.parent, chars_max),
        rewrite=_exchange(dossier.sample, chars_max),
        detail=decision.detail[:chars_max],
        comparisons=decision.comparisons,
        tokens=tokens_of(cost) if told else None,
        money=cost.money if told else None,
        currency=cost.currency,
        judged=rewrite.judged,
    )


def _exchange(sample: Sample, chars_max: int) -> Exchange:
    """The turns before the last answer, and that answer."""
    turns = sample.messages[: last_assistant_index(sample)]
    alone = len(turns) == 1
    prompt = "\n\n".join(turn.content if alone else f"{turn.role}: {turn.content}" for turn in turns)
    response = response_text(sample)
    return Exchange(prompt[:chars_max], response[:chars_max], cut=len(prompt) > chars_max or len(response) > chars_max)
