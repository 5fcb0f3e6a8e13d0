"""Which id and revision a rewrite gets, so that no two attempts, axes or rounds ever meet."""

import hashlib

from headrace.core.dossiers import Rewrite
from headrace.core.rounds.rules import Axis
from headrace.core.samples import OriginKind, Sample

ATTEMPTS_MAX = 15
"""Attempts of one rewrite that have a revision of their own."""
_ROUND = 32
"""Revisions that belong to one round: sixteen for each of the two axes that replace a sample."""
_LINEAGE = 1 << 16
"""Revisions that belong to one submitted revision and everything that rounds make of it."""
ROUNDS_MAX = _LINEAGE // _ROUND - 1
_REVISION_MAX = 2**32 - 1
_PLACE = {Axis.HARD: 0, Axis.LOW_QUALITY: 16}
_ID_DIGITS = 32


class NoRevisionLeft(ValueError):
    """There is no revision for this rewrite; the message says why."""


def stands_beside(rewrite: Rewrite) -> bool:
    """Whether it is to stand beside its parent, as a sample of its own, instead of in its place."""
    return rewrite.adds or rewrite.axis == Axis.SPARSE


def identity_of_rewrite(rewrite: Rewrite) -> tuple[str, int]:
    """Id and revision of the sample that a rewrite becomes.

    On axis "sparse", and where it `adds`, it is a new sample: its id is a hash of dataset, parent, round and axis, its revision
    the attempt less one.

    On the other axes it is a revision of its parent: `base + 32 round + place + attempt`, where the place is 0 for "hard" and 16
    for "low_quality", attempts are 1 to 15, rounds 1 to 2047, and `base` is a multiple of 65,536 that follows from the parent:

    - a parent that a round made or brought back lies at `base + something below 65,536`, and keeps that base;
    - any other parent of revision p has the largest multiple not above p where p exceeds that by less than 16, else the next one.

    It follows that
    (a) the revision is above the parent's: a submitted parent is below base + 16, one of an earlier round below base + 32 round;
    (b) revisions of one base differ where round, axis or attempt do: place + attempt is 1 to 31 and no multiple of 16, so that
        the number can be taken apart again; the sum stays below base + 65,536, so bases do not meet either;
    (c) the base is that of the submitted ancestor, whichever of its rewrites is the parent now: this holds too where a dataset
        went back to an earlier version, and a later round's revisions are always above an earlier round's.

    Raises:
        NoRevisionLeft: attempt or round are out of their range, the parent is of this round or a later one, or the number
            would not fit into 32 bits.
    """
    if not 1 <= rewrite.attempt <= ATTEMPTS_MAX:
        raise NoRevisionLeft(f"attempt {rewrite.attempt} is not within 1 and {ATTEMPTS_MAX}")
    axis = Axis(rewrite.axis)
    if stands_beside(rewrite):
        return _new_id(rewrite), rewrite.attempt - 1
    if not 1 <= rewrite.round_ordinal <= ROUNDS_MAX:
        raise NoRevisionLeft(f"round {rewrite.round_ordinal} is not within 1 and {ROUNDS_MAX}")
    parent = rewrite.parent
    revision = _base_of(parent) + _ROUND * rewrite.round_ordinal + _PLACE[axis] + rewrite.attempt
    if revision <= parent.revision:
        raise NoRevisionLeft(f"revision {parent.revision} of the parent is of round {rewrite.round_ordinal} or a later one")
    if revision > _REVISION_MAX:
        raise NoRevisionLeft(f"the parent's revision {parent.revision} leaves none above it")
    return parent.id, revision


def revision_back(was: Sample, latest: int) -> int:
    """The revision by which a sample comes back, `latest` being the one that a round put in its place, or took out.

    It is the next one, since no attempt follows upon one that was accepted: so of what others send at the same time every higher
    revision stands, whichever comes first. Only where the next one would lie below the sample's base it is that base, of which
    no round makes a revision; so `identity_of_rewrite` holds for parents that came back, too.

    Raises:
        NoRevisionLeft: the number would not fit into 32 bits.
    """
    revision = max(latest + 1, _base_of(was))
    if revision > _REVISION_MAX:
        raise NoRevisionLeft(f"revision {latest} of {was.id[:80]} leaves none above it")
    return revision


def _base_of(sample: Sample) -> int:
    revision, origin = sample.revision, sample.origin
    below = revision - revision % _LINEAGE
    is_of_a_round = (origin.kind is OriginKind.REFINED and bool(origin.round)) or bool(origin.restored_by)
    if is_of_a_round or revision - below < _ROUND // 2:
        return below
    return below + _LINEAGE


def _new_id(rewrite: Rewrite) -> str:
    named = f"{rewrite.parent.key}\n{rewrite.round_id}\n{rewrite.axis}"
    return f"{rewrite.axis}-{hashlib.sha256(named.encode()).hexdigest()[:_ID_DIGITS]}"
