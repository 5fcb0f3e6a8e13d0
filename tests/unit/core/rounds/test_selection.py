"""Both modes select what the formulas select, by an oracle of its own in exact fractions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.rounds.rules import Axis, AxisRule, Mode, SelectionRules
from headrace.core.rounds.selection import COMBINATIONS, Sizes, is_beyond, merged, owned, sizes
from headrace.core.rounds.signal_rows import merge_key_of, paper_quality
from headrace.core.rounds.tally import SelectionSummary, Tally
from headrace.core.rounds.thresholds import Threshold, TooManyRows, surveys_of
from tests.fakes import selection_oracle as oracle
from tests.fakes.signal_tables import a_table, signal_rows_of, tables

NO_LIMIT = 1 << 40
COEFFICIENTS = st.fixed_dictionaries(
    {}, optional={axis.value: st.sampled_from([0.0, 0.5, 1.0, 1.5, -1.0]) | st.floats(-3, 3) for axis in Axis}
)
MODES = st.sampled_from(Mode)


def rules_of(m: dict[str, float], mode: Mode, *, has_base: bool = True) -> SelectionRules:
    return only({Axis(axis): AxisRule(m=value) for axis, value in m.items()}, mode, has_base=has_base)


def only(axes: dict[Axis, AxisRule], mode: Mode, *, has_base: bool = True) -> SelectionRules:
    """Those axes, the others off."""
    hard, sparse, low_quality = (axes.get(axis) for axis in Axis)
    return SelectionRules(mode, hard, sparse, low_quality, has_base=has_base)


def keys_of(pairs) -> np.ndarray:
    hashes = [merge_key_of(*pair) for pair in pairs]
    return np.array([[int(each[:16], 16), int(each[16:32], 16)] for each in hashes], dtype=np.uint64).reshape(-1, 2)


def thresholds_of(table, rules) -> tuple[Threshold, ...]:
    surveys = surveys_of(rules, NO_LIMIT)
    for survey in surveys:
        survey.add(signal_rows_of(table, rules.mode))
    return tuple(survey.threshold() for survey in surveys)


def selected(table, rules) -> tuple[np.ndarray, SelectionSummary]:
    """Bits of all rows, and the summary."""
    tally = Tally(rules, thresholds_of(table, rules), NO_LIMIT)
    compat = rules.mode is Mode.MIDDO_COMPAT
    bits = tally.add(signal_rows_of(table, rules.mode), keys_of(table["pairs"]) if compat else None)
    tally.merge()
    return bits, tally.summary()


@given(tables(), COEFFICIENTS, MODES)
def test_selection_is_that_of_the_formulas(table, m, mode):
    """Ties, holes, constants, heavy tails, no row, one or two: beyond each threshold lie the rows that the oracle finds."""
    rules = rules_of(m, mode)
    bits, summary = selected(table, rules)
    found = oracle.beyond(table, m, compat=mode is Mode.MIDDO_COMPAT)
    for axis in Axis:
        assert is_beyond(bits, axis).tolist() == found.get(axis, np.zeros(len(bits), bool)).tolist()
    wanted = oracle.owners(found, compat=mode is Mode.MIDDO_COMPAT)
    got = sorted((int(row), axis) for axis, flags in owned(bits, rules).items() for row in np.flatnonzero(flags))
    assert got == sorted(wanted)
    for outcome in summary.axes:
        axis = outcome.threshold.axis
        assert outcome.rows_beyond == found[axis].sum()
        assert outcome.rows_selected == sum(owner == axis for _, owner in wanted)
        assert outcome.threshold.rows_measured + outcome.threshold.rows_left_out == summary.rows == len(bits)
    assert sum(summary.overlaps.values()) == np.count_nonzero(bits)


@given(tables(), COEFFICIENTS)
def test_without_a_base_model_hard_is_the_condition_on_the_current_one(table, m):
    """The result says so: one bound instead of two."""
    rules = rules_of(m, Mode.HEADRACE, has_base=False)
    bits, summary = selected(table, rules)
    found = oracle.beyond(table, m, compat=False, has_base=False)
    assert is_beyond(bits, Axis.HARD).tolist() == found.get("hard", np.zeros(len(bits), bool)).tolist()
    for outcome in summary.axes:
        if outcome.threshold.axis is Axis.HARD:
            assert [bound.column for bound in outcome.threshold.bounds] == ["loss_post"]


def test_quality_alone_takes_the_sample_deviation():
    """Of two rows each lies one population deviation from the mean, and less than 0.8 sample deviations."""
    column = np.array([1.0, 3.0])
    same = dict.fromkeys(("loss_post", "loss_pre", "density", "quality"), column)
    none = np.zeros(2, dtype=bool)
    table = {
        **same,
        "scores": np.tile(column[:, None], 6),
        "not_made": none,
        "retracted": none,
        "pairs": [("a", "x"), ("b", "x")],
    }
    for mode in Mode:
        bits, _ = selected(table, rules_of({"sparse": 0.8, "low_quality": 0.8}, mode))
        assert bits.tolist() == [COMBINATIONS["sparse"], 0]
        bits, _ = selected(table, rules_of({"low_quality": 0.7}, mode))
        assert bits.tolist() == [COMBINATIONS["low_quality"], 0]
    bits, _ = selected(table, rules_of({"hard": 0.8}, Mode.HEADRACE))
    assert bits.tolist() == [0, COMBINATIONS["hard"]]


def test_many_rows_agree_with_numpys_own_mean_and_deviation():
    """Over thousands of measured rows the formulas as NumPy computes them select the same."""
    table = a_table(20_000)
    made = ~table["not_made"]
    pre, post, density, quality = (table[name] for name in ("loss_pre", "loss_post", "density", "quality"))

    def high(values):
        return values > values[made].mean() + values[made].std()

    bits, _ = selected(table, rules_of({"hard": 1.0, "sparse": 1.5, "low_quality": 0.5}, Mode.HEADRACE))
    assert (is_beyond(bits, Axis.HARD) == (made & high(pre) & high(post))).all()
    assert (is_beyond(bits, Axis.SPARSE) == (made & (density < density[made].mean() - 1.5 * density[made].std()))).all()
    bound = quality[made].mean() - 0.5 * quality[made].std(ddof=1)
    assert (is_beyond(bits, Axis.LOW_QUALITY) == (made & (quality < bound))).all()


@given(tables(), COEFFICIENTS)
def test_the_papers_next_version_is_as_large_as_its_merge_makes_it(table, m):
    """The size law in mode middo_compat is what doing it with sets and lists gives."""
    rules = rules_of(m, Mode.MIDDO_COMPAT)
    bits, summary = selected(table, rules)
    found = oracle.beyond(table, m, compat=True)
    assert summary.rows_after == oracle.paper_next_size(table["pairs"], found)
    kept = merged(keys_of(table["pairs"]), bits)
    kept_pairs = [pair for pair, flag in zip(table["pairs"], kept, strict=True) if flag]
    assert len(set(kept_pairs)) == len(kept_pairs)
    assert summary.sizes.both == (is_beyond(bits, Axis.HARD) & is_beyond(bits, Axis.LOW_QUALITY)).sum()


@given(tables(), COEFFICIENTS)
def test_our_next_version_keeps_its_size(table, m):
    """With the scale held a round changes nothing about the number of rows, otherwise it adds one for each sparse point."""
    _, summary = selected(table, rules_of(m, Mode.HEADRACE))
    sparse = [outcome.rows_selected for outcome in summary.axes if outcome.threshold.axis is Axis.SPARSE]
    assert (summary.rows_after_held, summary.rows_after) == (summary.rows, summary.rows + sum(sparse))


def test_one_owner_or_all():
    """Beyond all three, we mend the quality; the authors do each, and a sample that is hard and poor comes back twice."""
    bits = np.array(list(COMBINATIONS.values()), dtype=np.uint8)
    ours = owned(bits, rules_of({}, Mode.HEADRACE))
    assert {axis: int(flags.sum()) for axis, flags in ours.items()} == {Axis.HARD: 2, Axis.SPARSE: 1, Axis.LOW_QUALITY: 4}
    theirs = owned(bits, rules_of({}, Mode.MIDDO_COMPAT))
    assert {int(flags.sum()) for flags in theirs.values()} == {4}
    once = dict.fromkeys(COMBINATIONS, 1)
    assert sizes(rules_of({}, Mode.MIDDO_COMPAT), once, rows=10, collapsed=1) == Sizes(10, 6, 2, 4, 1)
    assert sizes(rules_of({}, Mode.MIDDO_COMPAT), once, rows=10, collapsed=1).after(scale_held=False) == 15
    assert sizes(rules_of({}, Mode.HEADRACE), once, rows=10) == Sizes(10, 6, 0, 1)


def test_rows_of_one_key_hold_each_other_in():
    """One hard, one poor, the same key: the authors' sets keep a row of it, although both are replaced."""
    bits = np.array([1, 4, 0], dtype=np.uint8)
    assert merged(keys_of([("a", "x"), ("a", "x"), ("b", "x")]), bits).tolist() == [True, False, True]
    assert oracle.paper_next_size([("a", "x"), ("a", "x"), ("b", "x")], {
        "hard": np.array([True, False, False]), "low_quality": np.array([False, True, False]),
    }) == 4  # fmt: skip


def test_the_authors_odd_choices():
    """A hole poisons its axis, hard takes one deviation whatever is asked, and an unread score is the worst."""
    table = a_table(200, seed=3)
    table["loss_pre"][5] = np.nan
    table["not_made"][:] = False
    table["density"] = np.nan_to_num(table["density"], nan=0.8)
    rules = rules_of({"hard": 0.1, "sparse": 1.0, "low_quality": 1.0}, Mode.MIDDO_COMPAT)
    hard, sparse, low_quality = thresholds_of(table, rules)
    assert (hard.poisoned, hard.m, [bound.bound for bound in hard.bounds]) == (True, 1.0, [None, None])
    assert not sparse.poisoned
    assert (low_quality.rows_left_out, low_quality.bounds[0].ddof, sparse.bounds[0].ddof) == (0, 1, 0)
    assert paper_quality(np.array([[np.nan] * 6, [10.0, 10.0, 10.0, np.nan, np.nan, np.nan]])).tolist() == [0.0, 5.0]


@given(tables(), st.sampled_from(Axis), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), MODES)
def test_a_target_share_is_a_ceiling_and_no_share_lies_between(table, axis, target, mode):
    """The m solved selects at most the target; it can be given instead and selects the same."""
    rules = only({axis: AxisRule(target_share=target)}, mode)
    bits, summary = selected(table, rules)
    (outcome,) = summary.axes
    threshold = outcome.threshold
    if mode is Mode.MIDDO_COMPAT and axis is Axis.HARD:
        assert (threshold.m, threshold.target_share) == (1.0, None)
        return
    assert outcome.share <= target == threshold.target_share
    assert threshold.share_above is None or threshold.share_above > target
    if threshold.m is None:
        assert not bits.any()
        return
    again, _ = selected(table, rules_of({axis.value: threshold.m}, mode))
    assert again.tolist() == bits.tolist()
    if axis is Axis.HARD or threshold.rows_measured < 2:
        return
    values = {Axis.SPARSE: table["density"], Axis.LOW_QUALITY: signal_rows_of(table, mode).quality}[axis]
    measured = oracle.is_number(values) & ~table["not_made"]
    may = measured & ~table["retracted"]
    scale = np.abs(values[measured]).max(initial=0.0)
    if np.diff(np.unique(values[may])).min(initial=np.inf) < 1e-9 * scale:
        return  # so near to each other that doubles of m do not tell them apart
    counts = {int((values[may] < value).sum()) for value in values[may]} | {int(may.sum())}
    assert outcome.rows_beyond == max(count for count in counts if count <= target * threshold.rows_measured)


def test_a_target_share_of_two_columns():
    """One m for both losses, and as near to the target as rows without ties allow."""
    table = a_table(5_000)
    rules = SelectionRules(hard=AxisRule(target_share=0.1), sparse=None, low_quality=None)
    _, summary = selected(table, rules)
    (outcome,) = summary.axes
    assert 0.1 - 1.5 / outcome.threshold.rows_measured < outcome.share <= 0.1
    assert outcome.threshold.share_above == pytest.approx((outcome.rows_beyond + 1) / outcome.threshold.rows_measured)


def test_more_rows_than_may_be_held_are_refused():
    """A target share and the authors' merge say which setting bounds them, and what else to do."""
    table = a_table(100)
    rules = SelectionRules(sparse=AxisRule(target_share=0.1))
    _, sparse, _ = surveys_of(rules, 50)
    with pytest.raises(TooManyRows, match="rows_held_max"):
        sparse.add(signal_rows_of(table, Mode.HEADRACE))
    with pytest.raises(TooManyRows, match="rows_held_max"):
        Tally(rules_of({}, Mode.MIDDO_COMPAT), (), 50).add(signal_rows_of(table, Mode.MIDDO_COMPAT), keys_of(table["pairs"]))


def test_the_merge_key_ignores_what_lies_outside_the_pair():
    """Instruction and output count, and where one ends."""
    assert merge_key_of("a", "b") == merge_key_of("a", "b") != merge_key_of("ab", "")
