"""From a round's state and what was read about it to the report."""

from collections.abc import Iterable, Sequence

from pydantic import TypeAdapter, ValidationError

from headrace.core.budgets import Spend, of_role
from headrace.core.reasons import Reason
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.report.contents import (
    EmbeddingMap,
    HeldOutOfRound,
    PhaseSpan,
    ReportData,
    RewriteNumbers,
    RuleSeen,
    TableNumbers,
    VersionNumbers,
)
from headrace.core.rounds.report.gains import AxisGains, gain_of, gains_on
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.state import RoundState
from headrace.core.rounds.tally import SelectionSummary
from headrace.core.samples import OriginKind

_SUMMARY = TypeAdapter(SelectionSummary)


def report_of(
    state: RoundState,
    known: Iterable[RoundState] = (),
    *,
    selection: SelectionSummary | None = None,
    table: TableNumbers | None = None,
    embedding_map: EmbeddingMap | None = None,
    rewrites: RewriteNumbers | None = None,
    version: VersionNumbers | None = None,
) -> ReportData:
    """The report of a round that stands at `state`.

    `known` are other states at hand: the latest of the dataset's other rounds give the held-out losses. States of other
    datasets are ignored.
    """
    others = [each for each in known if each.dataset_id == state.dataset_id]
    policy = _policy(state)
    return ReportData(
        state=state,
        phases=_phases(state),
        policy=policy,
        selection=selection,
        table=table,
        embedding_map=embedding_map,
        rewrites=rewrites,
        version=version,
        gains=_gains(rewrites),
        held_out=_held_out(state, others),
        rules=() if policy is None else (*_guards(state, policy, rewrites, version), *_stop_rules(state, policy)),
    )


def summary_from(text: bytes | str) -> SelectionSummary | None:
    """A selection's summary from its JSON; None where this release cannot read it."""
    try:
        return _SUMMARY.validate_json(text)
    except ValidationError:
        return None


def _policy(state: RoundState) -> RoundPolicy | None:
    try:
        return RoundPolicy.model_validate_json(state.begun.rules_json)
    except ValidationError:
        return None


def _phases(state: RoundState) -> tuple[PhaseSpan, ...]:
    """Each phase that the state remembers; the next one's beginning ends it."""
    begun = state.with_this_phase_passed
    ends = (*(each.since for each in begun[1:]), None)
    return tuple(PhaseSpan(each.phase, each.since, until) for each, until in zip(begun, ends, strict=True))


def _held_out(state: RoundState, others: Iterable[RoundState]) -> tuple[HeldOutOfRound, ...]:
    latest = {state.round_id: state}
    for each in others:
        if each.round_id != state.round_id and each.updated_at >= latest.get(each.round_id, each).updated_at:
            latest[each.round_id] = each
    rounds = (each for each in latest.values() if each.ordinal <= state.ordinal)
    return tuple(
        HeldOutOfRound(each.ordinal, each.round_id, each.phase, each.held_out)
        for each in sorted(rounds, key=lambda each: (each.ordinal, each.begun.started_at, each.round_id))
        if each.held_out is not None or each is state
    )


def _gains(rewrites: RewriteNumbers | None) -> tuple[AxisGains, ...]:
    found = []
    for axis in Axis:
        gains: dict[bool, list[float]] = {True: [], False: []}
        for each in rewrites.seen if rewrites else ():
            gain = gain_of(axis, each.parent, each.own) if each.axis is axis else None
            if gain is not None:
                gains[each.accepted].append(gain)
        if gains[True] or gains[False]:
            found.append(gains_on(axis, gains[True], gains[False]))
    return tuple(found)


def _guards(
    state: RoundState, policy: RoundPolicy, rewrites: RewriteNumbers | None, version: VersionNumbers | None
) -> Sequence[RuleSeen]:
    bounds, human, model_share = policy.guards, None, None
    if version is not None and (rows := sum(version.rows_by_origin.values())):
        human = version.rows_by_origin.get(OriginKind.INGESTED, 0)
        model_share = (rows - human) / rows
    near = None
    if rewrites is not None and rewrites.seen:
        near = sum(each.reason == Reason.NEAR_DUPLICATE for each in rewrites.seen) / len(rewrites.seen)
    lost = len(state.rows.lost) + len(state.rewrites.lost)
    return (
        RuleSeen("model_written_share_max", "share of the new version's rows that a model wrote", model_share, "<=",
                 bounds.model_written_share_max),
        RuleSeen("human_rows_min", "rows of the new version that nobody but people wrote", human, ">=", bounds.human_rows_min),
        RuleSeen("near_duplicate_share_max", "share of the attempts decided that were near-duplicates", near, "<=",
                 bounds.near_duplicate_share_max),
        RuleSeen("held_out_loss_max", "held-out loss under the new model, nats per token",
                 state.held_out.after if state.held_out else None, "<=", bounds.held_out_loss_max),
        RuleSeen("lost_rows_max", "rows and rewrites among the dead letters", lost, "<=", bounds.lost_rows_max),
    )  # fmt: skip


def _stop_rules(state: RoundState, policy: RoundPolicy) -> Sequence[RuleSeen]:
    measured = state.rows.measured - state.rows.not_made
    share = state.selected.total / max(1, measured) if state.selected else None
    rise = state.held_out.after - state.held_out.before if state.held_out else None
    return (
        RuleSeen("selected_share_min", "share of the rows measured that was selected", share, ">=", policy.selected_share_min),
        RuleSeen("held_out_rise_max", "rise of the held-out loss, nats per token", rise, "<=", policy.held_out_rise_max),
        *(rule for limit in policy.budget.limits() for rule in _budgets(state, limit)),
    )


def _budgets(state: RoundState, limit: Spend) -> Sequence[RuleSeen]:
    """The budgets of all calls together, or of a role; of a role only what is limited."""
    charged = of_role(state.rewrites.charged, limit.role) or Spend()
    name, calls = (f"budget.roles.{limit.role}", f" in role {limit.role}") if limit.role else ("budget", "")
    rules = (
        RuleSeen(
            f"{name}.tokens", f"tokens charged{calls}: unknown ones at what was allowed", charged.tokens, "<=", limit.tokens
        ),
        RuleSeen(f"{name}.money", f"money charged{calls}: unknown sums at what was allowed", charged.money, "<=", limit.money),
    )
    return [rule for rule in rules if not limit.role or rule.bound is not None]
