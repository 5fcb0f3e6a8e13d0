"""Rows that come back: as which revision, past which bounds, and what follows from the decision on them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.decide import decide
from headrace.core.dossiers import CheckOutcome, DuplicateKind
from headrace.core.placement import question_of
from headrace.core.policies import Policy
from headrace.core.retractions import RetractionReason
from headrace.core.rounds.facts import RestorationEnded
from headrace.core.rounds.restorations import follows_from, restored
from headrace.core.rounds.revisions import NoRevisionLeft, identity_of_rewrite, revision_back
from headrace.core.samples import Origin, OriginKind
from tests.fakes.certain import certain
from tests.fakes.evidence import DATASET, dossier, outcome, placement, signals
from tests.fakes.rewrites import parent, rewrite

STRICT = Policy.model_validate(
    {
        "signals": {"loss_max": 0.5},
        "diversity": {"density_max": 0.1, "near_duplicate_cosine": 0.9},
        "checks": [{"check": "math"}],
        "standing": {
            "rows": 10,
            "thresholds": {"model": "model", "model_version": "1", "rows": 10, "source": "r", "loss_max": 0.5},
        },
    }
)


def back(**evidence):
    """A row that comes back, with evidence that this policy would have none of."""
    found = dossier(scored=signals(9.0), placed=evidence.pop("placed", placement(density=0.9, prompt_copies=7)), **evidence)
    return replace(found, sample=replace(found.sample, origin=Origin(restored_by="r1")))


def test_a_row_comes_back_as_it_was():
    """All but its revision, and that a round was undone for it; its checks are about the same content."""
    was = replace(dossier(checks=(outcome("math", CheckOutcome.PASSED),)), rewrite=rewrite())
    was = replace(was, sample=replace(was.sample, origin=Origin(OriginKind.GENERATED, ("seed",), "tables", "2")))
    again = restored(was, 33, "r1", 5.0)
    assert again.sample == replace(was.sample, revision=34, origin=replace(was.sample.origin, restored_by="r1"))
    assert (again.submitted_at, again.checks, again.decisions, again.signals, again.rewrite) == (5.0, was.checks, (), (), None)


def test_no_bound_is_held_against_what_was_accepted_before():
    """Neither the policy's bounds, nor standing thresholds, nor a near-duplicate, nor a check that is not there."""
    assert decide(replace(back(), sample=dossier().sample), STRICT).reason == "loss_too_high"
    assert decide(back(), STRICT).verdict == "accepted"
    assert decide(back(placed=placement(DuplicateKind.NEAR, 0.99)), STRICT).verdict == "accepted"


@pytest.mark.parametrize("kind", [kind for kind in DuplicateKind if kind not in {DuplicateKind.NONE, DuplicateKind.NEAR}])
def test_what_others_did_meanwhile_stands(kind):
    """Later revisions, retractions, and the same content under another id."""
    assert decide(back(placed=placement(kind, 1.0)), STRICT).verdict == "rejected"


def test_a_row_that_cannot_be_placed_parks():
    """It would be in no index, and near copies of it would come in: not made is no refusal."""
    assert decide(replace(back(), placement=None), STRICT).verdict == "parked"


def test_neither_near_duplicates_nor_quotas_are_asked_about(monkeypatch):
    """So it waits for none of them either."""
    submission, content, vectors = object(), object(), object()
    asked = question_of(submission, content, vectors, STRICT, comes_back=True)  # type: ignore[arg-type]
    assert (asked.near_cosine, asked.copies_pending) == (None, False)
    assert question_of(submission, content, vectors, STRICT).near_cosine == 0.9  # type: ignore[arg-type]


def decided(placed=None):
    row = back(placed=placed) if placed else back()
    return replace(row, decisions=(decide(row, STRICT),))


@pytest.mark.parametrize(
    ("kind", "accepted", "leaves"),
    [
        (DuplicateKind.NONE, True, False),
        (DuplicateKind.ALREADY_ADMITTED, True, False),
        (DuplicateKind.STALE_REVISION, False, False),
        (DuplicateKind.RETRACTED, False, False),
        (DuplicateKind.EXACT, False, True),
    ],
)
def test_the_round_is_told_how_it_ended(kind, accepted, leaves):
    """Where its content is there under another id, what the round had put in its place leaves all the same."""
    follows = follows_from(decided(placement(kind, 1.0)), "headrace/admission")
    told = certain(follows.ended)
    assert (told.dataset_id, told.round_id) == (DATASET, "r1")
    assert isinstance(told.fact, RestorationEnded)
    assert (told.fact.sample_id, told.fact.accepted) == ("one", accepted)
    assert (follows.retraction is not None) == leaves
    if follows.retraction is not None:
        assert (follows.retraction.reason, follows.retraction.revision) == (RetractionReason.ROUND_REVERTED, 0)


def test_nothing_follows_for_other_samples_or_for_what_parks():
    """A parked one is told of by its dead letter."""
    plain = dossier()
    assert follows_from(replace(plain, decisions=(decide(plain, Policy()),)), "x").ended is None
    parked = replace(back(), placement=None)
    assert follows_from(replace(parked, decisions=(decide(parked, STRICT),)), "x").ended is None
    assert follows_from(back(), "x").ended is None


@given(
    st.integers(0, 2**32 - 1 - 2**18) | st.integers(0, 70_000),
    st.lists(
        st.tuples(st.sampled_from(["rewrite", "evict", "leave"]), st.integers(1, 15), st.sampled_from([*"hl"]), st.booleans())
    ),
)
def test_revisions_never_meet_whatever_is_undone(submitted, rounds):
    """Round after round rewrites a row or takes it out, and is undone or not: every revision is new, and higher."""
    row, seen = parent(submitted), {submitted}
    for number, (deed, attempt, axis, undoes) in enumerate(rounds, 1):
        latest = row.revision
        if deed == "rewrite":
            asked = rewrite({"h": "hard", "l": "low_quality"}[axis], round_ordinal=number, attempt=attempt, parent=row)
            latest = identity_of_rewrite(asked)[1]
            assert latest > row.revision
            assert latest not in seen
            seen.add(latest)
        if deed == "leave" or not undoes:
            if deed == "rewrite":
                row = replace(row, revision=latest, origin=Origin(OriginKind.REFINED, round=f"r{number}"))
            continue
        revision = revision_back(row, latest)
        assert revision > latest
        assert revision not in seen
        seen.add(revision)
        row = replace(row, revision=revision, origin=replace(row.origin, restored_by=f"r{number}"))


def test_a_restored_row_keeps_the_base_of_its_lineage():
    """So that a round that begins from an earlier version is not behind it; and there is an end to all numbers."""
    again = replace(parent(34), origin=Origin(restored_by="r1"))
    assert identity_of_rewrite(rewrite(round_ordinal=2, parent=again))[1] == 65
    assert revision_back(parent(0), 33) == 34
    assert revision_back(parent(5_000), 5_000) == 65_536
    with pytest.raises(NoRevisionLeft):
        revision_back(parent(0), 2**32 - 1)
