"""What a subscriber gets: accepted samples, and those that are taken back."""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.message import DecodeError

from headrace.adapters.wire.dossiers import dossier_from
from headrace.adapters.wire.fields import Undecodable, serialized
from headrace.adapters.wire.samples import chat_form, sample_from_message
from headrace.core.dossiers import Dossier
from headrace.core.samples import Sample, prompt_hash_of
from headrace_protos.sample.v1 import dossier_pb2, sample_pb2


@dataclass(slots=True, unsafe_hash=True)  # not frozen: that would make each of a version's rows three times as dear
class Accepted:
    """A sample that was accepted. One with the id of an earlier one and a higher `revision` replaces it.

    The properties read `wire`; a version's rows are decoded when they first do. Two are equal that have both in common.
    """

    sample_id: Final[str]
    revision: Final[int]
    _dossier: dossier_pb2.Dossier | bytes = field(compare=False)

    @property
    def wire(self) -> dossier_pb2.Dossier:
        """The protobuf message with everything known about the sample.

        Raises:
            Undecodable: the version's row is none.
        """
        message = self._dossier
        if isinstance(message, bytes):
            try:
                message = dossier_pb2.Dossier.FromString(message)
            except DecodeError as error:
                raise Undecodable(f"{self.sample_id}: the row's dossier cannot be read: {error}") from error
            self._dossier = message
        return message

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation in OpenAI chat form, as chat templates take it; keys that say nothing are left out."""
        return [chat_form(turn) for turn in self.wire.sample.messages[:]]

    @property
    def sample(self) -> Sample:
        """The sample as Headrace's own types have it."""
        return self.dossier.sample

    @property
    def dossier(self) -> Dossier:
        """The sample and all evidence: signals, placement, checks, decisions, costs.

        Raises:
            Undecodable: it holds something that this release does not know.
        """
        return dossier_from(self.wire, serialized(self.wire))

    @property
    def prompt_hash(self) -> str:
        """SHA-256, lower-case hex, of everything before the answer: `headrace.core.fine_tuning.is_held_out` draws by it."""
        return prompt_hash_of(sample_from_message(self.wire.sample))

    def row(self) -> dict[str, Any]:
        """The sample as a flat dictionary, for `datasets` and trainers.

        `tools` is the list of tool definitions or None; `reference` and `attributes` are dictionaries, `metadata` is what
        the producer sent along.
        """
        sample = self.wire.sample
        return {
            "sample_id": self.sample_id,
            "revision": self.revision,
            "content_hash": sample.content_hash,
            "prompt_hash": self.prompt_hash,
            "messages": self.messages,
            "tools": json.loads(sample.tools_json) if sample.tools_json else None,
            "reference": _reference(sample),
            "attributes": dict(sorted(sample.attributes.items())),
            "metadata": json.loads(sample.metadata_json) if sample.metadata_json else None,
        }


@dataclass(frozen=True, slots=True)
class Retracted:
    """A sample that is taken back, in every revision up to `revision`: train on it no more. `reason` is a stable code."""

    sample_id: str
    revision: int
    reason: str


Item = Accepted | Retracted


def item_from(value: bytes) -> Item:
    """The item in the body of an accepted topic's record.

    Raises:
        Undecodable: it says neither acceptance nor retraction, or not of which sample.
    """
    try:
        message = dossier_pb2.AcceptedSample.FromString(value)
    except DecodeError as error:
        raise Undecodable(f"no AcceptedSample: {error}") from error
    if message.HasField("accepted"):
        return _accepted(message.accepted)
    retracted = message.retracted
    if not retracted.sample_id:
        raise Undecodable("neither an acceptance nor a retraction of a sample")
    return Retracted(retracted.sample_id, retracted.revision, retracted.reason)


def accepted_from(dossier: bytes) -> Accepted:
    """The item in the `dossier` column of a version's row.

    Raises:
        Undecodable: the bytes are no dossier of a sample.
    """
    try:
        message = dossier_pb2.Dossier.FromString(dossier)
    except DecodeError as error:
        raise Undecodable(f"no Dossier: {error}") from error
    return _accepted(message)


def _accepted(dossier: dossier_pb2.Dossier) -> Accepted:
    sample = dossier.sample
    if not sample.id:
        raise Undecodable("an acceptance without a sample id")
    return Accepted(sample.id, sample.revision, dossier)


def _reference(sample: sample_pb2.Sample) -> dict[str, Any] | None:
    if not sample.HasField("reference"):
        return None
    reference = sample.reference
    return {
        "answer": reference.answer,
        "verifier": reference.verifier,
        "json_schema": reference.json_schema,
        "unit_tests": list(reference.unit_tests),
        "rubric": reference.rubric,
        "passages": list(reference.passages),
    }
