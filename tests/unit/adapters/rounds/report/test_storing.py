"""The report from what lies in the store: whole rounds, rounds that ended early, tables of any size, and damage."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from headrace.adapters.rounds.report.limits import ReportLimits
from headrace.adapters.rounds.report.storing import store_report
from headrace.adapters.versions.gaps import note_pruned
from headrace.core.events import Stop
from headrace.core.rounds.counts import ReasonCount, RowCounts
from headrace.core.rounds.facts import Ending
from headrace.core.rounds.rules import Mode, SelectionRules
from headrace.core.rounds.state import HeldOutMeasured, Phase
from headrace.core.rounds.stored import BadRoundId, signals_key, thresholds_key
from headrace.core.versions import DamagedVersion
from tests.fakes.bodies import STATE
from tests.fakes.certain import certain
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.round_reports import DATASET, HOSTILE, SURVEY, a_round, a_state, earlier
from tests.fakes.signal_tables import a_table

TITLES = {
    "Versions and hashes", "When, and how long", "The three axes", "Overlap of the axes", "Loss before and after training",
    "Map of the prompts", "Rewrites", "Rewrites against their parents", "What was gained on each axis", "Some rewrites in full",
    "Cost per accepted sample", "Held-out loss by round", "Guards and stop rules",
}  # fmt: skip
VOID = {"meta", "path", "line", "rect", "polygon", "br"}


class Page(HTMLParser):
    """Reads a page strictly: every element is closed in order; collects titles, text, tags and addresses."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.titles: set[str] = set()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words = ""
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in {"href", "src", "action", "xlink:href"}]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data
        if self.open[-1:] == ["h2"]:
            self.titles.add(data)


async def page_of(objects, state, known=(), **limits) -> tuple[str, Page]:
    key = await store_report(objects, state, known, limits=ReportLimits(**limits))
    assert key == f"rounds/{state.dataset_id}/{state.round_id}/report.html"
    body = objects.objects[key].decode("utf-8")
    assert "nan" not in re.sub("[a-z]*nan[a-z]+", "", body)
    return body, Page(body)


async def test_a_report_stays_where_its_tables_were_collected():
    """Asked for again long after the round, it is the one that was written then."""
    objects, state = await a_round(40, rewrites=6)
    body, _ = await page_of(objects, state)
    for key in [each for each in objects.objects if each.startswith("rounds/") and not each.endswith("report.html")]:
        del objects.objects[key]
    assert (await page_of(objects, state))[0] == body


async def test_a_whole_round_is_told():
    """Every section has its picture, nothing is missing, and the same round gives the same bytes."""
    objects, state = await a_round(400, rewrites=60)
    body, page = await page_of(objects, state, earlier(state))
    assert page.titles == TITLES
    assert "empty" not in set(re.findall(r'class="(\w+)"', body))
    assert {state.begun.survey.version, state.committed.version, state.selected.selection_sha256} <= set(
        re.findall("[0-9a-f]{64}", body)
    )
    assert "ruled out" not in page.words
    assert "rewrites: tokens in role answerer30,000" in page.words
    assert "rewrites: money in role refinerunknown" in page.words
    assert page.words.count("accepted rewrite, in its parent's place") == 1
    assert (await page_of(objects, state, earlier(state)))[0] == body


async def test_the_page_needs_nothing_but_itself_and_runs_nothing():
    """No script, no address but its own anchors; what samples contain is shown as text."""
    objects, state = await a_round(60, rewrites=60)
    state = replace(state, detail=HOSTILE, reason=HOSTILE, rows=replace(state.rows, lost=(HOSTILE,)))
    body, page = await page_of(objects, state, earlier(state), shown_max=30)
    assert "script" not in page.tags
    assert all(address.startswith("#") for address in page.addresses)
    assert "url(" not in body
    assert "@import" not in body
    assert page.words.count("<script>alert('x')</script>") > 10
    assert re.search(r"Quality as .+ judges it: parent 4\.25, rewrite 6\.75\.", page.words)
    assert "\x00" not in body
    assert "\u202e" not in body


@pytest.mark.parametrize("rows", [0, 1, 2])
@pytest.mark.parametrize("mode", list(Mode))
async def test_tables_of_few_rows(rows, mode):
    """No row, one row, two rows, in both modes: the page is whole, and what cannot be drawn says why."""
    objects, state = await a_round(rows, rules=SelectionRules(mode))
    _, page = await page_of(objects, state)
    assert page.titles == TITLES
    assert f"{rows} row" in page.words


async def test_constant_columns_and_columns_without_numbers():
    """Columns without spread or without any number are told in words."""
    table = a_table(40)
    constant = {
        **table,
        "loss_post": np.ones(40),
        "loss_pre": np.ones(40),
        "density": np.full(40, np.nan),
        "not_made": np.zeros(40, bool),
    }
    objects, state = await a_round(40, table=constant)
    _, page = await page_of(objects, state)
    assert "The column is constant" in page.words
    assert "no row has this number" in page.words


async def test_a_round_that_began_all_the_same_says_so_in_its_head():
    """What measured was not trained on the version: a reader of the verdict has to know."""
    objects, state = await a_round(10)
    _, page = await page_of(objects, state)
    assert "Begun all the same" not in page.words
    state = replace(state, begun=replace(state.begun, trained_otherwise="the first weights measure"))
    _, page = await page_of(objects, state)
    assert page.words.index("Begun all the same: the first weights measure.") < page.words.index("Versions and hashes")


async def test_why_rewrites_were_not_made_is_told():
    """Each reason with its count and one example, escaped; and how much of the selection was never begun."""
    objects, state = await a_round(50, rewrites=20)
    why = ReasonCount(Ending.NOT_MADE, "refused", 12, "404: <b>the model `default` does not exist</b>")
    state = replace(state, rewrites=replace(state.rewrites, reasons=(why,), rows_asked=state.selected.total, not_begun=3))
    body, page = await page_of(objects, state)
    assert "404: &lt;b&gt;the model `default` does not exist" in body
    assert "Why rewrites were not made, or rejected" in page.words
    assert "3 rows of the selection were never begun." in page.words


async def test_an_undoing_is_told():
    """How many rows came back, how many left, and the version that it came to."""
    objects, state = await a_round(40, rewrites=6)
    revert = certain(STATE.revert)
    _, page = await page_of(objects, replace(state, phase=Phase.STOPPED, reason="aborted", revert=revert))
    assert "4 rows came back of 7, 2 that were added left" in page.words
    assert certain(revert.version).version in page.words


async def test_rounds_that_ended_early_say_so():
    """Before thresholds, without a selection, without rewrites, without a version: sections stay, with the reason."""
    _, page = await page_of(FakeObjectStore(), a_state(5, phase=Phase.STOPPED, reason="nothing_measured"))
    assert page.titles == TITLES
    assert "no row could be measured" in page.words
    assert "No thresholds were computed: the round is stopped" in page.words
    assert "No rewrite was asked for" in page.words
    objects, state = await a_round(50)
    _, page = await page_of(objects, replace(state, phase=Phase.FROZEN))
    assert "No rewrite was asked for, though" in page.words
    assert "the round has not ended" in page.words


async def test_points_are_thinned_and_the_page_says_so():
    """The page stays small, whatever the number of rows and rewrites."""
    objects, state = await a_round(3_000, rewrites=40)
    body, page = await page_of(objects, state, points_max=200, rows_drawn_max=500, rewrites_max=10, shown_max=1, chars_max=50)
    assert "of which 200 are drawn, chosen by chance" in page.words
    assert "Of 40 attempts the first 10 were read" in page.words
    assert len(body) < 200_000


async def test_what_is_damaged_is_named():
    """A table that is cut off is an error that names it; a summary of another release is told as missing."""
    objects, state = await a_round(50)
    objects.objects[thresholds_key(SURVEY)] = b"{}"
    _, page = await page_of(objects, state)
    assert "cannot be read by this release" in page.words
    objects.objects[signals_key(SURVEY)] = objects.objects[signals_key(SURVEY)][:-20]
    with pytest.raises(DamagedVersion, match=r"signals\.parquet"):
        await store_report(objects, state)
    objects.down = True
    with pytest.raises(Stop):
        await store_report(objects, state)


async def test_ids_that_are_no_plain_names_are_refused():
    """A round's id becomes part of a key: it has to be a plain name."""
    state = a_state(1)
    state = replace(state, begun=replace(state.begun, survey=replace(SURVEY, round_id="../elsewhere")))
    with pytest.raises(BadRoundId):
        await store_report(FakeObjectStore(), state)


async def test_rows_that_only_claim_to_be_of_the_round_are_passed_over():
    """An origin is what somebody wrote; a rewrite is what carries the round's page."""
    objects, state = await a_round(60, rewrites=30)
    _, whole = await page_of(objects, state)
    forged, claiming = await a_round(60, rewrites=30, forged=5)
    _, page = await page_of(forged, claiming)
    assert "of 30, chosen by chance" in whole.words
    assert "of 25, chosen by chance" in page.words


async def test_a_pruned_version_is_told_as_missing_and_a_lost_one_named():
    """Without its manifest the version's rewrites are gone: where it was pruned the rest of the report stands."""
    objects, state = await a_round(60, rewrites=30)
    state = replace(state, committed=replace(state.committed, version="f" * 64))
    with pytest.raises(DamagedVersion, match="manifests"):
        await store_report(objects, state)
    await note_pruned(objects, DATASET, state.committed.version_sequence + 1)
    _, page = await page_of(objects, state)
    assert "is no longer kept" in page.words


async def test_texts_and_histories_of_any_length_make_a_page_of_bounded_size():
    """Ids, errors, names and rounds without end are cut, and the page says how many there are."""
    long = "x" * 100_000
    state = a_state(5, reason=long, detail=long, waived=(long,), ordinal=901)
    lost = RowCounts(lost=tuple(f"{long}{n}" for n in range(30)))
    state = replace(state, rows=lost, begun=replace(state.begun, requested_by=long))
    known = [replace(state, round_id=f"r{n}", ordinal=n, held_out=HeldOutMeasured(2.0, 1.9, 5)) for n in range(1, 900)]
    body, page = await page_of(FakeObjectStore(), state, known)
    assert len(body) < 150_000
    assert "Of 899 rounds that measured one the latest 40 are shown." in page.words
