"""The checks that a policy may ask for: one module each, found by its name, imported when used.

A module of this package whose name has no leading underscore is a check. It holds

- `VERSION`, an integer that grows whenever the same settings may give another outcome;
- `Settings`, a frozen pydantic model whose fields are the keys a policy may set, each described;
- `validate(settings)`, what only the check's own libraries can tell about its settings; raises ValueError;
- `applies(dossier, settings)`, whether the check says anything about this sample;
- `check(dossier, settings, workers)`, which returns what was found. It runs in the service's event loop: what strangers' text
  may make take longer than milliseconds, it has the workers do.

Its libraries are imported inside its functions: a policy can be read where none of them is installed.
"""

import hashlib
import importlib
import json
import pkgutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError

from headrace.checks._contract import (
    CPU_S_MAX,
    Finding,
    LimitReached,
    WorkerLost,
    Workers,
    WorkersGone,
    not_made,
    readable,
)
from headrace.checks._pool import PoolLimits, WorkerPool
from headrace.core.dossiers import CheckResult, Dossier
from headrace.core.policies import CheckRequest, Policy
from headrace.core.policy_problems import InvalidPolicy, PolicyProblem, problems_of, unknown

__all__ = [
    "CPU_S_MAX", "Check", "Finding", "LimitReached", "PoolLimits", "WorkerLost", "WorkerPool", "Workers", "WorkersGone",
    "load", "names", "policy_json_schema", "readable", "rulers", "validate",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Check:
    """One check, ready to be asked."""

    name: str
    version: int
    summary: str
    settings_type: type[BaseModel]
    validate: Callable[[Any], None]
    applies: Callable[[Dossier, Any], bool]
    find: Callable[[Dossier, Any, Workers], Awaitable[Finding]]

    def settings_of(self, request: CheckRequest) -> BaseModel:
        """The request's settings, defaults filled in.

        Raises:
            pydantic.ValidationError: a key is unknown or out of its bounds.
        """
        return _settings(self.settings_type, json.dumps(request.settings))

    def ruler_hash(self, request: CheckRequest) -> str:
        """SHA-256, lower-case hex, of all that decides what this check measures: its name, its version, its settings.

        Raises:
            pydantic.ValidationError: a key is unknown or out of its bounds.
        """
        return _ruler_hash(self.name, self.version, self.settings_type, json.dumps(request.settings))

    async def run(self, dossier: Dossier, request: CheckRequest, workers: Workers) -> CheckResult:
        """The outcome for one sample; work that reached a limit is a check that was not made.

        Raises:
            WorkerLost, WorkersGone: as `Workers.run` does.
            pydantic.ValidationError: a key of the request is unknown or out of its bounds.
        """
        try:
            finding = await self.find(dossier, self.settings_of(request), workers)
        except LimitReached as reached:
            finding = not_made(str(reached))
        return CheckResult(self.name, finding.outcome, readable(finding.evidence), self.ruler_hash(request), finding.score)


# By the settings' text, not by the request: {"const": 1} and {"const": true} are equal requests, and different schemas.
@lru_cache(maxsize=256)
def _settings(settings_type: type[BaseModel], text: str) -> BaseModel:
    return settings_type.model_validate_json(text)


@lru_cache(maxsize=256)
def _ruler_hash(name: str, version: int, settings_type: type[BaseModel], text: str) -> str:
    ruler = {"check": name, "version": version, "settings": _settings(settings_type, text).model_dump(mode="json")}
    return hashlib.sha256(json.dumps(ruler, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@cache
def names() -> tuple[str, ...]:
    """The names of all checks, without importing any."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


@cache
def load(name: str) -> Check:
    """The check of that name.

    Raises:
        KeyError: there is none.
    """
    if name not in names():
        raise KeyError(name)
    module = importlib.import_module(f"{__name__}.{name}")
    summary = (module.__doc__ or "").strip().partition("\n")[0]
    return Check(name, module.VERSION, summary, module.Settings, module.validate, module.applies, module.check)


def validate(policy: Policy) -> None:
    """See that every check exists and that its settings are ones it can work with.

    Raises:
        InvalidPolicy: with one problem for each check or key that is wrong.
    """
    problems = [problem for index, request in enumerate(policy.checks) for problem in _problems(index, request)]
    if problems:
        raise InvalidPolicy(problems)


def rulers(policy: Policy) -> Mapping[str, str]:
    """The ruler hash of each check under this policy, for `decide`; checks that this release does not know are left out.

    Raises:
        pydantic.ValidationError: the policy was made for another release and a check's settings mean nothing to this one.
    """
    known = [(request, load(request.check)) for request in policy.checks if request.check in names()]
    return MappingProxyType({check.name: check.ruler_hash(request) for request, check in known})


def policy_json_schema() -> dict[str, Any]:
    """The JSON Schema of a policy file, with each check's own settings in it."""
    schema = Policy.model_json_schema()
    definitions = schema["$defs"]
    common = definitions.pop("CheckRequest")["properties"]
    for name in names():
        definitions[f"check_{name}"] = _check_schema(load(name), common, definitions)
    schema["properties"]["checks"]["items"] = {"oneOf": [{"$ref": f"#/$defs/check_{name}"} for name in names()]}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema


def _check_schema(check: Check, common: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    own = check.settings_type.model_json_schema()
    definitions.update(own.pop("$defs", {}))
    named = {"const": check.name, "description": check.summary}
    return {
        "title": check.name,
        "description": check.summary,
        "type": "object",
        "properties": {"check": named, "required": common["required"], **own.get("properties", {})},
        "required": ["check", *own.get("required", [])],
        "additionalProperties": False,
    }


def _problems(index: int, request: CheckRequest) -> list[PolicyProblem]:
    place = ("checks", index)
    if request.check not in names():
        return [PolicyProblem((*place, "check"), unknown("check", request.check, names()))]
    check = load(request.check)
    try:
        check.validate(check.settings_of(request))
    except ValidationError as error:
        return list(problems_of(error, check.settings_type, place))
    except ValueError as error:
        return [PolicyProblem(place, f"{check.name}: {error}")]
    except ModuleNotFoundError as error:
        return [PolicyProblem(place, f"{check.name} needs {error.name}: install headrace[validation]")]
    return []
