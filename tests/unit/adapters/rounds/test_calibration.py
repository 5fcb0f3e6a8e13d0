"""Calibration over versions: which rows count, when there are too few, and that the same rows give the same thresholds."""

import random
from dataclasses import replace

import numpy as np
import pytest

from headrace.adapters.rounds.calibration import Calibrations, CalibrationTooLong
from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.shards import ShardLimits
from headrace.adapters.versions.store import VersionStore
from headrace.core.dossiers import JUDGED, DatasetCommitted, Judgement
from headrace.core.policies import Policy
from headrace.core.reasons import Reason
from headrace.core.rounds.standing import StandingThresholds
from headrace.core.samples import Origin, OriginKind
from headrace.core.staged import Place
from headrace.core.versions import DamagedVersion
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET, DECIDED, dossier
from tests.fakes.object_store import FakeObjectStore

SMALL = CutSettings(shards=ShardLimits(shard_rows_max=8, group_rows_max=4), embeddings_wait_s=0)


def row(sample_id, loss, *, version="3", quality=None, reason=Reason.ACCEPTED, model="smol", ruler="ruler", **of_sample):
    found = dossier(sample_id, reason=reason)
    judgement = None if quality is None else Judgement("logits", ruler, **dict.fromkeys(JUDGED, quality))
    signals = replace(found.signals[0], loss_mean=loss, model=model, model_version=version, judgement=judgement)
    return replace(found, sample=replace(found.sample, **of_sample), signals=(signals,))


def policy(rows, thresholds=None, **standing):
    return Policy.model_validate({"standing": {"rows": rows, **standing, "thresholds": thresholds}})


class World:
    """A store, and versions of decisions in it; `at` are the times of decisions, one second apart unless given."""

    def __init__(self) -> None:
        self.objects = FakeObjectStore()
        self.cutter = VersionCutter(self.objects, SMALL)
        self.announced: dict[str, str] = {}
        self._offset = 0

    async def cut(self, *rows, at=None) -> DatasetCommitted:
        times = at or [1_000.0 + self._offset + n for n in range(len(rows))]
        placed = [(each, Place(DECIDED, self._offset + n, time)) for n, (each, time) in enumerate(zip(rows, times, strict=True))]
        self._offset += len(rows)
        await self.cutter.staging.stage_decided(DATASET, DECIDED, placed)
        version = certain(await self.cutter.cut(DATASET, f"r{self._offset}")).version
        counts = version.manifest.counts
        return DatasetCommitted(DATASET, version.id, version.manifest.sequence, "", counts.accepted, counts.rejected, 1_000.0)

    async def calibrate(self, committed, under):
        return await Calibrations(VersionStore(self.objects)).calibrate(committed, under, self.announced.get)


@pytest.fixture
def world():
    return World()


async def test_the_first_rows_count_accepted_and_rejected(world):
    """By the time of the decision, whatever shard they lie in; later rows change nothing."""
    losses = [1.0, 2.0, 3.0, 6.0]
    rows = [row(f"s{9 - n}", loss, reason=(Reason.ACCEPTED, Reason.TOO_DENSE)[n % 2]) for n, loss in enumerate(losses)]
    committed = await world.cut(*rows, *(row(f"late{n}", 100.0) for n in range(30)))
    found = certain(await world.calibrate(committed, policy(4)))
    assert (found.model, found.model_version, found.rows, found.source) == ("smol", "3", 4, "calibration")
    assert (found.loss_mean, found.loss_m, found.quality_min) == (3.0, 1.0, None)
    assert found.loss_max == pytest.approx(3.0 + np.std(losses))


async def test_too_few_rows_calibrate_nothing(world):
    """Until a version has as many; no shard is opened for it."""
    committed = await world.cut(row("a", 1.0), row("b", 2.0))
    opened: list[str] = []
    world.objects.open = opened.append
    assert await world.calibrate(committed, policy(3)) is None
    assert not opened
    del world.objects.open
    assert await world.calibrate(await world.cut(row("c", 3.0)), policy(3)) is not None


async def test_versions_are_never_mixed(world):
    """The announced version counts, with its own rows; before any announcement that of the row decided last."""
    old, new = [row(f"a{n}", 1.0) for n in range(5)], [row(f"b{n}", 5.0, version="4") for n in range(3)]
    committed = await world.cut(*old, *new)
    assert certain(await world.calibrate(committed, policy(3))).model_version == "4"
    world.announced["smol"] = "4"
    found = certain(await world.calibrate(committed, policy(3)))
    assert (found.model_version, found.loss_mean, found.loss_std) == ("4", 5.0, 0.0)
    assert await world.calibrate(committed, policy(4)) is None
    world.announced["smol"] = "3"
    assert certain(await world.calibrate(committed, policy(4))).loss_mean == 1.0
    world.announced["smol"] = "5"
    assert await world.calibrate(committed, policy(1)) is None


async def test_the_model_is_that_of_the_row_decided_last(world):
    """Another model of long ago is not calibrated, however many rows it measured."""
    committed = await world.cut(*(row(f"a{n}", 1.0, model="old") for n in range(5)), row("b", 5.0))
    assert await world.calibrate(committed, policy(2)) is None
    assert certain(await world.calibrate(committed, policy(1))).model == "smol"


async def test_what_stands_is_not_calibrated_again(world):
    """Thresholds of this version are kept; those of another one are replaced."""
    committed = await world.cut(*(row(f"a{n}", float(n)) for n in range(4)))
    for version, is_new in (("3", False), ("2", True)):
        standing = StandingThresholds(model="smol", model_version=version, rows=9, source="round r1").model_dump()
        assert (await world.calibrate(committed, policy(2, standing)) is not None) is is_new


async def test_quality_counts_where_it_is_wanted(world):
    """Then rows that were not judged, or could not be, do not count at all."""
    unjudged = [row(f"a{n}", 100.0) for n in range(3)]
    judged = [row(f"b{n}", 2.0, quality=quality) for n, quality in enumerate((4.0, 6.0, 8.0))]
    failed = replace(judged[0].signals[0], judgement=Judgement("logits", "ruler", error="no number"))
    not_made = replace(row("c", 100.0), signals=(failed,))
    committed = await world.cut(*unjudged, not_made, *judged)
    found = certain(await world.calibrate(committed, policy(3, low_quality=True)))
    assert (found.loss_max, found.quality_mean, found.quality_min) == (2.0, 6.0, 4.0)
    assert await world.calibrate(committed, policy(4, low_quality=True)) is None
    by_quality_alone = certain(await world.calibrate(committed, policy(3, low_quality=True, hard=False)))
    assert (by_quality_alone.loss_max, by_quality_alone.quality_min) == (None, 4.0)


async def test_rulers_are_never_mixed(world):
    """Rows count that the ruler in force judged; a new one is calibrated once it has judged as many, and not before."""
    committed = await world.cut(*(row(f"a{n}", 1.0, quality=8.0) for n in range(4)))
    wanted = policy(3, low_quality=True)
    first = certain(await world.calibrate(committed, wanted))
    assert (first.ruler_hash, first.quality_mean) == ("ruler", 8.0)
    standing = policy(3, first.model_dump(), low_quality=True)
    assert await world.calibrate(committed, standing) is None
    committed = await world.cut(*(row(f"b{n}", 1.0, quality=2.0, ruler="another") for n in range(2)))
    assert await world.calibrate(committed, standing) is None
    committed = await world.cut(row("b2", 1.0, quality=2.0, ruler="another"))
    again = certain(await world.calibrate(committed, standing))
    assert (again.ruler_hash, again.quality_mean) == ("another", 2.0)
    assert await world.calibrate(committed, policy(3, again.model_dump(), low_quality=True)) is None


async def test_rewrites_do_not_count(world):
    """They were chosen by a round, and are held to their parents."""
    origin = Origin(OriginKind.REFINED, round="r1", axis="hard")
    committed = await world.cut(row("a", 1.0), row("b", 9.0, origin=origin), row("c", 3.0))
    assert certain(await world.calibrate(committed, policy(2))).loss_mean == 2.0
    assert await world.calibrate(committed, policy(3)) is None


async def test_the_same_rows_give_the_same_thresholds(world):
    """Cut at once or piecemeal, in any order, with many decided at one moment: names tell which were first."""
    rows = [row(f"s{n:02}", n % 7 + n / 16, quality=n % 10) for n in range(40)]
    times = [1_000.0 + n // 10 for n in range(40)]
    expected = certain(await world.calibrate(await world.cut(*rows, at=times), policy(25, low_quality=True)))
    pairs = list(zip(rows, times, strict=True))
    random.Random(7).shuffle(pairs)
    other = World()
    for start in range(0, 40, 9):
        part = pairs[start : start + 9]
        committed = await other.cut(*(each for each, _ in part), at=[time for _, time in part])
    assert await other.calibrate(committed, policy(25, low_quality=True)) == expected
    assert expected.loss_mean == pytest.approx(np.mean([n % 7 + n / 16 for n in range(25)]))


async def test_reading_ends_after_a_time(world):
    """The handler has a time of its own; the setting is named."""
    committed = await world.cut(*(row(f"a{n}", float(n)) for n in range(4)))
    with pytest.raises(CalibrationTooLong, match="HEADRACE_CONTROLLER_CALIBRATION_S_MAX"):
        await Calibrations(VersionStore(world.objects), -1.0).calibrate(committed, policy(2), world.announced.get)


async def test_a_missing_shard_is_named(world):
    """Nothing is computed from a part of the rows."""
    committed = await world.cut(*(row(f"a{n}", float(n)) for n in range(4)))
    lost = next(key for key in world.objects.objects if key.startswith("shards/"))
    del world.objects.objects[lost]
    with pytest.raises(DamagedVersion, match=lost):
        await world.calibrate(committed, policy(2))
