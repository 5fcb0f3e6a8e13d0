"""What datasets does with decisions, embeddings and requests for versions, around a store in memory."""

import pytest

from headrace.core.dossiers import DatasetCutRequested, Decision, Dossier, Embeddings, IndexedSample, Verdict
from headrace.core.events import Emit, Reject, Retry, Stop
from headrace.core.topics import CUT_REQUESTED, DECIDED, INDEXED, RETRACTION_REQUESTED, retry_topic_name
from headrace.core.versions import CutContended
from services.datasets.handlers import (
    BY_POLICY,
    cut_versions,
    due_by_policy,
    stage_decided,
    stage_indexed,
    stage_retracted,
)
from tests.fakes.certain import certain
from tests.fakes.datasets_world import World, committed, requests
from tests.fakes.decisions import DATASET, dossier, indexed, retraction


async def test_decisions_are_staged_and_cut_on_request():
    """A request is answered with the version of everything decided before it."""
    world = World()
    assert await stage_decided(world.decided("b", "a"), world.datasets) == [Emit(), Emit()]
    [result] = await cut_versions([world.request()], world.datasets)
    [announced] = committed(result)
    assert (announced.sequence, announced.rows_accepted, announced.rows_rejected) == (1, 2, 0)
    assert announced.version == certain(await world.cutter.versions.head(DATASET)).version
    assert announced.manifest_key in world.objects.objects
    assert await world.accepted() == ["a", "b"]
    assert (world.settled, world.measured.rows, world.measured.cuts) == (1, {"accepted": 2}, [(DATASET, True)])


async def test_retractions_are_staged_and_the_next_version_knows_them():
    """What is taken back is gone from the next version; for a dataset that does not exist it is waited for."""
    world = World()
    await stage_decided(world.decided("a", "b"), world.datasets)
    await cut_versions([world.request()], world.datasets)
    events = [
        world.event(RETRACTION_REQUESTED, retraction("a")),
        world.event(RETRACTION_REQUESTED, retraction("a", dataset_id="x")),
    ]
    done, unknown = await stage_retracted(events, world.datasets)
    assert (done, type(unknown)) == (Emit(), Retry)
    await stage_retracted(events[:1], world.datasets)
    await cut_versions([world.request()], world.datasets)
    assert await world.accepted() == ["b"]


async def test_a_request_with_nothing_new_is_answered_with_the_latest():
    """Whoever waits for an answer gets one, and no version is made."""
    world = World()
    await stage_decided(world.decided("a"), world.datasets)
    first, second = await cut_versions([world.request(), world.request()], world.datasets)
    assert committed(first) == committed(second)


async def test_the_batch_of_a_redelivery_may_be_another():
    """Rows that are staged twice in batches of other sizes are in the version once."""
    world = World()
    events = world.decided(*"abcdef")
    await stage_decided(events[:4], world.datasets)
    await stage_decided(events[2:3], world.datasets)
    await stage_decided(events[1:], world.datasets)
    await cut_versions([world.request()], world.datasets)
    assert await world.accepted() == list("abcdef")


async def test_datasets_and_partitions_have_segments_of_their_own():
    """One batch with records of several datasets, partitions and a retry is staged apart."""
    world = World()
    other = world.event(DECIDED, dossier("x", dataset_id="other"))
    retried = world.decided("c", read_from=retry_topic_name(DECIDED.name, "datasets"))
    await stage_decided([*world.decided("a"), other, *world.decided("b", partition=3), *retried], world.datasets)
    keys = sorted(key.rsplit("/", 1)[0] for key in world.objects.objects)
    assert keys == [
        "staging/maths/decided/00002", "staging/maths/decided/00003", "staging/maths/retried-decided/00002",
        "staging/other/decided/00002",
    ]  # fmt: skip
    await cut_versions([world.request()], world.datasets)
    assert await world.accepted() == ["a", "b", "c"]


async def test_embeddings_are_staged():
    """Embeddings of accepted samples come to lie beside them."""
    world = World()
    await stage_decided(world.decided("a"), world.datasets)
    assert await stage_indexed([world.event(INDEXED, indexed("a"))], world.datasets) == [Emit()]
    await cut_versions([world.request()], world.datasets)
    assert (await world.cutter.versions.version(DATASET)).manifest.counts.embeddings == 1


@pytest.mark.parametrize(
    "decisions",
    [(), (Decision(Verdict.VALIDATE, "checks_requested", "p"),), (Decision(Verdict.PARKED, "signals_not_made", "p"),)],
)
async def test_what_is_not_decided_is_refused_and_harms_no_other(decisions):
    """A dossier without a final decision goes to the dead letters; its neighbours are staged."""
    world = World()
    undecided = world.event(DECIDED, Dossier(dossier("bad").sample, 1.0, decisions=decisions))
    results = await stage_decided([*world.decided("a"), undecided, *world.decided("b")], world.datasets)
    assert [type(result) for result in results] == [Emit, Reject, Emit]
    assert isinstance(results[1], Reject)
    assert results[1].error_class == "NotDecided"
    await cut_versions([world.request()], world.datasets)
    assert await world.accepted() == ["a", "b"]


@pytest.mark.parametrize(("prompt", "conversation"), [(b"", b""), (b"12345", b"12345"), (b"1234", b"12345678")])
async def test_vectors_that_are_none_are_refused(prompt, conversation):
    """Bytes that are no float32 vectors of one length go to the dead letters."""
    world = World()
    bad = IndexedSample(DATASET, "bad", 0, "h", Embeddings("m", "1", prompt, conversation))
    results = await stage_indexed([world.event(INDEXED, bad), world.event(INDEXED, indexed("a"))], world.datasets)
    assert [type(result) for result in results] == [Reject, Emit]


async def test_a_store_that_refuses_writes_stops_staging():
    """Nothing is acknowledged, so nothing is lost."""
    world = World()
    world.objects.read_only = True
    with pytest.raises(Stop):
        await stage_decided(world.decided("a"), world.datasets)


async def test_batches_keep_their_distance():
    """Two batches of one topic begin at least so far apart; another topic does not wait for them."""
    world = World()
    await stage_decided(world.decided("a"), world.datasets)
    await stage_indexed([world.event(INDEXED, indexed("a"))], world.datasets)
    world.now += 0.2
    await stage_decided(world.decided("b"), world.datasets)
    world.now += 7
    await stage_decided(world.decided("c"), world.datasets)
    assert world.slept == [pytest.approx(0.3)]


async def test_every_so_many_rows_a_version_is_cut():
    """The policy's number is reached: exactly so many rows are cut, and again as long as there are enough."""
    world = World(every_rows=3)
    asked = requests(await stage_decided(world.decided("a", "b"), world.datasets))
    assert asked == []
    asked = requests(await stage_decided(world.decided("c", "d", "e", "f", "g"), world.datasets))
    assert [request.requested_by for request in asked] == [BY_POLICY]
    [first] = await cut_versions([world.event(CUT_REQUESTED, asked[0])], world.datasets)
    assert [announced.rows_accepted for announced in committed(first)] == [3]
    [second] = await cut_versions([world.event(CUT_REQUESTED, again) for again in requests([first])], world.datasets)
    assert [announced.rows_accepted for announced in committed(second)] == [6]
    assert requests([second]) == []
    assert await cut_versions([world.event(CUT_REQUESTED, asked[0])], world.datasets) == [Emit()]
    assert world.settled == 0
    assert await world.accepted() == list("abcdef")


async def test_versions_by_rows_do_not_depend_on_batches():
    """However the records came, the versions that the policy cuts have the same ids."""
    ids = []
    for sizes in ([1] * 10, [10], [2, 7, 1]):
        world = World(every_rows=4)
        left = world.decided(*"abcdefghij")
        found = []
        for size in sizes:
            batch, left = left[:size], left[size:]
            asked = requests(await stage_decided(batch, world.datasets))
            while asked:
                results = await cut_versions([world.event(CUT_REQUESTED, request) for request in asked], world.datasets)
                found += [announced.version for result in results for announced in committed(result)]
                asked = requests(results)
        ids.append(found)
    assert len(ids[0]) == 2
    assert ids[0] == ids[1] == ids[2]


async def test_versions_by_policy_wait_while_a_round_changes_the_dataset():
    """A guard would be bypassed; once the round has ended the tick asks for what was held up. A person has a version anyway."""
    world = World(every_rows=2)
    world.rounds[DATASET] = "r1"
    [asked] = requests(await stage_decided(world.decided("a", "b"), world.datasets))
    assert await cut_versions([world.event(CUT_REQUESTED, asked)], world.datasets) == [Emit()]
    assert await due_by_policy(world.policies, world.datasets, 2_000) == []
    [by_hand] = await cut_versions([world.event(CUT_REQUESTED, DatasetCutRequested(DATASET, "x", "ada"))], world.datasets)
    assert [each.rows_accepted for each in committed(by_hand)] == [2]
    await stage_decided(world.decided("c", "d"), world.datasets)
    world.rounds.clear()
    [again] = await due_by_policy(world.policies, world.datasets, 2_000)
    assert again.requested_by == BY_POLICY
    [done] = await cut_versions([world.event(CUT_REQUESTED, again)], world.datasets)
    assert [each.rows_accepted for each in committed(done)] == [4]
    assert await due_by_policy(world.policies, world.datasets, 2_000) == []


async def test_old_rows_wait_for_a_round_too():
    """They are as old when it has ended."""
    world = World(every_s=60)
    world.rounds[DATASET] = "r1"
    await stage_decided(world.decided("a"), world.datasets)
    assert await due_by_policy(world.policies, world.datasets, 5_000) == []
    world.rounds.clear()
    assert len(await due_by_policy(world.policies, world.datasets, 5_000)) == 1


async def test_a_version_is_cut_when_its_oldest_row_is_old():
    """The tick asks once the oldest staged row is old enough, and a late request finds nothing to do."""
    world = World(every_s=60)
    assert await due_by_policy(world.policies, world.datasets, 5_000) == []
    await stage_decided(world.decided("a"), world.datasets)  # the fake store's clock says 1,000
    assert await due_by_policy(world.policies, world.datasets, 1_059) == []
    [request] = await due_by_policy(world.policies, world.datasets, 1_060)
    assert request.requested_by == BY_POLICY
    [result] = await cut_versions([world.event(CUT_REQUESTED, request, time=1_060.0)], world.datasets)
    assert [announced.rows_accepted for announced in committed(result)] == [1]
    assert await due_by_policy(world.policies, world.datasets, 9_000) == []
    assert await cut_versions([world.event(CUT_REQUESTED, request, time=9_000.0)], world.datasets) == [Emit()]


async def test_a_policy_request_whose_answer_was_lost_is_answered_again():
    """Killed between the move of the reference and the commit, the version is announced by the redelivery."""
    world = World(every_rows=2)
    [request] = requests(await stage_decided(world.decided("a", "b"), world.datasets))
    event = world.event(CUT_REQUESTED, request)
    [lost] = await cut_versions([event], world.datasets)
    assert await cut_versions([event], world.datasets) == [lost]


async def test_a_damaged_parent_is_named_and_staging_goes_on():
    """The request goes to the dead letters with the object's name."""
    world = World(every_rows=2)
    await stage_decided(world.decided("a"), world.datasets)
    await cut_versions([world.request()], world.datasets)
    [manifest_key] = [key for key in world.objects.objects if key.startswith("manifests/")]
    del world.objects.objects[manifest_key]
    world.cutter.versions._manifests.clear()
    assert await stage_decided(world.decided("b", "c"), world.datasets) == [Emit(), Emit()]
    [result] = await cut_versions([world.request()], world.datasets)
    assert isinstance(result, Reject)
    assert manifest_key in result.error


async def test_a_contended_cut_is_tried_again(monkeypatch):
    """Losing the race too often is nobody's fault: the request is retried."""
    world = World()

    async def contended(*_args, **_more):
        raise CutContended("others were faster")

    monkeypatch.setattr(world.cutter, "cut", contended)
    [result] = await cut_versions([world.request()], world.datasets)
    assert result == Retry("CutContended", "others were faster")


async def test_without_a_policy_nothing_is_cut_by_itself():
    """Staging does not ask what the policy says when there is none."""
    world = World(every_rows=1)
    world.policies.clear()
    assert requests(await stage_decided(world.decided("a"), world.datasets)) == []


async def test_a_dataset_that_is_not_there_gets_no_version():
    """A mistyped name makes no dataset; a policy that is on its way is waited for."""
    world = World()
    world.policies.clear()
    [result] = await cut_versions([world.request()], world.datasets)
    assert isinstance(result, Retry)
    assert world.objects.objects == {}
