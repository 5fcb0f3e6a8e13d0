"""Summing what samples cost: exactly, whatever batches they come in; the unknown stays unknown."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from headrace.adapters.versions.cost_tally import cost_tally
from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.sample_rows import decided_table
from headrace.core.dossiers import Cost
from headrace.core.samples import Origin, OriginKind
from headrace.core.version_costs import StageCost, costs_added
from headrace.core.versions import manifest_from
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET, DECIDED, dossier, place
from tests.fakes.object_store import FakeObjectStore

NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 100)
COSTS = st.lists(
    st.builds(
        Cost,
        st.sampled_from(["scoring", "validation"]),
        st.none() | NUMBERS,
        st.none() | st.integers(0, 2**64 - 1) | st.integers(0, 5_000),
        st.none() | st.integers(0, 5_000),
        st.none() | NUMBERS,
        st.sampled_from(["", "EUR", "USD"]),
    ),
    max_size=4,
)


def table(rows):
    return decided_table([(replace(dossier(f"s{n}"), costs=tuple(costs)), place(n)) for n, costs in enumerate(rows)])


@given(st.lists(COSTS, min_size=1, max_size=12), st.integers(0, 12))
def test_sums_do_not_depend_on_batches(rows, at):
    """Split anywhere, the parts' tallies add up to the tally of the whole, to the last digit."""
    parts = [part for part in (rows[:at], rows[at:]) if part]
    whole = cost_tally(table(rows))
    assert costs_added(*(cost_tally(table(part)) for part in parts)) == whole
    assert sum(cost.entries for cost in whole.values()) == sum(map(len, rows))


def test_what_is_unknown_is_not_counted_as_nothing():
    """A cost without a time, tokens or money adds an entry and says that these are not known."""
    costs = [Cost("scoring", 0.25, 100, 0), Cost("scoring", None, None, None), Cost("judge", 1.0, 7, 3, 0.0000125, "USD")]
    assert cost_tally(table([costs, [Cost("judge", float("nan"), money=1e300)]])) == {
        "scoring": StageCost(entries=2, seconds_known=1, seconds_us=250_000, tokens_known=1, prompt_tokens=100),
        "judge": StageCost(
            entries=2, seconds_known=1, seconds_us=1_000_000, tokens_known=1, prompt_tokens=7, completion_tokens=3, money_known=1,
            money_nanos={"USD": 12_500},
        ),
    }  # fmt: skip


async def test_a_version_says_what_it_cost_and_which_recipes_made_it():
    """Both are counted on from the parent, and do not depend on where the cuts fell."""
    recipe = Origin(OriginKind.GENERATED, recipe="tables", recipe_version="4")
    rows = []
    for n in range(6):
        one = replace(dossier(f"s{n}"), costs=(Cost("scoring", 0.1 * n, 10, 0),))
        origin = (Origin(), recipe, Origin(OriginKind.GENERATED, recipe="tables"))[n % 3]
        rows.append((replace(one, sample=replace(one.sample, origin=origin)), place(n)))
    ends = []
    for cuts in ([6], [2, 6], [1, 2, 3, 4, 5, 6]):
        objects, begin = FakeObjectStore(), 0
        cutter = VersionCutter(objects, CutSettings(embeddings_wait_s=0))
        for end in cuts:
            await cutter.staging.stage_decided(DATASET, DECIDED, rows[begin:end])
            version, begin = certain(await cutter.cut(DATASET, f"r{end}")).version, end
        read = manifest_from(objects.objects[version.manifest_key], version.manifest_key, version.id)
        ends.append((read.recipes, read.costs))
    assert ends[0] == ends[1] == ends[2]
    assert ends[0] == (
        {"tables": 2, "tables 4": 2},
        {"scoring": StageCost(entries=6, seconds_known=6, seconds_us=1_500_000, tokens_known=6, prompt_tokens=60)},
    )
