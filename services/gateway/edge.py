"""What gRPC and HTTP share: a caller, a dataset, a sample, a ticket."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headrace.core.dossiers import Dossier
from headrace.core.refusals import RefusalCode, Refused
from headrace.runtime.telemetry import Attribute, Metric, Telemetry
from services.gateway.door import Door
from services.gateway.lag import LagGate
from services.gateway.outbox import Outbox, Ticket
from services.gateway.settings import GatewaySettings
from services.gateway.streams import Streams
from services.gateway.tokens import Caller, Tokens

_LOOK_AGAIN_S = 0.05


@dataclass(frozen=True, slots=True)
class Edge:
    """The parts of the gateway behind its two network entries."""

    settings: GatewaySettings
    door: Door
    outbox: Outbox
    tokens: Tokens
    streams: Streams
    gate: LagGate
    telemetry: Telemetry
    clock: Callable[[], float] = time.time

    async def take(
        self, caller: Caller, dataset_id: str, make: Callable[[], Dossier], size: int, entry: str, trace: Mapping[str, str]
    ) -> Ticket:
        """One sample of `size` bytes for a dataset: `make` checks it, then it is on its way.

        Waits where the spine is behind, the caller too fast, or too much in flight. What the token opens is asked for each
        sample: it may have been narrowed in the middle of a stream.

        Raises:
            Unauthenticated: the token ended meanwhile.
        """
        await self.gate.passed(entry)
        await caller.pace.pass_one()
        self.telemetry.count(Metric.GATEWAY_BYTES, size, {Attribute.ENTRY: entry})
        try:
            self.check_access(caller, dataset_id)
            dossier = make()
        except Refused as refused:
            return self.outbox.refuse(refused, entry)
        return await self.outbox.post(dossier, size, trace)

    def check_access(self, caller: Caller, dataset_id: str) -> None:
        """Raises Refused (foreign_dataset) where the token is for others, Unauthenticated where it has ended."""
        if not caller.opens(dataset_id, self.clock()):
            raise Refused(RefusalCode.FOREIGN_DATASET, "the token is not for this dataset")

    async def settle(self, dataset_id: str) -> None:
        """Give the policy of a dataset created a moment ago the time to arrive."""
        began = time.monotonic()
        while not self.door.exists(dataset_id) and time.monotonic() - began < self.settings.dataset_wait_s:  # noqa: ASYNC110 - told by none
            await asyncio.sleep(_LOOK_AGAIN_S)
