"""What diversity tells the delivery layer of its topics."""

from types import SimpleNamespace
from typing import Any

import pytest

from headrace.core.topics import HELD
from services.diversity.handlers import Diversity, Pace
from services.diversity.subscribers import subscriptions
from tests.fakes.exact_vector_index import ExactVectorIndex


@pytest.mark.parametrize(("batch_records_max", "longest_s"), [(10, 0.5), (640, 5.0)])
def test_no_sample_is_held_for_longer_than_the_delivery_layer_is_told(batch_records_max: int, longest_s: float) -> None:
    """What is due later than that is taken for the mark of a clock that was set back; large crowds wait longer."""
    diversity = Diversity(ExactVectorIndex(), lambda _: None, Pace(recheck_s=0.5))
    others: Any = SimpleNamespace(retract=None, take_step=None, enter_measured=None)
    bound = subscriptions(diversity, others, others, batch_records_max)
    assert [each.delay_s_max for each in bound if each.topic is HELD] == [longest_s]
