"""Where a round without a version has its rewrites: staged, in versions cut since, replaced there, and each once."""

from dataclasses import replace

import pytest

from headrace.adapters.rounds.report.limits import ReportLimits
from headrace.adapters.rounds.report.rewrite_sources import STAGED, loose_rewrites
from headrace.adapters.rounds.report.storing import store_report
from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.gaps import note_pruned
from headrace.adapters.versions.store import VersionStore
from headrace.core.dossiers import Decision, Dossier, Verdict
from headrace.core.reasons import Reason
from headrace.core.rounds.counts import RewriteCounts
from headrace.core.rounds.facts import RoundCommitted
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.state import Phase, RoundState
from headrace.core.staged import Place
from headrace.core.versions import DamagedVersion
from tests.fakes.certain import certain
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.round_reports import BEGAN, DATASET, a_rewrite, a_sample, a_state, rewrite_counts

STREAM = "decided/00000"
REWRITES = [a_rewrite(number, 40) for number in range(18)]
"""Two thirds accepted."""


class World:
    """A dataset whose first version a round surveyed, and what was decided since."""

    def __init__(self) -> None:
        self.objects = FakeObjectStore()
        self.cutter = VersionCutter(self.objects, CutSettings(embeddings_wait_s=0))
        self.offset = 0
        self.state = a_state(40)

    @classmethod
    async def made(cls) -> "World":
        world = cls()
        await world.decide([decided(a_sample("s", 0, "a?", "b"))])
        surveyed = await world.cut()
        begun = world.state.begun
        survey = replace(begun.survey, version=surveyed.version)
        begun = replace(begun, survey=survey, version_sequence=surveyed.version_sequence)
        world.state = replace(
            world.state, begun=begun, phase=Phase.STOPPED, reason="nothing_accepted", rewrites=rewrite_counts(REWRITES)
        )
        return world

    async def decide(self, dossiers: list[Dossier]) -> None:
        rows = [(dossier, Place(STREAM, self.offset + place, BEGAN + place)) for place, dossier in enumerate(dossiers)]
        await self.cutter.staging.stage_decided(DATASET, STREAM, rows)
        self.offset += len(rows)

    async def cut(self) -> RoundCommitted:
        version = certain(await self.cutter.cut(DATASET, f"at-{self.offset}")).version
        return RoundCommitted(version.id, version.manifest.sequence, version.manifest.counts.accepted)

    async def found(self, **limits):
        return await loose_rewrites(VersionStore(self.objects), self.state, ReportLimits(**limits))

    async def page(self, state: RoundState | None = None) -> str:
        key = await store_report(self.objects, state or self.state)
        return self.objects.objects[key].decode()


def decided(sample, reason: Reason = Reason.ACCEPTED) -> Dossier:
    """Somebody's submission."""
    verdict = Verdict.ACCEPTED if reason == Reason.ACCEPTED else Verdict.REJECTED
    return Dossier(sample, submitted_at=BEGAN, decisions=(Decision(verdict, reason, "p" * 12),))


def replaced(dossiers: list[Dossier]) -> list[Dossier]:
    """Later revisions of the same samples, by others."""
    accepted = [each.sample for each in dossiers if each.decisions[-1].verdict is Verdict.ACCEPTED]
    return [decided(replace(sample, revision=sample.revision + 500, content_hash="e" * 64)) for sample in accepted]


def names(found) -> list[tuple[str, int]]:
    return sorted((each.sample_id, each.revision) for each in found.seen)


ALL = sorted((each.sample.id, each.sample.revision) for each in REWRITES)


async def test_what_is_staged_is_told():
    """A round that stopped before it had a version: numbers, gains, texts and costs of all its attempts, and where they lay."""
    world = await World.made()
    await world.decide(REWRITES)
    found = await world.found()
    assert names(found) == ALL
    assert (found.attempts, found.last, found.read_from, found.unread) == (18, 18, {STAGED: 18}, 0)
    assert found.costs["scoring"].entries == 18
    page = await world.page()
    assert f"18 attempts decided, read from {STAGED} (18)." in page
    assert "Some rewrites in full" in page
    assert page.count("<article") == 3 * (3 + 2)
    assert "that were decided" not in page
    assert await world.page() == page


async def test_versions_cut_meanwhile_are_read_and_each_attempt_counts_once():
    """A part in each of two versions, a part staged, some met again: in merged shards, and decided a second time."""
    world = await World.made()
    for part in (REWRITES[:6], REWRITES[6:12]):
        await world.decide(part)
        await world.cut()
    again = [replace(decided(each.sample, Reason.ALREADY_ADMITTED), rewrite=each.rewrite) for each in REWRITES[:3]]
    await world.decide([*REWRITES[12:], *again, *REWRITES[4:9]])
    found = await world.found()
    assert names(found) == ALL
    assert found.read_from == {"version 2": 6, "version 3": 6, STAGED: 6}
    assert sum(each.accepted for each in found.seen) == 12


async def test_attempts_that_others_followed_end_no_rewrite():
    """Of two attempts one ends the rewrite's way; a repetition of what was admitted before is no attempt at all."""
    world = await World.made()
    last, admitted = REWRITES[6], REWRITES[0]
    first = replace(last, sample=replace(last.sample, revision=1), rewrite=replace(certain(last.rewrite), attempt=1))
    repeated = replace(decided(admitted.sample, Reason.ALREADY_ADMITTED), rewrite=admitted.rewrite)
    await world.decide([first, last, repeated])
    found = await world.found()
    assert names(found) == [(last.sample.id, 1), (last.sample.id, last.sample.revision)]
    assert found.last == 1


async def test_what_was_replaced_since_is_in_the_versions_between():
    """A rewrite that others replaced, as an undone round's are, is in the latest version no more."""
    world = await World.made()
    await world.decide(REWRITES)
    await world.cut()
    await world.decide(replaced(REWRITES))
    await world.cut()
    assert names(await world.found()) == ALL
    latest_alone = await world.found(versions_max=0)
    assert (len(latest_alone.seen), latest_alone.unread) == (6, 1)


async def test_what_is_not_there_is_said():
    """Decisions that are not staged yet, or were replaced before a version had them: how many of how many were found."""
    world = await World.made()
    page = await world.page()
    assert "18 rewrites were decided; the others are not staged yet" in page
    await world.decide([*REWRITES[:10]])
    await world.decide(replaced(REWRITES[:3]))
    await world.cut()
    await note_pruned(world.objects, DATASET, 2)
    page = await world.page()
    assert "They end 7 of the 18 rewrites that were decided" in page


async def test_pruned_versions_are_named_as_not_looked_through():
    """The surveyed one and one behind it are gone: what later ones have is told, and how many were not read."""
    world = await World.made()
    await world.decide(REWRITES[:9])
    await world.cut()
    await world.decide(REWRITES[9:])
    await world.cut()
    await note_pruned(world.objects, DATASET, 3)
    for key in [each for each in world.objects.objects if each.startswith("manifests/") and "/00000003-" not in each]:
        del world.objects.objects[key]
    found = await world.found()
    assert (len(found.seen), found.unread) == (18, 1)
    assert "Not looked through: 1 version cut since the survey" in await world.page()


async def test_only_what_the_round_may_have_added_is_read(monkeypatch):
    """Shards of the version surveyed, and those that a version took over from the one before it, are not opened."""
    world = await World.made()
    await world.decide(REWRITES)
    await world.cut()
    await world.decide([decided(a_sample("t", 0, "c?", "d"))])
    await world.cut()
    opened, open_object = [], world.objects.open

    def opening(key):
        opened.append(key)
        return open_object(key)

    monkeypatch.setattr(world.objects, "open", opening)
    await world.found()
    assert len(opened) == len(set(opened)) == 3


async def test_a_round_that_commits_after_all_reads_its_version():
    """The report of a frozen round is from the staging area; once it has a version, from there."""
    world = await World.made()
    await world.decide(REWRITES)
    frozen = await world.page(replace(world.state, phase=Phase.FROZEN))
    kept = await world.page(replace(world.state, phase=Phase.KEPT, committed=await world.cut()))
    assert f"read from {STAGED} (18)" in frozen
    assert "read from version 2 (18)" in kept


async def test_attempts_without_end_take_bounded_memory():
    """Beyond the limits attempts are counted, no longer kept, nor told apart."""
    world = await World.made()
    await world.decide([*REWRITES, *REWRITES])
    found = await world.found(rewrites_max=5, shown_max=1, told_apart_max=18)
    assert (found.attempts, len(found.seen), len(found.shown)) == (18, 5, 6)
    assert (await world.found(told_apart_max=0)).attempts == 36


async def test_no_decision_at_all_is_said():
    """Rewrites that never came so far, as with a model that cannot write any, have none to be found."""
    world = await World.made()
    world.state = replace(world.state, rewrites=RewriteCounts(requested=7, all_requested=True, not_made={Axis.HARD: 7}))
    assert "none was decided" in await world.page()


async def test_damage_is_named():
    """A segment that is cut off, or a shard that is gone, is an error that names it."""
    world = await World.made()
    await world.decide(REWRITES)
    [key] = [each for each in world.objects.objects if each.startswith("staging/") and "-00000000000000000001-" in each]
    whole = world.objects.objects[key]
    world.objects.objects[key] = whole[:-20]
    with pytest.raises(DamagedVersion, match="staging/"):
        await world.found()
    world.objects.objects[key] = whole
    before = set(world.objects.objects)
    await world.cut()
    for name in set(world.objects.objects) - before:
        if name.startswith("shards/"):
            del world.objects.objects[name]
    with pytest.raises(DamagedVersion, match="shards/"):
        await world.found()
