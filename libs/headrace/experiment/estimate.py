"""How long an experiment will take, roughly, on two idle cores with the default model."""

from collections.abc import Sequence

from headrace.core.samples import Sample
from headrace.experiment.arms import Arm
from headrace.experiment.settings import Setup

_CHARS_PER_TOKEN = 3.0
_JUDGE_TOKENS = 330
"""What the judge reads beside a sample."""
_SCORED_PER_S, _WRITTEN_PER_S = 700.0, 40.0
"""Tokens a second of both cores together, with a model of 135 million parameters."""
_TRAINED_PER_S = 120.0
"""Of one run, which has one core to itself."""
_CORES = 2
_START_S = 15.0
"""A process of the model's side until it does something."""


def planted_s(setup: Setup, rows: Sequence[Sample]) -> float:
    """Seconds for the planted damage: one run, and the survey."""
    tokens = _tokens(rows, setup.tokens_max)
    scored = 3 * tokens + _JUDGE_TOKENS * len(rows)
    return _START_S * 2 + scored / _SCORED_PER_S + _trained_s(setup, rows)


def controls_s(setup: Setup, rows: Sequence[Sample], held_out: Sequence[Sample]) -> float:
    """Seconds for the controls: rewrites for two of the five arms, all runs but the first, and what they learnt."""
    runs = len(Arm) * setup.seeds
    rounds = (runs - 1) / min(setup.side_by_side, _CORES)
    written = 2 * setup.rewrites_max * setup.attempts * setup.reply_tokens_max
    scored = (runs + 1) * _tokens(held_out, setup.tokens_max) + 3 * setup.rewrites_max * setup.attempts * setup.tokens_max
    starts = _START_S * (rounds + setup.attempts + 1)
    trained = rounds * _trained_s(setup, rows)
    return starts + written / _WRITTEN_PER_S + scored / _SCORED_PER_S + trained


def _trained_s(setup: Setup, rows: Sequence[Sample]) -> float:
    """One run."""
    tokens = _tokens(rows, setup.train_tokens_max) / len(rows)
    return setup.steps * setup.batch_rows * setup.accumulate * tokens / _TRAINED_PER_S


def _tokens(samples: Sequence[Sample], tokens_max: int) -> float:
    """Tokens of all samples together, each cut at its end."""
    chars = (sum(len(turn.content) for turn in sample.messages) for sample in samples)
    return sum(min(each / _CHARS_PER_TOKEN, tokens_max) for each in chars)
