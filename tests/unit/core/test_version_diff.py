"""Telling versions apart: however rows are spread over shards, the changes are those of the rows."""

from dataclasses import replace
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from headrace.core.version_diff import AcceptedRow, ChangeKind, RetractedRow, changes, difference, in_order, reason_of, unshared
from headrace.core.versions import Counts, Manifest, RowKind, Shard

ROWS = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.tuples(st.integers(0, 2), st.sampled_from("xy")), max_size=30)


def row(sample_id: str, revision: int = 0, content: str = "x", **more) -> AcceptedRow:
    values = {"policy_version": "p1", "model": "smol", "model_version": "3", "origin_kind": "ingested", "origin_parent_ids": []}
    given = {"origin_recipe": None, "origin_recipe_version": None} | values | more
    return AcceptedRow(sample_id=sample_id, revision=revision, content_hash=content, **given)


def spread(rows: dict[str, tuple[int, str]], over: list[int]) -> dict[str, list[AcceptedRow]]:
    """The rows in as many sorted shards as numbers are drawn, in no order among each other."""
    shards: dict[str, list[AcceptedRow]] = {}
    for n, sample_id in enumerate(sorted(rows)):
        name = f"{over[n % len(over)] if over else 0:064x}"
        shards.setdefault(name, []).append(row(sample_id, *rows[sample_id]))
    return shards


def shards_of(shards: dict[str, list[AcceptedRow]]) -> tuple[Shard, ...]:
    return tuple(
        Shard(sha256=name, rows=len(held), size_bytes=1, raw_bytes=1, min_id=held[0].sample_id, max_id=held[-1].sample_id)
        for name, held in shards.items()
    )


def rows_in(shards: dict[str, list[AcceptedRow]], shard: Shard):
    return iter(shards[shard.sha256])


@given(ROWS, ROWS, st.lists(st.integers(0, 5), min_size=1, max_size=7), st.lists(st.integers(0, 5), min_size=1, max_size=7))
def test_changes_are_those_of_the_rows(before, after, over_before, over_after):
    """Added, removed and revised come in order of the ids, each once, and what is the same in both does not come."""
    sides = []
    for rows, over in ((before, over_before), (after, over_after)):
        shards = spread(rows, over)
        sides.append(list(in_order(shards_of(shards), partial(rows_in, shards))))
        assert [each.sample_id for each in sides[-1]] == sorted(rows)
    found = [(change.kind, change.sample_id) for change in changes(*sides)]
    expected = [
        (ChangeKind.ADDED if i not in before else ChangeKind.REMOVED if i not in after else ChangeKind.REVISED, i)
        for i in sorted({*before, *after})
        if before.get(i) != after.get(i)
    ]
    assert found == expected


def test_a_shard_is_opened_when_its_rows_are_due():
    """Shards of different ranges of ids are open one at a time, however many there are."""
    shards = {f"{n:064x}": [row(f"s{10 * n + k:04}") for k in range(10)] for n in range(50)}
    is_open: set[str] = set()
    most = 0

    def rows_of(shard):
        nonlocal most
        is_open.add(shard.sha256)
        most = max(most, len(is_open))
        yield from shards[shard.sha256]
        is_open.discard(shard.sha256)

    assert len(list(in_order(shards_of(shards), rows_of))) == 500
    assert most == 1


def test_shared_shards_are_left_out():
    """What both versions have does not have to be read."""
    shards = [Shard(sha256=f"{n:064x}", rows=1, size_bytes=1, raw_bytes=1, min_id="a", max_id="z") for n in range(4)]

    def manifest(*held):
        return Manifest(
            dataset="maths", sequence=1, schemas={}, shards={RowKind.ACCEPTED: held}, counts=Counts(), reasons={}, policies={},
            models={}, inputs={},
        )  # fmt: skip

    differing = unshared(manifest(*shards[:3]), manifest(*shards[1:]))
    assert (differing.before, differing.after, differing.shared) == ((shards[0],), (shards[3],), 2)


def test_why_is_told_in_a_line():
    """Policy, model, and where a sample came from."""
    [added] = changes([], [row("a", origin_kind="refined", origin_parent_ids=["b"], origin_recipe="tables")])
    assert reason_of(added) == "accepted under policy p1, signals of smol 3; refined from b by recipe tables"
    [removed] = changes([row("a")], [])
    assert "no row of it, nor a rule" in reason_of(removed)
    told = {
        reason: reason_of(replace(removed, retracted=RetractedRow("a", 2, reason, "see ticket")))
        for reason in ("privacy", "redundant", "unheard_of")
    }
    assert told["privacy"].startswith("retracted: privacy (it speaks of a person")
    assert told["redundant"].startswith("evicted by a round: redundant (")
    assert told["unheard_of"] == "retracted: unheard_of, see ticket, revisions up to 2"


def test_counts_that_did_not_change_are_left_out():
    """A difference of tallies names what changed, in both directions."""
    assert difference({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 5, "d": 1}) == {"b": 3, "c": -3, "d": 1}
