"""Versions that a calibration of standing thresholds needs: cut by themselves, once for each version of a model."""

from dataclasses import replace

from headrace.core.dossiers import DatasetCutRequested
from headrace.core.events import Emit
from headrace.core.policies import Policy
from headrace.core.rounds.standing import StandingPolicy, StandingThresholds
from headrace.core.topics import CUT_REQUESTED, DECIDED
from services.datasets.handlers import BY_POLICY, cut_versions, due_by_policy, stage_decided
from tests.fakes.datasets_world import World, committed, requests
from tests.fakes.decisions import DATASET, dossier

FOUR = StandingPolicy(rows=4)


def rows(world, names, *, version="3", loss=1.5):
    found = [dossier(name) for name in names]
    measured = [replace(each.signals[0], model_version=version, loss_mean=loss) for each in found]
    return [world.event(DECIDED, replace(each, signals=(signals,))) for each, signals in zip(found, measured, strict=True)]


async def versions_of(world, batch):
    """The sizes of the versions that these rows lead to, in all."""
    found, asked = [], requests(await stage_decided(batch, world.datasets))
    while asked:
        results = await cut_versions([world.event(CUT_REQUESTED, request) for request in asked], world.datasets)
        found += [each for result in results for each in committed(result)]
        asked = requests(results)
    return [each.rows_accepted for each in found]


def calibrate(world, version):
    """The controller's part."""
    found = StandingThresholds(model="smol", model_version=version, rows=4, source="calibration", loss_max=9.0)
    world.policies[DATASET] = world.policies[DATASET].with_thresholds(found)


async def test_a_fresh_dataset_gets_the_version_that_calibrates_it():
    """As soon as there are rows enough, without any rule on versions; once there are thresholds never again."""
    world = World(FOUR)
    assert await versions_of(world, rows(world, "abc")) == []
    [asked] = requests(await stage_decided(rows(world, "defg"), world.datasets))
    assert (asked.requested_by, asked.request_id) == (BY_POLICY, "decided/00002/6")
    [result] = await cut_versions([world.event(CUT_REQUESTED, asked)], world.datasets)
    assert [each.rows_accepted for each in committed(result)] == [4]
    assert await world.accepted() == list("abcd")
    calibrate(world, "3")
    assert await versions_of(world, rows(world, "hijklmnopq")) == []


async def test_the_version_does_not_depend_on_batches():
    """However the records came, it is the same one."""
    ids = set()
    for sizes in ([1] * 6, [6], [3, 2, 1]):
        world = World(FOUR)
        left = rows(world, "abcdef")
        for size in sizes:
            batch, left = left[:size], left[size:]
            asked = requests(await stage_decided(batch, world.datasets))
            results = await cut_versions([world.event(CUT_REQUESTED, request) for request in asked], world.datasets)
            ids |= {each.version for result in results for each in committed(result)}
    assert len(ids) == 1


async def test_another_version_of_the_model_is_calibrated_too():
    """After a roll-out: rows of the version before do not count, those that a version took in already do."""
    world = World(FOUR)
    assert await versions_of(world, rows(world, "abcd")) == [4]
    calibrate(world, "3")
    assert await versions_of(world, rows(world, "efgh", version="4")[:1] + rows(world, "ijklm")) == []
    await cut_versions([world.request()], world.datasets)
    assert await versions_of(world, rows(world, "no", version="4")) == []
    assert await versions_of(world, rows(world, "pqr", version="4")) == [13]
    calibrate(world, "4")
    assert await versions_of(world, rows(world, "stuvwxyz", version="4")) == []


async def test_where_none_comes_about_versions_do_not_follow_each_other():
    """One for as many rows as are asked for, with all that came meanwhile; a request that comes late finds nothing to do."""
    world = World(FOUR)
    assert await versions_of(world, rows(world, "abcd")) == [4]
    assert await versions_of(world, rows(world, "efg")) == []
    assert await versions_of(world, rows(world, "hij")) == [10]
    assert await versions_of(world, rows(world, "klm")) == []
    late = world.event(CUT_REQUESTED, DatasetCutRequested(DATASET, "late", BY_POLICY))
    assert await cut_versions([late], world.datasets) == [Emit()]
    without_numbers = rows(world, "nopqrstuv", loss=None)
    assert await versions_of(world, without_numbers) == []


async def test_what_was_in_stock_makes_one_version():
    """A policy may ask for thresholds late: the first rows calibrate, the others wait for a rule or a person."""
    world = World()
    assert await versions_of(world, rows(world, "abcdefghijklmnop")) == []
    world.policies[DATASET] = Policy(standing=FOUR)
    [asked] = requests(await stage_decided(rows(world, "q"), world.datasets))
    [result] = await cut_versions([world.event(CUT_REQUESTED, asked)], world.datasets)
    assert [each.rows_accepted for each in committed(result)] == [4]
    calibrate(world, "3")
    assert await versions_of(world, rows(world, "r")) == []


async def test_it_keeps_step_with_versions_of_so_many_rows():
    """Both rules count rows: the next version is the one that is complete first, whatever batches they come in."""
    for sizes in ([1] * 10, [10], [7, 3]):
        world = World(StandingPolicy(rows=6), every_rows=4)
        left, found = rows(world, "abcdefghij"), []
        for size in sizes:
            batch, left = left[:size], left[size:]
            found += await versions_of(world, batch)
        assert found == [4, 6, 10]


async def test_an_answer_that_was_lost_is_given_again():
    """Killed between the move of the reference and the commit: the rule holds no more, and yet the version is announced."""
    for world, at in ((World(FOUR), 1_000.0), (World(every_s=60), 9_000.0)):
        asked = requests(await stage_decided(rows(world, "abcd"), world.datasets))
        asked = asked or await due_by_policy(world.policies, world.datasets, at)
        event = world.event(CUT_REQUESTED, asked[0], time=at)
        [lost] = await cut_versions([event], world.datasets)
        assert len(committed(lost)) == 1
        assert await cut_versions([event], world.datasets) == [lost]


async def test_rows_that_come_again_ask_again():
    """Killed before the request was there: the same rows ask for the same version."""
    world = World(FOUR)
    batch = rows(world, "abcd")
    first = requests(await stage_decided(batch, world.datasets))
    assert requests(await stage_decided(batch, world.datasets)) == first
    assert len(first) == 1


async def test_it_waits_while_a_round_changes_the_dataset():
    """As every version by policy does; the tick asks for it when the round has ended."""
    world = World(FOUR)
    world.rounds[DATASET] = "r1"
    assert await versions_of(world, rows(world, "abcd")) == []
    assert await due_by_policy(world.policies, world.datasets, 2_000) == []
    world.rounds.clear()
    [again] = await due_by_policy(world.policies, world.datasets, 2_000)
    [done] = await cut_versions([world.event(CUT_REQUESTED, again)], world.datasets)
    assert [each.rows_accepted for each in committed(done)] == [4]


async def test_a_damaged_segment_holds_up_no_rows(caplog):
    """Staging goes on; the log names the object."""
    world = World(FOUR)
    await stage_decided(rows(world, "abc"), world.datasets)
    [key] = [key for key in world.objects.objects if key.startswith("staging/")]
    await world.objects.put(key, b"nothing of the kind")
    assert await stage_decided(rows(world, "def"), world.datasets) == [Emit()] * 3
    assert key in caplog.text
