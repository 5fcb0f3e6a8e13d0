"""The Kafka entry: records of `headrace.ingest`, in JSON or protobuf, plain or as CloudEvents, become samples of the spine."""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.core.dossiers import Dossier
from headrace.core.events import Emit, Event, Handler, Reject, Result, Retry, Send, Stop
from headrace.core.refusals import RefusalCode, Refused, shown
from headrace.core.topics import SUBMITTED
from services.gateway.door import Door

ENTRY = "kafka"
DATASET_HEADERS = ("ce_dataset", "dataset")
"""Where a record names its dataset: as a CloudEvents extension attribute, or plainly. A JSON body may name it too."""

_JSON = frozenset({"", "application/json", "text/json", "application/x-ndjson"})
_PROTOBUF = frozenset({"application/protobuf", "application/x-protobuf", "application/vnd.google.protobuf"})
_STRUCTURED = "application/cloudevents+json"


@dataclass(frozen=True, slots=True)
class _Given:
    """What a record holds once any envelope is off."""

    content_type: str
    dataset_id: str
    value: bytes | dict[str, Any]


def ingest_handler(door: Door, passage: Callable[[str], Awaitable[None]], pause_s_max: float) -> Handler[bytes]:
    """The handler of `headrace.ingest`.

    `passage` waits while the spine is too far behind. After `pause_s_max` seconds the batch is handed back, unread.
    """

    async def ingest(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        try:
            async with asyncio.timeout(pause_s_max):
                await passage(ENTRY)
        except TimeoutError:
            raise Stop("the spine is too far behind (HEADRACE_GATEWAY_LAG_MAX)") from None
        return [_result_of(event, door) for event in events]

    return ingest


def _result_of(event: Event[bytes], door: Door) -> Result:
    try:
        return Emit((Send(SUBMITTED, _dossier_of(event, door)),))
    except Refused as refused:
        if refused.code is RefusalCode.UNKNOWN_DATASET:  # its policy may be on its way
            return Retry(refused.code.value, refused.message)
        return Reject(refused.code.value, refused.message)


def _dossier_of(event: Event[bytes], door: Door) -> Dossier:
    given = _unwrapped(event, door)
    if given.content_type in _PROTOBUF:
        if not isinstance(given.value, bytes):
            raise Refused(RefusalCode.NOT_PROTOBUF, "a CloudEvent with protobuf data carries it in data_base64")
        return door.from_protobuf(given.value, given.dataset_id, ENTRY)
    if given.content_type not in _JSON:
        told = f"content-type {shown(given.content_type)}; send application/json or application/protobuf"
        raise Refused(RefusalCode.UNKNOWN_FORMAT, told)
    fields = door.parse(given.value) if isinstance(given.value, bytes) else given.value
    dataset_id = given.dataset_id or _named_in(fields)
    return door.from_fields(fields, dataset_id, ENTRY)


def _unwrapped(event: Event[bytes], door: Door) -> _Given:
    content_type = _media_type(event.headers.get("content-type", ""))
    dataset_id = _dataset_of(event.headers)
    if content_type != _STRUCTURED:
        return _Given(content_type, dataset_id, event.body)
    envelope = door.parse(event.body)
    inner_type = envelope.get("datacontenttype", "")
    named = envelope.get("dataset", "")
    if not isinstance(inner_type, str) or not isinstance(named, str):
        raise Refused(RefusalCode.UNKNOWN_FORMAT, "a CloudEvent's datacontenttype and dataset are texts")
    return _Given(_media_type(inner_type), dataset_id or named, _data_of(envelope))


def _data_of(envelope: Mapping[str, Any]) -> bytes | dict[str, Any]:
    data, encoded = envelope.get("data"), envelope.get("data_base64")
    if isinstance(data, dict) and encoded is None:
        return data
    if data is None and isinstance(encoded, str):
        try:
            return base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise Refused(RefusalCode.UNKNOWN_FORMAT, f"data_base64: {error}") from None
    raise Refused(RefusalCode.UNKNOWN_FORMAT, "a CloudEvent carries its sample in data, an object, or in data_base64")


def _dataset_of(headers: Mapping[str, str]) -> str:
    return next((headers[name] for name in DATASET_HEADERS if headers.get(name)), "")


def _named_in(fields: dict[str, Any]) -> str:
    dataset_id = fields.pop("dataset", None)
    if not isinstance(dataset_id, str):
        raise Refused(RefusalCode.BAD_DATASET, f"name the dataset in the header {DATASET_HEADERS[1]!r} or in the field 'dataset'")
    return dataset_id


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()
