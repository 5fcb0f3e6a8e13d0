"""`schema`: strict JSON, held against schemas that may be hostile."""

import json
import time

import pytest

from headrace.core.dossiers import CheckOutcome
from headrace.core.samples import Reference
from tests.fakes.evidence import dossier

PASSED, FAILED, NOT_MADE = CheckOutcome.PASSED, CheckOutcome.FAILED, CheckOutcome.NOT_MADE
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("response", "outcome", "evidence"),
    [
        ('{"name": "Ada", "age": 36}', PASSED, "a document that the schema allows"),
        (' {"name": "Ada"}\n', PASSED, ""),
        ('{"age": -1, "x": 1}', FAILED, "is less than the minimum"),
        ('{"age": 1}', FAILED, "$: 'name' is a required property"),
        ("", FAILED, "not strict JSON: no JSON: Expecting value"),
        ('{"name": "Ada"} and more', FAILED, "Extra data"),
        ('```json\n{"name": "Ada"}\n```', FAILED, "no JSON"),
        ('{"name": "Ada", "age": NaN}', FAILED, "NaN is no JSON"),
        ('{"name": "Ada", "age": -Infinity}', FAILED, "-Infinity is no JSON"),
        ('{"name": "Ada", "age": 1e400}', FAILED, "the number 1e400 is too large"),
        ('{"name": "Ada", "age": ' + "9" * 5_000 + "}", FAILED, "not strict JSON"),
        ('{"name": "Ada", "name": "Bob"}', FAILED, "the key 'name' is there twice"),
        ("[" * 65 + "]" * 65, FAILED, "nested deeper than 64"),
        ("[" * 200_000, FAILED, "nested deeper than 64"),
        ('"' + "x" * 300_000 + '"', FAILED, "300002 characters, chars_max is 262144"),
        ('{"name": "\\ud800"}', PASSED, ""),
    ],
)
async def test_response_is_one_strict_document(run, response, outcome, evidence):
    """What JSON readers disagree about fails, as does what the schema refuses, with the reason."""
    result = await run(dossier(response), check="schema", json_schema=PERSON)
    assert result.outcome is outcome, result.evidence
    assert evidence in result.evidence


async def test_samples_own_schema_comes_first(run):
    """The policy's schema is for samples that bring none."""
    own = dossier("3", reference=Reference(json_schema='{"type": "integer"}'))
    assert (await run(own, check="schema", json_schema=PERSON)).outcome is PASSED
    assert (await run(own, check="schema")).outcome is PASSED
    assert await run(dossier("3"), check="schema") is None


@pytest.mark.parametrize(
    ("schema", "evidence"),
    [
        ("{", "the sample's own schema is not strict JSON"),
        ('{"type": "integer", "type": "string"}', "the key 'type' is there twice"),
        ("3", "is no JSON Schema: it is neither an object nor true or false"),
        ('{"type": "objct"}', "is no JSON Schema: $.type: 'objct' is not valid"),
        ('{"$ref": "http://127.0.0.1:1/schema"}', "none is fetched"),
        ('{"$ref": "file:///etc/passwd"}', "none is fetched"),
        ('{"$ref": "#/nowhere"}', "which it does not hold"),
        ('{"$ref": "#"}', "refers to itself without end"),
    ],
)
async def test_schema_that_is_none_says_nothing_about_the_sample(run, schema, evidence):
    """A broken schema is not the response's fault, and nothing it names is fetched."""
    result = await run(dossier("3", reference=Reference(json_schema=schema)), check="schema")
    assert result.outcome is NOT_MADE
    assert evidence in result.evidence


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("schema", "document"),
    [
        ({"pattern": "^(a+)+$"}, "a" * 40 + "!"),
        (
            {
                "$ref": "#/$defs/d0",
                "$defs": {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 4} for i in range(30)} | {"d30": {}},
            },
            1,
        ),
    ],
    ids=["backtracking pattern", "exponential references"],
)
async def test_schema_that_runs_away_is_killed(run, workers, schema, document):
    """A schema may take for ever to apply; that says nothing about the response."""
    evidence = dossier(json.dumps(document), reference=Reference(json_schema=json.dumps(schema)))
    result = await run(evidence, workers, check="schema", cpu_s_max=0.3)
    assert result.outcome is NOT_MADE
    assert "more than 0.3 s of processor time" in result.evidence
    assert (await run(dossier('{"name": "Ada"}'), workers, check="schema", json_schema=PERSON)).outcome is PASSED


@pytest.mark.asyncio(loop_scope="module")
async def test_evidence_of_long_keys_loses_no_worker(run, workers):
    """What the response is told to lack or hold is cut to what people read before a worker says it."""
    evidence = dossier(json.dumps({"k" * 100_000: "x"}))
    result = await run(evidence, workers, check="schema", json_schema={"additionalProperties": {"type": "integer"}})
    assert result.outcome is FAILED
    assert "is not of type 'integer'" in result.evidence


async def test_many_keys_of_which_one_is_there_twice_take_no_long_time(run):
    """The key is found in time linear in their number."""
    keys = ", ".join(f'"{number}": 1' for number in range(20_000))
    began = time.process_time()
    result = await run(dossier(f'{{{keys}, "19999": 1}}'), check="schema", json_schema=PERSON, chars_max=1_000_000)
    assert time.process_time() - began < 1
    assert (result.outcome, "the key '19999' is there twice" in result.evidence) == (FAILED, True)
