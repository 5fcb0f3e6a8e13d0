"""What a collection keeps although nothing refers to it, and how much history."""

from dataclasses import dataclass

GRACE_S_MIN = 3_600.0
"""The least grace while anything writes: as long as a cut may take from its first shard to the reference that leads to it, or a
large body until the record that refers to it is visible. Both take seconds to minutes; whatever takes longer may lose objects."""

ROUNDS_FOR_S = 30 * 86_400.0
"""How long what an ended round left behind is kept, where nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is kept although nothing refers to it, and how much history.

    `grace_s`: nothing younger than this is deleted; below `GRACE_S_MIN` nothing may be writing meanwhile. A branch keeps its
    latest `last` versions and those younger than `for_s` seconds; all of them where neither is set. What a round left behind is
    kept for `rounds_for_s` seconds after its end.
    """

    grace_s: float
    last: int | None = None
    for_s: float | None = None
    rounds_for_s: float = ROUNDS_FOR_S

    @property
    def prunes(self) -> bool:
        return self.last is not None or self.for_s is not None

    def keeps(self, nth: int, age_s: float) -> bool:
        """Whether the `nth` version of a branch (0 is the latest) stays; the latest always does."""
        if nth == 0 or not self.prunes:
            return True
        return nth < (self.last or 0) or (self.for_s is not None and age_s < self.for_s)

    def asks_for_age(self, nth: int) -> bool:
        """Whether `keeps` depends on the version's age."""
        return self.for_s is not None and nth >= (self.last or 1)
