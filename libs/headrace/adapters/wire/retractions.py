"""The wire form of requests to take a sample back."""

from headrace.adapters.wire.fields import require, require_dataset_id, serialized
from headrace.core.retractions import RetractionRequested
from headrace_protos.sample.v1 import dossier_pb2


def retraction_from(message: dossier_pb2.RetractionRequested, _: bytes) -> RetractionRequested:
    """Raises Undecodable where a required part is missing or impossible."""
    require_dataset_id(message.dataset_id, "dataset_id")
    require(message.sample_id, "sample_id")
    require(message.reason, "reason")
    require(message.request_id, "request_id")
    return RetractionRequested(
        message.dataset_id,
        message.sample_id,
        message.revision,
        message.reason,
        message.request_id,
        message.requested_by,
        message.note,
    )


def encode_retraction(asked: RetractionRequested) -> bytes:
    """Every field as it is. Raises ValueError where the revision is no 32-bit number."""
    return serialized(
        dossier_pb2.RetractionRequested(
            dataset_id=asked.dataset_id,
            sample_id=asked.sample_id,
            revision=asked.revision,
            reason=asked.reason,
            request_id=asked.request_id,
            requested_by=asked.requested_by,
            note=asked.note,
        )
    )
