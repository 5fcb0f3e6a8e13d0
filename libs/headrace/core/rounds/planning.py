"""What a round is bound to when it begins. Pure."""

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from headrace.core.policies import Policy
from headrace.core.rounds.facts import RoundStarted
from headrace.core.rounds.rules import Mode
from headrace.core.rounds.state import Phase, RoundState
from headrace.core.rounds.surveys import Judge, Purpose, Survey


@dataclass(frozen=True, slots=True)
class Measuring:
    """The models of a round: the version that judges, the checkpoint it came from (empty for none), and the base.

    `trained_otherwise` says why the first is not the one that was trained on the round's version; empty where it is.
    """

    model: str
    model_version: str
    checkpoint_id: str = ""
    base_model: str = ""
    base_model_version: str = ""
    trained_otherwise: str = ""


def round_id_at(now: float, name: str) -> str:
    """A new round's id: it sorts by time, and of two begun in one second the names of what asked for them tell them apart."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def planned(
    policy: Policy,
    dataset_id: str,
    round_id: str,
    version: tuple[str, int, int],
    measuring: Measuring,
    requested_by: str,
    now: float,
) -> RoundStarted:
    """The command that begins a round on a version (id, number, accepted rows) under the dataset's standing policy.

    Raises:
        ValueError: the policy asks for what the models at hand cannot give.
    """
    rules = policy.rounds
    rules.selection(has_base=bool(measuring.base_model))
    survey = Survey(
        dataset_id=dataset_id,
        round_id=round_id,
        purpose=Purpose.ROUND,
        version=version[0],
        model=measuring.model,
        model_version=measuring.model_version,
        base_model=measuring.base_model,
        base_model_version=measuring.base_model_version,
        judge=Judge(rules.gate().judge),
        held_out_share=policy.training.held_out_share,
        held_out_seed=policy.training.held_out_seed,
        plain_prompts=rules.mode is Mode.MIDDO_COMPAT and rules.sparse.enabled,
    )
    return RoundStarted(
        survey,
        version[1],
        version[2],
        policy.version,
        rules.canonical_json(),
        requested_by,
        now,
        measuring.checkpoint_id,
        measuring.trained_otherwise,
    )


def has_first_as_base(policy: Policy) -> bool:
    """Whether a round's base is the first version of its model: none is named or declined, and the hard axis asks for one."""
    rules = policy.rounds
    return not policy.signals.base_model and rules.base == "first" and rules.hard.enabled


def with_base_from(started: RoundStarted, others: Iterable[RoundState]) -> RoundStarted:
    """The command with the dataset's latest earlier round that measured all its rows by the same version of the base, if any.

    What a version says of the same content never changes, so its losses there need not be measured again.
    """
    survey = started.survey
    wanted = (survey.base_model, survey.base_model_version)
    known = [
        each
        for each in others
        if each.dataset_id == survey.dataset_id and each.round_id != survey.round_id and each.selected is not None
        and (each.begun.survey.base_model, each.begun.survey.base_model_version) == wanted
    ]  # fmt: skip
    latest = max(known, key=lambda each: (each.ordinal, each.round_id), default=None)
    base_from = latest.round_id if latest is not None and survey.base_model else ""
    return replace(started, survey=replace(survey, base_from=base_from))


def following(state: RoundState, policy: Policy, round_id: str, now: float) -> RoundStarted | None:
    """The round after one that was kept, where the policy lets checkpoints begin rounds: on what that one made.

    Raises:
        ValueError: the policy asks by now for what the models of that round cannot give; the next checkpoint, or a person, may
            begin a round.
    """
    before, made, checkpoint = state.begun.survey, state.committed, state.checkpoint
    if state.phase is not Phase.KEPT or policy.rounds.start != "checkpoint" or made is None or checkpoint is None:
        return None
    training = policy.training
    if training.held_out_seed != before.held_out_seed or training.held_out_share > before.held_out_share:
        raise ValueError("the policy holds out other prompts by now than its checkpoint was asked to")
    base = policy.signals.base_model or (before.model if has_first_as_base(policy) and before.base_model == before.model else "")
    measuring = Measuring(
        before.model, checkpoint.model_version, checkpoint.checkpoint_id, base,
        before.base_model_version if base == before.base_model else "",
    )  # fmt: skip
    if base and not measuring.base_model_version:
        raise ValueError(f"the policy names {base} as the base by now, of which it measured with no version")
    version = (made.version, made.version_sequence, made.rows_accepted)
    return planned(policy, state.dataset_id, round_id, version, measuring, f"round {state.round_id}", now)


def lacks_base(begun: RoundStarted, policy: Policy) -> bool:
    """Whether a round has no base though the policy asks for the model's first version: that is not loaded, or nobody looked."""
    return has_first_as_base(policy) and not begun.survey.base_model


_CHANGING = frozenset({Phase.REFINING, Phase.VALIDATING, Phase.COMMITTING, Phase.REVERTING})


def is_changing(state: RoundState) -> bool:
    """Whether its dataset holds a part of what the round does to it: rewrites come in one by one, and guards look at the whole.

    A round that froze there is still about to. From training on a version has all of it.
    """
    return state.running and state.working_in in _CHANGING


_NEEDS_MODEL = frozenset({
    Phase.PLANNED, Phase.SURVEYING, Phase.THRESHOLDS, Phase.REFINING, Phase.VALIDATING, Phase.REVERTING,
})  # fmt: skip


def bound_versions(states: Iterable[RoundState], model: str) -> frozenset[int]:
    """The versions of a model that rounds measure with.

    The one they judge by and the base's until the last rewrite has ended, the checkpoint's while it is evaluated.
    """
    found = set()
    for state in states:
        survey, phase = state.begun.survey, state.working_in
        if phase in _NEEDS_MODEL:
            found |= {(survey.model, survey.model_version), (survey.base_model, survey.base_model_version)}
        elif phase is Phase.EVALUATING and state.checkpoint is not None:
            found.add((survey.model, state.checkpoint.model_version))
    return frozenset(int(version) for name, version in found if name == model and version.isdecimal())


def kept_bases(states: Iterable[RoundState], policy_of: Callable[[str], Policy | None], model: str) -> frozenset[int]:
    """First versions of a model that the next rounds will measure with: they stay loaded between rounds.

    Of each dataset its latest round tells, as long as the policy does not name another base by now.
    """
    begun = sorted((state for state in states if state.ordinal), key=lambda state: state.ordinal)
    latest = {state.dataset_id: state.begun.survey for state in begun}
    found = {
        survey.base_model_version
        for dataset_id, survey in latest.items()
        if survey.base_model == survey.model == model and (policy := policy_of(dataset_id)) and has_first_as_base(policy)
    }
    return frozenset(int(version) for version in found if version.isdecimal())
