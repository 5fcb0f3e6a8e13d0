"""The generating judge: what it reads from texts, and that it draws the same each time."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from headrace.lm.conversations import ConversationReader
from headrace.lm.judge_generated import Decoding, GeneratedJudge, _drawn, has_score, score_of
from headrace.lm.judge_layout import JudgeReader, Quoted
from headrace.lm.judges import JudgeLimits
from headrace.lm.signals import SignalMeter

SENT = [
    {"messages": [{"role": "user", "content": f"what is {number}?"}, {"role": "assistant", "content": "two " * number}]}
    for number in range(1, 4)
]
DECODING = Decoding(temperature=1.0, top_p=1.0, new_tokens_max=24)
"""A random model says numbers only where it may say anything."""


@pytest.mark.parametrize(
    ("text", "score"),
    [("8.5/10", 8.5), ("none", 0.0), ("12", 10.0), ("", 0.0), ("Score: 7. It", 7.0), ("it is 3 of 10", 3.0), ("10", 10.0)],
)
def test_the_first_number_of_a_text_is_its_score(text: str, score: float) -> None:
    """At most 10, and 0 where there is none."""
    assert score_of(text) == score


@pytest.mark.parametrize(("text", "behind"), [("8", "5"), ("8.", "5"), ("8.5", "1"), ("a", "8")])
def test_a_score_that_may_still_grow_is_not_known(text: str, behind: str) -> None:
    """A digit may follow, or a fraction."""
    assert not has_score(text)
    assert score_of(text) != score_of(text + behind)


@pytest.mark.parametrize("text", ["8.5/", "8. I", "8 ", "8.5.", "12,"])
def test_a_score_is_known_as_soon_as_nothing_can_change_it(text: str) -> None:
    """What follows is another number."""
    assert has_score(text)
    assert score_of(text) == score_of(text + "9")


@pytest.fixture
def layout(reader: ConversationReader) -> JudgeReader:
    return JudgeReader(reader, "generated", tokens_max=256, positions_max=4096)


def test_the_score_is_the_same_whether_the_text_is_written_to_its_end(
    meter_of: Callable[..., SignalMeter], reader: ConversationReader, layout: JudgeReader
) -> None:
    """Ending a text behind its first number saves tokens and nothing else; judging again gives the same."""
    meter = meter_of()
    judge = GeneratedJudge(meter._model, layout, reader.text, decoding=DECODING)
    short, again = (judge.judge(SENT, pool=meter._pool, workers=2) for _ in range(2))
    assert short == again
    asked = [judge.asked(one) for one in layout.quoted(SENT) if isinstance(one, Quoted)]
    whole = [judge.write(rows, lambda _: False) for rows in asked]
    assert [judged.scores for judged in short] == [tuple(score_of(reader.text(ids)) for ids in texts) for texts in whole]
    written = sum(len(ids) for texts in whole for ids in texts)
    assert sum(judged.tokens for judged in short) < sum(len(row) for rows in asked for row in rows) + written
    assert len({score for judged in short for score in judged.scores}) > 2


def test_words_are_drawn_by_their_probability_among_those_that_are_left() -> None:
    """Of the likeliest the fewest that hold top_p; the draw's place decides."""
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    decoding = Decoding(temperature=1.0, top_p=0.7, top_k=3)
    counts = np.bincount([_drawn(logits, [draw], decoding)[0] for draw in np.linspace(0, 0.999, 800)], minlength=4)
    np.testing.assert_allclose(counts / 800, [0.625, 0.375, 0, 0], atol=0.01)
    assert _drawn(logits, [0.999], Decoding(temperature=1.0, top_p=1.0, top_k=3)) == [2]
    assert _drawn(logits, [0.999], Decoding()) == [0]


def test_a_meter_still_measures_beside_its_judge(meter_of: Callable[..., SignalMeter]) -> None:
    """The judge's copy of the model shares weights, and leaves the attention of the other alone."""
    meter = meter_of()
    before = meter.measure(SENT)
    found, ruler = meter.judges(JudgeLimits(decoding=DECODING)).judge([*SENT, {"messages": []}], "generated")
    assert [bool(judged.error) for judged in found] == [False, False, False, True]
    assert len(ruler) == 64
    assert [one.loss_mean for one in meter.measure(SENT)] == [one.loss_mean for one in before]


def test_the_copy_costs_no_memory(meter_of: Callable[..., Any]) -> None:
    """Every tensor of the copy is one of the model's."""
    meter = meter_of()
    layout = JudgeReader(meter._reader, "generated", tokens_max=256, positions_max=4096)
    judge = GeneratedJudge(meter._model, layout, meter._reader.text, decoding=DECODING)
    theirs = {tensor.data_ptr() for tensor in meter._model.parameters()}
    assert {tensor.data_ptr() for tensor in judge._model.parameters()} == theirs
