"""Rolls checkpoints out, and back."""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from headrace.adapters.triton.model_repository import NoSuchModel
from headrace.core.checkpoints import (
    CheckpointPublished,
    CheckpointRefused,
    CheckpointRolledOut,
    RefusedStep,
    RollbackRequested,
)
from headrace.core.events import Emit, Event, Result, Send, Stop
from headrace.core.roll_out import NoRollback, RollOuts
from headrace.core.topics import CHECKPOINT_REFUSED, CHECKPOINT_ROLLED_OUT
from services.controller.steps import Golden, Refused, Steps, require_same_dimensions
from services.controller.turns import Turn, Turns

_log = logging.getLogger("headrace.controller")


async def _nothing_bound(_: str) -> frozenset[int]:
    return frozenset()


@dataclass(frozen=True, slots=True)
class Controller:
    """What the handlers need.

    `history` reads what became of a model's checkpoints up to now. `announce_first` publishes the version that the model server
    began with, and returns once it is visible. `event_id_of` is the id that the announcement emitted for an event will have.
    `bound` tells the versions of a model that running rounds measure with: they stay loaded until then.
    """

    history: Callable[[str], Awaitable[RollOuts]]
    announce_first: Callable[[CheckpointRolledOut], Awaitable[None]]
    event_id_of: Callable[[str], str]
    steps: Steps | None
    turns: Turns | None
    clock: Callable[[], float] = time.time
    bound: Callable[[str], Awaitable[frozenset[int]]] = _nothing_bound


@dataclass(frozen=True, slots=True)
class _Task:
    """One version to be moved to."""

    event: Event[CheckpointPublished] | Event[RollbackRequested]
    checkpoint_id: str
    began_at: float
    request_id: str = ""


async def roll_out(events: Sequence[Event[CheckpointPublished]], controller: Controller) -> list[Result]:
    """Answer each checkpoint with its announcement or its refusal; one that was announced before with nothing.

    Raises:
        Stop: the object store or the model server is gone, or others are at work on the repository.
    """
    return [
        await _answered(_Task(event, event.body.checkpoint_id, event.body.published_at), controller, _rolled_out)
        for event in events
    ]


async def roll_back(events: Sequence[Event[RollbackRequested]], controller: Controller) -> list[Result]:
    """Answer each request with the announcement of an earlier version, or a refusal; one that was granted with nothing.

    Raises:
        Stop: as `roll_out`.
    """
    return [
        await _answered(_Task(event, event.body.checkpoint_id, event.time, event.body.request_id), controller, _rolled_back)
        for event in events
    ]


_Move = Callable[[_Task, Controller, Steps, RollOuts], Awaitable[CheckpointRolledOut | None]]


async def _answered(task: _Task, controller: Controller, move: _Move) -> Result:
    model = task.event.body.model
    try:
        if controller.steps is None or controller.turns is None:
            raise Refused(RefusedStep.INSTALL, "HEADRACE_CONTROLLER_MODEL_REPOSITORY is not set: nothing can be rolled out here")  # noqa: TRY301 - one way out
        _require_model(controller.steps, model)
        async with controller.turns.turn() as turn:
            told = await move(task, controller, controller.steps, await controller.history(model))
            return _announced(told, task, turn, controller)
    except Refused as refused:
        _log.warning("model %s: refused at step %s: %s", model, refused.step, refused)
        body = CheckpointRefused(model, task.checkpoint_id, refused.step, str(refused), controller.clock(), task.request_id)
        return Emit((Send(CHECKPOINT_REFUSED, body),))


def _announced(told: CheckpointRolledOut | None, task: _Task, turn: Turn, controller: Controller) -> Emit:
    if told is None:
        return Emit()
    turn.announces = controller.event_id_of(task.event.id)
    _log.info(
        "model %s: version %s takes the place of %s after %.1f s, of which loading took %.1f s",
        told.model,
        told.model_version,
        told.previous_version,
        told.seconds,
        told.load_seconds,
    )
    return Emit((Send(CHECKPOINT_ROLLED_OUT, told),))


async def _rolled_out(task: _Task, controller: Controller, steps: Steps, history: RollOuts) -> CheckpointRolledOut | None:
    published = task.event.body
    if not isinstance(published, CheckpointPublished):
        raise TypeError(f"{type(published).__name__} is no checkpoint")
    if history.version_of(published.checkpoint_id) is not None:
        return None
    model = published.model
    bound = await controller.bound(model)
    present, before = await _standing(model, controller, steps, history, bound)
    version = history.number_for(task.event.first_position.offset)
    try:
        await _install(published, version, steps, history, present)
        load_seconds = await steps.load(model, present, version, bound)
        golden = await steps.measure(model, version)
        steps.require_plausible(golden, before)
        weights = await steps.weights_sha256(model, version)
    except Refused:
        await steps.take_back(model, present, version, remove=True, bound=bound)
        raise
    steps.tidy(model, _first(history))
    return _told(task, controller, version, present, golden, before, load_seconds, weights)


async def _rolled_back(task: _Task, controller: Controller, steps: Steps, history: RollOuts) -> CheckpointRolledOut | None:
    request = task.event.body
    if not isinstance(request, RollbackRequested):
        raise TypeError(f"{type(request).__name__} is no request for a rollback")
    if request.request_id in history.answered:
        return None
    model = request.model
    try:
        version = int(history.way_back(request.checkpoint_id))
    except NoRollback as error:
        raise Refused(RefusedStep.ROLLBACK, error) from error
    bound = await controller.bound(model)
    present, before = await _standing(model, controller, steps, history, bound)
    checkpoint_id = history.checkpoints[str(version)]
    try:
        if version not in steps.repository.versions(model):
            published = history.published.get(checkpoint_id)
            if published is None:
                raise Refused(RefusedStep.ROLLBACK, f"the weights of version {version} are gone")  # noqa: TRY301 - one way out
            await _install(published, version, steps, history, present)
        load_seconds = await steps.load(model, present, version, bound)
        golden = await steps.measure(model, version)
        require_same_dimensions(golden, before)  # its loss was plausible once
        weights = history.weights_of(str(version)) or await steps.weights_sha256(model, version)
    except Refused:
        await steps.take_back(model, present, version, remove=False, bound=bound)
        raise
    return _told(task, controller, version, present, golden, before, load_seconds, weights, checkpoint_id)


def _first(history: RollOuts) -> int:
    """The version that the model server began with."""
    return int(next(iter(history.checkpoints)))


async def _install(published: CheckpointPublished, version: int, steps: Steps, history: RollOuts, like: int) -> None:
    """Makes the version; before it the one that an adapter belongs to, where that has left the disk."""
    base = history.base_of(published)
    if base is not None and int(base) not in steps.repository.versions(published.model):
        its = history.published.get(history.checkpoints[base])
        if its is not None:
            await _install(its, int(base), steps, history, like)
    await steps.install(published, version, first=_first(history), like=like)


async def _standing(
    model: str, controller: Controller, steps: Steps, history: RollOuts, bound: frozenset[int]
) -> tuple[int, Golden]:
    """The version that measures, and what it says of the golden samples.

    Where nothing was ever announced, what the server has now is: before another version is loaded, which nobody may take for it.
    """
    if history.present is not None:
        present = int(history.present)
        await steps.uphold(model, present, {int(version) for version in history.checkpoints}, bound)
        return present, await _as_it_is(steps, model, present)
    present = await steps.newest(model)
    golden = await _as_it_is(steps, model, present)
    try:
        weights = await steps.weights_sha256(model, present)
    except Refused as refused:
        raise Stop(f"the present version cannot be read: {refused}") from refused
    first = CheckpointRolledOut(
        model, "", str(present), "", golden.loss, golden.dimensions, 0.0, 0.0, controller.clock(), weights_sha256=weights
    )
    await controller.announce_first(first)
    history.take(first)
    return present, golden


async def _as_it_is(steps: Steps, model: str, present: int) -> Golden:
    """What the present version says; where it says nothing, that is no fault of the next one."""
    try:
        return await steps.measure(model, present)
    except Refused as refused:
        raise Stop(f"the present version cannot be compared with: {refused}") from refused


def _told(
    task: _Task,
    controller: Controller,
    version: int,
    present: int,
    golden: Golden,
    before: Golden,
    load_seconds: float,
    weights_sha256: str,
    checkpoint_id: str | None = None,
) -> CheckpointRolledOut:
    now = controller.clock()
    return CheckpointRolledOut(
        model=task.event.body.model,
        checkpoint_id=task.checkpoint_id if checkpoint_id is None else checkpoint_id,
        model_version=str(version),
        previous_version=str(present),
        golden_loss=golden.loss,
        previous_golden_loss=before.loss,
        dimensions=golden.dimensions,
        seconds=max(0.0, now - task.began_at),
        load_seconds=load_seconds,
        rolled_out_at=now,
        rollback_request_id=task.request_id,
        weights_sha256=weights_sha256,
    )


def _require_model(steps: Steps, model: str) -> None:
    try:
        steps.repository.require(model)
    except NoSuchModel as error:
        raise Refused(RefusedStep.INSTALL, error) from error
