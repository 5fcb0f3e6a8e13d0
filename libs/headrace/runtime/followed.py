"""What every process knows of a topic: read whole at the start, then followed live."""

import asyncio
from abc import ABC, abstractmethod
from contextlib import AsyncExitStack

from aiokafka import ConsumerRecord

from headrace.adapters.kafka.streams import RecordReader
from headrace.core.topics import Topic
from headrace.runtime.background import background
from headrace.runtime.service import Ping
from headrace.runtime.settings import RuntimeSettings


class FollowedTopic(ABC):
    """Takes in every record of one topic: complete once started, then live."""

    def __init__(self, topic: Topic, settings: RuntimeSettings) -> None:
        self._topic = topic
        self._settings = settings
        self._stack = AsyncExitStack()
        self._following: Ping | None = None
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
                RecordReader.opened(self._settings.kafka, [self._topic.name], start_s=self._settings.kafka_start_s)
            )
            async for record in reader.until_now():
                self._take(record)
            self._following = background(self._stack, self._follow(reader), f"following {self._topic.name}")

    async def stop(self) -> None:
        """Stops following; what is known stays as it was."""
        self._following = None
        await self._stack.aclose()

    async def ping(self) -> None:
        """Returns while the topic is being followed.

        Raises:
            RuntimeError: it is not, so what is known may be out of date.
        """
        if self._following is None:
            raise RuntimeError(f"{self._topic.name} is not being followed")
        await self._following()

    async def _follow(self, reader: RecordReader) -> None:
        async for record in reader:
            self._take(record)

    @abstractmethod
    def _take(self, record: ConsumerRecord) -> None:
        """Takes in one record; never raises."""
