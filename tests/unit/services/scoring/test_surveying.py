"""What scoring makes of the rows of a survey."""

from dataclasses import replace
from itertools import count

import pytest

from headrace.core.dossiers import BASE, CURRENT, Signals
from headrace.core.events import Emit, Event, Position, Reject, Result, Retry, Stop
from headrace.core.ports.signal_model import Asks
from headrace.core.rounds.merge_keys import merge_key_of_sample
from headrace.core.rounds.surveys import Judge, MeasuredSample, Purpose, Survey, SurveyedSample
from headrace.core.samples import Message, Sample, prompt_hash_of
from headrace.core.topics import MEASURED, SURVEYED
from services.scoring.handlers import Scoring
from services.scoring.surveying import survey
from tests.fakes.signal_model import (
    JUDGE_TOKENS,
    PLAIN_TOKENS,
    REFUSED,
    UNJUDGEABLE,
    UNMEASURABLE,
    FakeSignalModel,
    FakeSignalModels,
)

PLAIN = Survey("plain", "r1", Purpose.ROUND, "v1", "signals", "2")
JUDGED = replace(PLAIN, judge=Judge.LOGITS)
WITH_BASE = replace(JUDGED, base_model="base", base_model_version="7")


def row(sample_id: str, asked: Survey = PLAIN, text: str = "Four.", known: tuple[Signals, ...] = ()) -> Event[SurveyedSample]:
    messages = (Message("user", f"Two and two, {sample_id}?"), Message("assistant", text))
    body = SurveyedSample(asked, Sample("plain", sample_id, 3, "0" * 64, messages), known)
    return Event(sample_id, SURVEYED.name, body.sample.key, body, 1.0, Position(SURVEYED.name, 0, 0))


def models() -> FakeSignalModels:
    """Version 3 was announced since; the survey began under version 2."""
    return FakeSignalModels([FakeSignalModel("signals", "3"), FakeSignalModel("signals", "2"), FakeSignalModel("base", "7")])


def scoring(server: FakeSignalModels) -> Scoring:
    seconds = count(0, 6)
    return Scoring(lambda _: None, server, clock=lambda: float(next(seconds)))


def measured(result: Result) -> MeasuredSample:
    assert isinstance(result, Emit)
    (send,) = result.sends
    assert send.topic is MEASURED
    assert isinstance(send.body, MeasuredSample)
    return send.body


async def test_rows_are_measured_by_the_version_that_the_survey_names() -> None:
    """One call for the batch, and not by the version that measures now; the row's identity goes with its signals."""
    server = models()
    events = [row("a"), row("b")]
    results = await survey(events, scoring(server))
    assert [model.calls for model in server.models] == [[], [["a", "b"]], []]
    for result, event in zip(results, events, strict=True):
        body, sample = measured(result), event.body.sample
        assert (body.survey, body.sample_id, body.revision, body.content_hash) == (PLAIN, sample.id, 3, "0" * 64)
        assert (body.prompt_hash, body.merge_key) == (prompt_hash_of(sample), merge_key_of_sample(sample))
        assert body.origin_kind == "ingested"
        assert [(one.role, one.model_version, one.judgement) for one in body.signals] == [(CURRENT, "2", None)]
        assert body.embeddings is not None
        assert body.embeddings.model_version == "2"


async def test_surveys_of_one_batch_are_kept_apart() -> None:
    """Each with its versions and its judge: no call mixes them."""
    server = models()
    other = replace(PLAIN, round_id="r2", model_version="3")
    results = await survey([row("a"), row("b", JUDGED), row("c", other), row("d")], scoring(server))
    assert [model.calls for model in server.models[:2]] == [[["c"]], [["a", "d"], ["b"]]]
    assert server.models[1].asked == [Asks(), Asks(Judge.LOGITS)]
    assert [measured(result).sample_id for result in results] == ["a", "b", "c", "d"]


async def test_prompts_are_embedded_as_plain_text_where_the_survey_asks_for_it() -> None:
    """By the model that judges alone, beside the embeddings that the index takes; the tokens that it read are told."""
    server = models()
    asked = replace(WITH_BASE, judge=Judge.NONE, plain_prompts=True)
    (plain,), (usual,) = [await survey([row("a", each)], scoring(server)) for each in (asked, PLAIN)]
    assert server.models[1].asked == [Asks(plain_prompt=True), Asks()]
    assert server.models[2].asked == [Asks()]
    found, without = measured(plain), measured(usual)
    assert found.embeddings is not None
    assert found.plain_prompt not in {b"", found.embeddings.prompt}
    assert (without.plain_prompt, without.embeddings) == (b"", found.embeddings)
    assert found.cost is not None
    assert (found.cost.prompt_tokens or 0) - sum(one.prompt_tokens + one.response_tokens for one in found.signals) == PLAIN_TOKENS


async def test_a_base_loss_that_is_known_is_not_measured_again() -> None:
    """Exactly that model and version count, whatever the role was; another version, or an error, does not."""
    server = models()
    known = Signals("other", "base", "7", 1.25, 0.5, 4, 5)
    unknown = (replace(known, model_version="6"), replace(known, loss_mean=None, error="not made"))
    results = await survey([row("a", WITH_BASE, known=(known,)), row("b", WITH_BASE, known=unknown)], scoring(server))
    assert server.models[2].calls == [["b"]]
    first, second = (measured(result).signals_of(BASE) for result in results)
    assert first == replace(known, role=BASE)
    assert second is not None
    assert (second.model_version, second.judgement) == ("7", None)
    assert server.models[2].asked == [Asks()]


async def test_a_base_that_is_the_surveys_own_model_is_not_measured_twice() -> None:
    """In the first round the model may be the base itself."""
    server = models()
    both = replace(WITH_BASE, base_model="signals", base_model_version="2")
    body = measured((await survey([row("a", both)], scoring(server)))[0])
    assert server.models[1].calls == [["a"]]
    current, base = (body.signals_of(role) for role in (CURRENT, BASE))
    assert current is not None
    assert base == replace(current, role=BASE, judgement=None)


async def test_a_row_whose_signals_cannot_be_made_goes_on_with_its_reason() -> None:
    """It counts as measured and not made; the base is not asked for it. So does one that is not judged, with its loss."""
    server = models()
    texts = (UNMEASURABLE, UNJUDGEABLE, "Four.")
    results = await survey([row(str(n), WITH_BASE, text) for n, text in enumerate(texts)], scoring(server))
    unmeasured, unjudged, good = (measured(result) for result in results)
    assert unmeasured.embeddings is None
    assert unmeasured.signals_of(BASE) is None
    assert [one.error for one in unmeasured.signals] == ["asked to be unmeasurable"]
    assert server.models[2].calls == [["1", "2"]]
    for body, is_judged in ((unjudged, False), (good, True)):
        signals = body.signals_of(CURRENT)
        assert signals is not None
        assert signals.loss_mean is not None
        assert signals.judgement is not None
        assert (signals.judgement.quality is not None) is is_judged


async def test_a_row_that_the_server_refuses_is_tried_again() -> None:
    """A refusal is no verdict on the row, and harms no other."""
    results = await survey([row("a", text=REFUSED), row("b")], scoring(models()))
    assert results[0] == Retry("not_measured", "asked to be refused")
    assert measured(results[1])


@pytest.mark.parametrize("gone", [{"model_version": "9"}, {"base_model": "base", "base_model_version": "9"}])
async def test_a_version_that_is_gone_is_named_and_holds_up_no_other_survey(gone: dict[str, str]) -> None:
    """The rows are tried again: the version may come back. None is measured by another."""
    results = await survey([row("a", replace(PLAIN, **gone)), row("b")], scoring(models()))  # type: ignore[arg-type]  # text fields
    assert isinstance(results[0], Retry)
    assert results[0].error_class == "model_missing"
    assert "version 9" in results[0].error
    assert measured(results[1])


@pytest.mark.parametrize("unpinned", [{"model_version": ""}, {"base_model": "base"}])
async def test_a_survey_that_names_no_version_is_rejected(unpinned: dict[str, str]) -> None:
    """It can never be measured: whichever version answered would be a guess."""
    (result,) = await survey([row("a", replace(PLAIN, **unpinned))], scoring(models()))  # type: ignore[arg-type]  # text fields
    assert isinstance(result, Reject)
    assert "r1" in result.error


async def test_a_server_that_is_gone_stops_the_survey() -> None:
    """Nothing is wrong with any row."""
    server = models()
    server.models[1].fails_with = Stop("gone")
    with pytest.raises(Stop):
        await survey([row("a")], scoring(server))


async def test_what_a_row_cost_is_told_with_it() -> None:
    """Tokens of both models and of the judge; the seconds of all calls are shared out."""
    bodies = [measured(result) for result in await survey([row("a", WITH_BASE), row("b", WITH_BASE)], scoring(models()))]
    for body in bodies:
        assert body.cost is not None
        read = sum(one.prompt_tokens + one.response_tokens for one in body.signals)
        assert (body.cost.stage, body.cost.prompt_tokens) == ("scoring", read + JUDGE_TOKENS)
    assert sum(body.cost.seconds or 0 for body in bodies if body.cost) == pytest.approx(12)


async def test_measuring_twice_gives_the_same() -> None:
    """A redelivered batch leads to the same body."""
    events = [row("a", WITH_BASE), row("b")]
    assert await survey(events, scoring(models())) == await survey(events, scoring(models()))


async def test_a_row_that_was_sent_back_from_the_dead_letters_says_so() -> None:
    """Its round may have counted it as lost."""
    events = [replace(row("a"), sent_back=True), row("b")]
    assert [measured(result).sent_back for result in await survey(events, scoring(models()))] == [True, False]
