"""Strict reading and validation against a JSON Schema, inside a worker: the schema may come from a sample."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from jsonschema import SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator, validator_for
from jsonschema_specifications import REGISTRY as SPECIFICATIONS
from referencing.exceptions import Unresolvable

from headrace.checks._contract import readable
from headrace.checks._json import NotStrictJson, read

_SCHEMA_DEPTH_MAX = 64
_ERRORS_SHOWN = 5
_SHOWN_CHARS = 160


def warm() -> None:
    """Have jsonschema compile its meta-schemas."""
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^x"}}}
    work({"response": '{"a": "x"}', "depth_max": 2, "own_schema": "", "schema": schema})


def work(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Read `response` and hold it against `own_schema`, a text, or else `schema`; the reply has an `outcome` and `evidence`."""
    outcome, evidence = _outcome(request)
    return {"outcome": outcome, "evidence": readable(evidence)}


def _outcome(request: Mapping[str, Any]) -> tuple[str, str]:
    try:
        document = read(request["response"], depth_max=request["depth_max"])
    except NotStrictJson as error:
        return "failed", f"the response is not strict JSON: {error}"
    own = request["own_schema"]
    try:
        schema = read(own, depth_max=_SCHEMA_DEPTH_MAX) if own else request["schema"]
    except NotStrictJson as error:
        return "not_made", f"the sample's own schema is not strict JSON: {error}"
    return _validated(document, schema)


def _validated(document: Any, schema: Any) -> tuple[str, str]:
    problem = problem_of_schema(schema)
    if problem:
        return "not_made", f"the schema {problem}"
    try:
        errors = list(islice(_validator(schema).iter_errors(document), _ERRORS_SHOWN))
    except Unresolvable as error:
        return "not_made", f"the schema refers to {error.ref!r}, which it does not hold; none is fetched"
    except RecursionError:
        return "not_made", "the schema refers to itself without end"
    if errors:
        return "failed", "; ".join(_shown(error) for error in errors)
    return "passed", "the response is a document that the schema allows"


def problem_of_schema(schema: Any) -> str:
    """Why this is no JSON Schema ('is no JSON Schema: ...'), or ''."""
    if isinstance(schema, bool):
        return ""
    if not isinstance(schema, dict):
        return "is no JSON Schema: it is neither an object nor true or false"
    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        return f"is no JSON Schema: {_shown(error)}"
    except RecursionError:
        return "is no JSON Schema: it is nested too deeply"
    return ""


def _validator(schema: Any) -> Validator:
    # With this registry a reference to anything outside the schema is an error; jsonschema's default would fetch it.
    return validator_for(schema, default=Draft202012Validator)(schema, registry=SPECIFICATIONS)


def _shown(error: ValidationError | SchemaError) -> str:
    message = error.message if len(error.message) <= _SHOWN_CHARS else error.message[: _SHOWN_CHARS - 1] + "…"
    return f"{error.json_path}: {message}"
