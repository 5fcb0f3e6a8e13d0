"""Where a sample's time went, read from the times of its events."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.dossiers import ScoredSample
from headrace.core.events import Event, Position
from headrace.core.topics import DECIDED, PLACED, SCORED, SUBMITTED, VALIDATED, VALIDATION_REQUESTED
from headrace.demo.passage import WHOLE_WAY, seconds_by_stage
from tests.fakes.evidence import DATASET, dossier

PATH = (SUBMITTED, SCORED, PLACED, VALIDATION_REQUESTED, VALIDATED, DECIDED)
UNCHECKED = (SUBMITTED, SCORED, PLACED, DECIDED)


def recorded(topics, times, *, sample_id="one", submitted_at=1_000.0, dataset_id=DATASET):
    """The events of one sample, each in its topic at its time."""
    body = replace(dossier(sample_id=sample_id), submitted_at=submitted_at)
    body = replace(body, sample=replace(body.sample, dataset_id=dataset_id))
    bodies = [ScoredSample(body, None) if topic is SCORED else body for topic in topics]
    return [
        Event(f"{sample_id} {time}", topic.name, "", told, time, Position(topic.name, 0, number))
        for number, (topic, told, time) in enumerate(zip(topics, bodies, times, strict=True))
    ]


def test_each_stage_takes_from_the_event_before_to_its_own():
    """Scoring's ends with the scored sample; admission decides twice where checks were asked for, and both count."""
    events = recorded(PATH, [10.0, 11.0, 13.0, 13.5, 17.5, 18.25])
    assert seconds_by_stage(events, DATASET) == {
        "scoring": [1.0],
        "diversity": [2.0],
        "admission": [0.5 + 0.75],
        "validation": [4.0],
        WHOLE_WAY: [8.25],
    }


def test_a_sample_without_checks_is_in_every_stage_but_validation():
    """It has none of validation's time; one on hold has its waiting in diversity's."""
    events = [
        *recorded(UNCHECKED, [10.0, 11.0, 12.0, 12.5], sample_id="swift"),
        *recorded(UNCHECKED, [10.0, 11.0, 71.0, 71.5], sample_id="held"),
    ]
    assert seconds_by_stage(events, DATASET) == {
        "scoring": [1.0, 1.0],
        "diversity": [1.0, 60.0],
        "admission": [0.5, 0.5],
        "validation": [],
        WHOLE_WAY: [2.5, 61.5],
    }


def test_a_sample_submitted_twice_passes_twice():
    """Its submissions are told apart by their times, also while both are under way."""
    events = [
        *recorded(UNCHECKED, [10.0, 11.0, 12.0, 13.0], submitted_at=10.0),
        *recorded(UNCHECKED, [10.5, 12.5, 15.5, 16.5], submitted_at=10.5),
    ]
    assert seconds_by_stage(events, DATASET)["diversity"] == [1.0, 3.0]
    assert seconds_by_stage(events, DATASET)[WHOLE_WAY] == [3.0, 6.0]


def test_other_datasets_and_ways_without_an_end_are_not_the_whole_way():
    """What a sample among the dead letters went through counts; another dataset's does not."""
    events = [*recorded(PATH[:3], [10.0, 11.0, 12.0]), *recorded(PATH, range(6), dataset_id="another")]
    assert seconds_by_stage(events, DATASET) == {
        "scoring": [1.0], "diversity": [1.0], "admission": [], "validation": [], WHOLE_WAY: [],
    }  # fmt: skip


@given(st.permutations(range(6)), st.lists(st.integers(0, 5), min_size=6, max_size=6))
def test_the_stages_make_up_the_whole_way_in_whatever_order_topics_are_read(order, steps):
    """Events of one millisecond are taken in the order of the path."""
    events = recorded(PATH, [10.0 + sum(steps[: number + 1]) for number in range(6)])
    passages = seconds_by_stage([events[number] for number in order], DATASET)
    assert passages == seconds_by_stage(events, DATASET)
    [whole] = passages.pop(WHOLE_WAY)
    assert sum(seconds for [seconds] in passages.values()) == pytest.approx(whole) == sum(steps[1:])
