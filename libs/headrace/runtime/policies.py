"""The standing policies of all datasets, followed live from their compacted topic."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack

from aiokafka import ConsumerRecord
from pydantic import ValidationError

from headrace.adapters.kafka import RecordReader, decoded
from headrace.core.dossiers import PolicyPublished
from headrace.core.policies import Policy
from headrace.core.topics import POLICY_PUBLISHED
from headrace.runtime.settings import RuntimeSettings

_log = logging.getLogger("headrace.policies")


class PolicyBook:
    """Every dataset's standing policy: complete once started, then live.

    A policy that cannot be read is logged and skipped; the one before it stays in force.
    """

    def __init__(self, settings: RuntimeSettings) -> None:
        self._settings = settings
        self._policies: dict[str, Policy] = {}
        self._stack = AsyncExitStack()
        self._following: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Loads what is published so far, then follows in the background. Starting twice is starting once.

        Raises:
            BrokerUnreachable: the broker does not answer, or the topic does not exist.
        """
        async with self._starting:
            if self._following is not None:
                return
            reader = await self._stack.enter_async_context(
                RecordReader.opened(self._settings.kafka, [POLICY_PUBLISHED.name], start_s=self._settings.kafka_start_s)
            )
            async for record in reader.until_now():
                self._take(record)
            self._following = asyncio.create_task(self._follow(reader), name="policies")

    async def stop(self) -> None:
        """Stops following; the policies stay as they were."""
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        await self._stack.aclose()

    def policy_of(self, dataset_id: str) -> Policy | None:
        """The dataset's standing policy; None where there is no such dataset."""
        return self._policies.get(dataset_id)

    @property
    def policies(self) -> Mapping[str, Policy]:
        """All standing policies by dataset id; a view of what is known now."""
        return self._policies

    async def ping(self) -> None:
        """Returns while the topic is being followed.

        Raises:
            RuntimeError: it is not, so policies may be out of date.
        """
        if self._following is None or self._following.done():
            raise RuntimeError(f"{POLICY_PUBLISHED.name} is not being followed")

    async def _follow(self, reader: RecordReader) -> None:
        async for record in reader:
            self._take(record)

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
