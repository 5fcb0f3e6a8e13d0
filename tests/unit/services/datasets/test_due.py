"""Versions that are due by a policy are asked for until they are there, whatever was lost on the way."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from headrace.core.events import Emit, Stop
from headrace.core.topics import CUT_REQUESTED, DECIDED
from services.datasets.app import _tick
from services.datasets.handlers import cut_versions, due_by_policy, stage_decided
from services.datasets.settings import DatasetsSettings
from tests.fakes.certain import certain
from tests.fakes.datasets_world import World, committed, requests
from tests.fakes.decisions import DATASET, dossier
from tests.fakes.gateway import eventually


async def test_a_request_that_a_kill_lost_is_made_up_for():
    """The batch that crossed the number comes again in smaller ones, none of which does: the version is due all the same."""
    world = World(every_rows=10)
    assert requests(await stage_decided(world.decided(*"abcdefgh"), world.datasets)) == []
    again = world.decided(*"ijklmnopqr")
    assert len(requests(await stage_decided(again, world.datasets))) == 1  # killed: neither the request nor the offsets stay
    for at in range(0, 10, 5):
        assert requests(await stage_decided(again[at : at + 5], world.datasets)) == []
    [asked] = await due_by_policy(world.policies, world.datasets, 2_000)
    [result] = await cut_versions([world.event(CUT_REQUESTED, asked)], world.datasets)
    assert [each.rows_accepted for each in committed(result)] == [10]
    assert await due_by_policy(world.policies, world.datasets, 2_000) == []


async def test_the_same_due_version_is_asked_for_by_the_same_name_and_cut_once():
    """Whoever asks, and however often: each version has a name of its own, and the requests beside the first lead to none."""
    world = World(every_rows=2)
    [at_once] = requests(await stage_decided(world.decided(*"abc"), world.datasets))
    [first] = await due_by_policy(world.policies, world.datasets, 2_000)
    await stage_decided(world.decided("d"), world.datasets)
    assert await due_by_policy(world.policies, world.datasets, 2_001) == [first]
    event = world.event(CUT_REQUESTED, first)
    [result] = await cut_versions([event], world.datasets)
    assert await cut_versions([event], world.datasets) == [result]
    assert certain(await world.cutter.versions.latest(DATASET)).manifest.sequence == 1
    [second] = await due_by_policy(world.policies, world.datasets, 2_002)
    assert second.request_id != first.request_id
    await cut_versions([world.event(CUT_REQUESTED, second)], world.datasets)
    assert await cut_versions([world.event(CUT_REQUESTED, at_once)], world.datasets) == [Emit()]
    assert certain(await world.cutter.versions.latest(DATASET)).manifest.sequence == 2


async def test_what_a_round_held_up_outlives_the_process():
    """Who answers a request during a round may be gone at its end: any other asks for the version then."""
    world = World(every_rows=2)
    world.rounds[DATASET] = "r1"
    [asked] = requests(await stage_decided(world.decided("a", "b"), world.datasets))
    assert await cut_versions([world.event(CUT_REQUESTED, asked)], world.datasets) == [Emit()]
    successor = World(every_rows=2)
    successor.datasets.staging, successor.datasets.cutter = world.cutter.staging, world.cutter
    assert len(await due_by_policy(successor.policies, successor.datasets, 2_000)) == 1


async def test_a_damaged_dataset_holds_up_no_other(caplog):
    """The log names the object, and the versions of other datasets are asked for."""
    world = World(every_rows=1)
    await stage_decided(world.decided("a"), world.datasets)
    await cut_versions([world.request()], world.datasets)
    [manifest_key] = [key for key in world.objects.objects if key.startswith("manifests/")]
    del world.objects.objects[manifest_key]
    world.cutter.versions._manifests.clear()
    world.policies["other"] = world.policies[DATASET]
    await stage_decided([world.event(DECIDED, dossier("x", dataset_id="other"))], world.datasets)
    assert [asked.dataset_id for asked in await due_by_policy(world.policies, world.datasets, 2_000)] == ["other"]
    assert manifest_key in caplog.text


class _Publisher:
    """Keeps what is published; the first time it fails."""

    def __init__(self):
        self.ids, self.failing = [], True

    async def publish(self, send, *, event_id):
        assert send.topic is CUT_REQUESTED
        if self.failing:
            self.failing = False
            raise Stop("the broker is gone")
        self.ids.append(event_id)


@pytest.mark.parametrize(("again_s", "repeated"), [(60.0, False), (0.001, True)])
async def test_the_tick_asks_until_it_is_heard_and_then_seldom(again_s, repeated):
    """A request that could not be published is published by the next tick; one that was is repeated after a while only."""
    world, ticks = World(every_rows=1), []
    publisher: Any = _Publisher()

    async def round_of(dataset_id):
        ticks.append(dataset_id)
        return ""

    world.datasets.round_of = round_of
    await stage_decided(world.decided("a"), world.datasets)
    settings = DatasetsSettings(tick_s=0.01, ask_again_s=again_s)
    policies: Any = SimpleNamespace(policies=world.policies)
    ticking = asyncio.create_task(_tick(policies, world.datasets, publisher, settings))
    await eventually(lambda: len(ticks) > 4)
    ticking.cancel()
    assert len(set(publisher.ids)) == 1
    assert (len(publisher.ids) > 1) is repeated
