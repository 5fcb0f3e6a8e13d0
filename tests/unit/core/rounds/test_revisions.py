"""Ids and revisions of rewrites: above the parent's, and never the same twice."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.rounds.revisions import ATTEMPTS_MAX, ROUNDS_MAX, NoRevisionLeft, identity_of_rewrite
from headrace.core.samples import Origin, OriginKind
from tests.fakes.rewrites import parent, rewrite

ATTEMPTS = st.integers(1, ATTEMPTS_MAX)
ROUNDS = st.integers(1, ROUNDS_MAX)
SUBMITTED = st.integers(0, 2**32 - 1 - 2**17) | st.integers(0, 70_000)
REPLACING = st.sampled_from(["hard", "low_quality"])


def revision(axis, round_ordinal, attempt, of):
    return identity_of_rewrite(rewrite(axis, round_ordinal=round_ordinal, attempt=attempt, parent=of))[1]


def rewritten(of, axis, round_ordinal, attempt):
    origin = Origin(OriginKind.REFINED, round=f"round-{round_ordinal}", axis=axis)
    return replace(of, revision=revision(axis, round_ordinal, attempt, of), origin=origin)


@given(SUBMITTED, REPLACING, ROUNDS, ATTEMPTS)
def test_a_rewrite_is_above_its_parent(submitted, axis, round_ordinal, attempt):
    """Whatever revision was submitted, every attempt in every round lies above it and fits into 32 bits."""
    assert submitted < revision(axis, round_ordinal, attempt, parent(submitted)) < 2**32


@given(SUBMITTED, st.lists(st.tuples(REPLACING, ROUNDS, ATTEMPTS), min_size=1, max_size=6, unique=True), st.data())
def test_attempts_axes_and_rounds_never_meet(submitted, steps, data):
    """Each rewrite's parent is any earlier state of its sample; later rounds lie above earlier ones, and no two are equal."""
    states = [(0, parent(submitted))]
    seen = {submitted}
    for axis, round_ordinal, attempt in sorted(steps, key=lambda step: step[1]):
        of = data.draw(st.sampled_from([state for ordinal, state in states if ordinal < round_ordinal]))
        made = rewritten(of, axis, round_ordinal, attempt)
        assert made.revision not in seen
        assert made.revision > of.revision
        assert all(made.revision > state.revision for ordinal, state in states if ordinal < round_ordinal)
        seen.add(made.revision)
        states.append((round_ordinal, made))


@given(SUBMITTED, ROUNDS, ATTEMPTS)
def test_a_sparse_rewrite_is_a_sample_of_its_own(submitted, round_ordinal, attempt):
    """Its id is the same for all attempts of one parent in one round, and no other's; revisions count attempts from 0."""
    asked = rewrite("sparse", round_ordinal=round_ordinal, attempt=attempt, parent=parent(submitted))
    sample_id, number = identity_of_rewrite(asked)
    assert number == attempt - 1
    assert sample_id == identity_of_rewrite(replace(asked, attempt=1))[0] != asked.parent.id
    others = (replace(asked, round_id="another"), replace(asked, parent=replace(asked.parent, id="another")))
    assert len({sample_id, *(identity_of_rewrite(other)[0] for other in others)}) == 3


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (rewrite(attempt=0), "attempt 0"),
        (rewrite(attempt=16), "attempt 16"),
        (rewrite(round_ordinal=0), "round 0"),
        (rewrite(round_ordinal=ROUNDS_MAX + 1), "round 2048"),
        (rewrite(parent=parent(2**32 - 1)), "leaves none above it"),
        (rewrite(parent=rewritten(parent(), "low_quality", 1, 3)), "of round 1 or a later one"),
    ],
)
def test_what_has_no_revision_is_told(asked, why):
    """Nothing is wrapped around or reused."""
    with pytest.raises(NoRevisionLeft, match=why):
        identity_of_rewrite(asked)


@given(SUBMITTED, REPLACING, ROUNDS, ATTEMPTS)
def test_a_rewrite_that_adds_has_an_id_of_its_own(submitted, axis, number, attempt):
    """Its parent's revisions are left to the rewrite that replaces it; another round or axis has another id."""
    asked = rewrite(axis, parent=parent(submitted), round_ordinal=number, attempt=attempt, adds=True)
    name, revision = identity_of_rewrite(asked)
    assert (name.partition("-")[0], revision) == (axis, attempt - 1)
    others = [replace(asked, round_id="another"), replace(asked, axis="sparse")]
    assert len({name, asked.parent.id, *(identity_of_rewrite(each)[0] for each in others)}) == 4
