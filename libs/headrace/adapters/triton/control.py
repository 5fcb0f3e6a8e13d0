"""Loading and unloading versions of models on a Triton server that runs with explicit model control.

`load_model` makes the server serve the versions that its configuration names. It leaves alone those that it serves already and
whose folders have not changed, and unloads those that are named no more: after the new ones are ready, and not at once.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from tritonclient.utils import InferenceServerException

from headrace.adapters.triton.signals import TritonSignalModels
from headrace.core.dossiers import CURRENT
from headrace.core.events import Stop
from headrace.core.ports.model_server import NotLoaded
from headrace.core.ports.signal_model import Measured, Unmeasured
from headrace.core.samples import Sample

_PING_S = 5.0
_POLL_S = 0.2
_GONE = frozenset({"StatusCode.UNAVAILABLE", "StatusCode.CANCELLED", "StatusCode.UNKNOWN"})
_REASON_CHARS_MAX = 500


@dataclass(frozen=True, slots=True)
class TritonControl:
    """`ModelServer` on the server of these models; see the port for what each method means."""

    models: TritonSignalModels

    async def ready(self, model: str) -> tuple[int, ...]:
        return tuple(sorted(number for number, state in (await self._states(model)).items() if state == "READY"))

    async def load(self, model: str, *, within_s: float) -> None:
        try:
            await self.models.server.client.load_model(model, client_timeout=within_s)
        except InferenceServerException as error:
            status, told = error.status(), str(error.message() or error)
            if status == "StatusCode.DEADLINE_EXCEEDED":
                raise NotLoaded(f"not within {within_s:g} s (HEADRACE_CONTROLLER_LOAD_S_MAX)") from error
            if status in _GONE:
                self._stop(error)
            raise NotLoaded(" ".join(told.split())[:_REASON_CHARS_MAX]) from error

    async def unloaded(self, model: str, keep: frozenset[int], *, within_s: float) -> None:
        deadline = asyncio.get_running_loop().time() + within_s
        while True:
            held = {number for number, state in (await self._states(model)).items() if state in {"READY", "UNLOADING", "LOADING"}}
            if held <= keep:
                return
            if asyncio.get_running_loop().time() > deadline:
                left = ", ".join(str(number) for number in sorted(held - keep))
                raise NotLoaded(f"version {left} is still in the server's memory after {within_s:g} s")
            await asyncio.sleep(_POLL_S)

    async def measure(self, model: str, version: int, samples: Sequence[Sample]) -> Sequence[Measured | Unmeasured]:
        return await self.models.at(model, str(version)).measure(samples, CURRENT)

    async def ping(self) -> None:
        """Returns when the server answers."""
        try:
            if not await self.models.server.client.is_server_live(client_timeout=_PING_S):
                raise Stop(f"{self.models.server.address} (HEADRACE_SCORING_TRITON) is not live")
        except InferenceServerException as error:
            self._stop(error)

    async def _states(self, model: str) -> dict[int, str]:
        try:
            index = await self.models.server.client.get_model_repository_index(client_timeout=_PING_S)
        except InferenceServerException as error:
            self._stop(error)
        return {int(each.version): each.state for each in index.models if each.name == model and each.version.isdecimal()}

    def _stop(self, error: InferenceServerException) -> NoReturn:
        address = self.models.server.address
        raise Stop(f"{address} (HEADRACE_SCORING_TRITON) does not answer: {error.message() or error}") from error
