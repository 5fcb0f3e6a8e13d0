"""Accepted samples as record batches: their columns, and the order of what is taken back."""

import pyarrow as pa
import pytest

from headrace.adapters.versions.sample_rows import DECIDED_SCHEMA, decided_table
from headrace.adapters.wire import events as wire
from headrace.client import Accepted, Retracted, UnreadableRecord
from headrace.client.batches import batch_schema, of_records, of_rows
from headrace.client.chunks import Chunk
from headrace_protos.sample.v1 import dossier_pb2
from tests.fakes.decisions import dossier, place


def acceptance(sample_id: str, revision: int = 0) -> Accepted:
    return Accepted(sample_id, revision, wire.encode(dossier(sample_id, revision)))


def chunk(*items: Accepted | Retracted) -> Chunk:
    return Chunk([*items], [(2, 100 + n) for n in range(1, len(items) + 1)])


def test_columns_are_those_of_a_versions_rows_and_one_for_what_is_taken_back():
    """Where the decision was read is no business of a subscriber; the dossier comes when it is asked for."""
    everything = batch_schema(None).names
    assert everything[:3] == ["sample_id", "revision", "retracted"]
    assert set(everything) == {*DECIDED_SCHEMA.names, "retracted"} - {"dossier", "stream", "offset", "decided_at"}
    assert batch_schema(["messages", "revision", "dossier"]).names == [
        "sample_id",
        "revision",
        "retracted",
        "messages",
        "dossier",
    ]
    with pytest.raises(ValueError, match="no column offset, nonsense: there are sample_id, "):
        batch_schema(["offset", "nonsense"])


def test_a_row_and_a_record_of_one_sample_are_alike():
    """Whatever the columns, the version and the topic say the same."""
    decided = dossier("a", 3)
    [row] = decided_table([(decided, place(0))]).to_batches()
    schema = batch_schema([*batch_schema(None).names, "dossier"])
    record = of_records(chunk(Accepted("a", 3, wire.encode(decided))), schema, "topic")
    assert of_rows(row, schema).to_pylist() == record.to_pylist()
    assert record.schema.equals(schema)


def test_records_keep_their_order():
    """What is taken back stands between what came before it and after it, and has nothing but its reason."""
    items = (acceptance("a"), Retracted("a", 0, "privacy"), Retracted("b", 4, "licence"), acceptance("a", 1))
    rows = of_records(chunk(*items), batch_schema(["loss_mean"]), "topic").to_pylist()
    assert rows == [
        {"sample_id": "a", "revision": 0, "retracted": None, "loss_mean": 1.5},
        {"sample_id": "a", "revision": 0, "retracted": "privacy", "loss_mean": None},
        {"sample_id": "b", "revision": 4, "retracted": "licence", "loss_mean": None},
        {"sample_id": "a", "revision": 1, "retracted": None, "loss_mean": 1.5},
    ]
    only_back = of_records(chunk(*items[1:3]), batch_schema(["loss_mean"]), "topic")
    assert only_back["retracted"].to_pylist() == ["privacy", "licence"]
    assert of_records(chunk(), batch_schema(None), "topic").num_rows == 0


def test_columns_that_an_old_version_lacks_are_null():
    """A version that was cut before there was such a column can be read by it."""
    old = pa.RecordBatch.from_pylist([{"sample_id": "a", "revision": 0}])
    assert of_rows(old, batch_schema(["origin_entry"])).to_pylist() == [
        {"sample_id": "a", "revision": 0, "retracted": None, "origin_entry": None}
    ]


def test_a_record_that_cannot_be_understood_is_named():
    """By topic, partition and offset."""
    empty = Accepted("b", 0, dossier_pb2.Dossier.FromString(wire.encode(dossier("b"))))
    empty.wire.ClearField("decisions")
    with pytest.raises(UnreadableRecord, match=r"topic\[2\]@101: an acceptance without a decision"):
        of_records(chunk(acceptance("a"), empty), batch_schema(None), "topic")
