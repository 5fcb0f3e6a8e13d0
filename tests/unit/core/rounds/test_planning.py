"""What a round is bound to when it begins."""

import pytest

from headrace.core.policies import Policy
from headrace.core.rounds.moves import evaluation_of
from headrace.core.rounds.planning import Measuring, planned, round_id_at
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.surveys import Judge

NOW = 1_000.0
VERSION = "9f" * 32
WITH_BASE = Measuring("signals", "2", base_model="signals", base_model_version="1")


def begun_under(measuring=WITH_BASE, **rounds):
    policy = Policy.model_validate({"rounds": rounds})
    return planned(policy, "arithmetic", "r1", (VERSION, 5, 10), measuring, "ada", NOW)


def test_a_plan_follows_the_policy():
    """Judge, held-out prompts and rules are the policy's; what the models cannot give is refused."""
    begun = begun_under(Measuring("signals", "2"))
    assert (begun.survey.judge, begun.survey.held_out_share, begun.rows) == (Judge.LOGITS, 0.1, 10)
    assert RoundPolicy.model_validate_json(begun.rules_json) == Policy().rounds
    with pytest.raises(ValueError, match="base model"):
        begun_under(Measuring("signals", "2"), mode="middo_compat")
    assert round_id_at(0.0, "a") == "19700101-000000-ca9781" < round_id_at(1.0, "b")


def test_prompts_are_embedded_as_plain_text_as_the_authors_do():
    """In their mode alone, where density is asked for, and not to evaluate."""
    assert not begun_under().survey.plain_prompts
    assert not begun_under(mode="middo_compat", sparse={"enabled": False}).survey.plain_prompts
    survey = begun_under(mode="middo_compat").survey
    assert survey.plain_prompts
    assert not evaluation_of(survey, "3").plain_prompts
