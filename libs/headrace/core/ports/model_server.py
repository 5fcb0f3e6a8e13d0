"""The model server as a roll-out needs it: which versions it serves, and what one of them measures."""

from collections.abc import Sequence
from typing import Protocol

from headrace.core.ports.signal_model import Measured, Unmeasured
from headrace.core.samples import Sample


class NotLoaded(Exception):
    """The server did not load, or let go of, what it was told to; the message says why."""


class ModelServer(Protocol):
    """A server that serves the versions which a model's configuration names. Every method raises Stop when it is gone."""

    async def ready(self, model: str) -> tuple[int, ...]:
        """The versions that are ready, ascending; none where the server does not know the model."""
        ...

    async def load(self, model: str, *, within_s: float) -> None:
        """Makes the server serve the versions that the model's configuration names, and returns once they are ready.

        Versions that are served already and have not changed are left alone.

        Raises:
            NotLoaded: it cannot, or not in time; what it served before it still serves.
        """
        ...

    async def unloaded(self, model: str, keep: frozenset[int], *, within_s: float) -> None:
        """Returns once no other versions than those to keep are in the server's memory.

        Raises:
            NotLoaded: some still are at the end of that time.
        """
        ...

    async def measure(self, model: str, version: int, samples: Sequence[Sample]) -> Sequence[Measured | Unmeasured]:
        """What this version says of the samples, in order.

        Raises:
            headrace.core.ports.signal_model.ModelMissing: the server does not have the version.
            Stop: it is gone, too busy, or refuses every sample.
        """
        ...
