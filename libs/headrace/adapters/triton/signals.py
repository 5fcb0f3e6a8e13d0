"""Signals from a Triton Inference Server whose models have the interface of `headrace.lm.triton`."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
import tritonclient.grpc.aio as triton
from tritonclient.grpc import InferInput, InferResult
from tritonclient.utils import InferenceServerException

from headrace.adapters.triton.revival import Revival, has_died
from headrace.adapters.triton.rows import Unintelligible, conversation_json, measured_rows, parts
from headrace.core.events import Stop
from headrace.core.ports.signal_model import NOTHING_MORE, Asks, Measured, ModelMissing, SignalModel, Unmeasured
from headrace.core.rounds.surveys import Judge
from headrace.core.samples import Message, Sample

_MIB = 1024 * 1024
_CHANNEL = [
    ("grpc.max_send_message_length", 64 * _MIB),
    ("grpc.max_receive_message_length", 64 * _MIB),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Left alone gRPC waits up to two minutes before it tries a server that was restarted.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]
_GONE = frozenset({"StatusCode.UNAVAILABLE", "StatusCode.CANCELLED", "StatusCode.UNKNOWN"})
_PING_S = 5.0
_HARMLESS = conversation_json(Sample("", "", 0, "", (Message("user", "Hello"), Message("assistant", "Hello"))))

Outcome = Measured | Unmeasured
Took = Callable[[str, str, float], None]
"""Is told role, outcome (done, failed) and seconds of each request."""


@dataclass(frozen=True, slots=True)
class TritonLimits:
    """Bounds on what one client asks of the server.

    A request holds at most `rows_max` conversations of at most `bytes_max` bytes together (a longer one goes alone), at most
    `in_flight_max` requests are out at a time, each is given up after `deadline_s`, and a busy server is asked again for
    `busy_s_max`. A model whose process died is to be back within `load_s_max`.
    """

    rows_max: int = 4
    bytes_max: int = 128 * 1024
    in_flight_max: int = 3
    deadline_s: float = 120.0
    busy_s_max: float = 20.0
    load_s_max: float = 120.0
    back_off_s_min: float = 0.05
    back_off_s_max: float = 2.0


@dataclass(frozen=True, slots=True)
class _Server:
    """One server, as all its models share it: one client, because each costs memory that it does not give back."""

    address: str
    client: triton.InferenceServerClient
    limits: TritonLimits
    took: Took
    in_flight: asyncio.Semaphore
    revival: Revival


@dataclass(frozen=True, slots=True)
class TritonSignalModel:
    """One version of one model on the server; `forget` is called when the server no longer has it."""

    name: str
    version: str
    server: _Server
    forget: Callable[[], None]

    async def measure(self, samples: Sequence[Sample], role: str, asks: Asks = NOTHING_MORE) -> Sequence[Outcome]:
        """As `SignalModel.measure`. What is judged by generated text goes alone: writing takes seconds.

        Where the model refuses every sample, or dies of each, it is asked one harmless conversation more. If it answers that,
        the samples are at fault and are unmeasured; if it does not, the model is, and the caller is to stop.
        """
        outcomes = await self._outcomes([conversation_json(sample) for sample in samples], role, asks)
        if outcomes and all(isinstance(outcome, Unmeasured) for outcome in outcomes):
            (harmless,) = await self._outcomes([_HARMLESS], role, asks)
            if isinstance(harmless, Unmeasured):
                raise Stop(f"{harmless.error}; it refuses every conversation, a harmless one too")
        return outcomes

    async def _outcomes(self, texts: Sequence[bytes], role: str, asks: Asks) -> list[Outcome]:
        limits = self.server.limits
        try:
            async with asyncio.TaskGroup() as group:
                rows_max = 1 if asks.judge is Judge.GENERATED else limits.rows_max
                split = parts(texts, rows_max=rows_max, bytes_max=limits.bytes_max)
                asked = [group.create_task(self._part(part, role, asks)) for part in split]
        except ExceptionGroup as failures:  # callers know the errors, not that parts were asked side by side
            failure = failures.exceptions[0]
            if isinstance(failure, ModelMissing):
                self.forget()
            raise failure from None
        return [outcome for part in asked for outcome in part.result()]

    async def _part(self, texts: Sequence[bytes], role: str, asks: Asks, *, alone: bool = False) -> list[Outcome]:
        """Halves what the server refuses until the conversation at fault is alone.

        When the model's process dies, all requests on their way fail, the guilty one and the others: each is made again when
        none of the others is, `alone`.
        """
        life = self.server.revival.life_of(self.name)
        try:
            result = await self._infer(texts, role, asks)
        except InferenceServerException as refusal:
            if has_died(refusal):
                await self.server.revival.revive(self.name, life)
                if not alone:
                    async with self.server.revival.turn:
                        return await self._part(texts, role, asks, alone=True)
            if len(texts) == 1:
                return [Unmeasured(f"{self._where}: {_told(refusal)}")]
            middle = len(texts) // 2
            return [
                *await self._part(texts[:middle], role, asks, alone=alone),
                *await self._part(texts[middle:], role, asks, alone=alone),
            ]
        try:
            named = {"role": role, "model": self.name, "model_version": self.version}
            return [*measured_rows(result, len(texts), **named, asks=asks)]
        except Unintelligible as error:
            raise Stop(f"{self._where} is no model of headrace: {error}") from error

    async def _infer(self, texts: Sequence[bytes], role: str, asks: Asks) -> InferResult:
        """Asks until the server has room. Raises InferenceServerException where it refuses the conversations themselves."""
        clock = asyncio.get_running_loop().time
        limits = self.server.limits
        began, wait = clock(), limits.back_off_s_min
        while True:
            try:
                return await self._infer_once(texts, role, asks)
            except InferenceServerException as error:
                self._raise_unless_refused(error)
                if error.status() not in _GONE:
                    raise
                if clock() - began + wait > limits.busy_s_max:
                    raise Stop(f"{self._where} is busy or gone: {_told(error)}") from error
            await asyncio.sleep(wait * random.uniform(0.5, 1.5))  # noqa: S311 - spreads the callers, guards nothing
            wait = min(2 * wait, limits.back_off_s_max)

    async def _infer_once(self, texts: Sequence[bytes], role: str, asks: Asks) -> InferResult:
        inputs = [_column("CONVERSATION", texts)]
        if asks.judge:
            inputs.append(_column("JUDGE", [asks.judge.value.encode()] * len(texts)))
        if asks.plain_prompt:
            plain = InferInput("PLAIN", [len(texts), 1], "BOOL")
            plain.set_data_from_numpy(np.ones((len(texts), 1), dtype=np.bool_))
            inputs.append(plain)
        async with self.server.in_flight:
            clock = asyncio.get_running_loop().time
            began, outcome = clock(), "failed"
            try:
                result = await self.server.client.infer(
                    self.name, inputs, model_version=self.version, client_timeout=self.server.limits.deadline_s
                )
                outcome = "done"
            finally:
                self.server.took(role, outcome, clock() - began)
        return result

    def _raise_unless_refused(self, error: InferenceServerException) -> None:
        if _is_missing(error):
            raise ModelMissing(f"{self._where}: {_told(error)}") from error
        if error.status() == "StatusCode.DEADLINE_EXCEEDED":
            waited = f"{self.server.limits.deadline_s:g} s"
            raise Stop(f"{self._where} did not answer within {waited} (HEADRACE_SCORING_DEADLINE_S)") from error

    @property
    def _where(self) -> str:
        return f"model {self.name} version {self.version} at {self.server.address}"


@dataclass(slots=True)
class TritonSignalModels:
    """The models of one server, each pinned to a version: the one that is set, else the one that was announced as measuring.

    Where neither is so, it is the one that was ready when the model was first asked for; such a pin is dropped when the server
    no longer has that version, so that whoever then comes back gets the one it has.
    """

    server: _Server
    current_name: str
    current_version: str
    announced: Callable[[str], str | None] = lambda _model: None
    _pinned: dict[str, SignalModel] = field(default_factory=dict)

    @staticmethod
    @asynccontextmanager
    async def opened(
        address: str,
        *,
        model: str,
        version: str,
        limits: TritonLimits,
        took: Took = lambda _role, _outcome, _seconds: None,
        announced: Callable[[str], str | None] = lambda _model: None,
    ) -> AsyncIterator["TritonSignalModels"]:
        """Models of the server at `address` (host:port).

        `version` empty takes the one that `announced` says of the model at that time, and where it says None the newest that
        is ready. No connection is made before it is needed.
        """
        client = triton.InferenceServerClient(address, channel_args=_CHANNEL)
        try:
            revival = Revival(client, address, limits.load_s_max)
            server = _Server(address, client, limits, took, asyncio.Semaphore(limits.in_flight_max), revival)
            yield TritonSignalModels(server, model, version, announced)
        finally:
            await client.close()

    async def current(self) -> SignalModel:
        """As `SignalModels.current`."""
        return await self.named(self.current_name)

    async def named(self, name: str) -> SignalModel:
        """As `SignalModels.named`."""
        wanted = self._wanted(name)
        pinned = self._pinned.get(name)
        if pinned is None or (wanted and pinned.version != wanted):
            pinned = self._pinned[name] = self.at(name, wanted or await self._newest(name))
        return pinned

    def at(self, name: str, version: str) -> SignalModel:
        """As `SignalModels.at`."""
        return TritonSignalModel(name, version, self.server, lambda: self._forget(name))

    async def has(self, name: str, version: str) -> bool:
        """Whether this version is ready there. Raises Stop when the server is gone."""
        try:
            return bool(await self.server.client.is_model_ready(name, version, client_timeout=_PING_S))
        except InferenceServerException as error:
            if _is_missing(error):
                return False
            self._raise(name, error)

    def _wanted(self, name: str) -> str:
        """The version that is set or announced, empty where any will do."""
        return (self.current_version if name == self.current_name else "") or self.announced(name) or ""

    def _forget(self, name: str) -> None:
        self._pinned.pop(name, None)

    async def ping(self) -> None:
        """As `SignalModels.ping`."""
        client, wanted = self.server.client, self._wanted(self.current_name)
        try:
            if not await client.is_model_ready(self.current_name, wanted, client_timeout=_PING_S):
                raise ModelMissing(f"{self.server.address} has no model {self.current_name} {wanted} ready")
        except InferenceServerException as error:
            self._raise(self.current_name, error)

    async def _newest(self, name: str) -> str:
        """The highest version of the model that is ready."""
        try:
            metadata = await self.server.client.get_model_metadata(name, client_timeout=_PING_S)
        except InferenceServerException as error:
            self._raise(name, error)
        versions = [version for version in metadata.versions if version.isdecimal()]
        if not versions:
            raise ModelMissing(f"{self.server.address} has no version of model {name} ready")
        return str(max(versions, key=int))

    def _raise(self, name: str, error: InferenceServerException) -> NoReturn:
        if _is_missing(error):
            raise ModelMissing(f"{self.server.address} has no model {name}: {_told(error)}") from error
        raise Stop(f"{self.server.address} (HEADRACE_SCORING_TRITON) does not answer: {_told(error)}") from error


def _column(name: str, values: Sequence[bytes]) -> InferInput:
    column = InferInput(name, [len(values), 1], "BYTES")
    column.set_data_from_numpy(np.array(values, dtype=np.object_).reshape(-1, 1))
    return column


def _is_missing(error: InferenceServerException) -> bool:
    # A model that is known but not ready is UNAVAILABLE, as a full queue is: only the text tells them apart.
    return error.status() == "StatusCode.NOT_FOUND" or "unknown model" in _told(error)


def _told(error: InferenceServerException) -> str:
    return str(error.message() or error)
