"""A round with everything that its report reads, in an object store in memory; small or large, ended early or not."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from headrace.adapters.rounds.measured_rows import MeasuredRows
from headrace.adapters.rounds.selection_scan import select
from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.core.budgets import Spend
from headrace.core.dossiers import (
    CURRENT,
    Comparison,
    Cost,
    Decision,
    Dossier,
    DuplicateKind,
    Embeddings,
    EndpointJudgement,
    IndexedSample,
    Judgement,
    Placement,
    Rewrite,
    Signals,
    Verdict,
)
from headrace.core.reasons import Reason
from headrace.core.rounds.counts import RewriteCounts, RowCounts
from headrace.core.rounds.facts import CheckpointMeasures, RoundCommitted, RoundStarted, RowsSelected
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.rules import Axis, SelectionRules
from headrace.core.rounds.state import HeldOutMeasured, PassedPhase, Phase, RoundState
from headrace.core.rounds.stored import selection_key, signals_key, thresholds_key
from headrace.core.rounds.surveys import Judge, MeasuredSample, Purpose, Survey
from headrace.core.samples import Message, Origin, OriginKind, Sample, content_hash_of, prompt_hash_of
from headrace.core.staged import Place
from tests.fakes.certain import certain
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.signal_tables import a_table, arrow_of, on_disk, sample_id

DATASET, ROUND = "maths", "20261121T175400-ab12"
BEGAN = 1_795_000_000.0
DIMENSIONS = 24
SURVEY = Survey(
    DATASET, ROUND, Purpose.ROUND, "d" * 64, "smol", "7", base_model="smol", base_model_version="1", judge=Judge.LOGITS,
    held_out_share=0.05, held_out_seed="headrace",
)  # fmt: skip
HOSTILE = "<script>alert('x')</script> & \x00 \u202e </pre></article>"


def a_state(rows: int, **changes) -> RoundState:
    """A round that has just begun."""
    policy = RoundPolicy()
    begun = RoundStarted(SURVEY, 4, rows, "p" * 12, policy.canonical_json(), "ada", BEGAN)
    return replace(RoundState(DATASET, ROUND, 3, Phase.SURVEYING, begun, 1, BEGAN + 2, BEGAN + 60), **changes)


async def a_round(rows: int, *, rewrites: int = 0, forged: int = 0, table: Any = None, rules: SelectionRules | None = None):
    """The object store and the state of a round that was kept; `forged` rows only claim to be of it."""
    objects = FakeObjectStore()
    columns = a_table(rows) if table is None else table
    rules = rules or SelectionRules()
    with tempfile.TemporaryDirectory() as name:
        summary = await _survey(objects, columns, rules, Path(name))
    vectors = _vectors(rows)
    if rows:
        await _measured(objects, vectors)
    dossiers = [a_rewrite(number, rows) for number in range(rewrites)]
    dossiers[:forged] = [replace(dossier, rewrite=None) for dossier in dossiers[:forged]]
    version = await _version(objects, dossiers, vectors) if rewrites else None
    by_axis = {outcome.threshold.axis: outcome.rows_selected for outcome in summary.axes}
    accepted = {axis.value: sum(each.sample.origin.axis == axis and _accepted(each) for each in dossiers) for axis in Axis}
    rejected = {axis.value: sum(each.sample.origin.axis == axis and not _accepted(each) for each in dossiers) for axis in Axis}
    state = replace(
        a_state(rows),
        phase=Phase.KEPT, transition=8, phase_since=BEGAN + 5_400, updated_at=BEGAN + 5_400,
        reason="held_out_held", detail="2.1450 after, 2.2134 before, over 52 rows",
        rows=RowCounts(rows, True, rows, summary.rows_not_made, ("s9/0",), 1_234_567, 815.25),
        held_out_rows=RowCounts(52, True, 52, 0, (), 45_000, 31.5),
        densities_made=True,
        selected=RowsSelected(
            Purpose.ROUND, by_axis.get(Axis.HARD, 0), by_axis.get(Axis.SPARSE, 0), by_axis.get(Axis.LOW_QUALITY, 0),
            summary.canonical_json(), "5" * 64, 2.2134, 52,
        ),
        rewrites=RewriteCounts(
            rewrites, True, accepted, rejected, {Axis.HARD: 2}, attempts=rewrites + 3, tokens=rewrites * 700,
            money=rewrites * 0.0004, tokens_charged=rewrites * 705, money_charged=rewrites * 0.0005, cost_unknown=1,
            roles_spent=(Spend(rewrites * 500, rewrites * 0.0003, "answerer"), Spend(rewrites * 200, None, "refiner")),
        ),
        evicted=accepted[Axis.SPARSE],
        committed=version and RoundCommitted(version.id, version.manifest.sequence, version.manifest.counts.accepted),
        checkpoint=CheckpointMeasures("c-0815", "8"),
        held_out=HeldOutMeasured(2.2134, 2.1450, 52),
        passed=tuple(PassedPhase(phase, BEGAN + 600.0 * place) for place, phase in enumerate(list(Phase)[:8])),
    )  # fmt: skip
    return objects, state


def rewrite_counts(dossiers: list[Dossier]) -> RewriteCounts:
    """What the round counts of such attempts, each the last of its rewrite."""
    ended: dict[bool, dict[str, int]] = {True: {}, False: {}}
    for each in dossiers:
        of_axis = ended[_accepted(each)]
        of_axis[each.sample.origin.axis] = of_axis.get(each.sample.origin.axis, 0) + 1
    return RewriteCounts(len(dossiers), True, ended[True], ended[False], attempts=len(dossiers))


def earlier(state: RoundState) -> list[RoundState]:
    """The rounds before."""
    return [
        replace(state, round_id=f"r{ordinal}", ordinal=ordinal, updated_at=BEGAN - ordinal, phase=phase, held_out=held_out)
        for ordinal, phase, held_out in [
            (1, Phase.KEPT, HeldOutMeasured(2.61, 2.38, 50)), (2, Phase.ROLLED_BACK, HeldOutMeasured(2.38, 2.44, 51)),
        ]
    ]  # fmt: skip


async def _survey(objects, columns: Any, rules: SelectionRules, folder: Path):
    table = arrow_of(columns)
    files = on_disk(table, folder) if table.num_rows else []
    selection = select(files, rules, folder, {})
    await objects.put(thresholds_key(SURVEY), selection.summary.canonical_json().encode())
    for file in files:
        await objects.put_file(signals_key(SURVEY), file.source)
    if selection.selected:
        await objects.put_file(selection_key(SURVEY), selection.selected.path)
    return selection.summary


def _vectors(rows: int) -> np.ndarray:
    chance = np.random.default_rng(5)
    topics = chance.normal(size=(4, DIMENSIONS))
    vectors = topics[chance.integers(0, 4, rows)] + 0.35 * chance.normal(size=(rows, DIMENSIONS))
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype("<f4")


async def _measured(objects, vectors: np.ndarray) -> None:
    rows = [
        (
            MeasuredSample(SURVEY, sample_id(row), row % 3, "c", "p", "ingested", "", (), Embeddings("smol", "7", body, body)),
            Place("measured/00000", row, BEGAN),
        )
        for row, body in enumerate(vector.tobytes() for vector in vectors)
    ]
    for start in range(0, len(rows), 500):
        await MeasuredRows(objects).stage(SURVEY, "measured/00000", rows[start : start + 500])


async def _version(objects, dossiers: list[Dossier], vectors: np.ndarray):
    cutter = VersionCutter(objects, CutSettings(embeddings_wait_s=0))
    placed = [(dossier, Place("decided/00000", offset, BEGAN)) for offset, dossier in enumerate(dossiers)]
    await cutter.staging.stage_decided(DATASET, "decided/00000", placed)
    indexed = [
        (
            IndexedSample(
                DATASET, each.sample.id, each.sample.revision, each.sample.content_hash,
                Embeddings("smol", "7", *(2 * [vectors[place % len(vectors)].tobytes()])), prompt_hash_of(each.sample),
            ),
            Place("indexed/00000", place, BEGAN),
        )
        for place, each in enumerate(dossiers)
        if _accepted(each)
    ]  # fmt: skip
    if indexed:
        await cutter.staging.stage_indexed(DATASET, "indexed/00000", indexed)
    return certain(await cutter.cut(DATASET, "r")).version


def _accepted(dossier: Dossier) -> bool:
    return dossier.decisions[-1].verdict is Verdict.ACCEPTED


def a_sample(name: str, revision: int, prompt: str, answer: str, origin: Origin = Origin()) -> Sample:  # noqa: B008 - frozen
    messages = (Message("user", prompt), Message("assistant", answer))
    return Sample(DATASET, name, revision, content_hash_of(messages, "", None), messages, origin=origin)


def _six(score: float) -> tuple[float, float, float, float, float, float]:
    each = min(10.0, max(0.0, float(score)))
    return (each, each, each, each, each, each)


def a_rewrite(number: int, rows: int) -> Dossier:
    """Attempts on all axes: two thirds accepted, the others turned away for one of three reasons; every seventh is hostile."""
    chance = np.random.default_rng(number)
    axis = list(Axis)[number % 3]
    accepted = number % 9 < 6
    before = {
        Axis.HARD: 2.5 + chance.gamma(2, 0.4),
        Axis.SPARSE: chance.uniform(0.3, 0.5),
        Axis.LOW_QUALITY: chance.uniform(1, 4),
    }
    gain = chance.gamma(2, 0.3) if accepted else chance.normal(-0.1, 0.3)
    after = before[axis] + {Axis.HARD: -gain, Axis.SPARSE: gain / 4, Axis.LOW_QUALITY: 3 * gain}[axis]
    text = HOSTILE if number % 7 == 0 else "A train leaves at nine and travels 120 miles in two hours. "
    parent = a_sample(
        sample_id(number % max(rows, 1)), number % 3, f"What is the speed? {text * (1 + number % 4)}", "It is 55 mph."
    )
    reason = Reason.ACCEPTED if accepted else [Reason.NOT_BETTER, Reason.MEANING_LOST, Reason.NEAR_DUPLICATE][number // 9 % 3]
    name = f"added-{number:06}" if axis is Axis.SPARSE else f"w{number:06}"
    origin = Origin(OriginKind.REFINED, (parent.id,), round=ROUND, axis=axis.value)
    judgement = Judgement("logits", "r" * 64, *_six(after)) if axis is Axis.LOW_QUALITY else None
    known = number % 11 > 0
    operator, held = ("<", bool(after < before[axis])) if axis is Axis.HARD else (">", bool(after > before[axis]))
    return Dossier(
        a_sample(name, 32 + number % 5, f"{text} How many miles an hour is that, on average?", "60 miles an hour.", origin),
        submitted_at=BEGAN + number,
        signals=(Signals(CURRENT, "smol", "7", float(after) if axis is Axis.HARD else 1.5, 0.5, 30, 12, judgement=judgement),),
        placement=Placement(
            DuplicateKind.NONE, None, (), 0.5, 0, "smol", "7", 10, parent_cosine=float(after) if axis is Axis.SPARSE else 0.93
        ),
        decisions=(
            Decision(
                Verdict.ACCEPTED if accepted else Verdict.REJECTED, reason, "p" * 12,
                (Comparison(f"rewrite_{axis}", float(after), operator, float(before[axis]), held),),
            ),
        ),
        costs=(
            Cost("scoring", seconds=0.2, prompt_tokens=42),
            Cost("refinement", 1.5, 400, 300, 0.0004, "USD") if known else Cost("refinement", 1.5),
        ),
        rewrite=Rewrite(
            ROUND, 3, axis.value, 1 + number % 2 if accepted else 2, 2, parent, 1.0, "smol", "7", b"",
            parent_loss=float(before[Axis.HARD]), parent_density=float(before[Axis.SPARSE]),
            parent_quality=float(before[Axis.LOW_QUALITY]),
            judged=EndpointJudgement(4.25, 6.75, HOSTILE, "judge.v1") if number % 2 else None,
        ),
    )  # fmt: skip
