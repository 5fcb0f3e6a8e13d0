"""Rejections on an engine that others write to as well."""

from headrace.adapters.vector_index.rejected import RejectedContents
from headrace.core.rejections import Rejection
from tests.fakes.vector_engine import DictEngine


async def test_what_another_replica_rejected_is_found_at_once() -> None:
    """Also where its collection was not there yet when this one last looked: a sample that waited would overlook it."""
    engine = DictEngine()
    mine, others = RejectedContents(engine), RejectedContents(engine)
    mine.learn(await engine.names())
    assert await mine.of({"notes": {("a", 0)}}) == {}
    await others.add("notes", [Rejection("a", 0, "first")])
    assert await mine.of({"notes": {("a", 0), ("b", 0)}, "other": {("a", 0)}}) == {("notes", "a", 0): "first"}


async def test_a_late_writer_changes_nothing() -> None:
    """One that was suspended and wakes up adds what is there already, whatever it believes."""
    engine = DictEngine()
    for content in ("first", "second"):
        await RejectedContents(engine).add("notes", [Rejection("a", 0, content)])
    assert await RejectedContents(engine).of({"notes": {("a", 0)}}) == {("notes", "a", 0): "first"}


async def test_no_payload_index_and_no_search_knows_them() -> None:
    """Their points have neither vectors nor a field that is indexed."""
    engine = DictEngine()
    await RejectedContents(engine).add("notes", [Rejection("a", 0, "first")])
    [collection] = engine.collections.values()
    [point] = collection.values()
    assert (dict(point.payload), dict(point.vectors)) == ({"rejected": "first"}, {})
