"""What a signal model is sent, and what is believed of its answer."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import InferResult, service_pb2
from tritonclient.utils import serialize_byte_tensor

from headrace.adapters.triton.rows import Unintelligible, conversation_json, measured_rows, parts
from headrace.core.ports.signal_model import NOTHING_MORE, Asks
from headrace.core.rounds.surveys import Judge
from headrace.core.samples import Message, Sample, ToolCall


def answer(version: str = "2", **changed: np.ndarray) -> InferResult:
    unit = np.full((2, 4), 0.5, np.float32)
    columns = {
        "LOSS_MEAN": np.array([[1.5], [2.5]], np.float32), "LOSS_STD": np.array([[0.5], [0.25]], np.float32),
        "PROMPT_TOKENS": np.array([[3], [4]], np.int32), "RESPONSE_TOKENS": np.array([[5], [6]], np.int32),
        "TRUNCATED": np.array([[False], [True]]), "PROMPT_EMBEDDING": unit, "CONVERSATION_EMBEDDING": unit,
    } | changed  # fmt: skip
    response = service_pb2.ModelInferResponse(model_name="signals", model_version=version)
    kinds = {"f": "FP32", "i": "INT32", "b": "BOOL", "O": "BYTES"}
    for name, values in columns.items():
        response.outputs.add(name=name, datatype=kinds[values.dtype.kind], shape=values.shape)
        is_text = values.dtype.kind == "O"
        response.raw_output_contents.append(serialize_byte_tensor(values).item() if is_text else values.tobytes())
    response.outputs.add(name="ERROR", datatype="BYTES", shape=(2, 1))
    response.raw_output_contents.append(b"\0\0\0\0" * 2)
    return InferResult(response)


def read(result: InferResult, asks: Asks = NOTHING_MORE) -> list[Any]:
    return list(measured_rows(result, 2, role="current", model="signals", model_version="2", asks=asks))


def test_an_answer_becomes_signals_and_embeddings_with_their_model_version() -> None:
    """Numbers arrive as they were sent, embeddings as little-endian float32."""
    first, second = read(answer())
    assert (first.signals.loss_mean, first.signals.loss_std) == (1.5, 0.5)
    assert (second.signals.prompt_tokens, second.signals.response_tokens, second.signals.truncated) == (4, 6, True)
    assert (first.signals.model, first.signals.model_version) == ("signals", "2")
    assert first.embeddings.prompt == np.full(4, 0.5, "<f4").tobytes()


@pytest.mark.parametrize("number", [np.nan, np.inf, -1.0])
def test_a_loss_that_cannot_be_is_an_error_and_never_a_number(number: float) -> None:
    """What is not finite, or below zero, was not made; the other row stands."""
    first, second = read(answer(LOSS_MEAN=np.array([[number], [1.0]], np.float32)))
    assert first.signals.loss_mean is None
    assert first.signals.loss_std is None
    assert first.signals.error
    assert first.embeddings is None
    assert second.signals.error == ""


@pytest.mark.parametrize("value", [0.0, 0.7, np.nan])
def test_an_embedding_that_is_not_of_unit_length_is_an_error(value: float) -> None:
    """Cosines are dot products later on, so lengths must be one."""
    first, _ = read(answer(PROMPT_EMBEDDING=np.full((2, 4), value, np.float32)))
    assert "unit length" in first.signals.error


@pytest.mark.parametrize(
    "wrong",
    [
        {"LOSS_MEAN": np.zeros((1, 1), np.float32)},
        {"PROMPT_EMBEDDING": np.zeros((2, 0), np.float32)},
        {"CONVERSATION_EMBEDDING": np.zeros((1, 8), np.float32)},
        {"version": "3"},
    ],
)
def test_an_answer_of_another_model_is_not_believed(wrong: dict[str, Any]) -> None:
    """Misshapen outputs, or another version's, are no answer."""
    with pytest.raises(Unintelligible):
        read(answer(**wrong))


def judged(**changed: np.ndarray) -> dict[str, Any]:
    return {
        "JUDGEMENT": np.array([[0, 1, 2, 3, 4, 10], [5] * 6], np.float32), "JUDGE_TOKENS": np.array([[30], [40]], np.int32),
        "JUDGE_TRUNCATED": np.array([[True], [False]]), "JUDGE_RULER": np.array([["abc"]] * 2, object),
        "JUDGE_ERROR": np.array([[""], ["too little"]], object),
    } | changed  # fmt: skip


def test_a_judgement_arrives_with_its_ruler_or_says_why_there_is_none() -> None:
    """Six scores in their order; what the judge could not read of a sample counts as cut off."""
    first, second = read(answer(**judged()), Asks(Judge.LOGITS))
    assert first.signals.judgement.scores == (0, 1, 2, 3, 4, 10)
    assert (first.signals.judgement.mode, first.signals.judgement.ruler_hash) == ("logits", "abc")
    assert (first.signals.truncated, first.extra_tokens) == (True, 30)
    assert (second.signals.judgement.error, second.signals.judgement.quality) == ("too little", None)
    assert second.signals.loss_mean == 2.5
    assert read(answer(**judged()))[0].signals.judgement is None


@pytest.mark.parametrize("score", [np.nan, -0.1, 10.1, np.inf])
def test_a_score_that_cannot_be_is_an_error_and_never_a_number(score: float) -> None:
    """Scores are 0 to 10; the signals beside them stand."""
    scores = np.full((2, 6), 5, np.float32)
    scores[0, 3] = score
    first, _ = read(answer(**judged(JUDGEMENT=scores)), Asks(Judge.LOGITS))
    assert first.signals.judgement.error
    assert set(first.signals.judgement.scores) == {None}
    assert first.signals.loss_mean == 1.5


@pytest.mark.parametrize("missing", ["JUDGEMENT", "JUDGE_TOKENS", "JUDGE_ERROR"])
def test_a_server_that_does_not_judge_when_asked_is_not_believed(missing: str) -> None:
    """An older model of ours, or another's."""
    columns = {name: values for name, values in judged().items() if name != missing}
    with pytest.raises(Unintelligible, match=missing):
        read(answer(**columns), Asks(Judge.LOGITS))
    with pytest.raises(Unintelligible, match="5 scores"):
        read(answer(**judged(JUDGEMENT=np.zeros((2, 5), np.float32))), Asks(Judge.LOGITS))


def test_a_conversation_is_sent_in_openai_form_with_its_tools() -> None:
    """Messages and tools go to the model, reference and metadata do not."""
    messages = (
        Message("user", "6 · 7, größer?"),
        Message("assistant", "", (ToolCall("c1", "multiply", '{"a": 6}'),)),
        Message("tool", "42", tool_call_id="c1", name="multiply"),
    )
    sent = json.loads(
        conversation_json(Sample("d", "s", 0, "", messages, tools_json='[{"type": "function"}]', metadata_json='{"k": 1}'))
    )
    assert sent == {
        "messages": [
            {"role": "user", "content": "6 · 7, größer?"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "multiply", "arguments": '{"a": 6}'}}],
            },
            {"role": "tool", "content": "42", "tool_call_id": "c1", "name": "multiply"},
        ],
        "tools": [{"type": "function"}],
    }


def test_a_lone_surrogate_does_not_keep_the_others_from_being_sent() -> None:
    """It arrives as it is; the model names it in that row's error."""
    sent = conversation_json(Sample("d", "s", 0, "", (Message("user", "\ud800"),)))
    assert json.loads(sent)["messages"][0]["content"] == "\ud800"


@given(st.lists(st.binary(max_size=50), max_size=40), st.integers(1, 8), st.integers(1, 100))
def test_parts_keep_order_and_bounds(texts: list[bytes], rows_max: int, bytes_max: int) -> None:
    """Nothing is lost or moved; only a text that is too long by itself exceeds the bound."""
    split = list(parts(texts, rows_max=rows_max, bytes_max=bytes_max))
    assert [text for part in split for text in part] == texts
    for part in split:
        assert 1 <= len(part) <= rows_max
        assert len(part) == 1 or sum(map(len, part)) <= bytes_max


def test_a_prompt_as_plain_text_has_an_embedding_of_its_own_or_none() -> None:
    """One that is not of unit length is none, and casts no doubt on its row; what was read for it counts."""
    vectors = np.array([[0, 1, 0, 0], [0, 0, 0, 0]], np.float32)
    columns: dict[str, Any] = {"PLAIN_EMBEDDING": vectors, "PLAIN_TOKENS": np.array([[9], [0]], np.int32)}
    first, second = read(answer(**columns, **judged()), Asks(Judge.LOGITS, plain_prompt=True))
    assert (first.plain_prompt, first.extra_tokens) == (vectors[0].tobytes(), 39)
    assert (second.plain_prompt, second.extra_tokens) == (b"", 40)
    assert second.signals.loss_mean == 2.5
    assert read(answer(**columns))[0].plain_prompt == b""
    with pytest.raises(Unintelligible, match="PLAIN_EMBEDDING"):
        read(answer(), Asks(plain_prompt=True))
