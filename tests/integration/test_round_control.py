"""Rounds under a real controller on a real broker and store, killed in every phase; a script answers its steps."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from headrace.adapters.kafka.admin import KafkaAdmin
from headrace.adapters.kafka.streams import EventPublisher, RecordReader, decoded, read_topic
from headrace.adapters.object_store import ObjectStoreSettings, open_object_store
from headrace.adapters.rounds.measured_rows import MeasuredRows
from headrace.adapters.wire.envelope import Record, record_of
from headrace.cli.main import app
from headrace.core.dossiers import DatasetCommitted, DatasetCutRequested, PolicyPublished
from headrace.core.events import Send
from headrace.core.fine_tuning import is_held_out
from headrace.core.policies import Policy
from headrace.core.ports.object_store import ObjectStore
from headrace.core.rounds.facts import (
    Action,
    Cut,
    Ending,
    Fact,
    RestorationEnded,
    RewriteEnded,
    RewritesRequested,
    RoundAsked,
    RoundProgressed,
    RoundStarted,
    RowsMeasured,
    RowsReverted,
    RowsSent,
)
from headrace.core.rounds.moves import cut_asked_for
from headrace.core.rounds.policy import AxisBounds, Deadlines, RoundPolicy
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.state import Phase, RoundState
from headrace.core.rounds.stored import selection_key, thresholds_key
from headrace.core.rounds.surveys import (
    MeasuredSample,
    Purpose,
    RefiningRequested,
    RevertRequested,
    RoundStepRequested,
    Survey,
    SurveyedSample,
    SurveyRequested,
)
from headrace.core.samples import Message, prompt_hash_of
from headrace.core.topics import (
    CHECKPOINT_PUBLISHED,
    CHECKPOINT_REFUSED,
    CHECKPOINT_ROLLED_OUT,
    COMMITTED,
    CUT_REQUESTED,
    POLICY_PUBLISHED,
    ROLLBACK_REQUESTED,
    ROUND_PROGRESSED,
    ROUND_STATE,
    ROUND_STEP_REQUESTED,
    SURVEYED,
    Topic,
    dlq_topic_name,
)
from tests.fakes.bodies import BODIES
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET, dossier
from tests.fakes.surveys import accepted, cut_version, measured, placed
from tests.fakes.triton_server import StubTriton

pytestmark = [pytest.mark.connected, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
ROWS = 60
WORSE = "worse"
VERSION, NEXT_VERSION = "9f" * 32, "8e" * 32
RULES = RoundPolicy(sparse=AxisBounds(enabled=False), deadlines=Deadlines(training_s=120.0))
PHASES = ("surveying", "thresholds", "refining", "validating", "committing", "training", "evaluating")
CHECKPOINT = replace(
    BODIES["CheckpointPublished"],
    data=replace(
        BODIES["CheckpointPublished"].data,
        dataset_id=DATASET,
        version=NEXT_VERSION,
        held_out_share=0.3,
        held_out_seed="s",
        version_parts=(),
    ),
)


def survey_of(round_id: str) -> Survey:
    return Survey(DATASET, round_id, Purpose.ROUND, VERSION, "signals", "1", held_out_share=0.3, held_out_seed="s")


def rows_of(survey: Survey) -> list[MeasuredSample]:
    """All rows, or those held out of training: their loss falls a little with the new version, and rises in round `WORSE`."""
    is_round = survey.purpose is Purpose.ROUND
    change = 0.0 if is_round else 0.1 if survey.round_id == WORSE else -0.1
    found = []
    for number in range(ROWS):
        sample = dossier(f"s{number:02}").sample
        sample = replace(sample, messages=(Message("user", f"What is {number}?"), *sample.messages[1:]))
        if is_round or is_held_out(prompt_hash_of(sample), survey.held_out_share, survey.held_out_seed):
            found.append(measured(sample, survey, loss=1.0 + number % 7 * 0.3 + change))
    return found


class World:
    """Broker, bucket, the controller as a process, and this test in the place of everybody else."""

    def __init__(self, kafka: str, s3: ObjectStoreSettings, objects: ObjectStore, folder: Path) -> None:
        self.kafka = kafka
        self.objects = objects
        self.log = folder / "controller.log"
        self.may_undo = asyncio.Event()
        self.undone: set[str] = set()
        self.environment = os.environ | {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'libs'}", "HEADRACE_HOME": str(folder / "no-stack"), "HEADRACE_KAFKA": kafka,
            "HEADRACE_INSTANCE": "test", "HEADRACE_CONTROLLER_ROUND_PAGE_ROWS": "3", "HEADRACE_CONTROLLER_ROUND_TICK_S": "0.5",
            "HEADRACE_S3_ENDPOINT": s3.endpoint, "HEADRACE_S3_ACCESS_KEY": s3.access_key,
            "HEADRACE_S3_SECRET_KEY": s3.secret_key.get_secret_value(), "HEADRACE_S3_BUCKET": s3.bucket,
        }  # fmt: skip

    async def started(self) -> asyncio.subprocess.Process:
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "headrace.cli.main", "run", "controller",
                env=self.environment, cwd=ROOT, stdout=log, stderr=log,
            )  # fmt: skip

    async def restarted(self, controller: asyncio.subprocess.Process) -> asyncio.subprocess.Process:
        """SIGKILL, and another one in its place."""
        controller.kill()
        await controller.wait()
        return await self.started()

    async def publish(self, *events: tuple[str, Send]) -> None:
        async with EventPublisher(self.kafka, "headrace/test") as publisher:
            await publisher.publish_many(list(events))

    async def ask(self, round_id: str, action: Action) -> None:
        fact = RoundAsked(action, "look", "test")
        await self.publish((f"{action} {round_id}", Send(ROUND_PROGRESSED, RoundProgressed(DATASET, round_id, fact))))

    async def refuse_checkpoint(self) -> None:
        """Published, and refused, since the controller has no model repository; that it measures is told by the script."""
        await self.publish(("checkpoint", Send(CHECKPOINT_PUBLISHED, CHECKPOINT)))
        async with asyncio.timeout(120):
            while not await self.bodies(CHECKPOINT_REFUSED):  # noqa: ASYNC110 - another process's doing
                await asyncio.sleep(0.2)

    async def begin(self, round_id: str, rules: RoundPolicy = RULES) -> None:
        survey = survey_of(round_id)
        fact = RoundStarted(survey, 5, ROWS, "0123456789ab", rules.canonical_json(), "test", time.time())
        await self.publish((f"start {round_id}", Send(ROUND_PROGRESSED, RoundProgressed(DATASET, round_id, fact))))

    async def lose(self, survey: Survey) -> None:
        """One row ends among scoring's dead letters."""
        sample = dossier("lost").sample
        record = record_of(Send(SURVEYED, SurveyedSample(survey, sample)), event_id="lost", source="headrace/test", trace={})
        async with EventPublisher(self.kafka, "headrace/test") as publisher:
            letter = Record(dlq_topic_name(SURVEYED.name, "scoring"), record.key, record.value, record.headers)
            await (await publisher._write(letter))

    async def bodies(self, topic: Topic) -> list[Any]:
        async with aclosing(read_topic(topic, self.kafka, until_now=True)) as events:
            return [event.body async for event in events]

    async def states(self, round_id: str) -> list[RoundState]:
        return [body for body in await self.bodies(ROUND_STATE) if body.round_id == round_id]

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Everybody else: each step is answered once, by events whose ids follow from the step's."""
        topics = {topic.name: topic for topic in (ROUND_STEP_REQUESTED, CUT_REQUESTED)}

        async def answer() -> None:
            async with RecordReader.opened(self.kafka, list(topics)) as reader:
                async for record in reader:
                    event = decoded(topics[record.topic], record)
                    if event is not None:
                        sends = await self._answers(event.body)
                        await self.publish(*((f"{event.id}/{n}", send) for n, send in enumerate(sends)))

        task = asyncio.create_task(answer())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _answers(self, body: Any) -> list[Send]:
        if isinstance(body, DatasetCutRequested):
            return await self._cut(body.request_id)
        assert isinstance(body, RoundStepRequested)
        match body.step:
            case SurveyRequested(survey=survey):
                facts = await self._surveyed(survey)
            case RefiningRequested() as step:
                page = range(step.first_row, step.first_row + step.rows)
                selected = (await self.states(step.survey.round_id))[-1].selected
                assert selected is not None
                ends = [RewriteEnded(Axis.HARD, f"parent-{row}", Ending.ACCEPTED, "accepted", 1, 100, 0.5) for row in page]
                facts = [RewritesRequested(step.rows, page.stop >= selected.total), *ends]
            case RevertRequested() as step:
                facts = self._reverted(step.survey.round_id)
            case _:  # the controller's own
                return []
        return [Send(ROUND_PROGRESSED, RoundProgressed(DATASET, body.step.survey.round_id, fact)) for fact in facts]

    async def _cut(self, request_id: str) -> list[Send]:
        """A version, and a checkpoint trained on what a round made; what stands while one is undone is told when it may be."""
        committed = DatasetCommitted(DATASET, NEXT_VERSION, 6, "key", ROWS, 0, time.time(), request_id)
        if certain(cut_asked_for(request_id))[1] is not Cut.MADE:
            await self.may_undo.wait()
            return [Send(COMMITTED, committed)]
        told = replace(BODIES["CheckpointRolledOut"], rollback_request_id="", model_version="2")
        return [Send(COMMITTED, committed), Send(CHECKPOINT_ROLLED_OUT, told)]

    def _reverted(self, round_id: str) -> list[Fact]:
        """Two rows come back and one leaves; looked for again, there is nothing more of the round."""
        if round_id in self.undone:
            return [RowsReverted(0, 0, complete=True)]
        self.undone.add(round_id)
        ends = [RestorationEnded(f"parent-{row}", 34, accepted=True, reason="accepted") for row in range(2)]
        return [RowsReverted(2, 1, complete=True), *ends]

    async def _surveyed(self, survey: Survey) -> list[Fact]:
        rows = rows_of(survey)
        half = len(rows) // 2
        for place, part in ((0, rows[:half]), (half, rows[half:])):
            await MeasuredRows(self.objects).stage(survey, "measured/00001", placed(part, place))
        lost = 0
        if survey.purpose is Purpose.ROUND:
            await self.lose(survey)
            lost = 1
        return [
            RowsSent(survey.purpose, half, complete=False),
            RowsMeasured(survey.purpose, half, 0, 100, 0.5),
            RowsSent(survey.purpose, len(rows) - half + lost, complete=True),
            RowsMeasured(survey.purpose, len(rows) - half, 0, 100, 0.5),
        ]

    async def until(self, round_id: str, *phases: str, holds: Callable[[RoundState], bool] = lambda _: True) -> RoundState:
        """Until the round was in one of the phases, and this held."""
        async with asyncio.timeout(120), aclosing(read_topic(ROUND_STATE, self.kafka)) as events:
            async for event in events:
                if event.body.round_id == round_id and event.body.phase in phases and holds(event.body):
                    state: RoundState = event.body
                    return state
        raise AssertionError("a topic that is followed does not end")


@pytest.fixture
async def world(own_kafka, s3, tmp_path) -> AsyncIterator[World]:
    with KafkaAdmin(own_kafka) as admin:
        admin.ensure_topics(partitions=1, replication_factor=1)
    settings = s3.model_copy(update={"bucket": f"rounds-{os.urandom(4).hex()}"})
    async with open_object_store(settings) as objects:
        world = World(own_kafka, settings, objects, tmp_path)
        yield world
        if world.log.exists():
            print(world.log.read_text()[-6_000:])  # noqa: T201 - for whoever looks at a failure


async def test_a_round_comes_to_the_same_end_whoever_is_killed(world):
    """Killed in every phase: thresholds, selection, counts, the requested version and the verdict are those of a calm round."""
    controller = await world.started()
    await world.refuse_checkpoint()
    async with world.answering():
        await world.begin("calm")
        calm = await world.until("calm", *ENDS)
        await world.begin("storm")
        killed = []
        for phase in PHASES:
            passed = await world.until("storm", *PHASES[PHASES.index(phase) :], *ENDS)
            if passed.phase == phase:
                killed.append(phase)
                controller = await world.restarted(controller)
        storm = await world.until("storm", *ENDS)
    controller.kill()
    await controller.wait()
    assert len(killed) >= 4, killed  # some phases are left in the batch in which they are entered
    assert (calm.phase, calm.reason) == (Phase.KEPT, "held_out_held"), calm
    for name in ("phase", "reason", "selected", "rows", "rewrites", "committed", "checkpoint", "held_out", "transition"):
        theirs, ours = getattr(storm, name), getattr(calm, name)
        assert theirs == ours, name
    assert (calm.ordinal, storm.ordinal) == (1, 2)
    assert (calm.rows.sent, calm.rows.measured, calm.rows.lost) == (ROWS + 1, ROWS, ("lost/0",))
    assert calm.held_out is not None
    assert calm.held_out.after == pytest.approx(calm.held_out.before - 0.1)
    cuts = [body.request_id for body in await world.bodies(CUT_REQUESTED)]
    assert cuts == ["round/calm", "round/storm"]
    steps = [(type(body.step).__name__, body.step.survey.round_id) for body in await world.bodies(ROUND_STEP_REQUESTED)]
    assert [name for name, round_id in steps if round_id == "calm"] == [name for name, round_id in steps if round_id == "storm"]
    for key in (thresholds_key, selection_key):
        stored = [(await world.objects.get(key(survey_of(name)), bytes_max=1 << 20)).body for name in ("calm", "storm")]
        assert stored[0] == stored[1]
    assert json.loads(calm.selected.thresholds_json)["rows_held_out"] == calm.held_out.rows


ENDS = ("kept", "rolled_back", "stopped", "frozen")


async def test_a_round_goes_on_and_is_undone_though_its_controller_dies_frozen_and_reverting(world):
    """What was answered while it was frozen counts; a held-out loss that rises is rolled back, and all of it is undone once."""
    controller = await world.started()
    await world.refuse_checkpoint()
    await world.begin(WORSE)
    await world.until(WORSE, "surveying")
    await world.ask(WORSE, Action.FREEZE)
    await world.until(WORSE, "frozen")
    controller = await world.restarted(controller)
    async with world.answering():
        frozen = await world.until(WORSE, "frozen", holds=lambda state: state.rows.measured == ROWS)
        await world.ask(WORSE, Action.RESUME)
        await world.until(WORSE, "reverting")
        controller = await world.restarted(controller)
        world.may_undo.set()
        state = await world.until(WORSE, "rolled_back", "stopped", "kept")
    controller.kill()
    await controller.wait()
    assert (frozen.frozen_in, frozen.selected) == ("surveying", None)
    assert (state.phase, state.reason) == ("rolled_back", "held_out_rose"), state.detail
    assert state.held_out.after == pytest.approx(state.held_out.before + 0.1)
    revert = state.revert
    assert (revert.restoring, revert.restored, revert.retracted, dict(revert.refused), revert.lost) == (2, 2, 1, {}, ())
    asked = [body.request_id for body in await world.bodies(ROLLBACK_REQUESTED)]
    assert asked == [f"{DATASET}/{WORSE}"]
    cuts = [certain(cut_asked_for(body.request_id)) for body in await world.bodies(CUT_REQUESTED)]
    assert [cut for round_id, cut in cuts if round_id == WORSE] == [Cut.MADE, Cut.STANDING, Cut.STANDING]
    steps = [body.step for body in await world.bodies(ROUND_STEP_REQUESTED) if body.step.survey.round_id == WORSE]
    assert len([step for step in steps if isinstance(step, RevertRequested)]) == 2


async def test_the_commands_and_a_phase_that_lasts_too_long(world, monkeypatch):
    """Started, halted and resumed by command; then nobody answers, and a timer that outlives the controller ends it."""
    for name, value in world.environment.items():
        if name.startswith("HEADRACE_"):
            monkeypatch.setenv(name, value)
    await cut_version(world.objects, accepted("a", "b", "c"))
    rules = RULES.model_copy(update={"deadlines": Deadlines(surveying_s=30.0)})
    policy = Policy(rounds=rules)
    published = PolicyPublished(DATASET, policy.version, policy.canonical_json(), time.time())

    async def headrace(*arguments: str) -> str:
        done = await asyncio.to_thread(lambda: CliRunner().invoke(app, ["round", *arguments]))
        return done.output

    controller = await world.started()
    async with StubTriton.running(models={"signals": ["1", "2"]}) as stub:  # 2 is what the calm round ended with
        monkeypatch.setenv("HEADRACE_SCORING_TRITON", stub.address)
        assert "there is no dataset maths" in await headrace("start", DATASET)
        await world.publish(("policy", Send(POLICY_PUBLISHED, published)))
        assert "no model other" in await headrace("start", DATASET, "--model", "other")
        assert "has no version 7" in await headrace("start", DATASET, "--version", "7")
        assert "no round" in await headrace("freeze", DATASET)
        assert "or --anyway" in await headrace("start", DATASET, "--no-check")
        begun = await headrace("start", DATASET, "--no-check", "--anyway", "--json")
    started = json.loads(begun)
    round_id = started["round_id"]
    assert (started["phase"], started["begun"]["rows"]) == ("surveying", 3)
    assert started["begun"]["survey"]["model_version"] in {"1", "2"}
    frozen = json.loads(await headrace("freeze", DATASET, "--reason", "let me look", "--json"))
    assert (frozen["phase"], frozen["frozen_in"], frozen["detail"]) == ("frozen", "surveying", "let me look (headrace round)")
    assert f"round {round_id} of maths is frozen" in await headrace("start", DATASET)
    assert "frozen: someone asked for it" in await headrace("status", DATASET)
    assert "it cannot freeze" in await headrace("freeze", DATASET)
    assert json.loads(await headrace("resume", DATASET, "--json"))["phase"] == "surveying"
    await world.begin("second")
    assert (await world.until("second", *ENDS)).reason == "another_round_runs"
    controller = await world.restarted(controller)
    ended = await world.until(round_id, "stopped")
    controller.kill()
    await controller.wait()
    assert (ended.reason, ended.updated_at - ended.phase_since) == ("deadline_surveying", 0.0)
    watched = await headrace("watch", DATASET, "--round", round_id, "--json")
    assert [json.loads(line)["reason"] for line in watched.splitlines()] == ["deadline_surveying"]
    listed = await headrace("ls", DATASET)
    assert "not begun" in listed
    assert f"{round_id}  round " in listed
    assert "no round of maths runs" in await headrace("abort", DATASET)
