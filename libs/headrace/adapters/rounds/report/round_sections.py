"""The round itself: what it was bound to, how long each phase took, what it cost, and the rules that end rounds."""

from collections.abc import Iterable

from headrace.adapters.rounds.report.charts import held_out_chart
from headrace.adapters.rounds.report.markup import Guide, Html, Section, empty, guide, heading, paragraph, picture, table
from headrace.adapters.rounds.report.wording import UNKNOWN, duration, moment, number, plural, signed
from headrace.core.budgets import Spend
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.report.contents import PhaseSpan, ReportData, RuleSeen
from headrace.core.rounds.state import Phase, RoundState
from headrace.core.version_costs import NANOS, US, StageCost

_LOST_SHOWN = 20
_ROUNDS_SHOWN = 40
_DEADLINES = {
    Phase.SURVEYING: "surveying_s", Phase.REFINING: "refining_s", Phase.VALIDATING: "refining_s",
    Phase.COMMITTING: "committing_s", Phase.TRAINING: "training_s", Phase.EVALUATING: "evaluating_s",
    Phase.REVERTING: "reverting_s",
}  # fmt: skip


def versions(data: ReportData) -> Section:
    """What the round was bound to, with hashes."""
    state, survey = data.state, data.state.begun.survey
    committed, checkpoint = state.committed, state.checkpoint
    none = "none"
    rows = [
        ("surveyed version", f"{number(state.begun.version_sequence)} ({plural(state.begun.rows, 'row')}): {survey.version}"),
        ("new version", f"{number(committed.version_sequence)} ({plural(committed.rows_accepted, 'row')}): {committed.version}"
         if committed else none),
        ("current model", f"{survey.model}, version {survey.model_version}"),
        ("base model", f"{survey.base_model}, version {survey.base_model_version}" if survey.base_model else none),
        ("checkpoint trained on the new version", _checkpoint(state)),
        ("measures under model version", checkpoint.model_version or none if checkpoint else none),
        ("policy version", state.begun.policy_version or UNKNOWN),
        ("mode", data.policy.mode if data.policy else UNKNOWN),
        ("judge", survey.judge or none),
        ("neighbours of the density", number(data.policy.neighbours if data.policy else None)),
        ("selection, SHA-256", state.selected.selection_sha256 or UNKNOWN if state.selected else none),
        ("held out of training", f"share {number(survey.held_out_share)}, seed {survey.held_out_seed or '(empty)'}"),
        ("requested by", state.begun.requested_by or UNKNOWN),
        ("evicted to hold the scale", plural(state.evicted, "row")),
        *_undone(state),
    ]  # fmt: skip
    return Section("versions", "Versions and hashes", (table((), rows), *_origins(data), *_lost(state)))


def _undone(state: RoundState) -> list[tuple[str, str]]:
    """What came of undoing the round; nothing where it was not undone."""
    revert = state.revert
    if revert is None:
        return []
    version = revert.version or revert.standing
    told = (
        f"{number(version.version_sequence)} ({plural(version.rows_accepted, 'row')}): {version.version}" if version else "none"
    )
    left = f"{number(revert.retracted)} that were added left"
    rows = f"{plural(revert.restored, 'row')} came back of {number(revert.restoring)}, {left}"
    return [("undone", rows), ("version after that", told)]


def phases(data: ReportData) -> Section:
    """When each phase began, how long it lasted and may last."""
    first, last = data.state.begun.started_at, data.state
    rows = [
        (span.phase.replace("_", " "), moment(span.since), _lasted(span), _allowed(span, data.policy)) for span in data.phases
    ]
    since = last.phase_since - first
    stands = last.phase.replace("_", " ") + (f" (it froze in {last.frozen_in})" if last.frozen_in else "")
    told = f"Started {moment(first)}. The round is {stands} since {moment(last.phase_since)}"
    body = [
        paragraph(f"{told}, {duration(since)} after its start."),
        table(("phase", "began", "lasted", "may last"), rows, numbers=(2, 3)),
    ]
    if len(data.phases) <= data.state.transition:
        body.append(paragraph("Phases before those were passed, but no record of when is kept."))
    if last.waived:
        body.append(paragraph(f"It froze and was told to go on all the same: {', '.join(last.waived)}."))
    return Section("phases", "When, and how long", tuple(body))


def held_out(data: ReportData) -> Section:
    """Held-out loss by round."""
    title = "Held-out loss by round"
    every = [each for each in data.held_out if each.held_out is not None]
    measured = every[-_ROUNDS_SHOWN:]
    if not measured:
        why = "the policy does not wait for training" if data.policy and not data.policy.train else "no round came so far"
        return Section("held-out", title, (empty(f"No held-out loss before and after was measured: {why}."),))
    words = Guide(
        "The mean response loss on prompts that are never trained on, before and after each round's training.",
        "Hollow is before, filled is after: each pair is the same rows under two models. Down (green) is better. Rounds may have "
        "held out different rows, so compare within a pair first.",
        "A rise (orange); a fall that gets smaller round by round (nothing much is left to gain); few rows: the loss "
        "then moves by chance alone.",
    )
    rows = [
        (number(each.ordinal), each.round_id, each.phase.replace("_", " "), number(each.held_out.before, 5),
         number(each.held_out.after, 5), signed(each.held_out.after - each.held_out.before), f"{each.held_out.rows:,}")
        for each in measured if each.held_out is not None
    ]  # fmt: skip
    head = ("round", "id", "ended", "before", "after", "change", "rows")
    own = [] if data.state.held_out else [paragraph("This round has measured none itself.")]
    if len(every) > len(measured):
        own.append(paragraph(f"Of {len(every):,} rounds that measured one the latest {len(measured):,} are shown."))
    chart = picture(held_out_chart(measured))
    return Section("held-out", title, (guide(words), chart, table(head, rows, numbers=(0, 3, 4, 5, 6)), *own))


def costs(data: ReportData) -> Section:
    """Tokens, money and seconds, in all and for each sample that was accepted."""
    told, survey, evaluation = data.state.rewrites, data.state.rows, data.state.held_out_rows
    accepted = sum(told.accepted.values())
    known = "" if not told.cost_unknown else f", without {plural(told.cost_unknown, 'rewrite')} whose cost is unknown"
    money_known = told.money > 0 or (told.ended and not told.cost_unknown)
    rows = [
        ("survey: tokens read by the models", number(survey.tokens), _each(survey.tokens, accepted)),
        ("survey: seconds of the models", number(survey.seconds), _each(survey.seconds, accepted)),
        ("evaluation: tokens read by the models", number(evaluation.tokens), _each(evaluation.tokens, accepted)),
        ("evaluation: seconds of the models", number(evaluation.seconds), _each(evaluation.seconds, accepted)),
        (f"rewrites: tokens of model calls{known}", number(told.tokens), _each(told.tokens, accepted)),
        (f"rewrites: money for model calls{known}", number(told.money) if money_known else UNKNOWN,
         _each(told.money, accepted) if money_known else UNKNOWN),
        *(row for role in told.roles_spent for row in _role(role, accepted)),
    ]  # fmt: skip
    head = ("what", "in all", "per accepted rewrite")
    told_of = paragraph(
        f"{plural(accepted, 'rewrite')} accepted. Rejected attempts and the survey are part of what an accepted one costs."
    )
    return Section("costs", "Cost per accepted sample", (told_of, table(head, rows, numbers=(1, 2)), *_stages(data, accepted)))


def _role(spent: Spend, accepted: int) -> list[tuple[str, str, str]]:
    """What was spent in one role, as far as it is known."""
    return [
        (f"rewrites: {what} in role {spent.role}", number(known), UNKNOWN if known is None else _each(known, accepted))
        for what, known in (("tokens", spent.tokens), ("money", spent.money))
    ]


def rules(data: ReportData) -> Section:
    """Guards against collapse and rules that stop the loop, with their numbers."""
    title = "Guards and stop rules"
    if not data.rules:
        return Section("rules", title, (empty("The rules under which the round began cannot be read by this release."),))
    rows = [(each.name, each.meaning, number(each.value), each.operator, _bound(each), _held(each)) for each in data.rules]
    body = table(("setting", "what is compared", "value", "", "bound", ""), rows, numbers=(2, 4))
    words = "Computed for this page from the round's state and its new version; the reason above says which rule ended the round."
    return Section("rules", title, (paragraph(words), body))


def _checkpoint(state: RoundState) -> str:
    if state.checkpoint is None:
        return "none"
    refused = f" (refused: {state.checkpoint.refused})" if state.checkpoint.refused else ""
    return state.checkpoint.checkpoint_id + refused


def _origins(data: ReportData) -> Iterable[Html]:
    if data.version is not None:
        counts = data.version.rows_by_origin
        total = sum(counts.values())
        if total:
            shares = ", ".join(f"{kind or 'unknown'} {count:,} ({count / total:.1%})" for kind, count in sorted(counts.items()))
            yield paragraph(f"Accepted rows of the new version by origin: {shares}.")


def _lost(state: RoundState) -> Iterable[Html]:
    for what, lost in (("Rows", (*state.rows.lost, *state.held_out_rows.lost)), ("Parents of rewrites", state.rewrites.lost)):
        if lost:
            more = f" and {len(lost) - _LOST_SHOWN:,} more" if len(lost) > _LOST_SHOWN else ""
            yield paragraph(f"{what} among the dead letters ({len(lost):,}): {', '.join(lost[:_LOST_SHOWN])}{more}.")


def _lasted(span: PhaseSpan) -> str:
    return "" if span.until is None else duration(span.until - span.since)


def _allowed(span: PhaseSpan, policy: RoundPolicy | None) -> str:
    name = _DEADLINES.get(span.phase)
    return duration(getattr(policy.deadlines, name)) if name and policy else ""


def _stages(data: ReportData, accepted: int) -> Iterable[Html]:
    if data.rewrites is None or not data.rewrites.costs:
        return
    yield heading("By stage, over all attempts decided")
    rows = [
        (stage, _known(cost.seconds_us / US, cost.seconds_known, cost.entries),
         _known(_tokens(cost), cost.tokens_known, cost.entries), _money(cost),
         _each(cost.seconds_us / US, accepted) if cost.seconds_known else UNKNOWN)
        for stage, cost in sorted(data.rewrites.costs.items())
    ]  # fmt: skip
    yield table(("stage", "seconds", "tokens", "money", "seconds per accepted rewrite"), rows, numbers=(1, 2, 3, 4))
    yield paragraph("Sums are of what was reported; where some reports lacked a number, how many had one stands beside it.")


def _tokens(cost: StageCost) -> int:
    return cost.prompt_tokens + cost.completion_tokens


def _known(value: float, known: int, entries: int) -> str:
    if not known:
        return UNKNOWN
    return number(value) if known == entries else f"{number(value)} ({known:,} of {entries:,} known)"


def _each(value: float, accepted: int) -> str:
    return number(value / accepted) if accepted else "none accepted"


def _money(cost: StageCost) -> str:
    if not cost.money_known:
        return UNKNOWN
    sums = ", ".join(f"{number(nanos / NANOS)} {currency}".strip() for currency, nanos in sorted(cost.money_nanos.items()))
    return sums if cost.money_known == cost.entries else f"{sums} ({cost.money_known:,} of {cost.entries:,} known)"


def _bound(rule: RuleSeen) -> str:
    return "no limit" if rule.bound is None else number(rule.bound)


def _held(rule: RuleSeen) -> str:
    return "" if rule.held is None else "holds" if rule.held else "DOES NOT HOLD"
