"""A publisher that keeps what it is given, and confirms it at once, later, or never."""

import asyncio
from collections.abc import Mapping

from headrace.adapters.kafka.streams import RECORD_BYTES_MAX
from headrace.adapters.wire.envelope import record_of
from headrace.core.dossiers import Dossier
from headrace.core.events import Send


class FakePublisher:
    """Stands for `EventPublisher`: bodies are encoded as the real one does, so that what cannot be written fails here too.

    While `holding`, nothing is confirmed until `release()`. `fails_with` makes confirmations fail, `refuses_with` the
    queueing itself; either is used up after `times`.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[str, Send, dict[str, str]]] = []
        self.holding = False
        self.fails_with: Exception | None = None
        self.refuses_with: Exception | None = None
        self.times = 0
        self.held: list[asyncio.Future[None]] = []
        self.most_held = 0

    async def enqueue(self, send: Send, *, event_id: str, headers: Mapping[str, str] | None = None) -> "asyncio.Future[None]":
        """See `EventPublisher.enqueue`."""
        record = record_of(send, event_id=event_id, source="headrace/fake", trace=headers or {})
        if len(record.value or b"") > RECORD_BYTES_MAX:
            raise ValueError("larger than a record may be")
        if self.refuses_with is not None and self.times > 0:
            self.times -= 1
            raise self.refuses_with
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.fails_with is not None and self.times > 0:
            self.times -= 1
            written.set_exception(self.fails_with)
            return written
        self.sent.append((event_id, send, dict(headers or {})))
        if self.holding:
            self.held.append(written)
            self.most_held = max(self.most_held, len(self.held))
        else:
            written.set_result(None)
        return written

    def release(self) -> None:
        """Confirm everything that is held, and hold nothing from now on."""
        self.holding = False
        for written in self.held:
            if not written.done():
                written.set_result(None)
        self.held.clear()

    @property
    def dossiers(self) -> list[Dossier]:
        """The bodies sent, in order."""
        return [send.body for _, send, _ in self.sent if isinstance(send.body, Dossier)]
