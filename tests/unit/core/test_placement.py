"""The rules of placement on their own: what is said at once, and whom a sample waits for."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.dossiers import DuplicateKind, Neighbour, Placement, Rewrite
from headrace.core.placement import Wait, parent_cosine, place, question_of
from headrace.core.policies import CheckRequest, DiversityBounds, Policy
from headrace.core.ports.vector_index import (
    Accepted,
    Content,
    Earlier,
    Question,
    Space,
    Standing,
    Submission,
    Surroundings,
    Vectors,
)
from tests.fakes.rewrites import rewrite

SPACE = Space("maths", "smol", "3")
VECTOR = np.array([1, 0], np.float32)
MINE = Content("mine", "prompt")
OTHER = Content("other", "another prompt")
PLAIN = Policy()
QUOTA = Policy(checks=(CheckRequest(check="duplicate_prompt", copies_max=2),))


def question(policy: Policy = PLAIN, *, revision: int = 1, order: int = 100) -> Question:
    return question_of(Submission(SPACE, "me", revision, order), MINE, Vectors(VECTOR, VECTOR), policy)


def found(
    *,
    earlier: tuple[Earlier, ...] = (),
    akin: tuple[Accepted, ...] = (),
    near: Accepted | None = None,
    neighbours: tuple[Accepted, ...] = (),
    copies: int = 0,
) -> Surroundings:
    return Surroundings(Standing.PENDING, earlier, akin, near, neighbours, copies, 7)


def placement(outcome: Placement | Wait) -> Placement:
    assert isinstance(outcome, Placement)
    return outcome


def wait(outcome: Placement | Wait) -> Wait:
    assert isinstance(outcome, Wait)
    return outcome


def test_the_policy_says_what_is_asked() -> None:
    """Cosine, number of neighbours, and copies only where a quota is to be kept."""
    policy = Policy(diversity=DiversityBounds(near_duplicate_cosine=None, neighbours=5))
    asked = question(policy)
    assert (asked.near_cosine, asked.neighbours, asked.copies_pending) == (None, 5, False)
    assert question(QUOTA).copies_pending


def test_what_cannot_change_is_said_though_others_are_in_flight() -> None:
    """A duplicate of an accepted sample does not wait for the undecided."""
    pending = (Earlier("other", 0, 5, MINE, 0.9995),)
    near = Accepted("twin", 2, OTHER, 0.9991)
    outcome = placement(place(question(), found(earlier=pending, near=near), PLAIN))
    assert (outcome.duplicate_kind, outcome.duplicate_of) == (DuplicateKind.NEAR, Neighbour("twin", 2, 0.9991))


def test_a_rewrite_goes_with_the_revision_that_it_rewords() -> None:
    """Turned away where its parent's revision was retracted, whoever is in flight; where a lower one was, or none, it stays."""
    asked = replace(question(revision=2), parent=("theirs", 1))
    surroundings = found(earlier=(Earlier("other", 0, 5, MINE, 0.9995),))
    outcome = placement(place(asked, replace(surroundings, parent_retracted=1), PLAIN))
    assert (outcome.duplicate_kind, outcome.duplicate_of) == (DuplicateKind.RETRACTED, Neighbour("theirs", 1, 0.0))
    for reach in (None, 0):
        wait(place(asked, replace(surroundings, parent_retracted=reach), PLAIN))


def test_the_sample_s_own_past_comes_before_likeness() -> None:
    """Repeated, conflicting and stale submissions are called so, whatever else they resemble."""
    exact, near = Accepted("twin", 0, MINE, 0.5), Accepted("near", 0, OTHER, 0.9999)
    cases = {
        DuplicateKind.ALREADY_ADMITTED: (Accepted("me", 1, MINE, 0.3), Neighbour("me", 1, 1.0)),
        DuplicateKind.REVISION_CONFLICT: (Accepted("me", 1, OTHER, 0.25), Neighbour("me", 1, 0.25)),
        DuplicateKind.STALE_REVISION: (Accepted("me", 2, OTHER, None), Neighbour("me", 2, 0.0)),
        DuplicateKind.EXACT: (Accepted("me", 0, OTHER, 0.3), Neighbour("twin", 0, 1.0)),
    }
    for kind, (own, twin) in cases.items():
        outcome = placement(place(question(), found(akin=(exact, own), near=near), PLAIN))
        assert (outcome.duplicate_kind, outcome.duplicate_of) == (kind, twin)


@given(
    rejected=st.sampled_from([None, "mine", "other"]),
    own=st.sampled_from([None, ("mine", 1), ("other", 1), ("other", 2)]),
    retracted=st.sampled_from([None, 0, 1]),
    waits=st.booleans(),
)
def test_a_rejected_revision_belongs_to_its_content(
    rejected: str | None, own: tuple[str, int] | None, retracted: int | None, *, waits: bool
) -> None:
    """Other content is in conflict with it, whoever is in flight, unless what stands speaks first; the same is placed anew."""
    akin = () if own is None else (Accepted("me", own[1], Content(own[0], "prompt"), 0.5),)
    earlier = (Earlier("me", 1, 5, OTHER),) if waits else ()
    surroundings = replace(found(akin=akin, earlier=earlier), retracted=retracted)
    before, outcome = (place(question(), replace(surroundings, rejected=each), PLAIN) for each in (None, rejected))
    if rejected == "other" and own is None and retracted != 1:
        conflict = placement(outcome)
        assert conflict.duplicate_kind is DuplicateKind.REVISION_CONFLICT
        assert conflict.duplicate_of == Neighbour("me", 1, 0.0)
    else:
        assert outcome == before


@pytest.mark.parametrize("likeness", ["exact", "near"])
def test_a_duplicate_waits_for_other_content_under_its_id_and_revision(likeness: str) -> None:
    """Else it would take them from what came first. Not for the same content or other revisions; nor does what a round makes."""
    akin = (Accepted("twin", 0, MINE, 0.5),) if likeness == "exact" else ()
    near = Accepted("twin", 0, OTHER, 0.9995) if likeness == "near" else None
    others = (Earlier("me", 1, 20, MINE), Earlier("me", 0, 30, OTHER), Earlier("near", 1, 40, OTHER, 0.9999))
    prior = (Earlier("me", 1, 10, OTHER), Earlier("me", 1, 15, Content("third", "prompt")))
    surroundings = found(akin=akin, near=near, earlier=(*others, *reversed(prior)))
    assert wait(place(question(), surroundings, PLAIN)).behind == prior
    placement(place(question(), replace(surroundings, earlier=others), PLAIN))
    placement(place(replace(question(), rejected=False), surroundings, PLAIN))


def test_only_clients_are_held_to_what_was_rejected() -> None:
    """Neither a rewrite nor a row that comes back asks for the content that was rejected under its id and revision."""
    mine = Submission(SPACE, "me", 1, 100)
    asked = question_of(mine, MINE, Vectors(VECTOR, VECTOR), PLAIN)
    made = question_of(mine, MINE, Vectors(VECTOR, VECTOR), PLAIN, parent=("me", 0))
    back = question_of(mine, MINE, Vectors(VECTOR, VECTOR), PLAIN, comes_back=True)
    assert [each.rejected for each in (asked, made, back)] == [True, False, False]


@pytest.mark.parametrize(
    ("retracted", "kind"), [(0, DuplicateKind.EXACT), (1, DuplicateKind.RETRACTED), (5, DuplicateKind.RETRACTED)]
)
def test_what_was_retracted_is_turned_away_for_that(retracted: int, kind: DuplicateKind) -> None:
    """A revision up to the retracted one is called so before anything else; a higher one is placed like any other."""
    surroundings = replace(found(akin=(Accepted("twin", 0, MINE, 0.5),)), retracted=retracted)
    assert placement(place(question(), surroundings, PLAIN)).duplicate_kind is kind


def test_an_earlier_revision_in_flight_is_waited_for() -> None:
    """Revisions of one sample are decided in the order in which they came."""
    earlier = Earlier("me", 0, 5, OTHER)
    assert wait(place(question(), found(earlier=(earlier,)), PLAIN)).behind == (earlier,)


def test_those_waited_for_are_named_in_order() -> None:
    """Near, equal in content, or the same sample: each once, the lowest order first; copies of the prompt do not count."""
    near, equal, same = Earlier("a", 0, 30, OTHER, 0.9999), Earlier("b", 0, 10, MINE), Earlier("me", 0, 20, OTHER)
    copy = Earlier("c", 0, 5, Content("c", "prompt"))
    outcome = wait(place(question(), found(earlier=(near, equal, same, copy)), PLAIN))
    assert outcome.behind == (equal, same, near)
    assert outcome.first is equal


@given(accepted=st.integers(0, 4), pending=st.integers(0, 4))
def test_copies_are_waited_for_only_where_the_quota_depends_on_them(accepted: int, pending: int) -> None:
    """With a quota of two: free while it cannot be reached, waiting while it may be, free (to be turned away) once it is."""
    copies = tuple(Earlier(f"c{n}", 0, n, Content(f"c{n}", "prompt")) for n in range(pending))
    outcome = place(question(QUOTA), found(earlier=copies, copies=accepted), QUOTA)
    assert isinstance(outcome, Wait) == (accepted < 2 <= accepted + pending)


@given(cosines=st.lists(st.floats(-1.0000005, 1.0000005), max_size=6), k=st.integers(1, 4))
def test_density_is_a_mean_of_k_or_nothing(cosines: list[float], k: int) -> None:
    """Fewer than k neighbours have no density; rounding never takes a cosine out of its range."""
    policy = Policy(diversity=DiversityBounds(neighbours=k))
    neighbours = tuple(Accepted(f"n{n}", 0, OTHER, cosine) for n, cosine in enumerate(sorted(cosines, reverse=True)))
    outcome = placement(place(question(policy), found(neighbours=neighbours), policy))
    assert all(-1 <= neighbour.cosine <= 1 for neighbour in outcome.neighbours)
    if len(cosines) < k:
        assert outcome.density is None
    else:
        assert outcome.density is not None
        assert -1 <= outcome.density <= 1
        assert abs(outcome.density - sum(sorted(cosines, reverse=True)[:k]) / k) < 1e-5


def test_a_placement_says_what_it_was_compared_with() -> None:
    """Model, numbers, and the order that names its pending point."""
    outcome = placement(place(question(), found(copies=3), PLAIN))
    assert (outcome.model, outcome.model_version, outcome.compared_with, outcome.prompt_copies, outcome.order) == (
        "smol",
        "3",
        7,
        3,
        100,
    )


def of_parent(vector: list[float], **changes: Any) -> Rewrite:
    embedding = np.array(vector, "<f4").tobytes()
    return rewrite(model=SPACE.model, model_version=SPACE.model_version, parent_embedding=embedding, **changes)


@pytest.mark.parametrize(
    ("asked", "cosine"),
    [
        (of_parent([1, 0]), 1.0),
        (of_parent([0.6, 0.8]), pytest.approx(0.6)),
        (of_parent([-3, 0]), -1.0),
        (None, None),
        (replace(of_parent([1, 0]), model_version="4"), None),
        (replace(of_parent([1, 0]), model="another"), None),
        (of_parent([1, 0, 0]), None),
        (of_parent([0, 0]), None),
        (of_parent([math.nan, 1]), None),
        (of_parent([math.inf, 1]), None),
        (replace(of_parent([1, 0]), parent_embedding=b"abc"), None),
    ],
)
def test_a_rewrite_s_cosine_to_its_parent_is_taken_in_one_space(asked: Rewrite | None, cosine: float | None) -> None:
    """None where it cannot be taken, whatever the bytes are; never a number between two models."""
    assert parent_cosine(asked, question()) == cosine
