"""Which version of each model measures, followed live from the announcements of roll-outs."""

import logging

from aiokafka import ConsumerRecord

from headrace.adapters.kafka.streams import decoded
from headrace.core.checkpoints import CheckpointRolledOut
from headrace.core.topics import CHECKPOINT_ROLLED_OUT
from headrace.runtime.followed import FollowedTopic
from headrace.runtime.settings import RuntimeSettings

_log = logging.getLogger("headrace.roll_outs")


class RollOutBook(FollowedTopic):
    """The version of every model that was announced last: complete once started, then live."""

    def __init__(self, settings: RuntimeSettings) -> None:
        super().__init__(CHECKPOINT_ROLLED_OUT, settings)
        self._versions: dict[str, str] = {}

    def version_of(self, model: str) -> str | None:
        """The version that measures; None while none of the model was ever announced."""
        return self._versions.get(model)

    def _take(self, record: ConsumerRecord) -> None:
        event = decoded(CHECKPOINT_ROLLED_OUT, record)
        if event is None or not isinstance(event.body, CheckpointRolledOut):
            _log.error("%s[%d]@%d is no roll-out and is skipped", record.topic, record.partition, record.offset)
            return
        told = event.body
        self._versions[told.model] = told.model_version
        _log.info("model %s measures with version %s", told.model, told.model_version)
