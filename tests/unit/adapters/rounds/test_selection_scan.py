"""Selecting from Parquet files: what the pure functions select, whatever files the table lies in."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from headrace.adapters.rounds.selection_scan import COLLAPSED, SELECTION, ScanLimits, SeveralRulers, select
from headrace.adapters.rounds.signal_table import SIGNAL_TABLE, SignalFile
from headrace.core.rounds.revisions import identity_of_rewrite
from headrace.core.rounds.rules import Axis, AxisRule, Mode, SelectionRules
from headrace.core.rounds.tally import SelectionSummary
from headrace.core.versions import DamagedVersion
from tests.fakes import selection_oracle as oracle
from tests.fakes.certain import certain
from tests.fakes.rewrites import parent, rewrite
from tests.fakes.signal_tables import a_table, arrow_of, in_memory, on_disk, retracted_of, sample_id, tables

EACH_AXIS = {axis.value: 1.0 for axis in Axis}
SMALL_BATCHES = ScanLimits(batch_rows=3)


def rows_of(written) -> list[tuple[str, str]]:
    return [] if written is None else [(row["sample_id"], row["axis"]) for row in pq.read_table(written.path).to_pylist()]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables(), st.sampled_from(Mode), st.lists(st.integers(0, 14), max_size=3), st.integers(1, 5))
def test_the_selection_written_is_the_oracles(tmp_path, table, mode, cuts, group_rows):
    """In the order of the table, each row with its axis; retracted rows and those not measured are never there."""
    reach = retracted_of(table)
    found = select(in_memory(arrow_of(table), cuts, group_rows), SelectionRules(mode=mode), tmp_path, reach, SMALL_BATCHES)
    compat = mode is Mode.MIDDO_COMPAT
    beyond = oracle.beyond(table, EACH_AXIS, compat=compat)
    assert rows_of(found.selected) == [(sample_id(row), axis) for row, axis in oracle.owners(beyond, compat=compat)]
    assert found.summary.rows_retracted == table["retracted"].sum()
    assert found.summary.rows_not_made == table["not_made"].sum()
    if compat:
        assert found.summary.rows_after == oracle.paper_next_size(table["pairs"], beyond)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables(), st.lists(st.integers(0, 14), max_size=2))
def test_the_size_law_holds_for_what_rewrites_become(tmp_path, table, cuts):
    """By ids and revisions, as versions are cut: the next dataset has as many rows as the authors' merge gives."""
    rules = SelectionRules(mode=Mode.MIDDO_COMPAT)
    found = select(in_memory(arrow_of(table), cuts, 4), rules, tmp_path, retracted_of(table), SMALL_BATCHES)
    dataset = {sample_id(row): row % 3 for row in range(len(table["not_made"]))}
    for row in [] if found.collapsed is None else pq.read_table(found.collapsed.path).to_pylist():
        assert dataset.pop(row["sample_id"]) == row["revision"]
    for row in [] if found.selected is None else pq.read_table(found.selected.path).to_pylist():
        asked = rewrite(row["axis"], parent=parent(row["revision"], id=row["sample_id"]), adds=row["adds"])
        name, revision = identity_of_rewrite(asked)
        dataset[name] = max(revision, dataset.get(name, 0))
    assert len(dataset) == oracle.paper_next_size(table["pairs"], oracle.beyond(table, EACH_AXIS, compat=True))


def test_held_out_rows_take_no_part_in_the_merge(tmp_path):
    """They never leave, and nothing leaves for them, whatever they share with others."""
    table = a_table(40) | {"pairs": [("i", "o")] * 40}
    one, other = "prompt_hash-0", "prompt_hash-1"
    files = in_memory(arrow_of(table), [], 40)
    found = select(files, SelectionRules(mode=Mode.MIDDO_COMPAT), tmp_path, {}, held_out={one, other}.__contains__)
    leaving = {row["sample_id"] for row in pq.read_table(certain(found.collapsed).path).to_pylist()}
    assert not leaving & {sample_id(0), sample_id(1)}
    replaced = {row["sample_id"] for row in pq.read_table(certain(found.selected).path).to_pylist() if row["axis"] != "sparse"}
    assert len(leaving) == 40 - 2 - 1 - len(replaced)


@pytest.mark.parametrize(
    "rules",
    [SelectionRules(), SelectionRules(mode=Mode.MIDDO_COMPAT), SelectionRules(hard=AxisRule(target_share=0.1), sparse=None)],
    ids=["headrace", "middo_compat", "target"],
)
def test_the_same_table_gives_the_same_bytes(tmp_path, rules):
    """However it is cut into files, row groups and batches."""
    table = arrow_of(a_table(3_000) | {"density": np.random.default_rng(4).random(3_000)})
    outcomes = set()
    for number, (cuts, group_rows, batch_rows) in enumerate([([], 3_000, 65_536), ([7, 1_500], 100, 64), ([2_999], 16, 1_000)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        found = select(in_memory(table, cuts, group_rows), rules, folder, {}, ScanLimits(batch_rows=batch_rows))
        written = [each.shard.sha256 for each in (found.selected, found.collapsed) if each]
        assert written
        outcomes.add((found.summary.canonical_json(), *written))
    assert len(outcomes) == 1


def test_what_is_written_can_be_read_by_anyone(tmp_path):
    """Columns as declared, the numbers compared in each row, and a summary that is plain JSON."""
    table = a_table(2_000)
    found = select(on_disk(arrow_of(table), tmp_path), SelectionRules(), tmp_path, {})
    written = certain(found.selected)
    selection = pq.read_table(written.path)
    assert selection.schema.equals(SELECTION)
    row = selection.to_pylist()[0]
    place = int(row["sample_id"][1:])
    assert row["axis"] in row["beyond"]
    assert (row["revision"], row["quality"], row["loss_pre"]) == (place % 3, table["quality"][place], table["loss_pre"][place])
    summary = json.loads(found.summary.canonical_json())
    assert TypeAdapter(SelectionSummary).validate_python(summary) == found.summary
    assert summary["rules"]["mode"] == "headrace"
    assert [axis["threshold"]["axis"] for axis in summary["axes"]] == [*Axis]
    assert sum(axis["rows_selected"] for axis in summary["axes"]) == selection.num_rows == written.shard.rows
    low_quality = summary["axes"][2]["threshold"]
    assert low_quality["bounds"][0]["bound"] == pytest.approx(low_quality["bounds"][0]["mean"] - low_quality["bounds"][0]["std"])


def test_rows_of_one_merge_key_collapse_in_the_authors_mode(tmp_path):
    """They are named, so that they can leave: one of each key stays."""
    table = a_table(300)
    found = select(on_disk(arrow_of(table), tmp_path), SelectionRules(mode=Mode.MIDDO_COMPAT), tmp_path, {}, SMALL_BATCHES)
    collapsed = pq.read_table(certain(found.collapsed).path)
    assert collapsed.schema.equals(COLLAPSED)
    assert collapsed.num_rows == found.summary.sizes.collapsed > 0
    selected = {sample for sample, axis in rows_of(found.selected) if axis != Axis.SPARSE}
    leaving = set(collapsed["sample_id"].to_pylist())
    assert not selected & leaving
    staying = [pair for row, pair in enumerate(table["pairs"]) if sample_id(row) not in selected | leaving]
    assert len(set(staying)) == len(staying)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_the_smallest_tables_select_nothing(tmp_path, rows):
    """No deviation, or none beyond it: nothing is written, and the summary says how many rows there were."""
    for mode in Mode:
        found = select(in_memory(arrow_of(a_table(rows)), [], 1), SelectionRules(mode=mode), tmp_path, {})
        assert (found.selected, found.summary.rows) == (None, rows)


def test_a_retraction_takes_a_row_out_and_leaves_the_thresholds(tmp_path):
    """Of a revision up to the one that was taken back; the others are selected as before."""
    files = on_disk(arrow_of(a_table(500)), tmp_path)
    before = select(files, SelectionRules(), tmp_path, {})
    gone, spared = [sample for sample, _ in rows_of(before.selected) if int(sample[1:]) % 3][:2]
    after = select(files, SelectionRules(), tmp_path, {gone: 2, spared: 0, "never seen": 9})
    assert set(rows_of(before.selected)) - set(rows_of(after.selected)) == {
        row for row in rows_of(before.selected) if row[0] == gone
    }
    assert [axis.threshold for axis in before.summary.axes] == [axis.threshold for axis in after.summary.axes]


def bytes_of(file: SignalFile) -> bytes:
    assert isinstance(file.source, io.BytesIO)
    return file.source.getvalue()


def damaged(name: str) -> list[SignalFile]:
    """A table with something wrong in its second file."""
    table = arrow_of(a_table(100))
    first, second = in_memory(table, [50], 10)
    body = bytes_of(second)
    if name == "cut off":
        return [first, SignalFile(io.BytesIO(body[:-20]), "file 1")]
    if name == "altered":
        return [first, SignalFile(io.BytesIO(body[:200] + bytes(60) + body[260:]), "file 1")]
    if name == "other type":
        place = SIGNAL_TABLE.get_field_index("density")
        other = table.slice(50).set_column(place, "density", pa.array(["low"] * 50))
        return [first, SignalFile(in_memory(other, [], 10)[0].source, "file 1")]
    if name == "no column":
        return [first, SignalFile(in_memory(table.slice(50).drop_columns(["not_made"]), [], 10)[0].source, "file 1")]
    return {"order": [second, SignalFile(first.source, "file 1")], "twice": [first, SignalFile(first.source, "file 1")]}[name]


@pytest.mark.parametrize("name", ["cut off", "altered", "other type", "no column", "order", "twice"])
def test_damage_is_named(tmp_path, name):
    """Bytes, columns or order that are not as they should be stop the scan, and the message says in which file."""
    with pytest.raises(DamagedVersion, match="file 1"):
        select(damaged(name), SelectionRules(), tmp_path, {})


@pytest.mark.parametrize("key", [None, "short", "x" * 64, " " * 64])
def test_a_table_without_merge_keys_is_no_table_of_the_authors_mode(tmp_path, key):
    """Missing keys, or what is no hash, stop the scan in that mode alone."""
    place = SIGNAL_TABLE.get_field_index("merge_key")
    table = arrow_of(a_table(3)).set_column(place, "merge_key", pa.array([key] * 3, pa.string()))
    select(in_memory(table, [], 9), SelectionRules(), tmp_path, {})
    with pytest.raises(DamagedVersion, match="merge_key"):
        select(in_memory(table, [], 9), SelectionRules(mode=Mode.MIDDO_COMPAT), tmp_path, {})


def test_held_out_rows_are_never_selected(tmp_path):
    """They stay in the moments, so the thresholds are those of the whole table; they are counted, and not selected."""
    table = a_table(2_000)
    files = on_disk(arrow_of(table), tmp_path)
    every = select(files, SelectionRules(), tmp_path, {})
    hashes = {row["sample_id"]: row["prompt_hash"] for row in pq.read_table(files[0].source).to_pylist()}
    chosen = {hashes[sample] for sample, _ in rows_of(every.selected)[::2]}
    found = select(files, SelectionRules(), tmp_path, {}, held_out=lambda prompt: prompt in chosen)
    assert found.summary.rows_held_out == sum(each in chosen for each in hashes.values())
    assert not {hashes[sample] for sample, _ in rows_of(found.selected)} & chosen
    bounds = [[each.threshold.bounds for each in one.summary.axes] for one in (every, found)]
    assert bounds[0] == bounds[1]


def test_one_ruler_judged_all_rows_or_nothing_is_selected_by_quality(tmp_path):
    """Its hash stands in the summary; a judge that changed while the survey ran is named, unless quality does not count."""
    table = arrow_of(a_table(50))
    place = table.column_names.index("ruler_hash")

    def ruled(rulers):
        return in_memory(table.set_column(place, "ruler_hash", pa.array(rulers, pa.string())), [20], 7)

    assert select(ruled(["one"] * 49 + [None]), SelectionRules(), tmp_path, {}).summary.ruler_hash == "one"
    several = ruled(["one"] * 30 + ["two"] * 20)
    with pytest.raises(SeveralRulers, match="2 rulers \\(one, two\\)"):
        select(several, SelectionRules(), tmp_path, {}, SMALL_BATCHES)
    assert select(several, SelectionRules(low_quality=None), tmp_path, {}).summary.ruler_hash == ""
