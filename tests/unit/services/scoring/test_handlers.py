"""What scoring makes of its batches."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import pytest

from headrace.core.dossiers import BASE, CURRENT, Dossier, Gate, Rewrite, ScoredSample, Signals
from headrace.core.events import Emit, Event, Position, Reject, Result, Retry, Stop
from headrace.core.policies import Policy
from headrace.core.ports.signal_model import Asks, ModelMissing
from headrace.core.rounds.surveys import Judge
from headrace.core.samples import Message, Sample
from headrace.core.topics import SCORED, SUBMITTED
from services.scoring.handlers import Scoring, score
from tests.fakes.signal_model import REFUSED, UNMEASURABLE, FakeSignalModel, FakeSignalModels, pseudo_signals

POLICIES = {
    "plain": Policy(),
    "with-base": Policy.model_validate({"signals": {"base_model": "base"}}),
    "judged": Policy.model_validate({"standing": {"rows": 10, "low_quality": True}}),
    "with-missing": Policy.model_validate({"signals": {"base_model": "nowhere"}}),
}


def event(sample_id: str, dataset_id: str = "plain", text: str = "Four it is.") -> Event[Dossier]:
    messages = (Message("user", f"Two and two, {sample_id}?"), Message("assistant", text))
    dossier = Dossier(Sample(dataset_id, sample_id, 0, "0" * 64, messages), 1.0)
    return Event(sample_id, SUBMITTED.name, dossier.sample.key, dossier, 1.0, Position(SUBMITTED.name, 0, 0))


def models() -> FakeSignalModels:
    return FakeSignalModels([FakeSignalModel("signals", "3"), FakeSignalModel("base", "7")])


def scoring(server: FakeSignalModels) -> Scoring:
    seconds = count(0, 6)
    return Scoring(POLICIES.get, server, clock=lambda: float(next(seconds)))


def scored(result: Result) -> ScoredSample:
    assert isinstance(result, Emit)
    (send,) = result.sends
    assert send.topic is SCORED
    assert isinstance(send.body, ScoredSample)
    return send.body


async def test_a_batch_is_measured_in_one_call_and_every_sample_carries_its_signals_and_embeddings() -> None:
    """One call for the batch; signals, embeddings and their model version come back with the right sample."""
    server = models()
    results = await score([event("a"), event("b", text="Five!")], scoring(server))
    assert server.models[0].calls == [["a", "b"]]
    for result, sample_id in zip(results, "ab", strict=True):
        body = scored(result)
        signals = body.dossier.signals_of(CURRENT)
        assert body.dossier.sample.id == sample_id
        assert signals is not None
        assert (signals.model, signals.model_version, signals.error) == ("signals", "3", "")
        assert body.embeddings is not None
        assert (body.embeddings.model, body.embeddings.model_version) == ("signals", "3")


async def test_the_base_model_is_asked_only_for_datasets_whose_policy_names_it() -> None:
    """Signals of the base model stand beside the current one's, where asked for."""
    server = models()
    results = await score([event("a"), event("b", "with-base")], scoring(server))
    assert server.models[1].calls == [["b"]]
    assert scored(results[0]).dossier.signals_of(BASE) is None
    base = scored(results[1]).dossier.signals_of(BASE)
    assert base is not None
    assert (base.model, base.model_version) == ("base", "7")


async def test_submissions_are_judged_only_for_datasets_with_a_standing_quality() -> None:
    """In calls of their own, of the same version; the judgement stands in the current model's signals."""
    server = models()
    results = await score([event("a"), event("b", "judged"), event("c")], scoring(server))
    assert server.models[0].calls == [["a", "c"], ["b"]]
    assert server.models[0].asked == [Asks(), Asks(Judge.LOGITS)]
    found = [scored(result).dossier.signals_of(CURRENT) for result in results]
    assert [signals is not None and signals.judgement is not None for signals in found] == [False, True, False]


async def test_the_cost_page_shares_the_time_of_a_call_by_tokens() -> None:
    """Seconds are shared in proportion to tokens and add up to the calls' own; every token read is counted."""
    events = [event("a", "with-base"), event("b", "with-base", text="a " * 50)]
    bodies = [scored(result) for result in await score(events, scoring(models()))]
    costs = [body.dossier.costs[-1] for body in bodies]
    assert sum(cost.seconds or 0 for cost in costs) == pytest.approx(12)
    for cost, body in zip(costs, bodies, strict=True):
        assert cost.stage == "scoring"
        assert cost.prompt_tokens == sum(one.prompt_tokens + one.response_tokens for one in body.dossier.signals)
    assert (costs[1].seconds or 0) > (costs[0].seconds or 0)


async def test_signals_that_cannot_be_made_are_recorded_as_an_error_and_harm_no_other() -> None:
    """An unmeasurable sample goes on with its error and without embeddings; the base model is not asked for it."""
    server = models()
    results = await score([event("a", "with-base", UNMEASURABLE), event("b", "with-base")], scoring(server))
    body = scored(results[0])
    signals = body.dossier.signals_of(CURRENT)
    assert signals is not None
    assert signals.loss_mean is None
    assert signals.error == "asked to be unmeasurable"
    assert body.embeddings is None
    assert server.models[1].calls == [["b"]]
    assert scored(results[1]).embeddings is not None


async def test_a_sample_the_server_refuses_is_tried_again() -> None:
    """A refusal is no verdict on the sample."""
    results = await score([event("a", text=REFUSED), event("b")], scoring(models()))
    assert results[0] == Retry("not_measured", "asked to be refused")
    assert scored(results[1])


async def test_a_dataset_without_a_policy_is_tried_again_and_not_measured() -> None:
    """Unknown datasets cost no model call; the error says what to do."""
    server = models()
    results = await score([event("a", "unknown")], scoring(server))
    assert isinstance(results[0], Retry)
    assert "headrace dataset create unknown" in results[0].error
    assert server.models[0].calls == []


async def test_a_missing_base_model_holds_up_only_the_datasets_that_ask_for_it() -> None:
    """One dataset's policy cannot stop the others."""
    results = await score([event("a", "with-missing"), event("b")], scoring(models()))
    assert isinstance(results[0], Retry)
    assert results[0].error_class == "model_missing"
    assert "nowhere" in results[0].error
    assert scored(results[1])


@pytest.mark.parametrize("failure", [Stop("gone"), ModelMissing("no version 3")])
async def test_scoring_stops_while_the_current_model_is_not_there(failure: Exception) -> None:
    """Nothing is wrong with the samples, so none is retried or rejected."""
    server = models()
    server.models[0].fails_with = failure
    with pytest.raises(Stop):
        await score([event("a")], scoring(server))


async def test_signals_replace_earlier_ones_of_the_same_role() -> None:
    """A sample that comes back is measured anew, and the dossier holds one page per role."""
    stale = tuple(Signals(role, "old", "1", 9.0, 9.0, 1, 1) for role in (CURRENT, BASE, "other"))
    first = event("a")
    results = await score([replace(first, body=replace(first.body, signals=stale))], scoring(models()))
    assert [(one.role, one.model) for one in scored(results[0]).dossier.signals] == [("other", "old"), (CURRENT, "signals")]


async def test_measuring_twice_gives_the_same() -> None:
    """A redelivered batch leads to the same body."""
    events: Sequence[Event[Dossier]] = [event("a"), event("b")]
    assert await score(events, scoring(models())) == await score(events, scoring(models()))


async def test_alike_texts_have_alike_pseudo_signals() -> None:
    """What the fake derives is what the other suites rely on: equal texts are equal, case aside."""
    texts = [
        b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "%s"}]}' % word
        for word in (b"yes", b"YES")
    ]
    first, second = (pseudo_signals(text) for text in texts)
    assert float(first.conversation @ second.conversation) == pytest.approx(1)
    assert first.loss_mean == second.loss_mean


def rewrite(version: str, number: int, judge: str | None = None) -> Event[Dossier]:
    parent = Sample("plain", "parent", 0, "1" * 64, (Message("user", "?"), Message("assistant", "!")))
    gate = None if judge is None else Gate("headrace", judge, 0.8, "keep")
    made = Rewrite("r1", 1, "hard", 1, 3, parent, 1.0, "signals", version, b"", gate=gate)
    first = event(f"w{number}")
    return replace(first, body=replace(first.body, rewrite=made))


async def test_a_rewrite_is_measured_and_judged_by_the_version_that_measured_its_parent() -> None:
    """Whatever measures now: numbers of two versions cannot be compared. Other samples are not judged."""
    server = FakeSignalModels([FakeSignalModel("signals", "3"), FakeSignalModel("signals", "2")])
    results = await score([event("a"), rewrite("2", 1)], scoring(server))
    assert [model.calls for model in server.models] == [[["a"]], [["w1"]]]
    plain, rewritten = (scored(result).dossier.signals_of(CURRENT) for result in results)
    assert plain is not None
    assert rewritten is not None
    assert (plain.model_version, plain.judgement) == ("3", None)
    assert rewritten.model_version == "2"
    assert rewritten.judgement is not None
    assert rewritten.judgement.mode == "logits"
    assert rewritten.judgement.quality is not None


async def test_a_rewrite_is_judged_as_its_round_judged_the_parent() -> None:
    """Two rulers cannot be compared, whatever the policy says by now; a way that this release does not know holds up nobody."""
    server = FakeSignalModels([FakeSignalModel("signals", "3"), FakeSignalModel("signals", "2")])
    asked = ["generated", "", "logits", None, "tarot"]
    results = await score([rewrite("2", number, judge) for number, judge in enumerate(asked)], scoring(server))
    assert isinstance(results[4], Reject)
    assert results[4].error_class == "unknown_judge"
    judgements = [signals.judgement for result in results[:4] if (signals := scored(result).dossier.signals_of(CURRENT))]
    assert [judgement and judgement.mode for judgement in judgements] == ["generated", None, "logits", "logits"]


async def test_a_rewrite_whose_model_is_gone_is_tried_again_and_holds_up_no_other() -> None:
    """The error names the version; one that names none can never be compared."""
    results = await score([rewrite("8", 1), event("a"), rewrite("", 2)], scoring(models()))
    assert isinstance(results[0], Retry)
    assert results[0].error_class == "model_missing"
    assert "version 8" in results[0].error
    assert scored(results[1])
    assert isinstance(results[2], Reject)
