"""Mends one defect of aiokafka 0.14; whoever reads committed offsets through aiokafka imports this first.

OffsetFetch (version 2 and later) may fail as a whole: while the group coordinator loads, as after a broker's restart, its
answer carries an error and no offsets. aiokafka looks at the partitions' errors only, takes the empty answer for "nothing
was ever committed", and the consumer goes back to `auto_offset_reset`: all of a topic read again, or silently skipped.
A test shows when a later aiokafka no longer needs this.
"""

from typing import Any

from aiokafka import errors
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.protocol.commit import OffsetFetchRequest

UNMENDED = GroupCoordinator._send_req  # noqa: SLF001  # there is no public place to check an answer


async def _send_req(coordinator: Any, request: Any) -> Any:
    response = await UNMENDED(coordinator, request)
    if isinstance(request, OffsetFetchRequest):
        error = errors.for_code(getattr(response, "error_code", 0))
        if error in {errors.NotCoordinatorForGroupError, errors.GroupCoordinatorNotAvailableError}:
            coordinator.coordinator_dead()
        if error is not errors.NoError:
            raise error()
    return response


GroupCoordinator._send_req = _send_req  # noqa: SLF001  # the mend itself
