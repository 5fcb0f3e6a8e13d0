"""Histograms of a round's signals: a sketch while it is surveyed, all rows once it is selected, never the table itself."""

from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from headrace.adapters.rounds.measured_rows import MeasuredRows
from headrace.adapters.rounds.round_selection import RoundSelections
from headrace.adapters.rounds.signal_histograms import SEGMENTS_SKETCHED_MAX, Sketch, stored_histograms
from headrace.cli.round_reading import Histograms
from headrace.core.events import Stop
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.report.distributions import histograms_from, histograms_json
from headrace.core.rounds.stored import histograms_key, signals_key
from headrace.core.rounds.surveys import SelectionRequested
from headrace.core.versions import DamagedVersion
from tests.fakes.bodies import STATE
from tests.fakes.decisions import dossier
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.surveys import accepted, cut_version, measured, placed, survey

IDS = [f"s{number:02}" for number in range(12)]
POLICY = RoundPolicy.model_validate({"sparse": {"enabled": False}, "base": "none"})


class Counting(FakeObjectStore):
    """Tells which objects were read."""

    def __init__(self):
        super().__init__()
        self.opened = []

    def open(self, key):
        self.opened.append(key)
        return super().open(key)


async def staged(objects, of, ids, stream="measured/00001"):
    rows = [measured(dossier(each).sample, of, loss=1.0 + IDS.index(each)) for each in ids]
    await MeasuredRows(objects).stage(of, stream, placed(rows, stream=stream))


async def test_what_was_measured_so_far_is_sketched_and_nothing_is_read_twice():
    """Losses and qualities of the segments there are; nothing where there are none."""
    objects, of, sketch = Counting(), survey(), Sketch()
    assert await sketch.look(objects, of) == {}
    await staged(objects, of, IDS[:5])
    found = await sketch.look(objects, of)
    assert {column: each.rows for column, each in found.items()} == {"loss_post": 5, "quality": 5}
    assert (found["loss_post"].least, found["loss_post"].greatest) == (1, 5)
    await staged(objects, of, IDS[5:], "measured/00002")
    assert (await sketch.look(objects, of))["loss_post"].rows == 12
    assert len(objects.opened) == len(set(objects.opened)) == 2


async def test_a_sketch_reads_no_more_than_some_segments():
    """However many rows there are."""
    objects, of, sketch = Counting(), survey(), Sketch()
    for number in range(SEGMENTS_SKETCHED_MAX + 20):
        await staged(objects, of, IDS[:1], f"measured/{number:05}")
    assert (await sketch.look(objects, of))["loss_post"].rows == SEGMENTS_SKETCHED_MAX
    await sketch.look(objects, of)
    assert len(objects.opened) == SEGMENTS_SKETCHED_MAX


async def test_the_selection_stores_what_a_watcher_draws(tmp_path):
    """All rows, with the thresholds in the frame; a few kilobytes in place of the table."""
    objects = Counting()
    version = await cut_version(objects, accepted(*IDS))
    of = survey(version.id)
    await staged(objects, of, IDS)
    told = await RoundSelections(objects, tmp_path).select(SelectionRequested(of, len(IDS), POLICY.canonical_json()))
    found = await stored_histograms(objects, of)
    assert {column: each.rows for column, each in found.items()} == {"loss_post": 12, "quality": 12}
    assert sum(found["loss_post"].counts) + found["loss_post"].below + found["loss_post"].above == 12
    assert len(objects.objects[histograms_key(of)]) < 10_000
    assert histograms_from(histograms_json(found).encode()) == found
    objects.opened.clear()
    state = replace(STATE, begun=replace(STATE.begun, survey=of), selected=told)
    watched = Histograms(lambda: held(objects))
    assert await watched.of(state, 0.0) == found
    del objects.objects[histograms_key(of)]
    assert await watched.of(state, 1e6) == found
    assert signals_key(of) not in objects.opened


@asynccontextmanager
async def held(objects):
    yield objects


async def test_a_watcher_sees_the_survey_grow_and_bears_a_store_that_is_gone():
    """Every few seconds, not at every look."""
    objects, of = Counting(), survey()
    state = replace(STATE, begun=replace(STATE.begun, survey=of), selected=None)

    def gone():
        raise Stop("no object store")

    assert await Histograms(gone).of(state, 0.0) == {}
    watched = Histograms(lambda: held(objects))
    await staged(objects, of, IDS[:5])
    assert (await watched.of(state, 10.0))["loss_post"].rows == 5
    await staged(objects, of, IDS[5:], "measured/00002")
    assert (await watched.of(state, 11.0))["loss_post"].rows == 5
    assert (await watched.of(state, 20.0))["loss_post"].rows == 12


@pytest.mark.parametrize("body", [b"x", b"[]", b'{"quality": {}}', b'{"quality": {"frame": {"low": 1, "high": 1}}}', b'{"a": 1}'])
async def test_histograms_that_are_none_are_named(body):
    """By their object; where an earlier release selected there are none."""
    objects, of = FakeObjectStore(), survey()
    assert await stored_histograms(objects, of) == {}
    await objects.put(histograms_key(of), body)
    with pytest.raises(DamagedVersion, match=r"histograms\.json"):
        await stored_histograms(objects, of)
