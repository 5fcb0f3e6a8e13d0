"""Policy files: YAML without its traps, each mistake with its line."""

import contextlib
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from headrace import checks
from headrace.adapters.policies.file import FILE_BYTES_MAX, parse_policy, read_policy
from headrace.core.policies import Policy
from headrace.core.policy_problems import InvalidPolicy


def test_starter_policy_is_one():
    """What `headrace policy init` prints can be applied, and sets nothing but its checks."""
    starter = read_policy(Path("libs/headrace/cli/starter_policy.yaml"), checks.validate)
    assert starter.model_copy(update={"checks": ()}) == Policy()
    assert [request.check for request in starter.checks] == ["math", "duplicate_prompt"]


def test_starter_policy_explains_every_key():
    """Each key that a policy may have stands in it, but for what the system fills in itself."""
    told = yaml.safe_load(Path("libs/headrace/cli/starter_policy.yaml").read_text("utf-8"))
    assert missing_in(told, Policy()) == ["standing.thresholds"]


def missing_in(told, section, path=""):
    missing = []
    for name in type(section).model_fields:
        value = getattr(section, name)
        if name not in told:
            missing.append(f"{path}{name}")
        elif isinstance(value, BaseModel):
            missing += missing_in(told[name], value, f"{path}{name}.")
    return missing


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (
            b"description: x\nrounds:\n  mode: middo_compat\n  base: none\n",
            "line 3: rounds.mode: mode middo_compat compares the loss",
        ),
        (
            b"rounds:\n  hard: {enabled: false}\n  sparse: {enabled: false}\n  low_quality: {enabled: false}\n",
            "line 1: rounds: hard, sparse and low_quality are all off",
        ),
        (b"checks:\n- check: mth\nrounds:\n  mode: middo_compat\n  base: none\n", "line 4: rounds.mode"),
    ],
)
def test_rounds_that_could_never_run_are_told_when_the_policy_is_written(source, problem):
    """With the line, beside whatever else is wrong; not hours later by a round."""
    with pytest.raises(InvalidPolicy, match=re.escape(problem)):
        parse_policy(source, checks.validate)


@pytest.mark.parametrize(
    "source",
    [
        b"rounds: {mode: middo_compat}",
        b"rounds: {mode: middo_compat, base: none, hard: {enabled: false}}",
        b"rounds: {mode: middo_compat, base: none}\nsignals: {base_model: base}",
        b"rounds: {base: none, hard: {enabled: false}, sparse: {enabled: false}}",
    ],
)
def test_rounds_that_can_run_are_taken(source):
    """The model's own first version is a base, unless it is declined."""
    assert parse_policy(source, checks.validate)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (b"", "the file is empty"),
        (b"# nothing\n", "the file is empty"),
        (b"- signals", "should be a mapping, not ['signals']"),
        (b"signals: [", "line 1: not YAML: expected the node content, but found '<stream end>'"),
        (
            b"signals: {}\n---\nsignals: {}",
            "line 2: not YAML: expected a single document in the stream, but found another document",
        ),
        (
            b"checks:\n- check: schema\n  json_schema: {type: number, maximum: .inf}",
            "line 2: checks[0]: json_schema holds what JSON has not: Out of range float values",
        ),
        (b"checks:\n- check: schema\n  json_schema: {const: !!binary aGk=}", "json_schema holds what JSON has not"),
        (b"checks:\n- check: schema\n  json_schema: !!set {a, b}", "json_schema holds what JSON has not"),
        (b"\xff\xfe", "not UTF-8"),
        (b"description: \x00", "not YAML: unacceptable character #x0000"),
        (b"x" * (FILE_BYTES_MAX + 1), f"a policy file has at most {FILE_BYTES_MAX} bytes"),
        (b"[" * 50_000, "nested too deeply"),
        (b"a: &a [x]\nb: *a", "line 2: aliases (*name) are not allowed: write the value out"),
        (b"signals: !!python/object/apply:os.system [true]", "could not determine a constructor"),
        (b"? [a]\n: 1", "not YAML: found unhashable key"),
        (b"versions: {every_rows: " + b"9" * 5_000 + b"}", "not YAML: Exceeds the limit"),
        (b"signals:\n  loss_max: 1\ndiversity: {}\nsignals: {}", "line 4: signals: is there twice, first on line 1"),
        (b"checks:\n- check: math\n  check: exact", "line 3: checks[0].check: is there twice, first on line 2"),
        (b"\nsignals:\n  loss_mx: 1", "line 3: signals.loss_mx: unknown key 'loss_mx'; did you mean 'loss_max'?"),
        (b"signals:\n  loss_max: '3'", "line 2: signals.loss_max: should be a valid number, not '3'"),
        (b"signals:\n  loss_max: 1e400", "line 2: signals.loss_max: should be a valid number, not '1e400'"),
        (b"signals:\n  loss_max: .inf", "line 2: signals.loss_max: should be a finite number, not inf"),
        (b"signals:\n  loss_max: yes", "line 2: signals.loss_max: should be a valid number, not True"),
        (b"signals:\n\n  loss_max: 1\n  loss_min: 2", "line 1: signals: signals.loss_min is above signals.loss_max"),
        (b"checks:\n  - chek: math", "line 2: checks[0].check: is required"),
        (b"checks:\n  - check: math\n  - check: mth", "line 3: checks[1].check: unknown check 'mth'; did you mean 'math'?"),
        (
            b"checks:\n  - check: math\n    cpu_s_max: 99",
            "line 3: checks[0].cpu_s_max: should be less than or equal to 5, not 99",
        ),
        (b"true: 1", "Keys should be strings, not True"),
        (
            b"rounds:\n  budget:\n    roles:\n      answere: {tokens: 1}",
            "line 4: rounds.budget.roles.answere: unknown key 'answere'; did you mean 'answerer'? Known: answerer, judge",
        ),
        (
            b"rounds: {budget: {roles: {judge: {money: -1.0}}}}",
            "rounds.budget.roles.judge.money: should be greater than or equal to 0, not -1.0",
        ),
        (b"rounds: {budget: {roles: {judge: {seconds: 1}}}}", "unknown key 'seconds'; Known: money, tokens"),
    ],
)
def test_mistake_is_placed(source: bytes, problem: str):
    """Whatever is in the file, the error names the line, the key and what would do."""
    with pytest.raises(InvalidPolicy) as refused:
        parse_policy(source, checks.validate)
    assert problem in str(refused.value)


def test_dates_stay_text():
    """YAML would make a date of a description that looks like one."""
    assert parse_policy(b"description: 2026-11-21", checks.validate).description == "2026-11-21"


@given(st.binary(max_size=300) | st.text("{}[]:,-&*!?|>'\"#\n ab1.~", max_size=120).map(str.encode))
def test_no_bytes_raise_anything_else(source: bytes):
    """Hostile bytes are a policy or a named problem, never another error."""
    with contextlib.suppress(InvalidPolicy):
        parse_policy(source, checks.validate)
