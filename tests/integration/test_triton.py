"""The Triton adapter against a server: our stub in every run, a real Triton with a real model where one can be started."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest

from headrace.adapters.triton.signals import TritonLimits, TritonSignalModels
from headrace.core.dossiers import CURRENT
from headrace.core.events import Stop
from headrace.core.ports.signal_model import Asks, Measured, ModelMissing, SignalModel, Unmeasured
from headrace.core.rounds.surveys import Judge
from headrace.core.samples import Message, Sample
from headrace.local.ports import free_port
from tests.fakes.signal_model import REFUSED, UNJUDGEABLE, UNMEASURABLE
from tests.fakes.triton_server import DEADLY, StubTriton

QUICK = TritonLimits(rows_max=4, in_flight_max=2, deadline_s=5, busy_s_max=1.5)


def sample(number: int, text: str = "") -> Sample:
    messages = (Message("user", f"What is {number} + 1?"), Message("assistant", text or f"It is {number + 1}."))
    return Sample("d", f"s{number}", 0, "", messages)


@asynccontextmanager
async def opened(address: str, limits: TritonLimits = QUICK, version: str = "") -> AsyncIterator[TritonSignalModels]:
    async with TritonSignalModels.opened(address, model="signals", version=version, limits=limits) as models:
        yield models


async def test_samples_are_measured_in_bounded_requests_by_one_version() -> None:
    """Ten samples go out four at a time, two requests at most in flight, all answered by the newest version."""
    async with StubTriton.running(models={"signals": ["9", "10"]}, delay_s=0.2) as stub, opened(stub.address) as models:
        model = await models.current()
        outcomes = await model.measure([sample(number) for number in range(10)], CURRENT)
        assert sorted(stub.rows) == [2, 4, 4]
        assert stub.in_flight_most == 2
        assert {outcome.signals.model_version for outcome in outcomes if isinstance(outcome, Measured)} == {"10"}
        assert len(outcomes) == 10


async def test_a_busy_server_is_asked_again() -> None:
    """A full queue is back-pressure and passes."""
    async with StubTriton.running() as stub, opened(stub.address) as models:
        model = await models.current()
        stub.busy = 3
        (outcome,) = await model.measure([sample(1)], CURRENT)
        assert isinstance(outcome, Measured)


async def test_a_model_whose_process_dies_is_loaded_again_and_only_the_guilty_are_unmeasured() -> None:
    """Requests that were on their way with the deadly one are not blamed."""
    async with StubTriton.running(delay_s=0.02) as stub, opened(stub.address) as models:
        model = await models.current()
        samples = [sample(number, DEADLY if number == 6 else "") for number in range(12)]
        outcomes = await model.measure(samples, CURRENT)
        assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, Unmeasured)] == [6]
        assert stub.lives == 5  # the request of four dies twice, then two of them, then the one
        stub.is_dead = True  # of itself, as when the machine is short of memory
        assert isinstance((await model.measure([sample(1)], CURRENT))[0], Measured)


async def test_a_server_that_stays_busy_stops_the_caller() -> None:
    """The back-off is bounded, and no sample is blamed."""
    async with StubTriton.running() as stub, opened(stub.address) as models:
        model = await models.current()
        stub.busy = 10_000
        with pytest.raises(Stop, match="busy or gone"):
            await model.measure([sample(1)], CURRENT)


async def test_a_server_that_is_gone_stops_the_caller_and_is_found_again_when_it_is_back() -> None:
    """The client reconnects by itself, soon."""
    address = f"127.0.0.1:{free_port(set())}"
    async with opened(address) as models:
        with pytest.raises(Stop, match="HEADRACE_SCORING_TRITON"):
            await models.current()
        async with StubTriton.running(address):
            model = await once_it_is_back(models)
            assert await model.measure([sample(1)], CURRENT)
            await models.ping()
        with pytest.raises(Stop):
            await model.measure([sample(1)], CURRENT)


async def once_it_is_back(models: TritonSignalModels) -> SignalModel:
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(Stop):
                return await models.current()
            await asyncio.sleep(0.1)


async def test_a_request_without_an_answer_is_given_up() -> None:
    """Every request has a deadline."""
    limits = TritonLimits(deadline_s=0.1)
    async with StubTriton.running(delay_s=5) as stub, opened(stub.address, limits) as models:
        model = await models.current()
        with pytest.raises(Stop, match="HEADRACE_SCORING_DEADLINE_S"):
            await model.measure([sample(1)], CURRENT)


async def test_a_model_that_is_missing_is_named() -> None:
    """The error says which model, version and server."""
    async with StubTriton.running() as stub, opened(stub.address, version="5") as models:
        with pytest.raises(ModelMissing, match="nowhere"):
            await models.named("nowhere")
        model = await models.current()
        with pytest.raises(ModelMissing, match="version 5"):
            await model.measure([sample(1)], CURRENT)
        with pytest.raises(ModelMissing):
            await models.ping()


async def test_a_version_that_disappears_is_let_go_and_the_next_one_pinned() -> None:
    """The batch in hand fails whole; whoever comes back is measured by the new version alone."""
    async with StubTriton.running() as stub, opened(stub.address) as models:
        assert (await models.current()).version == "1"
        stub.models["signals"] = ["2"]
        with pytest.raises(ModelMissing):
            await (await models.current()).measure([sample(1)], CURRENT)
        assert (await models.current()).version == "2"


async def test_the_announced_version_measures_from_the_next_batch_on() -> None:
    """Not the newest, which may be one that is being looked at; and where the announced one is missing, it is waited for."""
    announced: dict[str, str] = {}
    async with (
        StubTriton.running(models={"signals": ["1", "2"], "base": ["1"]}) as stub,
        TritonSignalModels.opened(stub.address, model="signals", version="", limits=QUICK, announced=announced.get) as models,
    ):
        announced["signals"] = "1"
        before = await models.current()
        announced["signals"] = "2"
        (outcome,) = await before.measure([sample(1)], CURRENT)
        assert isinstance(outcome, Measured)
        assert outcome.signals.model_version == "1"
        assert (await models.current()).version == "2"
        assert (await models.named("base")).version == "1"
        announced["signals"] = "3"
        for _ in range(2):
            with pytest.raises(ModelMissing, match="version 3"):
                await (await models.current()).measure([sample(1)], CURRENT)
        with pytest.raises(ModelMissing):
            await models.ping()


async def test_a_version_that_is_set_is_kept_whatever_is_announced() -> None:
    """Who names a version in the settings means that one."""
    async with (
        StubTriton.running(models={"signals": ["1", "2"]}) as stub,
        TritonSignalModels.opened(stub.address, model="signals", version="1", limits=QUICK, announced=lambda _: "2") as models,
    ):
        assert (await models.current()).version == "1"


async def test_an_answer_by_another_version_is_refused() -> None:
    """A server that ignores the pin is no server for us."""
    async with StubTriton.running() as stub, opened(stub.address) as models:
        model = await models.current()
        stub.answers_as = "2"
        with pytest.raises(Stop, match="no model of headrace"):
            await model.measure([sample(1)], CURRENT)


async def test_a_conversation_the_server_refuses_is_found_by_halving() -> None:
    """The others of its request are measured."""
    async with StubTriton.running() as stub, opened(stub.address) as models:
        model = await models.current()
        outcomes = await model.measure([sample(1), sample(2, REFUSED), sample(3)], CURRENT)
        assert [type(outcome) for outcome in outcomes] == [Measured, Unmeasured, Measured]


@pytest.mark.parametrize("text", [DEADLY, REFUSED])
@pytest.mark.parametrize("count", [1, 2, 6])
async def test_samples_that_fail_all_together_are_at_fault_where_the_model_answers_others(text: str, count: int) -> None:
    """Each has an outcome, so that it is tried a bounded number of times, and the model is left alive."""
    async with StubTriton.running() as stub, opened(stub.address) as models:
        model = await models.current()
        outcomes = await model.measure([sample(number, text) for number in range(count)], CURRENT)
        assert [type(outcome) for outcome in outcomes] == [Unmeasured] * count
        assert not stub.is_dead
        assert isinstance((await model.measure([sample(1)], CURRENT))[0], Measured)


@pytest.mark.parametrize("fault", ["is_foreign", "is_deadly"])
@pytest.mark.parametrize("count", [1, 2])
async def test_a_model_that_refuses_everything_stops_the_caller(fault: str, count: int) -> None:
    """When nothing passes, the fault is not the samples', however many they are."""
    async with StubTriton.running() as stub, opened(stub.address) as models:
        model = await models.current()
        setattr(stub, fault, True)
        with pytest.raises(Stop, match="refuses every"):
            await model.measure([sample(number) for number in range(count)], CURRENT)
        assert await model.measure([], CURRENT) == []


async def test_a_row_that_cannot_be_measured_carries_its_error() -> None:
    """An error of one row is that row's signals."""
    async with StubTriton.running() as stub, opened(stub.address) as models:
        model = await models.current()
        first, second = await model.measure([sample(1, UNMEASURABLE), sample(2)], CURRENT)
        assert isinstance(first, Measured)
        assert isinstance(second, Measured)
        assert first.signals.error
        assert first.embeddings is None
        assert second.embeddings is not None


async def test_only_who_asks_is_judged_and_generated_judgements_go_one_by_one() -> None:
    """Writing takes seconds, so no request holds more than one; a row that is not judged has its signals."""
    async with StubTriton.running() as stub, opened(stub.address) as models:
        model = models.at("signals", "1")
        samples = [sample(number, UNJUDGEABLE if number == 2 else "") for number in range(4)]
        plain = await model.measure(samples, CURRENT)
        assert stub.judged == 0
        for judge, requests in ((Judge.LOGITS, [4]), (Judge.GENERATED, [1, 1, 1, 1])):
            stub.rows.clear()
            judged = await model.measure(samples, CURRENT, Asks(judge))
            assert stub.rows == requests
            for one, unjudged in zip(judged, plain, strict=True):
                assert isinstance(one, Measured)
                assert isinstance(unjudged, Measured)
                assert one.signals.judgement is not None
                assert replace(one.signals, judgement=None) == unjudged.signals
            made = [one.signals.judgement.error for one in judged if isinstance(one, Measured) and one.signals.judgement]
            assert [bool(error) for error in made] == [False, False, True, False]
        assert stub.judged == 8


async def test_a_version_is_measured_with_whichever_measures_now() -> None:
    """A survey names its versions; one that the server lacks is missing, and is not replaced."""
    async with StubTriton.running(models={"signals": ["1", "2"]}) as stub, opened(stub.address) as models:
        (outcome,) = await models.at("signals", "1").measure([sample(1)], CURRENT)
        assert isinstance(outcome, Measured)
        assert outcome.signals.model_version == "1"
        assert (await models.current()).version == "2"
        with pytest.raises(ModelMissing, match="version 7"):
            await models.at("signals", "7").measure([sample(1)], CURRENT)
        asked = [("signals", "1"), ("signals", "7"), ("another", "1")]
        assert [await models.has(name, version) for name, version in asked] == [True, False, False]


@pytest.mark.connected
@pytest.mark.model
async def test_a_real_model_embeds_a_prompt_as_plain_text_when_asked(triton: str) -> None:
    """Another vector than with the template, the same whatever the answer is; the signals beside it stay what they were."""
    samples = [sample(1), sample(1, "another answer"), Sample("d", "none", 0, "", (Message("user", "?"),)), sample(3)]
    async with opened(triton, TritonLimits(rows_max=2)) as models:
        model = models.at("signals", "1")
        embedded, usual = await asyncio.gather(
            model.measure(samples, CURRENT, Asks(plain_prompt=True)), model.measure(samples, CURRENT)
        )
    found = [one for one in embedded if isinstance(one, Measured)]
    assert [bool(one.plain_prompt) for one in found] == [True, True, False, True]
    assert [one.plain_prompt for one in usual if isinstance(one, Measured)] == [b""] * 4
    first, second, third = (np.frombuffer(found[row].plain_prompt, "<f4") for row in (0, 1, 3))
    assert first @ second == pytest.approx(1, abs=1e-2)
    assert first @ third < first @ second
    assert found[0].embeddings is not None
    assert first @ np.frombuffer(found[0].embeddings.prompt, "<f4") < 0.99
    assert isinstance(usual[0], Measured)
    assert found[0].signals.loss_mean == pytest.approx(usual[0].signals.loss_mean, abs=0.05)
    assert found[0].extra_tokens > 0


@pytest.mark.connected
@pytest.mark.model
async def test_a_real_model_judges_itself_when_asked(triton: str) -> None:
    """Six scores beside the signals, the same when asked again, or from text; bad rows say why; others need not ask."""
    samples = [sample(1), sample(2, "`" * 80), Sample("d", "none", 0, "", (Message("user", "?"),)), sample(3)]
    async with opened(triton, TritonLimits(rows_max=2)) as models:
        model = models.at("signals", "1")
        judged, plain = await asyncio.gather(model.measure(samples, CURRENT, Asks(Judge.LOGITS)), model.measure(samples, CURRENT))
        again = await model.measure(samples[:1], CURRENT, Asks(Judge.LOGITS))
        (written,) = await model.measure(samples[:1], CURRENT, Asks(Judge.GENERATED))
    found = [one.signals.judgement for one in judged if isinstance(one, Measured)]
    assert [one is not None and not one.error for one in found] == [True, False, False, True]
    assert [one.signals.judgement for one in plain if isinstance(one, Measured)] == [None] * 4
    assert isinstance(judged[1], Measured)
    assert judged[1].signals.loss_mean is not None
    assert isinstance(again[0], Measured)
    first, second = found[0], again[0].signals.judgement
    assert first is not None
    assert second is not None
    assert len(first.ruler_hash) == 64
    assert first.ruler_hash == second.ruler_hash
    assert all(0 < (score or 0) < 10 for score in first.scores)
    assert [score or 0 for score in first.scores] == pytest.approx([score or 0 for score in second.scores], abs=0.1)
    assert isinstance(judged[0], Measured)
    assert judged[0].extra_tokens > 300
    assert isinstance(written, Measured)
    assert written.signals.judgement is not None
    assert (written.signals.judgement.mode, written.signals.judgement.error) == ("generated", "")
    assert written.signals.judgement.ruler_hash != first.ruler_hash
    assert written.signals.judgement.quality is not None


@pytest.mark.connected
@pytest.mark.model
async def test_a_real_model_measures_a_batch_and_names_what_it_cannot_measure(triton: str) -> None:
    """Answers that the question makes likely have less loss; bad rows carry an error; asking again gives the same."""
    question = Message("user", "What is the capital of France?")
    answers = ("The capital of France is Paris.", "Cheese walrus engine of the purple seven.", "")
    samples = [Sample("d", answer[:3], 0, "", (question, Message("assistant", answer))) for answer in answers]
    samples += [Sample("d", "unanswered", 0, "", (question,)), sample(1, "\ud800")]
    async with opened(triton, TritonLimits(rows_max=2)) as models:
        await models.ping()
        model = await models.current()
        likely, odd, empty, unanswered, torn = await model.measure(samples, CURRENT)
        again = await model.measure(samples[::-1], CURRENT)
        with pytest.raises(ModelMissing):
            await models.named("nowhere")
    assert [one.signals.error for one in (likely, odd, empty) if isinstance(one, Measured)] == ["", "", ""]
    assert all(isinstance(one, Measured) and one.signals.error for one in (unanswered, torn))
    assert isinstance(likely, Measured)
    assert isinstance(odd, Measured)
    assert isinstance(empty, Measured)
    assert (likely.signals.loss_mean or 99) < 2 < (odd.signals.loss_mean or 0)
    assert empty.signals.response_tokens == 1
    assert likely.embeddings is not None
    assert odd.embeddings is not None
    first, second = (np.frombuffer(one.embeddings.prompt, "<f4") for one in (likely, odd) if one.embeddings is not None)
    assert float(first @ second) == pytest.approx(1, abs=1e-3)
    assert first.shape == (576,)
    last = again[-1]
    assert isinstance(last, Measured)
    assert last.signals.loss_mean == pytest.approx(likely.signals.loss_mean, abs=0.02)  # bfloat16 in another row


@pytest.mark.connected
@pytest.mark.model
async def test_a_real_server_merges_what_waits_and_refuses_what_is_too_much(triton: str) -> None:
    """Twice as many requests as its queue holds: those it refuses are asked again until all are measured."""
    refused: list[str] = []
    limits = TritonLimits(rows_max=1, in_flight_max=70, busy_s_max=100)
    async with TritonSignalModels.opened(
        triton, model="signals", version="1", limits=limits, took=lambda _, outcome, __: refused.append(outcome)
    ) as models:
        model = await models.current()
        outcomes = await model.measure([sample(number) for number in range(120)], CURRENT)
    assert all(isinstance(outcome, Measured) and not outcome.signals.error for outcome in outcomes)
    assert refused.count("failed") > 0
