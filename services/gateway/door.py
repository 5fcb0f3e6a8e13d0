"""What every entry does with one sample: check it, and make the dossier that enters the spine. Pure but for its ports."""

from collections.abc import Callable, Mapping
from typing import Any

from headrace.core.dossiers import Dossier
from headrace.core.intake import IntakeLimits, check_dataset_id, parse_fields, read_fields
from headrace.core.policies import Policy
from headrace.core.refusals import RefusalCode, Refused

ReadProtobuf = Callable[[Any, str, IntakeLimits, str, float], Dossier]
"""A protobuf sample (bytes or message), dataset id, limits, entry and time, to a dossier; raises Refused."""


class Door:
    """The rules of the gateway, the same for every entry.

    A dataset exists while it has one of the standing `policies` (a live view); `clock` gives Unix seconds.
    """

    def __init__(
        self, *, policies: Mapping[str, Policy], limits: IntakeLimits, clock: Callable[[], float], read_protobuf: ReadProtobuf
    ) -> None:
        self.policies = policies
        self._limits = limits
        self._clock = clock
        self._read_protobuf = read_protobuf

    def exists(self, dataset_id: str) -> bool:
        """Whether samples may enter this dataset."""
        return dataset_id in self.policies

    def check_dataset(self, dataset_id: str) -> None:
        """Raises Refused (bad_dataset, unknown_dataset) where nothing can enter."""
        if dataset_id not in self.policies:
            check_dataset_id(dataset_id)
            raise Refused(
                RefusalCode.UNKNOWN_DATASET, f"there is no dataset {dataset_id}: `headrace dataset create {dataset_id}`"
            )

    def parse(self, raw: bytes) -> dict[str, Any]:
        """The JSON object of one sample, strictly read; raises Refused."""
        return parse_fields(raw, self._limits)

    def from_fields(self, fields: dict[str, Any], dataset_id: str, entry: str) -> Dossier:
        """The dossier of a sample from the object that `parse` gave; raises Refused."""
        self.check_dataset(dataset_id)
        return Dossier(read_fields(fields, dataset_id, self._limits, entry), self._clock())

    def from_json(self, raw: bytes, dataset_id: str, entry: str) -> Dossier:
        """The dossier of a sample in one JSON object; raises Refused."""
        return self.from_fields(self.parse(raw), dataset_id, entry)

    def from_protobuf(self, sample: Any, dataset_id: str, entry: str) -> Dossier:
        """The dossier of a protobuf sample; an empty dataset id means the sample's own. Raises Refused."""
        dossier = self._read_protobuf(sample, dataset_id, self._limits, entry, self._clock())
        self.check_dataset(dossier.sample.dataset_id)
        return dossier
