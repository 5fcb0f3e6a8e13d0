"""Policies: what they take and refuse, their names, and what differs between two."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.core.policies import CheckRequest, Policy
from headrace.core.policy_changes import ABSENT, changes_between
from headrace.core.policy_problems import problems_of


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"signls": {}}, "signls: unknown key 'signls'; did you mean 'signals'? Known: checks, description"),
        ({"signals": {"loss_mx": 1}}, "signals.loss_mx: unknown key 'loss_mx'; did you mean 'loss_max'? Known: base_model"),
        ({"signals": {"zzz": 1}}, "signals.zzz: unknown key 'zzz'; Known: base_model"),
        ({"signals": {"loss_max": -1}}, "signals.loss_max: should be greater than or equal to 0, not -1"),
        ({"signals": {"loss_max": float("nan")}}, "signals.loss_max: should be a finite number, not nan"),
        ({"signals": {"loss_max": True}}, "signals.loss_max: should be a valid number, not True"),
        ({"signals": {"loss_max": "3"}}, "signals.loss_max: should be a valid number, not '3'"),
        ({"signals": {"loss_min": 2, "loss_max": 1}}, "loss_min is above signals.loss_max: nothing could be admitted"),
        ({"signals": 3}, "signals: should be a mapping, not 3"),
        ({"diversity": {"near_duplicate_cosine": 1.1}}, "diversity.near_duplicate_cosine: should be less than or equal to 1"),
        ({"diversity": {"near_duplicate_cosine": 0}}, "diversity.near_duplicate_cosine: should be greater than 0"),
        ({"diversity": {"density_min": 0.9, "density_max": 0.1}}, "density_min is above diversity.density_max"),
        ({"diversity": {"neighbours": 0}}, "diversity.neighbours: should be greater than or equal to 1"),
        ({"diversity": {"hold_s_max": 1e9}}, "diversity.hold_s_max: should be less than or equal to 86400"),
        ({"checks": [{}]}, "checks[0].check: is required"),
        ({"checks": {"math": {}}}, "checks: should be a list, not"),
        ({"checks": [{"check": "math"}, {"check": "math"}]}, "checks: each check may be asked for once"),
        ({"checks": [{"check": f"c{i}"} for i in range(33)]}, "checks: Tuple should have at most 32 items"),
        ({"versions": {"every_s": 0}}, "versions.every_s: should be greater than 0, not 0"),
        ([], "should be a mapping, not []"),
    ],
)
def test_mistake_is_named(document: object, message: str):
    """Unknown keys, impossible thresholds and wrong types are refused by key, value and what would do."""
    with pytest.raises(ValidationError) as refused:
        Policy.model_validate(document)
    assert message in "\n".join(map(str, problems_of(refused.value, Policy)))


def test_every_problem_is_reported_at_once():
    """A file with two mistakes is mended in one go."""
    with pytest.raises(ValidationError) as refused:
        Policy.model_validate({"signals": {"loss_max": -1}, "checks": [{"check": 3}]})
    assert [problem.path for problem in problems_of(refused.value, Policy)] == ["signals.loss_max", "checks[0].check"]


settings = st.dictionaries(
    st.sampled_from(["a", "b", "copies_max"]), st.integers() | st.text(max_size=5) | st.lists(st.booleans()), max_size=3
)
policies = st.builds(
    lambda loss, names: Policy.model_validate({"signals": {"loss_max": loss}, "checks": [{"check": n, **s} for n, s in names]}),
    st.none() | st.floats(0, 1e6),
    st.dictionaries(st.text("xyz", min_size=1, max_size=3), settings, max_size=3).map(dict.items),
)


@given(policies, policies)
def test_version_names_the_policy(one: Policy, other: Policy):
    """A policy survives its own JSON with the same version; different policies have different ones."""
    again = Policy.model_validate_json(one.canonical_json())
    assert again == one
    assert again.version == one.version
    assert (one.version == other.version) == (one == other)


@pytest.mark.parametrize(
    ("request_", "copies"),
    [
        ({"check": "duplicate_prompt"}, 1),
        ({"check": "duplicate_prompt", "copies_max": 4}, 4),
        ({"check": "duplicate_prompt", "required": False}, None),
        ({"check": "math"}, None),
    ],
)
def test_quota_of_prompt_copies_follows_the_check(request_: dict[str, object], copies: int | None):
    """Whoever places samples learns the quota from the policy; an optional check sets none."""
    assert Policy(checks=(CheckRequest.model_validate(request_),)).prompt_copies_max() == copies


def test_changes_name_each_key():
    """Added checks, removed checks and other bounds each are one line; the order of checks is none."""
    before = Policy.model_validate({"signals": {"loss_max": 3}, "checks": [{"check": "math"}, {"check": "exact"}]})
    after = Policy.model_validate(
        {"signals": {"loss_max": 2}, "checks": [{"check": "exact"}, {"check": "schema", "d": {"x": 1}}]}
    )
    assert [(c.path, c.before, c.after) for c in changes_between(before, after)] == [
        ("checks.math.required", "true", ABSENT),
        ("checks.schema.d.x", ABSENT, "1"),
        ("checks.schema.required", ABSENT, "true"),
        ("signals.loss_max", "3.0", "2.0"),
    ]
    assert changes_between(after, after) == ()
    assert len(changes_between(None, after)) > len(changes_between(before, after))
