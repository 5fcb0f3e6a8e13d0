"""Bringing the process behind a Python model back to life.

Once that process has died, of memory or of a request, Triton answers "not healthy" to whatever it is asked of the model, and
calls the model ready all the same. Only unloading and loading it starts another one.
"""

import asyncio
from collections import Counter

import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from headrace.core.events import Stop


class Revival:
    """How often each model of a server was brought back, and whose turn it is to ask again after that."""

    def __init__(self, client: triton.InferenceServerClient, address: str, load_s_max: float) -> None:
        self._client = client
        self._address = address
        self._load_s_max = load_s_max
        self._lives: Counter[str] = Counter()
        self._reviving = asyncio.Lock()
        self.turn = asyncio.Lock()

    def life_of(self, model: str) -> int:
        """Changes each time the model is brought back."""
        return self._lives[model]

    async def revive(self, model: str, life: int) -> None:
        """Brings the model back, unless someone did since it had that life.

        Raises:
            headrace.core.events.Stop: the server is gone, or does not load the model.
        """
        async with self._reviving:
            if self._lives[model] != life:
                return
            try:
                await self._client.unload_model(model, client_timeout=self._load_s_max)
                await self._client.load_model(model, client_timeout=self._load_s_max)
            except InferenceServerException as error:
                raise Stop(
                    f"the process of model {model} at {self._address} has died, and it cannot be loaded again: "
                    f"{error.message() or error}. Restart the server, with --model-control-mode=explicit"
                ) from error
            self._lives[model] += 1


def has_died(error: InferenceServerException) -> bool:
    """Whether the model's process is gone; the server's status does not tell it from a request that it could not answer."""
    return "Stub process" in str(error.message())
