"""The data sets that are compared: what each arm makes of the one with planted damage. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from headrace.core.rounds.densities import Neighbourhoods
from headrace.core.rounds.redundancy import Neighbouring, most_redundant
from headrace.core.samples import Sample


class Arm(StrEnum):
    """Who is compared; each trains from the base, with the same steps and seeds."""

    UNCHANGED = "a"
    ROUND = "b"
    RANDOM_REWRITES = "c"
    RANDOM_REMOVAL = "d"
    SELECTED_REMOVAL = "e"


TITLES = {
    Arm.UNCHANGED: "(a) the damaged data, D_0",
    Arm.ROUND: "(b) after a round, D_1",
    Arm.RANDOM_REWRITES: "(c) random rows rewritten, no test",
    Arm.RANDOM_REMOVAL: "(d) random rows removed",
    Arm.SELECTED_REMOVAL: "(e) selected rows removed",
}


@dataclass(frozen=True, slots=True)
class Revision:
    """A data set after rewrites: which of its rows were replaced, which are new, and which left to make room, by id."""

    samples: tuple[Sample, ...]
    replaced: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    evicted: tuple[str, ...] = ()


def revised(samples: Sequence[Sample], rewritten: Iterable[Sample], neighbours: Neighbourhoods) -> Revision:
    """Rewrites take the place of the row with their id; others are added, and as many of the most redundant rows leave.

    Rows that were rewritten, and those beside which one was set, do not leave. The scale is held where enough rows are redundant.
    """
    by_id = {each.id: each for each in rewritten}
    known = {each.id for each in samples}
    added = [each for each in by_id.values() if each.id not in known]
    beside = {parent for each in added for parent in each.origin.parent_ids}
    none = np.zeros(len(samples), dtype=np.bool_)
    rows = Neighbouring(
        neighbours=neighbours.rows,
        cosines=neighbours.cosines,
        density=neighbours.densities,
        model_written=none,
        kept=np.array([each.id in by_id or each.id in beside for each in samples], dtype=np.bool_),
        apart=none,
    )
    leaving = set(most_redundant(rows, len(added)))
    stay = [by_id.get(each.id, each) for place, each in enumerate(samples) if place not in leaving]
    return Revision(
        samples=(*stay, *added),
        replaced=tuple(each.id for each in samples if each.id in by_id),
        added=tuple(each.id for each in added),
        evicted=tuple(samples[place].id for place in sorted(leaving)),
    )


def without(samples: Sequence[Sample], places: Iterable[int]) -> Revision:
    """The data set without these rows."""
    gone = set(places)
    return Revision(
        samples=tuple(each for place, each in enumerate(samples) if place not in gone),
        evicted=tuple(samples[place].id for place in sorted(gone)),
    )
