"""Whether a calibration is due, by what lies in a store."""

from dataclasses import replace
from typing import Any

import pytest

from headrace.adapters.rounds.calibration_rows import columns_counted, runs_of
from headrace.adapters.rounds.calibrations_due import CalibrationsDue
from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.sample_rows import decided_table
from headrace.core.dossiers import JUDGED, Judgement
from headrace.core.rounds.calibration_due import measurer_of
from headrace.core.rounds.standing import StandingPolicy, StandingThresholds
from headrace.core.samples import Origin, OriginKind
from headrace.core.versions import DamagedVersion
from tests.fakes.decisions import DATASET, DECIDED, dossier, place
from tests.fakes.object_store import FakeObjectStore

SCORES: dict[str, Any] = dict.fromkeys(JUDGED, 5.0)
JUDGEMENT = Judgement("logits", "ruler", **SCORES)
THREE = StandingPolicy(rows=3)


def row(sample_id, *, version="3", loss=1.0, judgement=None, origin=None):
    found = dossier(sample_id)
    signals = replace(found.signals[0], model_version=version, loss_mean=loss, judgement=judgement)
    return replace(found, signals=(signals,), sample=replace(found.sample, origin=origin or Origin()))


class Reading(FakeObjectStore):
    """Remembers what was read of it."""

    def __init__(self):
        super().__init__()
        self.read: list[str] = []

    async def get(self, key, *, bytes_max):
        self.read.append(key)
        return await super().get(key, bytes_max=bytes_max)


class World:
    """A store with staged rows, and what was read of it."""

    def __init__(self):
        self.objects = Reading()
        self.cutter = VersionCutter(self.objects, CutSettings(embeddings_wait_s=0))
        self.due = CalibrationsDue(self.cutter.versions, self.cutter.staging)
        self.offset = 0

    async def stage(self, *rows):
        placed = [(each, place(self.offset + n)) for n, each in enumerate(rows)]
        self.offset += len(rows)
        await self.cutter.staging.stage_decided(DATASET, DECIDED, placed)

    def segments_read(self):
        found = [key for key in self.objects.read if key.startswith("staging/")]
        self.objects.read.clear()
        return len(found)


async def test_rows_are_counted_behind_the_version():
    """Those that it took are in its manifest; a further one is enough then."""
    world = World()
    await world.stage(row("a"), row("b"))
    assert await world.due.rows_due(DATASET, THREE) is None
    await world.cutter.cut(DATASET, "r1")
    await world.stage(row("c", version="2"), row("d"), row("e"))
    assert await world.due.rows_due(DATASET, THREE) == 2


async def test_nothing_is_read_before_there_are_enough_and_each_segment_once():
    """The names of segments tell how many rows there are; what was read is remembered, until it is staged no more."""
    world = World()
    await world.stage(row("a"), row("b"))
    assert await world.due.rows_due(DATASET, THREE) is None
    assert world.segments_read() == 0
    await world.stage(row("c", version="4"))
    assert await world.due.rows_due(DATASET, THREE) is None
    assert world.segments_read() == 2
    await world.stage(row("d", version="4"))
    assert await world.due.rows_due(DATASET, THREE) is None
    assert world.segments_read() == 1
    await world.stage(row("e"))
    assert await world.due.rows_due(DATASET, THREE) == 5
    assert world.segments_read() == 1
    await world.cutter.cut(DATASET, "r1")
    assert await world.due.rows_due(DATASET, THREE) is None
    assert not world.due._known


async def test_batches_that_were_delivered_again_count_once():
    """Segments of other sizes overlap."""
    world = World()
    rows = [row(name) for name in "abc"]
    for first, last in ((0, 1), (0, 2), (1, 2)):
        placed = [(rows[n], place(n)) for n in range(first, last + 1)]
        await world.cutter.staging.stage_decided(DATASET, DECIDED, placed)
    assert await world.due.rows_due(DATASET, StandingPolicy(rows=4)) is None
    assert await world.due.rows_due(DATASET, THREE) == 3


@pytest.mark.parametrize("judged", [False, True])
def test_columns_tell_the_same_as_dossiers(judged):
    """Which rows count is one rule, wherever they lie."""
    standing = StandingPolicy(rows=3, low_quality=judged)
    rows = [
        row("a"), row("b", judgement=JUDGEMENT), row("c", loss=None), row("d", loss=None, judgement=JUDGEMENT),
        row("e", judgement=replace(JUDGEMENT, error="no number")), row("f", version="4", judgement=JUDGEMENT),
        row("g", judgement=replace(JUDGEMENT, ruler_hash="another")), replace(row("h"), signals=()),
        row("i", judgement=JUDGEMENT, origin=Origin(OriginKind.REFINED, round="r1", axis="hard")),
    ]  # fmt: skip
    table = decided_table([(each, place(n)) for n, each in enumerate(rows)]).select(columns_counted(judged=judged))
    counted = [measurer for measurer, count in runs_of(table, judged=judged) for _ in range(count)]
    assert counted == [measurer_of(each, standing) for each in rows]
    assert len(set(counted)) > 2


async def test_another_ruler_is_due():
    """Quality is held to the judgements of its own ruler: rows by another one are counted apart."""
    world = World()
    by = StandingThresholds(model="smol", model_version="3", rows=9, source="round r1", ruler_hash="ruler")
    standing = StandingPolicy(rows=2, low_quality=True, thresholds=by)
    another = replace(JUDGEMENT, ruler_hash="another")
    await world.stage(*(row(name, judgement=JUDGEMENT) for name in "abc"), row("d", judgement=another), row("e"))
    assert await world.due.rows_due(DATASET, standing) is None
    await world.stage(row("f", judgement=another))
    assert await world.due.rows_due(DATASET, standing) == 6


async def test_a_damaged_segment_is_named():
    """Nothing is said of a part of the rows."""
    world = World()
    await world.stage(row("a"), row("b"), row("c"))
    [key] = [key for key in world.objects.objects if key.startswith("staging/")]
    await world.objects.put(key, b"nothing of the kind")
    with pytest.raises(DamagedVersion, match=key):
        await world.due.rows_due(DATASET, THREE)
