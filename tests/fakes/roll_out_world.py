"""A controller with everything around it: real files, a model server that serves them, and an object store in memory."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from headrace.adapters.checkpoints.store import CheckpointLimits, CheckpointStore
from headrace.adapters.checkpoints.weights import Assembler
from headrace.core.checkpoints import (
    CheckpointKind,
    CheckpointPublished,
    CheckpointRefused,
    CheckpointRolledOut,
    RollbackRequested,
)
from headrace.core.events import Emit, Event, Position, Result
from headrace.core.roll_out import RollOuts
from headrace.core.topics import CHECKPOINT_PUBLISHED, ROLLBACK_REQUESTED
from headrace.lm.weights import weights_sha256
from services.controller.handlers import Controller, roll_back, roll_out
from services.controller.settings import ControllerSettings
from services.controller.steps import Steps
from services.controller.turns import Turns
from tests.fakes.bodies import SAMPLE
from tests.fakes.checkpoints import details
from tests.fakes.model_repositories import FakeModelServer, adapter_folder, model_repository
from tests.fakes.object_store import FakeObjectStore


@dataclass
class World:
    """A controller with everything around it; `announced` is what the topic of roll-outs holds, rounds measure with `bound`."""

    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)
    bound: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        self.repository = model_repository(self.folder / "models", code="# measures\n")
        self.server = FakeModelServer(self.repository)
        self.objects = FakeObjectStore()
        self.store = CheckpointStore(self.objects)
        self.base_sha256 = weights_sha256(self.repository.weights("signals", 1))
        self.told: list[CheckpointPublished | CheckpointRolledOut | CheckpointRefused] = []
        self.offset = 0

    def controller(self) -> Controller:
        """As after a start: nothing is remembered."""
        samples = (SAMPLE,) * 3
        settings = ControllerSettings(model_repository=self.repository.root, turn_s_max=0.3, **self.settings)
        assembler = Assembler(self.repository, CheckpointLimits())
        steps = Steps(self.repository, self.server, self.store, assembler, samples, settings)
        turns = Turns(self.repository.root, settings.turn_s_max, self._visible)
        return Controller(self._history, self._announce_first, lambda event_id: event_id, steps, turns, lambda: 50.0, self._bound)

    async def _bound(self, _: str) -> frozenset[int]:
        return self.bound

    async def published(
        self, folder: Path, kind: CheckpointKind = CheckpointKind.ADAPTER, **changes: object
    ) -> CheckpointPublished:
        made = details(**{"base_sha256": self.base_sha256, "kind": kind, **changes})
        return replace(await self.store.publish(folder, made), published_at=10.0)

    async def deliver(self, body: CheckpointPublished | RollbackRequested, offset: int | None = None) -> object:
        """Handles the event, makes what it leads to visible, and returns that: None, an announcement or a refusal."""
        if offset is None:
            offset, self.offset = self.offset, self.offset + 1
        if isinstance(body, CheckpointPublished):
            self.told.append(body)
            event = Event("e", CHECKPOINT_PUBLISHED.name, "signals", body, 40.0, Position(CHECKPOINT_PUBLISHED.name, 0, offset))
            (result,) = await roll_out([event], self.controller())
        else:
            asked = Event("r", ROLLBACK_REQUESTED.name, "signals", body, 40.0, Position(ROLLBACK_REQUESTED.name, 0, offset))
            (result,) = await roll_back([asked], self.controller())
        return self._visible_now(result)

    async def adapter(self, name: str, change: float = 0.5, **config: Any) -> CheckpointPublished:
        return await self.published(adapter_folder(self.folder / name, change, **config))

    @property
    def announced(self) -> list[CheckpointRolledOut]:
        return [each for each in self.told if isinstance(each, CheckpointRolledOut)]

    def _visible_now(self, result: Result) -> object:
        assert isinstance(result, Emit)
        for send in result.sends:
            assert isinstance(send.body, CheckpointRolledOut | CheckpointRefused)
            self.told.append(send.body)
        return result.sends[0].body if result.sends else None

    async def _history(self, model: str) -> RollOuts:
        history = RollOuts()
        for each in self.told:
            if each.model == model:
                history.take(each)
        return history

    async def _announce_first(self, told: CheckpointRolledOut) -> None:
        self.told.append(told)

    async def _visible(self, _: str) -> None:
        return
