"""A chat model in memory, for handlers; and kept replies in memory, for the model that pays once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from headrace.core.chat import Call, KeptReply, NotMade, Outcome, Reply, identity_of
from headrace.core.dossiers import Cost
from headrace.core.events import Stop

MODEL = "fake"


@dataclass
class FakeChatModel:
    """Says what `says` returns: a text, or an outcome of its own. The same call is paid once; `paid` lists those that were."""

    says: Callable[[Call], str | Outcome]
    paid: list[Call] = field(default_factory=list)
    kept: dict[str, Outcome] = field(default_factory=dict)
    gone: bool = False

    async def ask(self, call: Call) -> Outcome:
        """As `ChatModel.ask`."""
        if self.gone:
            raise Stop("the endpoint is gone")
        identity = identity_of(call, MODEL)
        if identity in self.kept:
            return self.kept[identity]
        said = self.says(call)
        outcome = Reply(said, Cost(call.role, 0.5, 10, 5, 0.001, "EUR"), MODEL, "stop") if isinstance(said, str) else said
        if not isinstance(outcome, NotMade) or outcome.cost is not None:
            self.paid.append(call)
            self.kept[identity] = outcome
        return outcome


@dataclass
class FakeReplies:
    """As `KeptReplies`. While `gone`, nothing is taken or given; `caught_up` lists what was asked for."""

    kept: dict[str, KeptReply] = field(default_factory=dict)
    stored: list[tuple[int, KeptReply]] = field(default_factory=list)
    caught_up: list[frozenset[int]] = field(default_factory=list)
    gone: bool = False

    async def catch_up(self, partitions: Iterable[int]) -> None:
        self._require()
        self.caught_up.append(frozenset(partitions))

    async def find(self, identity: str) -> KeptReply | None:
        return self.kept.get(identity)

    async def store(self, partition: int, kept: KeptReply) -> None:
        self._require()
        self.stored.append((partition, kept))
        self.kept[kept.identity] = kept

    def _require(self) -> None:
        if self.gone:
            raise Stop("Kafka is gone")
