"""Identities of calls, and answers that can be read or none."""

import hashlib
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.chat import Call, Hindrance, NotMade, Sampling, before_stop, identity_of, prompt_tokens_max, request_of
from headrace.core.chat_answers import Answer, NoAnswer, Unreadable, answer_of
from headrace.core.dossiers import Cost
from headrace.core.samples import Message
from tests.fakes.chat_model import FakeChatModel

CALL = Call("refiner", (Message("system", "Be brief."), Message("user", "2+2?")), Sampling(0.5, 0.9, 64, 7, ("END",)), "{}", 1)
TEXT = st.text(max_size=20)
CALLS = st.builds(
    Call, st.sampled_from(("refiner", "judge")), st.lists(st.builds(Message, TEXT, TEXT), max_size=3).map(tuple),
    st.builds(Sampling, st.floats(0, 2), st.floats(0, 1), st.integers(1, 99), st.none() | st.integers(0, 9), st.tuples(TEXT)),
    TEXT, st.integers(1, 9), st.integers(0, 9), TEXT,
)  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [
        replace(CALL, role="judge"),
        replace(CALL, messages=CALL.messages[:1]),
        replace(CALL, messages=(CALL.messages[0], Message("user", "2+3?"))),
        replace(CALL, messages=(CALL.messages[0], Message("assistant", "2+2?"))),
        replace(CALL, sampling=replace(CALL.sampling, temperature=0.6)),
        replace(CALL, sampling=replace(CALL.sampling, top_p=0.8)),
        replace(CALL, sampling=replace(CALL.sampling, max_tokens=65)),
        replace(CALL, sampling=replace(CALL.sampling, seed=None)),
        replace(CALL, sampling=replace(CALL.sampling, stop=())),
        replace(CALL, schema_json=""),
        replace(CALL, attempt=2),
    ],
)  # fmt: skip
def test_whatever_bears_on_the_reply_is_part_of_the_identity(changed):
    """Another call never finds this one's reply."""
    assert identity_of(changed, "m") != identity_of(CALL, "m")
    assert identity_of(CALL, "n") != identity_of(CALL, "m")


@given(CALLS, st.integers(0, 9), TEXT)
def test_who_pays_and_where_it_is_kept_is_not(call, partition, account):
    """The same call from another partition or round is the same call."""
    assert identity_of(replace(call, partition=partition, account=account), "m") == identity_of(call, "m")


def test_an_identity_is_what_it_was_when_it_was_kept():
    """Replies that an earlier release paid for are found by a later one."""
    assert identity_of(CALL, "m") == "95cb776fd91785dfc16c3cfc6edb8c32d8944f3a1b2e9ae3ccc3705e1c1445fa"


@given(CALLS, TEXT)
def test_an_identity_is_that_of_canonical_json(call, model):
    """What is put together by hand is what json would write, without spaces and with every character as it is."""
    drawn = call.sampling
    whole = [
        call.role, model, [[turn.role, turn.content] for turn in call.messages],
        [drawn.temperature, drawn.top_p, drawn.max_tokens, drawn.seed, list(drawn.stop)], call.schema_json, call.attempt,
    ]  # fmt: skip
    written = json.dumps(whole, ensure_ascii=False, separators=(",", ":"))
    assert identity_of(call, model) == hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_call_with_no_number_has_no_identity(number):
    """JSON could not hold it, so no endpoint could be asked."""
    with pytest.raises(ValueError, match="no number"):
        identity_of(replace(CALL, sampling=replace(CALL.sampling, temperature=number)), "m")


@given(CALLS)
def test_no_prompt_has_more_tokens_than_its_bound(call):
    """Even were each byte a token."""
    assert prompt_tokens_max(call) >= sum(len(turn.content.encode()) for turn in call.messages)


@given(TEXT, st.lists(TEXT, max_size=3).map(tuple))
def test_no_stop_text_is_left(text, stop):
    """What comes before the first of them is kept whole."""
    kept = before_stop(text, stop)
    assert text.startswith(kept)
    assert not any(each in kept for each in stop if each)


def test_a_schema_that_is_no_json_is_the_caller_s_mistake():
    """It is found before anybody is asked."""
    with pytest.raises(ValueError, match="Expecting"):
        request_of(replace(CALL, schema_json="{"), "m")


def number_in(text: str) -> int:
    try:
        return int(json.loads(text)["n"])
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"wanted an object with n, got {error}") from None


async def test_a_readable_reply_is_the_answer():
    """One call, one cost."""
    answer = await answer_of(FakeChatModel(lambda _: '{"n": 4}'), CALL, number_in)
    assert isinstance(answer, Answer)
    assert (answer.value, answer.attempts, len(answer.costs)) == (4, 1, 1)


async def test_an_unreadable_reply_is_shown_to_the_model_with_its_error():
    """As further turns of the next attempt; replies before the last are not shown again."""
    said = iter(["four", '{"m": 4}', '{"n": 4}'])
    chat = FakeChatModel(lambda _: next(said))
    answer = await answer_of(chat, CALL, number_in)
    assert isinstance(answer, Answer)
    assert (answer.value, answer.attempts, len(answer.costs)) == (4, 3, 3)
    first, second, third = chat.paid
    assert first == CALL
    assert (second.attempt, third.attempt) == (2, 3)
    assert [turn.role for turn in third.messages] == ["system", "user", "assistant", "user"]
    assert third.messages[2].content == '{"m": 4}'
    assert "wanted an object with n" in third.messages[3].content


async def test_a_reply_that_stays_unreadable_is_no_answer():
    """After the attempts allowed; every one of them was paid."""
    answer = await answer_of(FakeChatModel(lambda _: "x" * 10_000), CALL, number_in, attempts_max=2)
    assert isinstance(answer, NoAnswer)
    assert (answer.hindrance, answer.attempts, len(answer.costs)) == (Hindrance.INVALID, 2, 2)
    assert "wanted an object" in answer.detail


@pytest.mark.parametrize("cost", [None, Cost("refiner", 1.0)])
async def test_a_call_that_is_not_made_is_not_repeated(cost):
    """The endpoint has tried; what it cost is told."""
    chat = FakeChatModel(lambda _: NotMade(Hindrance.CUT_OFF, "64 tokens", cost))
    answer = await answer_of(chat, CALL, number_in)
    assert isinstance(answer, NoAnswer)
    assert (answer.hindrance, answer.detail, answer.attempts) == (Hindrance.CUT_OFF, "64 tokens", 1)
    assert answer.costs == ((cost,) if cost else ())


async def test_an_answer_that_is_asked_for_again_is_not_paid_again():
    """The same replies lead to the same attempts."""
    chat = FakeChatModel(lambda call: "four" if call.attempt == 1 else '{"n": 4}')
    assert await answer_of(chat, CALL, number_in) == await answer_of(chat, CALL, number_in)
    assert len(chat.paid) == 2
