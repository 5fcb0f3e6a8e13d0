"""What is wrong, or probably not meant, in a policy whose sections are each in order.

Told when a policy is written and applied, not when a published one is read: a dataset whose policy was taken by an earlier
release goes on under it.
"""

from collections.abc import Iterator

from headrace.core.policies import Policy
from headrace.core.policy_problems import PolicyProblem
from headrace.core.rounds.rules import Axis, Mode


def contradictions(policy: Policy) -> tuple[PolicyProblem, ...]:
    """What could not be followed: every round would be refused, or select nothing."""
    return tuple(_contradictions(policy))


def warnings_of(policy: Policy) -> tuple[str, ...]:
    """What can be followed and comes to nothing by itself, in words that name the keys to set."""
    return tuple(_warnings(policy))


def _contradictions(policy: Policy) -> Iterator[PolicyProblem]:
    rounds = policy.rounds
    if not any(getattr(rounds, axis.value).enabled for axis in Axis):
        told = "hard, sparse and low_quality are all off: a round would select nothing. Where no round is started, none runs"
        yield PolicyProblem(("rounds",), told)
    has_base = rounds.base != "none" or policy.signals.base_model is not None
    if rounds.mode is Mode.MIDDO_COMPAT and rounds.hard.enabled and not has_base:
        told = (
            "mode middo_compat compares the losses of two models on the hard axis, and there is no base: name one in "
            "signals.base_model, leave rounds.base at first, or set rounds.hard.enabled to false"
        )
        yield PolicyProblem(("rounds", "mode"), told)


def _warnings(policy: Policy) -> Iterator[str]:
    rounds = policy.rounds
    if rounds.mode is Mode.MIDDO_COMPAT and rounds.scale == "held":
        yield "rounds.scale: held has no meaning in mode middo_compat: what is added there is paid for by nothing"
    if rounds.mode is Mode.MIDDO_COMPAT and rounds.judge_rewrites != "none":
        yield "rounds.judge_rewrites: what the endpoint says is paid for in mode middo_compat, and nothing follows from it"
