"""Requests of Kafka's newer transactions (KIP-890, Kafka 4.0), which aiokafka does not have; the fields are Kafka's own."""

from io import BytesIO
from typing import Any, Self

from aiokafka.protocol.api import RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactBytes,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

_STRING = CompactString("utf-8")
_TAGS = ("tags", TaggedFields)
_FINALIZED_FEATURES = 2
_FEATURES = CompactArray(("name", _STRING), ("max_version_level", Int16), ("min_version_level", Int16), _TAGS)


class _OneVersion:
    """aiokafka chooses among the versions that it has of a request; of these there is one."""

    FLEXIBLE_VERSION = True

    def prepare(self, versions: dict[int, tuple[int, int]]) -> Self:  # noqa: ARG002  # aiokafka's signature
        return self


class ProduceResponse(Response):  # type: ignore[misc]  # aiokafka publishes no types
    """The errors of each partition, and where its records lie."""

    API_KEY = 0
    API_VERSION = 12
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic", _STRING),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("base_offset", Int64),
                        ("log_append_time_ms", Int64),
                        ("log_start_offset", Int64),
                        ("record_errors", CompactArray(("batch_index", Int32), ("message", _STRING), _TAGS)),
                        ("error_message", _STRING),
                        _TAGS,
                    ),
                ),
                _TAGS,
            ),
        ),
        ("throttle_time_ms", Int32),
        _TAGS,
    )


class ProduceRequest(_OneVersion, RequestStruct):  # type: ignore[misc]  # aiokafka publishes no types
    """Records in batches, one for each partition; the partitions join the transaction."""

    API_KEY = 0
    API_VERSION = 12
    RESPONSE_TYPE = ProduceResponse
    SCHEMA = Schema(
        ("transactional_id", _STRING),
        ("acks", Int16),
        ("timeout_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", _STRING),
                ("partitions", CompactArray(("partition", Int32), ("records", CompactBytes), _TAGS)),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class TxnOffsetCommitResponse(Response):  # type: ignore[misc]  # aiokafka publishes no types
    """The errors of each partition."""

    API_KEY = 28
    API_VERSION = 5
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "errors",
            CompactArray(
                ("topic", _STRING),
                ("partition_errors", CompactArray(("partition", Int32), ("error_code", Int16), _TAGS)),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class TxnOffsetCommitRequest(_OneVersion, RequestStruct):  # type: ignore[misc]  # aiokafka publishes no types
    """A group's offsets; the group joins the transaction."""

    API_KEY = 28
    API_VERSION = 5
    RESPONSE_TYPE = TxnOffsetCommitResponse
    SCHEMA = Schema(
        ("transactional_id", _STRING),
        ("group_id", _STRING),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("generation_id", Int32),
        ("member_id", _STRING),
        ("group_instance_id", _STRING),
        (
            "topics",
            CompactArray(
                ("topic", _STRING),
                (
                    "partitions",
                    CompactArray(("partition", Int32), ("offset", Int64), ("leader_epoch", Int32), ("metadata", _STRING), _TAGS),
                ),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class EndTxnResponse(Response):  # type: ignore[misc]  # aiokafka publishes no types
    """The error, or the producer of the next transaction."""

    API_KEY = 26
    API_VERSION = 5
    SCHEMA = Schema(("throttle_time_ms", Int32), ("error_code", Int16), ("producer_id", Int64), ("producer_epoch", Int16), _TAGS)


class EndTxnRequest(_OneVersion, RequestStruct):  # type: ignore[misc]  # aiokafka publishes no types
    """The end of a transaction; the answer names the producer of the next one."""

    API_KEY = 26
    API_VERSION = 5
    RESPONSE_TYPE = EndTxnResponse
    SCHEMA = Schema(
        ("transactional_id", _STRING), ("producer_id", Int64), ("producer_epoch", Int16), ("committed", Boolean), _TAGS
    )


class ApiVersionsResponse(Response):  # type: ignore[misc]  # aiokafka publishes no types
    """The versions that the broker has, and the features that the cluster has agreed on, among the tags."""

    API_KEY = 18
    API_VERSION = 3
    SCHEMA = Schema(
        ("error_code", Int16),
        ("api_versions", CompactArray(("api_key", Int16), ("min_version", Int16), ("max_version", Int16), _TAGS)),
        ("throttle_time_ms", Int32),
        _TAGS,
    )

    def finalized(self, feature: str) -> int:
        """The level of a feature that the whole cluster has agreed on, 0 where it has on none."""
        encoded = self.tags.get(_FINALIZED_FEATURES)
        levels = _FEATURES.decode(BytesIO(encoded)) if encoded else []
        return max((highest for name, highest, *_ in levels if name == feature), default=0)


class ApiVersionsRequest(_OneVersion, RequestStruct):  # type: ignore[misc]  # aiokafka publishes no types
    """What the broker can do, and what the cluster has agreed on."""

    API_KEY = 18
    API_VERSION = 3
    RESPONSE_TYPE = ApiVersionsResponse
    SCHEMA = Schema(("client_software_name", _STRING), ("client_software_version", _STRING), _TAGS)

    def prepare(self, versions: dict[int, tuple[int, int]]) -> Self:
        """Itself.

        Raises:
            NotImplementedError: the broker is too old to be asked; its answer would be unreadable.
        """
        if versions.get(self.API_KEY, (0, 0))[1] < self.API_VERSION:
            raise NotImplementedError
        return self

    def parse_response_header(self, read_buffer: Any) -> Any:
        """The one answer whose header never changes: whoever asks does not know yet what the broker speaks."""
        return ResponseHeader_v0.decode(read_buffer)
