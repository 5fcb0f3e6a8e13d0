"""Policy files: YAML without its traps, each mistake with its line."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import checks
from headrace.adapters.policies.file import FILE_BYTES_MAX, parse_policy, read_policy
from headrace.core.policies import Policy
from headrace.core.policy_problems import InvalidPolicy


def test_starter_policy_is_one():
    """What `headrace policy init` prints can be applied, and sets nothing but its checks."""
    starter = read_policy(Path("libs/headrace/cli/starter_policy.yaml"), checks.validate)
    assert starter.signals == Policy().signals
    assert starter.diversity == Policy().diversity
    assert [request.check for request in starter.checks] == ["math", "duplicate_prompt"]


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
