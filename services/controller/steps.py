"""The steps of a roll-out. Each ends well or is refused with its reason, and doing one again changes nothing."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from headrace.adapters.checkpoints.weights import Assembler
from headrace.adapters.triton.model_repository import ModelRepository
from headrace.core.checkpoint_manifests import BadCheckpoint, DamagedCheckpoint
from headrace.core.checkpoints import CheckpointPublished, RefusedStep
from headrace.core.events import Stop
from headrace.core.ports.model_server import ModelServer, NotLoaded
from headrace.core.ports.signal_model import Measured, ModelMissing, Unmeasured
from headrace.core.samples import Sample
from headrace.lm.weights import weights_sha256
from services.controller.settings import ControllerSettings

_log = logging.getLogger("headrace.controller")
_FLOAT32_BYTES = 4
_REASON_CHARS_MAX = 1_000
_NONE: frozenset[int] = frozenset()


class Refused(Exception):
    """A step did not end well, and would not if it were done again as things are."""

    def __init__(self, step: RefusedStep, reason: object) -> None:
        super().__init__(str(reason)[:_REASON_CHARS_MAX])
        self.step = step


class Fetcher(Protocol):
    """Checkpoints by their events; `headrace.adapters.checkpoints.store` says what is raised."""

    async def fetch(self, published: CheckpointPublished, into: Path) -> None: ...


@dataclass(frozen=True, slots=True)
class Golden:
    """What a version says of the golden samples: mean response loss in nats per token, and its embeddings' dimensions."""

    loss: float
    dimensions: int


@dataclass(frozen=True, slots=True)
class Steps:
    """What the steps need; `samples` are the golden ones."""

    repository: ModelRepository
    server: ModelServer
    fetcher: Fetcher
    assembler: Assembler
    samples: Sequence[Sample]
    settings: ControllerSettings
    clock: Callable[[], float] = time.monotonic

    async def newest(self, model: str) -> int:
        """The version that is ready; the newest where there are several. Raises Stop where there is none."""
        ready = await self.server.ready(model)
        if not ready:
            raise Stop(f"the model server has no version of {model} ready")
        return max(ready)

    async def uphold(self, model: str, present: int, announced: Collection[int], bound: frozenset[int] = _NONE) -> None:
        """Loads the version that measures where the server has lost it. Raises Stop where that cannot be done.

        So it does with those that running rounds are `bound` to, as long as they are on disk. What was never announced is named
        to the server no more: it may be what takes the server down whenever it starts.
        """
        served = self.repository.served(model)
        if served is not None:
            self.repository.serve(model, {present, *(version for version in served if version in announced)})
        needed = {present} | self._at_hand(model, bound)
        if needed <= set(await self.server.ready(model)):
            return
        _log.warning("model %s: the server lacks one of the versions %s: it is loaded again", model, sorted(needed))
        self.repository.serve(model, needed)
        try:
            await self.server.load(model, within_s=self.settings.load_s_max)
        except NotLoaded as error:
            raise Stop(f"version {present} of {model}, which measures, cannot be loaded: {error}") from error

    async def install(self, published: CheckpointPublished, version: int, *, first: int, like: int) -> None:
        """Fetched, verified and written as a version, that measures with the code of the version `like`."""
        if self.repository.holds(published.model, version, published.checkpoint_id):
            return
        folder = self.repository.fetched(published.checkpoint_id)
        try:
            async with asyncio.timeout(self.settings.fetch_s_max):
                await self.fetcher.fetch(published, folder)
            await asyncio.to_thread(self.assembler.install, published, folder, version=version, first=first, like=like)
        except TimeoutError:
            took = f"{self.settings.fetch_s_max:g} s (HEADRACE_CONTROLLER_FETCH_S_MAX)"
            raise Refused(RefusedStep.FETCH, f"not fetched within {took}") from None
        except DamagedCheckpoint as error:
            raise Refused(RefusedStep.FETCH, error) from error
        except BadCheckpoint as error:
            raise Refused(RefusedStep.VERIFY, error) from error
        except OSError as error:
            raise Refused(RefusedStep.INSTALL, error) from error

    async def weights_sha256(self, model: str, version: int) -> str:
        """The name of a version's weights, which reads them all; empty where it has none. Raises Refused where that fails."""
        try:
            return await asyncio.to_thread(weights_sha256, self.repository.weights(model, version))
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise Refused(RefusedStep.INSTALL, error) from error

    async def load(self, model: str, present: int, version: int, bound: frozenset[int] = _NONE) -> float:
        """Both versions are served, with those that running rounds are `bound` to, and no other one.

        Returns the seconds that loading took.
        """
        bound = self._at_hand(model, bound)
        try:
            return await self._loaded(model, present, version, bound)
        except (NotLoaded, OSError) as error:
            raise Refused(RefusedStep.LOAD, error) from error
        except Stop:
            self.repository.serve(model, {present} | bound)  # so that a server which starts again has what measures, and no more
            raise

    async def measure(self, model: str, version: int) -> Golden:
        """What a version says of the golden samples; its first requests also warm it."""
        try:
            async with asyncio.timeout(self.settings.golden_s_max):
                outcomes = await self.server.measure(model, version, self.samples)
        except TimeoutError:
            took = f"{self.settings.golden_s_max:g} s (HEADRACE_CONTROLLER_GOLDEN_S_MAX)"
            raise Refused(RefusedStep.GOLDEN, f"version {version} did not measure the golden samples within {took}") from None
        except ModelMissing as missing:
            raise Stop(str(missing)) from missing
        except Stop as stop:
            if version not in await self.server.ready(model):  # else it is there, and cannot measure
                raise
            raise Refused(RefusedStep.GOLDEN, stop) from stop
        return _golden(outcomes, version)

    def require_plausible(self, golden: Golden, before: Golden) -> None:
        """Raises Refused where the loss is out of the plausible range, or the embeddings are of other dimensions."""
        settings = self.settings
        require_same_dimensions(golden, before)
        if golden.loss < settings.golden_loss_min:
            limit = f"HEADRACE_CONTROLLER_GOLDEN_LOSS_MIN ({settings.golden_loss_min:g})"
            raise Refused(RefusedStep.GOLDEN, f"loss {golden.loss:.6f} on the golden samples is below {limit}")
        if golden.loss > settings.golden_loss_max:
            limit = f"HEADRACE_CONTROLLER_GOLDEN_LOSS_MAX ({settings.golden_loss_max:g})"
            raise Refused(RefusedStep.GOLDEN, f"loss {golden.loss:.4f} on the golden samples is above {limit}")
        if golden.loss > settings.golden_loss_ratio_max * before.loss:
            limit = f"HEADRACE_CONTROLLER_GOLDEN_LOSS_RATIO_MAX ({settings.golden_loss_ratio_max:g})"
            told = f"loss {golden.loss:.4f} on the golden samples, against {before.loss:.4f} of the present version"
            raise Refused(RefusedStep.GOLDEN, f"{told}, is above {limit}")

    async def take_back(self, model: str, present: int, version: int, *, remove: bool, bound: frozenset[int] = _NONE) -> None:
        """Serves the present version and the `bound` ones alone, as before; best done, but nothing depends on it."""
        bound = self._at_hand(model, bound)
        try:
            if version in (self.repository.served(model) or ()) and version not in bound:
                self.repository.serve(model, {present} | bound)
                await self.server.load(model, within_s=self.settings.load_s_max)
            if remove and version not in bound:
                self.repository.remove(model, [version])
            self.repository.clear()
        except (NotLoaded, Stop, OSError) as error:
            _log.warning("model %s: version %d is not out of the way yet: %s", model, version, error)

    def tidy(self, model: str, first: int) -> None:
        """Removes from the disk what is neither served nor among the latest; it can be fetched again."""
        kept = {first, *(self.repository.served(model) or ()), *self.repository.versions(model)[-self.settings.versions_kept :]}
        self.repository.remove(model, [version for version in self.repository.versions(model) if version not in kept])
        self.repository.clear()

    def _at_hand(self, model: str, bound: frozenset[int]) -> frozenset[int]:
        """Those that can be served: what a round was begun with and is no longer on disk is lost to it."""
        return bound & frozenset(self.repository.versions(model)) if bound else bound

    async def _loaded(self, model: str, present: int, version: int, bound: frozenset[int]) -> float:
        self._require_memory(model, {present, version}, bound)
        keep = frozenset({present, version}) | bound
        settings, repository, server = self.settings, self.repository, self.server
        ready = await server.ready(model)
        if version not in ready and repository.count_load(model, version) > settings.loads_max:
            repository.forget_loads(model, version)
            raise Refused(
                RefusedStep.LOAD,
                f"the model server was gone after each of {settings.loads_max} attempts (HEADRACE_CONTROLLER_LOADS_MAX)",
            )
        began = self.clock()
        if not keep >= set(ready):  # older ones leave first: there is memory for those to be kept, and no more
            repository.serve(model, keep & set(ready))
            await server.load(model, within_s=settings.load_s_max)
            await server.unloaded(model, keep, within_s=settings.unload_s_max)
            began = self.clock()
        repository.serve(model, keep)
        await server.load(model, within_s=settings.load_s_max)
        if not keep <= set(await server.ready(model)):
            raise NotLoaded("the model server has lost it, or the present version")
        repository.forget_loads(model, version)
        return self.clock() - began

    def _require_memory(self, model: str, versions: set[int], bound: frozenset[int]) -> None:
        settings = self.settings
        sizes = {version: self.repository.size_bytes(model, version) for version in sorted(versions | bound)}
        needed = round(sum(sizes.values()) * settings.memory_per_weight_byte)
        if needed > settings.memory_bytes_max:
            told = " and ".join(f"{size} of version {version}" for version, size in sizes.items())
            raise Refused(
                RefusedStep.LOAD,
                f"{needed} bytes of memory (weights: {told}) are above HEADRACE_CONTROLLER_MEMORY_BYTES_MAX "
                f"({settings.memory_bytes_max}){_held(bound - versions)}",
            )


def _held(versions: frozenset[int]) -> str:
    return f"; a running round holds version {', '.join(map(str, sorted(versions)))}" if versions else ""


def require_same_dimensions(golden: Golden, before: Golden) -> None:
    """Raises Refused where embeddings are of other dimensions than before."""
    if golden.dimensions != before.dimensions:
        told = f"embeddings have {golden.dimensions} dimensions, those of the present version {before.dimensions}"
        raise Refused(RefusedStep.GOLDEN, told)


def _golden(outcomes: Sequence[Measured | Unmeasured], version: int) -> Golden:
    losses, dimensions = [], set()
    for number, outcome in enumerate(outcomes, 1):
        error = outcome.signals.error if isinstance(outcome, Measured) else outcome.error
        if error or not isinstance(outcome, Measured) or outcome.embeddings is None or outcome.signals.loss_mean is None:
            raise Refused(RefusedStep.GOLDEN, f"version {version} cannot measure golden sample {number}: {error}")
        losses.append(outcome.signals.loss_mean)
        dimensions.add(len(outcome.embeddings.conversation) // _FLOAT32_BYTES)
    if not losses or not all(map(math.isfinite, losses)) or len(dimensions) != 1:
        raise Refused(RefusedStep.GOLDEN, f"version {version} measures losses {losses[:4]} and dimensions {sorted(dimensions)}")
    return Golden(math.fsum(losses) / len(losses), dimensions.pop())
