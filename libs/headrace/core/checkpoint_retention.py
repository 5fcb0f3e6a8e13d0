"""Which checkpoints' weights nobody needs any more, and the record that says that they were collected. Pure.

A checkpoint is never forgotten: its manifest stays, and with it what it was trained on and the list of samples it has seen.
Its weights are most of its bytes. They are needed by what measures, by whoever may go back to them, by rounds, and by those who
named them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from headrace.core.checkpoint_manifests import manifest_key
from headrace.core.roll_out import RollOuts
from headrace.core.rounds.state import RoundState
from headrace.core.versions import canonical_json

WEIGHTS_SUFFIX = ".safetensors"
"""What is collected of a checkpoint: files with these names."""

KEPT_MIN = 2
"""Of the versions that led to the present one: itself, and the one before it, that a rollback goes to."""

COLLECTED_PREFIX = "collected/"
"""Where it is said whose weights were collected: beside `checkpoints/`, whose listing shows manifests alone."""

ModelVersion = tuple[str, str]
"""A model's name and a version of it, as signals and embeddings carry them."""


@dataclass(frozen=True, slots=True)
class NamedByDatasets:
    """What dataset versions name: `measured`, whose embeddings latest or tagged versions have; `tagged` version ids."""

    measured: Collection[ModelVersion] = ()
    tagged: Collection[str] = ()


class Collected(BaseModel):
    """The checkpoint's weights are no longer kept; its manifest and its other files are."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1] = 1
    model: str
    checkpoint_id: str = Field(pattern="^[0-9a-f]{64}$")


def collected_key(model: str, checkpoint_id: str) -> str:
    """Where it is said that a checkpoint's weights were collected."""
    return manifest_key(model, checkpoint_id).replace("checkpoints/", COLLECTED_PREFIX, 1)


def collected_of(key: str) -> str:
    """The id of the checkpoint whose record has this key."""
    return key.rpartition("/")[2].removesuffix(".json")


def collected_bytes(model: str, checkpoint_id: str) -> bytes:
    """Equal records have equal bytes."""
    return canonical_json(Collected(model=model, checkpoint_id=checkpoint_id).model_dump(mode="json"))


def unneeded(
    models: Mapping[str, RollOuts], rounds: Iterable[RoundState], named: NamedByDatasets, *, keep_last: int, ended_since: float
) -> frozenset[str]:
    """The announced checkpoints whose weights nobody needs; whatever else lies in the store may be needed.

    Needed are, of each model, what measures, the `keep_last` latest versions that led to it (`KEPT_MIN` at least) and as many
    checkpoints published last; what waits for its roll-out; the models of rounds that run, that ended after `ended_since` (Unix
    seconds) or were a dataset's latest; what dataset versions name; and what adapters among all these were trained on. `rounds`
    are in the order of their beginnings.
    """
    keep_last = max(keep_last, KEPT_MIN)
    needed = {each for outs in models.values() for each in _of_model(outs, keep_last)}
    versions = {*named.measured}
    for state in _of_interest(rounds, ended_since):
        survey = state.begun.survey
        versions |= {(survey.model, survey.model_version), (survey.base_model, survey.base_model_version)}
        needed |= {state.begun.checkpoint_id, state.checkpoint.checkpoint_id if state.checkpoint else ""}
    needed |= {models[model].checkpoints.get(version, "") for model, version in versions if model in models}
    published = {each.checkpoint_id: each for outs in models.values() for each in outs.published.values()}
    needed |= {id_ for id_, each in published.items() if each.data.version in named.tagged}
    return frozenset(published.keys() - {each for outs in models.values() for each in _with_bases(outs, needed)})


def _of_model(outs: RollOuts, keep_last: int) -> Iterator[str]:
    yield from (outs.checkpoints[version] for version in outs.line[-keep_last:])
    latest = sorted(outs.published.values(), key=lambda each: (each.published_at, each.checkpoint_id))
    yield from (each.checkpoint_id for each in latest[-keep_last:])
    answered = {*outs.checkpoints.values(), *outs.refused}
    yield from (each for each in outs.published if each not in answered)


def _with_bases(outs: RollOuts, needed: Collection[str]) -> set[str]:
    """The needed checkpoints of a model, with those that adapters among them belong to, and that those belong to in turn."""
    found: set[str] = set()
    left = [each for each in needed if each in outs.published]
    while left:
        found.add(checkpoint_id := left.pop())
        base = outs.base_of(outs.published[checkpoint_id])
        its = "" if base is None else outs.checkpoints[base]
        if its in outs.published and its not in found:
            left.append(its)
    return found


def _of_interest(rounds: Iterable[RoundState], ended_since: float) -> Iterator[RoundState]:
    latest: dict[str, RoundState] = {}
    for state in rounds:
        if state.ordinal:
            latest[state.dataset_id] = state
        if state.running or state.phase_since > ended_since:
            yield state
    yield from latest.values()
