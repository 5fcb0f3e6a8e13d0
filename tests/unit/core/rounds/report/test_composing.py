"""From states to a report: phases, held-out losses by round, guards and stop rules."""

from dataclasses import replace

from headrace.core.budgets import Spend
from headrace.core.reasons import Reason
from headrace.core.rounds.counts import RewriteCounts
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.report.composing import report_of, summary_from
from headrace.core.rounds.report.contents import RewriteNumbers, RewriteSeen, VersionNumbers
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.state import HeldOutMeasured, PassedPhase, Phase
from tests.fakes.round_reports import BEGAN, a_state


def seen(accepted, reason: Reason, parent: float | None = 3.0, own: float | None = 2.0) -> RewriteSeen:
    return RewriteSeen("a", 1, "a revision 0", Axis.HARD, 1, accepted, reason, parent, own)


def test_a_round_that_has_only_begun_has_nothing_but_itself():
    """Nothing is made up of what is not there."""
    data = report_of(a_state(10))
    assert (data.selection, data.table, data.rewrites, data.gains) == (None, None, None, ())
    assert [span.phase for span in data.phases] == [Phase.SURVEYING]
    assert {rule.name: rule.held for rule in data.rules}["lost_rows_max"] is True
    assert {rule.name: rule.held for rule in data.rules}["held_out_rise_max"] is None


def test_phases_end_where_the_next_one_begins():
    """The one that the round is in has no end yet."""
    passed = (PassedPhase(Phase.PLANNED, BEGAN), PassedPhase(Phase.SURVEYING, BEGAN + 100))
    state = a_state(10, transition=2, phase=Phase.THRESHOLDS, phase_since=BEGAN + 300, passed=passed)
    assert [(span.phase, span.until and span.until - span.since) for span in report_of(state).phases] == [
        (Phase.PLANNED, 100), (Phase.SURVEYING, 200), (Phase.THRESHOLDS, None),
    ]  # fmt: skip


def test_held_out_losses_are_of_this_dataset_up_to_this_round():
    """The latest state of each earlier round counts; later rounds and other datasets do not."""
    state = a_state(10, held_out=HeldOutMeasured(2.0, 1.9, 5))
    first = replace(state, round_id="r1", ordinal=1, held_out=HeldOutMeasured(3.0, 2.0, 5))
    known = [
        replace(first, updated_at=1.0, held_out=HeldOutMeasured(9.0, 9.0, 5)), first,
        replace(first, round_id="r2", ordinal=2, held_out=None),
        replace(first, round_id="r4", ordinal=4),
        replace(first, round_id="x1", dataset_id="other"),
    ]  # fmt: skip
    assert [(each.ordinal, each.held_out and each.held_out.before) for each in report_of(state, known).held_out] == [
        (1, 3.0), (3, 2.0),
    ]  # fmt: skip


def test_guards_are_held_against_the_new_version():
    """Shares come from the version's rows and the attempts decided; a guard that does not hold says so."""
    rewrites = RewriteNumbers(
        3, (seen(True, Reason.ACCEPTED), seen(False, Reason.NEAR_DUPLICATE), seen(False, Reason.NEAR_DUPLICATE))
    )
    data = report_of(a_state(10), rewrites=rewrites, version=VersionNumbers({"ingested": 4, "refined": 5, "generated": 1}))
    rules = {rule.name: (rule.value, rule.held) for rule in data.rules}
    assert (rules["model_written_share_max"], rules["human_rows_min"]) == ((0.6, False), (4, True))
    assert rules["near_duplicate_share_max"] == (2 / 3, False)


def test_budgets_of_roles_are_held_against_what_is_charged_to_them():
    """Of a role what is limited, of all calls together both amounts."""
    rules = RoundPolicy.model_validate({"budget": {"tokens": 500, "roles": {"answerer": {"money": 0.5}, "judge": {"tokens": 9}}}})
    counts = RewriteCounts(tokens_charged=400, money_charged=1.5, roles_charged=(Spend(300, 0.75, "answerer"),))
    state = a_state(10, rewrites=counts)
    data = report_of(replace(state, begun=replace(state.begun, rules_json=rules.canonical_json())))
    assert {rule.name: (rule.value, rule.bound, rule.held) for rule in data.rules if rule.name.startswith("budget")} == {
        "budget.tokens": (400, 500, True), "budget.money": (1.5, None, None),
        "budget.roles.answerer.money": (0.75, 0.5, False), "budget.roles.judge.tokens": (0, 9, True),
    }  # fmt: skip


def test_gains_leave_out_what_was_not_measured():
    """An attempt without one of the two numbers has no gain."""
    rewrites = RewriteNumbers(
        3, (seen(True, Reason.ACCEPTED), seen(True, Reason.ACCEPTED, own=None), seen(False, Reason.NOT_BETTER, own=4.0))
    )
    [gains] = report_of(a_state(10), rewrites=rewrites).gains
    assert (gains.accepted_rows, gains.rejected_rows) == (1, 1)
    assert gains.accepted is not None
    assert gains.accepted.mean == 1.0


def test_rules_and_summaries_that_cannot_be_read_are_absent():
    """What another release wrote is told as missing, not guessed."""
    state = a_state(10)
    data = report_of(replace(state, begun=replace(state.begun, rules_json='{"no such": 1}')))
    assert (data.policy, data.rules) == (None, ())
    assert summary_from(b"not json") is None
    assert summary_from(b'{"rows": 1}') is None
    assert report_of(a_state(1)).policy == RoundPolicy()
