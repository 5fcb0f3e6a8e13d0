"""What is remembered of a rejection, and what is not."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.dossiers import Decision, Dossier, DuplicateKind, Verdict
from headrace.core.rejections import Rejection, rejection_of
from tests.fakes.evidence import dossier, placement
from tests.fakes.rewrites import rewrite

BY_WHAT_STANDS = {
    DuplicateKind.ALREADY_ADMITTED, DuplicateKind.REVISION_CONFLICT, DuplicateKind.STALE_REVISION, DuplicateKind.RETRACTED,
}  # fmt: skip


def decided(verdict: Verdict = Verdict.REJECTED, kind: DuplicateKind = DuplicateKind.NONE) -> Dossier:
    return replace(dossier(placed=placement(kind)), decisions=(Decision(verdict, "because", "policy"),))


@given(verdict=st.sampled_from(Verdict), kind=st.sampled_from(DuplicateKind))
def test_a_rejection_names_its_content_unless_the_sample_was_known(verdict: Verdict, kind: DuplicateKind) -> None:
    """Only what was rejected for itself, or for another sample's sake, takes its id and revision."""
    of = decided(verdict, kind)
    named = Rejection(of.sample.id, of.sample.revision, of.sample.content_hash)
    assert rejection_of(of) == (named if verdict is Verdict.REJECTED and kind not in BY_WHAT_STANDS else None)


@pytest.mark.parametrize("what", ["a rewrite", "a row that comes back"])
def test_what_a_round_makes_takes_nothing_from_clients(what: str) -> None:
    """Its id and revision is none that a client gave, so it belongs to no content."""
    of = decided()
    origin = replace(of.sample.origin, restored_by="round-1")
    mine = replace(of, rewrite=rewrite()) if what == "a rewrite" else replace(of, sample=replace(of.sample, origin=origin))
    assert rejection_of(mine) is None


def test_one_that_was_never_placed_or_decided() -> None:
    """A rejection without a placement counts as well; without a decision there is none."""
    assert rejection_of(replace(decided(), placement=None)) is not None
    assert rejection_of(replace(decided(), decisions=())) is None
