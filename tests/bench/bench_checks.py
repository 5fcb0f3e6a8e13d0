"""What a decision and each check cost, and what a runaway answer costs the others: `python -m tests.bench.bench_checks`."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from headrace import checks
from headrace.checks import PoolLimits, WorkerPool, Workers
from headrace.core.decide import decide
from headrace.core.dossiers import Dossier
from headrace.core.policies import CheckRequest, Policy
from headrace.core.samples import Reference
from tests.fakes.evidence import dossier

PROSE = "We add the two numbers and see that the sum is even, hence the statement follows by induction on n. "
RUNAWAY = "$9^{9^{9^{9}}}$"
CHECKS: dict[str, tuple[dict[str, Any], Callable[[int], Dossier]]] = {
    "math, short answer": ({"check": "math"}, lambda i: _answered(str(i), f"We find {i} apples, hence the answer is ${i}$.")),
    "math, 1.5 kB of LaTeX": (
        {"check": "math"},
        lambda i: _answered(
            f"{i}/7", (PROSE + f"$x_{i}^2 + {i} = \\frac{{1}}{{2}}$.\n") * 10 + f"\\boxed{{\\frac{{{2 * i}}}{{14}}}}"
        ),
    ),
    "schema": (
        {"check": "schema", "json_schema": {"type": "object", "properties": {"n": {"type": "integer"}}}},
        lambda i: dossier(f'{{"n": {i}}}'),
    ),
    "constraints, all": (
        {"check": "constraints", "tokens_max": 99, "languages": ["en"], "must_match": ["(?i)sum"], "must_not_match": ["x{9}"]},
        lambda i: dossier(PROSE * 10 + str(i)),
    ),
    "constraints, patterns and options": (
        {"check": "constraints", "must_not_match": ["(?i)as an ai", "x{9}"], "options": ["A", "B"]},
        lambda i: dossier(PROSE * 10 + str(i) + "\nB"),
    ),
    "the same of 10 kB": (
        {"check": "constraints", "must_not_match": ["(?i)as an ai", "x{9}"], "options": ["A", "B"]},
        lambda i: dossier(PROSE * 100 + str(i) + "\nB"),
    ),
    "exact": ({"check": "exact"}, lambda i: dossier(PROSE * 10 + f"\n{i}", reference=Reference(str(i), "exact"))),
    "exact, 10 kB": ({"check": "exact"}, lambda i: dossier(PROSE * 100 + f"\n{i}", reference=Reference(str(i), "exact"))),
    "duplicate_prompt": ({"check": "duplicate_prompt"}, lambda _: dossier()),
}


async def main() -> None:
    """Print each figure as it is found."""
    began = time.perf_counter()
    async with WorkerPool(PoolLimits()) as workers:
        _say("worker pool, first worker ready", f"{time.perf_counter() - began:.1f} s")
        for name, (request, make) in CHECKS.items():
            _say(name, f"{await _rate(request, [make(i) for i in range(1, 1_001)], workers):,.0f} checks/s")
        await _beside_runaways(workers)
    policy = Policy.model_validate({"signals": {"loss_max": 5.0}, "checks": [{"check": "math"}]})
    _say("decide", f"{_decisions(policy):,.0f} decisions/s")


async def _rate(request: dict[str, Any], dossiers: list[Dossier], workers: Workers) -> float:
    check, asked = checks.load(request["check"]), CheckRequest.model_validate(request)
    await check.run(dossiers[0], asked, workers)
    return len(dossiers) / await _seconds(*(check.run(each, asked, workers) for each in dossiers))


async def _beside_runaways(workers: Workers) -> None:
    """100 short answers, with and without four that run away among them; each of those takes its processor time, no more."""
    check = checks.load("math")
    asked = CheckRequest.model_validate({"check": "math", "cpu_s_max": 0.5})
    short = [_answered(str(i), f"It is {i}.") for i in range(100)]
    mixed = [each for i in range(4) for each in (*short[i * 25 : i * 25 + 25], _answered("4", RUNAWAY))]
    calm = await _seconds(*(check.run(each, asked, workers) for each in short))
    wild = await _seconds(*(check.run(each, asked, workers) for each in mixed))
    _say("100 answers", f"{calm:.2f} s")
    _say("100 answers and 4 runaways of 0.5 s", f"{wild:.2f} s")


def _decisions(policy: Policy, count: int = 5_000) -> float:
    evidence, rulers = dossier(), checks.rulers(policy)
    began = time.perf_counter()
    for _ in range(count):
        decide(evidence, policy, rulers)
    return count / (time.perf_counter() - began)


async def _seconds(*work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await asyncio.gather(*work)
    return time.perf_counter() - began


def _answered(reference: str, response: str) -> Dossier:
    return dossier(response, reference=Reference(reference, "math"))


def _say(what: str, figure: str) -> None:
    print(f"{what:40} {figure:>20}")


if __name__ == "__main__":
    asyncio.run(main())
