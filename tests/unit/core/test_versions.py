"""Manifests, references and staged segments: names, identities, and what the next version takes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.staged import Segment, Slice, Staged, rows_at_most, segment_from, slices, start_key, stream_of, up_to
from headrace.core.topics import DECIDED, INDEXED, SUBMITTED, retry_topic_name
from headrace.core.versions import (
    TIER_BASE,
    Counts,
    DamagedVersion,
    Manifest,
    Reference,
    RowKind,
    Shard,
    added,
    canonical_json,
    in_id_order,
    manifest_from,
    manifest_key,
    reference_from,
    reference_key,
    stored_bytes,
    to_merge,
    version_of,
)

STREAM = "decided/00002"


def shard(rows: int = 1, *, name: int = 0, min_id: str = "a", max_id: str = "z", model: str = "", raw_bytes: int = 1) -> Shard:
    return Shard(sha256=f"{name:064x}", rows=rows, size_bytes=1, raw_bytes=raw_bytes, min_id=min_id, max_id=max_id, model=model)


def manifest(**changes) -> Manifest:
    return Manifest(
        **{
            "dataset": "maths", "sequence": 1, "schemas": {}, "shards": {RowKind.ACCEPTED: (shard(),)}, "counts": Counts(),
            "reasons": {"b": 1, "a": 2}, "policies": {}, "models": {}, "inputs": {STREAM: 3}, **changes,
        }
    )  # fmt: skip


def test_equal_manifests_have_equal_bytes():
    """The order in which tallies were filled does not matter."""
    assert stored_bytes(manifest()) == stored_bytes(manifest(reasons={"a": 2, "b": 1}))


def test_a_manifest_is_read_back_as_it_was():
    """What is stored is what was meant, and the id is the hash of the bytes."""
    body = stored_bytes(manifest())
    assert manifest_from(body, "key", version_of(body)) == manifest()


def test_keys_of_a_newer_release_are_ignored_within_a_format():
    """A manifest with keys that this release does not know can be read; its id is that of its own bytes."""
    body = canonical_json({**json.loads(stored_bytes(manifest())), "recipe": "tables"})
    assert manifest_from(body, "key", version_of(body)) == manifest()


def test_a_manifest_from_the_future_says_so():
    """A format that this release cannot read is refused with the object's name and what to do."""
    body = canonical_json({**json.loads(stored_bytes(manifest())), "format": 2})
    with pytest.raises(DamagedVersion, match=r"manifests/x: written in format 2.*update headrace"):
        manifest_from(body, "manifests/x", version_of(body))


@pytest.mark.parametrize("cut", [0, 1, 40])
def test_a_manifest_that_is_cut_off_or_altered_is_named(cut):
    """Bytes that are not the ones the id stands for are refused."""
    body = stored_bytes(manifest())
    with pytest.raises(DamagedVersion, match=r"manifests/x.*altered or cut off"):
        manifest_from(body[:-cut] if cut else body.replace(b"maths", b"magic"), "manifests/x", version_of(body))


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"{}", b'{"format": 1}', b'{"format": "x"}', b"null", b"[" * 100_000])
def test_what_is_no_reference_is_named(body):
    """Bytes of any kind where a reference should be lead to one clear error."""
    with pytest.raises(DamagedVersion, match=r"refs/maths/main\.json"):
        reference_from(body, "refs/maths/main.json")


def test_a_reference_is_read_back_as_it_was():
    """What is stored is what was meant."""
    reference = Reference(dataset="maths", version="0" * 64, sequence=3, cut_by="request")
    assert reference_from(stored_bytes(reference), "key") == reference


@pytest.mark.parametrize("dataset_id", ["", "..", "a/b", "A", "a.b", "-a", "a" * 64, "a\n", "ä"])
def test_no_dataset_id_leads_out_of_its_folder(dataset_id):
    """Only plain names become part of object keys."""
    for key_of in (reference_key, lambda name: manifest_key(name, 1, "0" * 64), lambda name: Segment(STREAM, 0, 0, 1).key(name)):
        with pytest.raises(ValueError, match="dataset id"):
            key_of(dataset_id)


def test_nan_never_gets_into_a_manifest():
    """There is no canonical text for it."""
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json({"loss": float("nan")})


def test_streams_are_named_after_topic_and_partition():
    """Records that came back through a retry topic count their offsets apart; other topics are not staged."""
    assert stream_of(DECIDED.name, 7) == "decided/00007"
    assert stream_of(retry_topic_name(DECIDED.name, "datasets"), 7) == "retried-decided/00007"
    assert stream_of(INDEXED.name, 0) == "indexed/00000"
    with pytest.raises(ValueError, match="is not staged"):
        stream_of(SUBMITTED.name, 0)


SEGMENTS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda pair: Segment(STREAM, pair[0], sum(pair), pair[1] + 1)),
    max_size=12,
)


@given(segments=SEGMENTS, after=st.integers(-1, 45))
def test_every_offset_is_taken_exactly_once(segments, after):
    """However segments overlap, the slices hold each offset behind the version once, in order."""
    parts = slices(segments, after)
    taken = [offset for part in parts for offset in range(max(part.after + 1, part.segment.first), part.upto + 1)]
    assert taken == sorted({offset for s in segments for offset in range(s.first, s.last + 1) if offset > after})
    assert rows_at_most(parts) >= len(taken)


def test_of_two_attempts_at_the_same_offsets_the_fuller_one_counts():
    """The other one was given up, and may have turned away what the later one took."""
    segments = (Segment(STREAM, 10, 20, 5), Segment(STREAM, 10, 20, 11), Segment(STREAM, 10, 20, 7))
    assert slices(segments, -1) == (Slice(segments[1], -1, 20),)


@given(segments=SEGMENTS, after=st.integers(-1, 45))
def test_listing_starts_behind_what_was_taken(segments, after):
    """The start key leaves out no segment that holds a later offset, and none that does is before it."""
    start = start_key("maths", STREAM, after)
    assert [s for s in segments if s.key("maths") > start] == [s for s in segments if s.last > after]


@given(segments=SEGMENTS, after=st.integers(-1, 45), last=st.lists(st.integers(-1, 52), min_size=12, max_size=12))
def test_embeddings_are_taken_up_to_the_last_that_counts(segments, after, last):
    """Of a stream's slices those up to the last offset that counts are left, and no offset behind it."""
    parts = slices(segments, after)
    within = {part: min(offset, part.upto) if offset > part.after else -1 for part, offset in zip(parts, last, strict=False)}
    end = max(within.values(), default=-1)
    taken = {o for part in up_to(parts, within) for o in range(max(part.after + 1, part.segment.first), part.upto + 1)}
    assert taken == {o for part in parts for o in range(max(part.after + 1, part.segment.first), part.upto + 1) if o <= end}


@given(first=st.integers(0, 10**19), length=st.integers(0, 10**6), rows=st.integers(1, 999_999))
def test_a_segment_is_known_by_its_key(first, length, rows):
    """The key says everything about a segment."""
    segment = Segment(STREAM, first, first + length, rows)
    assert segment_from(segment.key("maths")) == segment


@pytest.mark.parametrize("key", ["staging/maths/decided/00002/x.parquet", "staging/maths/readme", "", "shards/0.parquet"])
def test_foreign_objects_in_the_staging_area_are_passed_over(key):
    """Only keys of segments are read as segments."""
    assert segment_from(key) is None


def test_decisions_and_embeddings_are_told_apart():
    """Slices of decisions come from decision streams, each behind its own offset."""
    staged = Staged(
        {
            "decided/00002": (Segment("decided/00002", 5, 9, 5),),
            "retried-decided/00000": (Segment("retried-decided/00000", 1, 1, 1),),
            "indexed/00001": (Segment("indexed/00001", 0, 4, 5),),
        },
        {"decided/00002": 6},
        None,
    )
    assert staged.slices(decided=False) == (Slice(Segment("indexed/00001", 0, 4, 5), -1, 4),)
    assert [(part.after, part.upto) for part in staged.slices(decided=True)] == [(6, 9), (-1, 1)]


@given(cuts=st.lists(st.integers(1, 40), max_size=300))
def test_shards_stay_few_however_small_the_cuts(cuts):
    """Merging leaves at most fifteen shards of each magnitude, and never merges without an end."""
    shards: list[Shard] = []
    for number, rows in enumerate(cuts):
        shards.append(shard(rows, name=number))
        while due := to_merge(shards, rows_max=1_000, bytes_max=10**9):
            shards = [each for each in shards if each not in due]
            left = sum(each.rows for each in due)
            while left:
                shards.append(shard(min(left, 1_000), name=10_000 + number * 100 + left % 97))
                left -= min(left, 1_000)
    assert sum(each.rows for each in shards) == sum(cuts)
    small = [each for each in shards if 2 * each.rows <= 1_000]
    assert len(small) < 3 * TIER_BASE


def test_shards_that_are_full_by_bytes_are_not_merged():
    """Few but long rows fill a shard too; merging such shards would go on for ever."""
    assert to_merge([shard(2, name=n, raw_bytes=600) for n in range(40)], rows_max=1_000, bytes_max=1_000) == ()


def test_embeddings_of_different_models_are_not_merged():
    """Shards of one group only are merged."""
    shards = [shard(1, name=n, model="a" if n % 2 else "b") for n in range(2 * TIER_BASE - 1)]
    assert {each.model for each in to_merge(shards, rows_max=100, bytes_max=100)} == {"b"}


def test_tallies_add_up():
    """Sums key by key."""
    assert added({"a": 1}, {"a": 2, "b": 1}, {}) == {"a": 3, "b": 1}


def test_shards_are_listed_by_their_first_id():
    """The manifest's order does not depend on the order of writing."""
    early, late = shard(name=2, min_id="a"), shard(name=1, min_id="b")
    assert in_id_order([late, early]) == (early, late)
