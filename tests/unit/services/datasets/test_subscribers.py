"""What datasets tells the delivery layer of its topics."""

from types import SimpleNamespace
from typing import Any

from headrace.core.topics import DECIDED, INDEXED, MEASURED, RETRACTION_REQUESTED
from services.datasets.subscribers import subscriptions


def test_what_is_staged_by_ranges_of_offsets_comes_without_gaps() -> None:
    """A record that cannot be decoded yet would lie hidden in the range of a batch that was given up."""
    nothing: Any = SimpleNamespace()
    bound = subscriptions(nothing, nothing, 100)
    assert {each.topic for each in bound if each.gapless} == {DECIDED, INDEXED, RETRACTION_REQUESTED, MEASURED}
