"""The registry of checks: found by name, imported when used, their settings judged with the policy."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from headrace import checks
from headrace.checks import _form, readable
from headrace.core.dossiers import CheckOutcome
from headrace.core.policies import CheckRequest, Policy
from headrace.core.policy_problems import InvalidPolicy
from tests.fakes.evidence import dossier
from tests.fakes.workers import FakeWorkers


def policy(*requests: dict[str, object]) -> Policy:
    return Policy.model_validate({"checks": requests})


def test_checks_are_found_without_being_imported():
    """Listing the checks costs nothing: no check and none of its libraries is imported."""
    probe = "import sys; from headrace import checks; print(checks.names()); print(sorted(sys.modules))"
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, env={"PYTHONPATH": "libs"})
    names, modules = found.stdout.splitlines()
    assert names == "('constraints', 'duplicate_prompt', 'exact', 'math', 'schema')"
    assert not {"headrace.checks.math", "sympy", "re2", "lingua", "jsonschema"} & set(eval(modules))  # noqa: S307


def test_policy_can_be_read_without_the_checks_libraries():
    """Admission's image has none of them: loading a check and hashing its ruler needs none."""
    probe = (
        "import sys; from headrace import checks; from headrace.core.policies import Policy\n"
        "policy = Policy.model_validate({'checks': [{'check': 'math'}, {'check': 'constraints', 'languages': ['en']}]})\n"
        "print(sorted(checks.rulers(policy)), {'sympy', 're2', 'lingua', 'jsonschema'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, env={"PYTHONPATH": "libs"})
    assert found.stdout == "['constraints', 'math'] set()\n"


@pytest.mark.parametrize("name", checks.names())
def test_every_check_describes_itself(name: str):
    """A check has a summary, a version, and a description for each setting, none of which may be misspelt."""
    check = checks.load(name)
    assert check.summary.endswith(".")
    assert check.version >= 1
    assert all(field.description for field in check.settings_type.model_fields.values())
    assert check.settings_type.model_config["extra"] == "forbid"
    assert check.settings_type.model_config["frozen"]


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        ({"check": "mth"}, "checks[0].check: unknown check 'mth'; did you mean 'math'? Known: constraints, duplicate_prompt"),
        ({"check": "_pool"}, "checks[0].check: unknown check '_pool'"),
        ({"check": "math", "cpu_s": 1}, "checks[0].cpu_s: unknown key 'cpu_s'; did you mean 'cpu_s_max'?"),
        ({"check": "math", "cpu_s_max": 600}, "checks[0].cpu_s_max: should be less than or equal to 5, not 600"),
        ({"check": "duplicate_prompt", "copies_max": 0}, "checks[0].copies_max: should be greater than or equal to 1, not 0"),
        ({"check": "constraints"}, "checks[0]: sets no constraint: name at least one"),
        ({"check": "constraints", "tokens_min": 9, "tokens_max": 3}, "tokens_min (9) is above tokens_max (3)"),
        ({"check": "constraints", "must_match": ["(?=x)"]}, "the pattern '(?=x)' is not one RE2 takes: invalid perl operator"),
        ({"check": "constraints", "must_match": ["(a{1000}){1000}"]}, "is not one RE2 takes"),
        ({"check": "constraints", "languages": ["xx"]}, "languages: 'xx' cannot be told from others; known: af, ar"),
        ({"check": "constraints", "languages": ["English"]}, "checks[0].languages[0]: String should match pattern"),
        (
            {"check": "constraints", "format": "xml"},
            "checks[0].format: should be 'json', 'markdown_list' or 'code_block', not 'xml'",
        ),
        ({"check": "schema", "json_schema": {"type": "objct"}}, "json_schema is no JSON Schema: $.type: 'objct' is not valid"),
        ({"check": "schema", "json_schema": 3}, "checks[0].json_schema: should be an object, not 3"),
    ],
)
def test_settings_that_cannot_work_are_refused(request_: dict[str, object], problem: str):
    """A misspelt or impossible setting is found when the policy is read, not when the first sample comes."""
    with pytest.raises(InvalidPolicy) as refused:
        checks.validate(policy(request_))
    assert problem in str(refused.value)


def test_missing_library_says_what_to_install(monkeypatch):
    """Without the extra a pattern cannot be judged; the error names the extra."""

    def absent(_: str):
        raise ModuleNotFoundError("No module named 're2'", name="re2")

    monkeypatch.setattr(_form, "compiled", absent)
    with pytest.raises(InvalidPolicy, match=r"constraints needs re2: install headrace\[validation\]"):
        checks.validate(policy({"check": "constraints", "must_match": ["x"]}))


def test_ruler_changes_with_settings_only():
    """The hash names what was measured with: defaults written out or left out are the same ruler."""
    plain = checks.rulers(policy({"check": "duplicate_prompt"}))
    assert checks.rulers(policy({"check": "duplicate_prompt", "copies_max": 1, "required": False})) == plain
    assert checks.rulers(policy({"check": "duplicate_prompt", "copies_max": 2})) != plain
    assert checks.rulers(policy({"check": "of a newer release"})) == {}


def test_equal_requests_with_other_schemas_are_other_rulers():
    """In Python 1 == True; in JSON Schema no document is both."""
    check = checks.load("schema")
    one, true = (CheckRequest.model_validate({"check": "schema", "json_schema": {"const": const}}) for const in (1, True))
    assert one == true
    assert check.ruler_hash(one) != check.ruler_hash(true)
    assert check.settings_of(true).model_dump()["json_schema"]["const"] is True
    of_one, of_true = (checks.rulers(policy({"check": "schema", "json_schema": {"const": const}})) for const in (1, True))
    assert of_one != of_true


async def test_result_carries_name_ruler_and_harmless_evidence():
    """Whatever a response holds, its evidence can be printed."""
    request = CheckRequest.model_validate({"check": "constraints", "options": ["A"]})
    check = checks.load("constraints")
    result = await check.run(dossier("\x1b[2J\u202e\ud800" + "x" * 10_000), request, FakeWorkers())
    assert (result.check, result.outcome) == ("constraints", CheckOutcome.FAILED)
    assert result.ruler_hash == check.ruler_hash(request)
    assert result.evidence.isprintable()
    assert "\\x1b[2J\\u202e\\ud800" in result.evidence


@given(st.text(st.characters(), max_size=3_000), st.integers(10, 400))
def test_readable_text_is_short_and_printable(text: str, limit: int):
    """No control, format or lone surrogate character gets through, and no more than the limit."""
    shown = readable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit
    shown.encode()
    assert shown == text or len(text) > limit or not text.isprintable()


def test_published_schema_agrees_with_what_is_accepted():
    """The JSON Schema refuses what the policy refuses, each check's settings included, and takes the starter policy."""
    schema = checks.policy_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    starter = yaml.safe_load(Path("libs/headrace/cli/starter_policy.yaml").read_text("utf-8"))
    assert list(validator.iter_errors(starter)) == []
    good = {"checks": [{"check": "constraints", "languages": ["en"], "required": False}, {"check": "math", "cpu_s_max": 1}]}
    assert list(validator.iter_errors(good)) == []
    refused: tuple[dict[str, object], ...] = (
        {"signls": {}},
        {"signals": {"loss_max": -1}},
        {"checks": [{"check": "mth"}]},
        {"checks": [{"check": "math", "copies_max": 1}]},
        {"checks": [{"check": "math", "cpu_s_max": 600}]},
        {"checks": [{}]},
    )
    for bad in refused:
        assert list(validator.iter_errors(bad)), bad
    assert json.loads(json.dumps(schema)) == schema
