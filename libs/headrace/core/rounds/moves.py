"""What a round does next: for everything that it can wait for, when the wait is over and what follows. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from headrace.core.checkpoints import RollbackRequested
from headrace.core.dossiers import DatasetCutRequested
from headrace.core.events import Send
from headrace.core.rounds.counting import NAMES_BYTES_MAX, is_full, named_in
from headrace.core.rounds.counts import RewriteCounts, RowCounts
from headrace.core.rounds.facts import Cut
from headrace.core.rounds.guards import dropped, evictions, tripped
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.reasons import RoundReason
from headrace.core.rounds.spending import Left, affordable, given_up, is_limited, left_of, not_asked_for
from headrace.core.rounds.state import Awaited, Phase, RevertCounts, RoundState, RoundTimer
from headrace.core.rounds.surveys import (
    DensityRequested,
    EvictionRequested,
    Judge,
    Purpose,
    RefiningRequested,
    RevertRequested,
    RoundStepRequested,
    SelectionRequested,
    Survey,
    SurveyRequested,
)
from headrace.core.topics import CUT_REQUESTED, ROLLBACK_REQUESTED, ROUND_STEP_REQUESTED, ROUND_TIMER

CUT_BY_PREFIX = "round/"
"""The request ids of versions that rounds ask for begin so: `cut_request_id`."""

_Step = SurveyRequested | DensityRequested | SelectionRequested | RefiningRequested | EvictionRequested | RevertRequested


@dataclass(frozen=True, slots=True)
class Limits:
    """Rows of one page of rewrites, and how often a round looks at the clock, in seconds."""

    page_rows: int = 64
    tick_s: float = 15.0


LIMITS = Limits()

REVERTING_REASONS = frozenset({RoundReason.DEADLINE_REVERTING, RoundReason.ROWS_NOT_BACK})
"""What freezes a round while it is undone: whoever resumes it waives that, and its undoing goes on without what it waited for."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A state, and what is to be sent on the way to it."""

    state: RoundState
    sends: tuple[Send, ...] = ()


def cut_request_id(round_id: str, cut: Cut = Cut.MADE) -> str:
    """The id of the request for a version of a round."""
    return f"{CUT_BY_PREFIX}{round_id}/{cut}" if cut else f"{CUT_BY_PREFIX}{round_id}"


def cut_asked_for(request_id: str) -> tuple[str, Cut] | None:
    """The round that asked for a version so, and which; None where none did."""
    if not request_id.startswith(CUT_BY_PREFIX):
        return None
    round_id, _, cut = request_id.removeprefix(CUT_BY_PREFIX).partition("/")
    return (round_id, Cut(cut)) if cut in set(Cut) else None


def request_cut(state: RoundState, cut: Cut = Cut.MADE) -> Send:
    """Ask for a version of everything decided so far."""
    by = f"round {state.round_id}"
    return Send(CUT_REQUESTED, DatasetCutRequested(state.dataset_id, cut_request_id(state.round_id, cut), by))


def evaluation_of(survey: Survey, model_version: str) -> Survey:
    """The survey of the rows held out of training, under the version trained on what the round made."""
    return replace(
        survey,
        purpose=Purpose.EVALUATION,
        model_version=model_version,
        base_model="",
        base_model_version="",
        judge=Judge.NONE,
        plain_prompts=False,
        base_from="",
    )


def timer(state: RoundState, now: float, limits: Limits) -> Send:
    """The next look at the clock: at the deadline, and before it every so often.

    Records of a delayed topic wait behind each other, so none of them may wait for long.
    """
    due = now + limits.tick_s if state.deadline is None else min(state.deadline, now + limits.tick_s)
    return Send(ROUND_TIMER, RoundTimer(state.dataset_id, state.round_id, state.transition), not_before=max(due, now))


def entered(
    state: RoundState, phase: Phase, awaits: Awaited, rules: RoundPolicy, now: float, limits: Limits, step: _Step | None = None
) -> Moved:
    """The state in a new phase, with its deadline and its timer; refinement's time runs on through validation."""
    keeps = phase is Phase.VALIDATING and state.phase is Phase.REFINING
    state = replace(
        state,
        phase=phase,
        awaits=awaits,
        transition=state.transition + 1,
        phase_since=now,
        passed=state.with_this_phase_passed,
        deadline=state.deadline if keeps else now + _allowed_s(phase, rules),
    )
    return Moved(state, (*((step_requested(step),) if step else ()), timer(state, now, limits)))


def halted(state: RoundState, phase: Phase, reason: RoundReason, detail: str, now: float) -> Moved:
    """The state at its end, or frozen where it is: nothing follows by itself."""
    frozen_in = state.working_in if phase is Phase.FROZEN else None
    awaits = state.awaits if phase is Phase.FROZEN else Awaited.NOTHING
    passed = state.with_this_phase_passed
    state = replace(state, phase=phase, awaits=awaits, frozen_in=frozen_in, reason=reason.value, detail=detail, passed=passed)
    return Moved(replace(state, transition=state.transition + 1, phase_since=now, deadline=None))


def moved_on(moved: Moved, rules: RoundPolicy, now: float, limits: Limits) -> Moved:
    """As far as the round can go with what it knows; what was changed is undone by `reverting`."""
    state, sends = moved.state, moved.sends
    while state.running and state.phase not in {Phase.FROZEN, Phase.REVERTING}:
        further = _too_many_lost(state, rules, now) or _MOVES[state.awaits](_At(state, rules, now, limits))
        if further is None:
            break
        state, sends = further.state, (*sends, *further.sends)
    return Moved(state, sends)


@dataclass(frozen=True, slots=True)
class _At:
    """Where a round stands, and what its next move depends on."""

    state: RoundState
    rules: RoundPolicy
    now: float
    limits: Limits

    def enter(self, phase: Phase, awaits: Awaited, step: _Step | None = None, state: RoundState | None = None) -> Moved:
        return entered(state or self.state, phase, awaits, self.rules, self.now, self.limits, step)

    def stop(self, reason: RoundReason, detail: str) -> Moved:
        return halted(self.state, Phase.STOPPED, reason, detail, self.now)

    def keep(self, reason: RoundReason, detail: str) -> Moved:
        return halted(self.state, Phase.KEPT, reason, detail, self.now)

    def ask(self, awaits: Awaited, step: _Step) -> Moved:
        return Moved(replace(self.state, awaits=awaits), (step_requested(step),))


def _too_many_lost(state: RoundState, rules: RoundPolicy, now: float) -> Moved | None:
    lost = len(state.rows.lost) + len(state.held_out_rows.lost) + len(state.rewrites.lost)
    if is_full(state):
        told = f"{named_in(state)} rows are or were among the dead letters: their names are above {NAMES_BYTES_MAX} bytes"
        return halted(state, Phase.STOPPED, RoundReason.TOO_MANY_LOST, told, now)
    if lost > rules.guards.lost_rows_max and RoundReason.ROWS_LOST not in state.waived:
        told = f"{lost} rows are among the dead letters: above guards.lost_rows_max ({rules.guards.lost_rows_max})"
        return halted(state, Phase.FROZEN, RoundReason.ROWS_LOST, told, now)
    return None


def _is_whole(counts: RowCounts) -> bool:
    """The barrier: every row that was sent is measured, or among the dead letters and named."""
    return counts.all_sent and counts.measured + len(counts.lost) >= counts.sent


def _after_rows(at: _At) -> Moved | None:
    rows, survey = at.state.rows, at.state.begun.survey
    if not _is_whole(rows):
        return None
    if rows.measured <= rows.not_made:
        told = f"{rows.not_made} of {rows.sent} rows without signals, {len(rows.lost)} among the dead letters"
        return at.stop(RoundReason.NOTHING_MEASURED if rows.sent else RoundReason.NO_ROWS, told)
    if at.rules.sparse.enabled:
        return at.ask(Awaited.DENSITIES, DensityRequested(survey, 0, rows.measured, at.rules.neighbours))
    return _select(at)


def _after_densities(at: _At) -> Moved | None:
    return _select(at) if at.state.densities_made else None


def _select(at: _At) -> Moved:
    begun = at.state.begun
    step = SelectionRequested(begun.survey, at.state.rows.measured, begun.rules_json)
    return at.enter(Phase.THRESHOLDS, Awaited.SELECTION, step)


def _after_selection(at: _At) -> Moved | None:
    selected, rows = at.state.selected, at.state.rows
    if selected is None:
        return None
    if selected.total == 0:
        return at.stop(RoundReason.NOTHING_SELECTED, f"of {rows.measured} rows measured")
    share = selected.total / max(1, rows.measured - rows.not_made)
    if share < at.rules.selected_share_min:
        told = f"{selected.total} rows, a share of {share:.4f}: below selected_share_min ({at.rules.selected_share_min:g})"
        return at.stop(RoundReason.SELECTED_SHARE_SMALL, told)
    refining = at.enter(Phase.REFINING, Awaited.REWRITES)
    paged = _page(replace(at, state=refining.state))
    return Moved(paged.state, (*refining.sends, *paged.sends))


def _after_page(at: _At) -> Moved | None:
    """Where a budget holds, what a page costs is known before the next one is asked for."""
    rewrites = at.state.rewrites
    if not rewrites.all_requested and rewrites.requested < rewrites.rows_asked:
        return None
    if not is_limited(at.rules.budget):
        return _page(at)
    return Moved(replace(at.state, awaits=Awaited.REWRITES))


def _after_rewrites(at: _At) -> Moved | None:
    rewrites = at.state.rewrites
    if rewrites.under_way:
        return None
    if at.state.phase is Phase.REFINING:
        return _page(at)
    return Moved(replace(at.state, awaits=Awaited.GUARDS))


def _page(at: _At) -> Moved:
    """What is asked for next, with what each may spend: those put off that can be begun after all, else the next page.

    Or none: then what was asked for is waited for. The budget has come to its end when not one row of a whole page could be
    begun with all that is left.
    """
    rewrites, left = at.state.rewrites, left_of(at.rules.budget, at.state, at.now)
    if again := affordable(rewrites.put_off, left):
        put_off = tuple(each for each in rewrites.put_off if each not in again)
        known = replace(rewrites, put_off=put_off, requested=rewrites.requested - len(again), all_requested=False)
        only = tuple(each.row for each in again)
        return _refined(at, known, only[0], only[-1] + 1 - only[0], left.share(len(again)), only)
    none_fits = bool(rewrites.put_off) and len(rewrites.put_off) == rewrites.page_rows
    rewrites = given_up(rewrites, left)
    total = at.state.selected.total if at.state.selected else 0
    rows = min(at.limits.page_rows, total - rewrites.rows_asked)
    if rows <= 0 or rewrites.all_requested or left.is_spent or none_fits:
        return at.enter(Phase.VALIDATING, Awaited.REWRITES, state=replace(at.state, rewrites=rewrites))
    known = replace(rewrites, rows_asked=rewrites.rows_asked + rows, page_rows=rows)
    return _refined(at, known, rewrites.rows_asked, rows, left.share(rows))


def _refined(at: _At, known: RewriteCounts, first: int, rows: int, each: Left, only: tuple[int, ...] = ()) -> Moved:
    state, rules = at.state, at.rules
    step = RefiningRequested(
        state.begun.survey,
        first,
        rows,
        rules.attempts_max,
        state.ordinal,
        each.tokens,
        each.money,
        only,
        rules.gate(),
        each.roles,
    )
    known = replace(known, tokens_allowed_each=each.tokens, money_allowed_each=each.money, roles_allowed_each=each.roles)
    return Moved(replace(state, rewrites=known, awaits=Awaited.PAGE), (step_requested(step),))


def _after_guards(at: _At) -> Moved:
    state, rules = at.state, at.rules
    if not sum(state.rewrites.accepted.values()) and not dropped(state, rules):
        rewrites, never = state.rewrites, not_asked_for(state)
        ended = rewrites.ended - rewrites.not_begun
        told = f"{ended} rewrites ended, {rewrites.under_way} were left out, {never} were not begun"
        is_spent = never > 0 and (rewrites.not_begun > 0 or left_of(rules.budget, state, at.now).is_spent)
        return at.stop(RoundReason.BUDGET_SPENT if is_spent else RoundReason.NOTHING_ACCEPTED, told)
    guard = tripped(state, rules)
    if guard is not None:
        return halted(state, Phase.FROZEN, guard.reason, guard.detail, at.now)
    rows = evictions(state, rules)
    if rows:
        return at.enter(Phase.COMMITTING, Awaited.EVICTION, EvictionRequested(state.begun.survey, rows))
    return at.enter(Phase.COMMITTING, Awaited.CUT)


def _cut(at: _At) -> Moved:
    return Moved(replace(at.state, awaits=Awaited.VERSION), (request_cut(at.state),))


def _after_version(at: _At) -> Moved | None:
    state = at.state
    if state.committed is None:
        return None
    told = f"version {state.committed.version_sequence}"
    if not at.rules.train:
        return at.keep(RoundReason.NOT_TRAINED, told)
    if state.selected is None or not state.selected.held_out_rows:
        return at.keep(RoundReason.NOTHING_HELD_OUT, told)
    if state.checkpoint is not None and state.checkpoint.version != state.committed.version:
        state = replace(state, checkpoint=None)  # it came first, and was trained on something else
    return at.enter(Phase.TRAINING, Awaited.CHECKPOINT, state=state)


def _after_checkpoint(at: _At) -> Moved | None:
    checkpoint = at.state.checkpoint
    if checkpoint is None:
        return None
    if checkpoint.refused:
        return at.stop(RoundReason.CHECKPOINT_REFUSED, f"{checkpoint.checkpoint_id[:12]}: {checkpoint.refused[:1_000]}")
    survey = evaluation_of(at.state.begun.survey, checkpoint.model_version)
    return at.enter(Phase.EVALUATING, Awaited.HELD_OUT_ROWS, SurveyRequested(survey))


def _after_held_out_rows(at: _At) -> Moved | None:
    rows, checkpoint = at.state.held_out_rows, at.state.checkpoint
    if checkpoint is None or not _is_whole(rows):
        return None
    if rows.measured <= rows.not_made:
        told = f"{rows.not_made} of {rows.sent} held-out rows without signals, {len(rows.lost)} among the dead letters"
        return at.stop(RoundReason.NOTHING_MEASURED, told)
    survey = evaluation_of(at.state.begun.survey, checkpoint.model_version)
    return at.ask(Awaited.HELD_OUT_LOSS, SelectionRequested(survey, rows.measured, at.state.begun.rules_json))


def _verdict(at: _At) -> Moved:
    held_out, begun = at.state.held_out, at.state.begun
    if held_out is None:
        return at.stop(RoundReason.NOTHING_MEASURED, "no held-out row was measured before and after")
    rise = held_out.after - held_out.before
    told = f"held-out loss {held_out.before:.4f} to {held_out.after:.4f} over {held_out.rows} rows, a rise of {rise:+.4f}"
    if rise <= at.rules.held_out_rise_max:
        highest = at.rules.guards.held_out_loss_max
        if highest is not None and held_out.after > highest and RoundReason.HELD_OUT_LOSS not in at.state.waived:
            told += f": above guards.held_out_loss_max ({highest:g})"
            return halted(at.state, Phase.FROZEN, RoundReason.HELD_OUT_LOSS, told, at.now)
        return at.keep(RoundReason.HELD_OUT_HELD, told)
    told += f" (held_out_rise_max {at.rules.held_out_rise_max:g})"
    if at.rules.on_worse == "revert":
        state = undone(at.state, Phase.ROLLED_BACK, RoundReason.HELD_OUT_ROSE, told)
        moved = at.enter(Phase.REVERTING, Awaited.REWRITES, state=state)
    else:
        told += f"; version {begun.version_sequence} is the one to train on, and what the round changed stays in the dataset"
        moved = halted(at.state, Phase.ROLLED_BACK, RoundReason.HELD_OUT_ROSE, told, at.now)
    request = RollbackRequested(
        begun.survey.model, f"{at.state.dataset_id}/{at.state.round_id}", begun.checkpoint_id, f"round {at.state.round_id}"
    )
    return Moved(moved.state, (Send(ROLLBACK_REQUESTED, request), *moved.sends))


def undone(state: RoundState, ending: Phase, reason: RoundReason, detail: str) -> RoundState:
    """The state as its undoing begins; it ends so when that is done."""
    revert = RevertCounts(ending, reason.value, detail, evicting=state.awaits is Awaited.EVICTION)
    waived = tuple(each for each in state.waived if each not in REVERTING_REASONS)
    return replace(state, reason=reason.value, detail=detail, frozen_in=None, waived=waived, revert=revert)


def _waits(_: _At) -> None:
    return None


_MOVES: Mapping[Awaited, Callable[[_At], Moved | None]] = {
    Awaited.NOTHING: _waits,
    Awaited.ROWS: _after_rows,
    Awaited.DENSITIES: _after_densities,
    Awaited.SELECTION: _after_selection,
    Awaited.PAGE: _after_page,
    Awaited.REWRITES: _after_rewrites,
    Awaited.GUARDS: _after_guards,
    Awaited.EVICTION: _waits,
    Awaited.CUT: _cut,
    Awaited.VERSION: _after_version,
    Awaited.CHECKPOINT: _after_checkpoint,
    Awaited.HELD_OUT_ROWS: _after_held_out_rows,
    Awaited.HELD_OUT_LOSS: _waits,
    Awaited.VERDICT: _verdict,
}


def _allowed_s(phase: Phase, rules: RoundPolicy) -> float:
    deadlines = rules.deadlines
    return {
        Phase.REFINING: deadlines.refining_s,
        Phase.VALIDATING: deadlines.refining_s,
        Phase.COMMITTING: deadlines.committing_s,
        Phase.TRAINING: deadlines.training_s,
        Phase.EVALUATING: deadlines.evaluating_s,
        Phase.REVERTING: deadlines.reverting_s,
    }.get(phase, deadlines.surveying_s)


def step_requested(step: _Step) -> Send:
    """Ask for a step."""
    return Send(ROUND_STEP_REQUESTED, RoundStepRequested(step))
