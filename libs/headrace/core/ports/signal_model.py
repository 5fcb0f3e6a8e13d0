"""The models whose signals decide, as scoring needs them: pinned to one version, measuring many samples at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace.core.dossiers import Embeddings, Signals
from headrace.core.rounds.surveys import Judge
from headrace.core.samples import Sample


class ModelMissing(LookupError):
    """The model server has no such model, or not that version of it, ready."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the model says of one sample. Where the signals carry an error nothing was made and `embeddings` is None.

    `plain_prompt` is the embedding of the prompt as plain text, without the chat template (float32 little-endian, unit length),
    empty where it was not asked for or there is none. `extra_tokens` counts what the model read for it, and what it read and
    wrote as its own judge.
    """

    signals: Signals
    embeddings: Embeddings | None
    plain_prompt: bytes = b""
    extra_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Asks:
    """What a model is asked beside its signals: to judge itself, to embed the prompt as plain text too."""

    judge: Judge = Judge.NONE
    plain_prompt: bool = False


NOTHING_MORE = Asks()


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """The server took the others but refused this one, for a reason that may pass: to be tried again."""

    error: str


class SignalModel(Protocol):
    """One version of one model."""

    @property
    def name(self) -> str:
        """The model's name on its server, recorded with every signal."""
        ...

    @property
    def version(self) -> str:
        """The pinned version, recorded with every signal: no call is ever answered by another."""
        ...

    async def measure(self, samples: Sequence[Sample], role: str, asks: Asks = NOTHING_MORE) -> Sequence[Measured | Unmeasured]:
        """One outcome per sample, in order; `role` is recorded with the signals.

        Raises:
            headrace.core.events.Stop: the server is gone, or stays too busy to answer. No sample is at fault.
            ModelMissing: the server no longer has this version.
        """
        ...


class SignalModels(Protocol):
    """The models of one server."""

    async def current(self) -> SignalModel:
        """The model that is being trained.

        Raises:
            headrace.core.events.Stop: the server is gone.
            ModelMissing: the server does not have it.
        """
        ...

    async def named(self, name: str) -> SignalModel:
        """Another model of the server, at the version that is ready there. Raises as `current` does."""
        ...

    def at(self, name: str, version: str) -> SignalModel:
        """One version of a model, whichever measures now. Whether the server has it is found when it is asked to measure."""
        ...

    async def ping(self) -> None:
        """Returns when the server answers and has the current model ready; raises when it has not."""
        ...
