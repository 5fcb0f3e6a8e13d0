"""The defect of aiokafka that the delivery layer mends."""

from typing import Any

import pytest
from aiokafka import TopicPartition, errors
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.protocol.commit import OffsetFetchResponse_v3

from headrace.adapters.kafka.mend import UNMENDED

LOADING = errors.GroupLoadInProgressError.errno


class Loading:
    """A coordinator whose broker is still loading the group: an error for the whole answer, and no offsets."""

    coordinator_id = 1
    group_id = "toy"

    def __init__(self, error: int) -> None:
        self.lookups = 0
        self._answer = OffsetFetchResponse_v3(0, [], error)
        self._client = self

    async def send(self, *_: Any, **__: Any) -> OffsetFetchResponse_v3:
        return self._answer

    def coordinator_dead(self) -> None:
        self.lookups += 1


async def fetch(coordinator: Any, send_req: Any) -> dict[TopicPartition, Any]:
    coordinator._send_req = lambda request: send_req(coordinator, request)
    offsets: dict[TopicPartition, Any] = await GroupCoordinator._do_fetch_commit_offsets(coordinator, [TopicPartition("t", 0)])
    return offsets


async def test_without_the_mend_a_loading_group_reads_as_never_committed() -> None:
    """When this fails, aiokafka has mended it and `kafka_mend` can go (trap 1)."""
    assert await fetch(Loading(LOADING), UNMENDED) == {}


async def test_a_loading_group_is_asked_again() -> None:
    """The error is raised, and it is one that the caller retries."""
    with pytest.raises(errors.GroupLoadInProgressError) as raised:
        await fetch(Loading(LOADING), GroupCoordinator._send_req)
    assert raised.value.retriable


async def test_a_group_that_moved_is_looked_up_again() -> None:
    """Another broker coordinates the group by now."""
    coordinator = Loading(errors.NotCoordinatorForGroupError.errno)
    with pytest.raises(errors.NotCoordinatorForGroupError):
        await fetch(coordinator, GroupCoordinator._send_req)
    assert coordinator.lookups == 1


async def test_an_answer_without_an_error_passes() -> None:
    """A group that never committed has no offsets, and that is no error."""
    assert await fetch(Loading(0), GroupCoordinator._send_req) == {}
