"""The standing policies of all datasets, followed live from their compacted topic."""

import logging
from collections.abc import Mapping

from aiokafka import ConsumerRecord
from pydantic import ValidationError

from headrace.adapters.kafka.streams import decoded
from headrace.core.dossiers import PolicyPublished
from headrace.core.policies import Policy
from headrace.core.topics import POLICY_PUBLISHED
from headrace.runtime.followed import FollowedTopic
from headrace.runtime.settings import RuntimeSettings

_log = logging.getLogger("headrace.policies")


class PolicyBook(FollowedTopic):
    """Every dataset's standing policy: complete once started, then live.

    A policy that cannot be read is logged and skipped; the one before it stays in force.
    """

    def __init__(self, settings: RuntimeSettings) -> None:
        super().__init__(POLICY_PUBLISHED, settings)
        self._policies: dict[str, Policy] = {}

    def policy_of(self, dataset_id: str) -> Policy | None:
        """The dataset's standing policy; None where there is no such dataset."""
        return self._policies.get(dataset_id)

    @property
    def policies(self) -> Mapping[str, Policy]:
        """All standing policies by dataset id; a view of what is known now."""
        return self._policies

    def _take(self, record: ConsumerRecord) -> None:
        event = decoded(POLICY_PUBLISHED, record)
        if event is None or not isinstance(event.body, PolicyPublished):
            _log.error("%s[%d]@%d is no policy and is skipped", record.topic, record.partition, record.offset)
            return
        published = event.body
        try:
            policy = Policy.model_validate_json(published.policy_json)
        except ValidationError as error:
            _log.error("policy %s of dataset %s is skipped: %s", published.version, published.dataset_id, error)
            return
        self._policies[published.dataset_id] = policy
        _log.info("dataset %s stands under policy %s", published.dataset_id, policy.version)
