"""Stages what was decided, and cuts versions from it."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from headrace.core.dossiers import DatasetCommitted, DatasetCutRequested, Dossier, IndexedSample, Verdict
from headrace.core.events import Emit, Event, Reject, Result, Retry, Send, no_policy
from headrace.core.policies import Policy, VersionRules
from headrace.core.retractions import RetractionRequested
from headrace.core.rounds.calibration_due import awaits_calibration
from headrace.core.rounds.standing import StandingPolicy
from headrace.core.staged import Place, Staged, rows_at_most, stream_of
from headrace.core.topics import COMMITTED, CUT_REQUESTED
from headrace.core.versions import Cut, CutContended, DamagedVersion

_log = logging.getLogger("headrace.datasets")

BY_POLICY = "policy"
"""Who asks for the versions that a policy's rules ask for; such a request counts only while its rule holds."""

_FINAL = {Verdict.ACCEPTED, Verdict.REJECTED}
_FLOAT32_BYTES = 4
_CUT_BY_CHARS_MAX = 200
_DAMAGED = "dataset %s cuts no versions by its policy: %s"
_NO_RULES = VersionRules()
_NO_STANDING = StandingPolicy()
Body = TypeVar("Body", Dossier, IndexedSample, RetractionRequested)


class Staging(Protocol):
    """Where batches lie until a version takes them; writing one again changes nothing. Returns the bytes written."""

    async def stage_decided(self, dataset_id: str, stream: str, rows: Sequence[tuple[Dossier, Place]]) -> int: ...
    async def stage_indexed(self, dataset_id: str, stream: str, rows: Sequence[tuple[IndexedSample, Place]]) -> int: ...
    async def stage_retracted(self, dataset_id: str, stream: str, rows: Sequence[tuple[RetractionRequested, Place]]) -> int: ...


class Cutter(Protocol):
    """Cuts versions from what is staged; `headrace.adapters.versions.cut` says what is raised."""

    async def cut(self, dataset_id: str, cut_by: str, rows: int | None = None) -> Cut | None: ...
    async def answered(self, dataset_id: str, cut_by: str) -> Cut | None: ...
    async def waiting(self, dataset_id: str) -> Staged: ...


class Calibrations(Protocol):
    """Tells whether staged rows are enough for standing thresholds; `headrace.adapters.rounds.calibrations_due` says how."""

    async def rows_due(self, dataset_id: str, standing: StandingPolicy) -> int | None: ...


async def _no_round(_: str) -> str:
    return ""


class Measures(Protocol):
    """Is told what was done; rows by verdict, sizes in bytes, times in seconds."""

    def staged(self, rows: Mapping[str, int], size_bytes: int) -> None: ...
    def cut(self, dataset_id: str, *, new: bool, seconds: float) -> None: ...


@dataclass(slots=True)
class Datasets:
    """What the handlers need.

    `settle` returns once what was decided before the call is staged, or after a bounded wait. `pace_s` is the shortest time
    between two batches of one topic: what arrives meanwhile makes one segment instead of many. `round_of` names the round that is
    changing a dataset, "" where none is: what is cut meanwhile would hold a part of it, past its guards, so policies wait.
    """

    staging: Staging
    cutter: Cutter
    policy_of: Callable[[str], Policy | None]
    measures: Measures
    settle: Callable[[], Awaitable[None]]
    calibrations: Calibrations
    pace_s: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    began: dict[str, float] = field(default_factory=dict)
    round_of: Callable[[str], Awaitable[str]] = _no_round

    def rules_of(self, dataset_id: str) -> VersionRules:
        """When the dataset's standing policy wants versions."""
        policy = self.policy_of(dataset_id)
        return policy.versions if policy else _NO_RULES

    def standing_of(self, dataset_id: str) -> StandingPolicy:
        """What it wants thresholds from, which versions bring."""
        policy = self.policy_of(dataset_id)
        return policy.standing if policy else _NO_STANDING


async def stage_decided(events: Sequence[Event[Dossier]], datasets: Datasets) -> list[Result]:
    """Write each dataset's decisions to its staging area; ask for a version where a rule of the policy on rows is reached.

    Raises:
        Stop: the object store is gone, or refuses.
    """
    await pace(events[0].topic, datasets)
    results: list[Result] = [_refused_decision(event.body) or Emit() for event in events]
    for (dataset_id, stream), indices in _groups(events, results, lambda dossier: dossier.sample.dataset_id).items():
        rows = [(events[i].body, _place(events[i], stream)) for i in indices]
        size = await datasets.staging.stage_decided(dataset_id, stream, rows)
        datasets.measures.staged(Counter(dossier.decisions[-1].verdict.value for dossier, _ in rows), size)
        if await _asks(dataset_id, [dossier for dossier, _ in rows], datasets):
            asked = DatasetCutRequested(dataset_id, f"{stream}/{rows[-1][1].offset}", BY_POLICY)
            results[indices[-1]] = Emit((Send(CUT_REQUESTED, asked),))
    return results


async def stage_indexed(events: Sequence[Event[IndexedSample]], datasets: Datasets) -> list[Result]:
    """Write each dataset's embeddings to its staging area.

    Raises:
        Stop: the object store is gone, or refuses.
    """
    await pace(events[0].topic, datasets)
    results: list[Result] = [_refused_embeddings(event.body) or Emit() for event in events]
    for (dataset_id, stream), indices in _groups(events, results, lambda indexed: indexed.dataset_id).items():
        rows = [(events[i].body, _place(events[i], stream)) for i in indices]
        size = await datasets.staging.stage_indexed(dataset_id, stream, rows)
        datasets.measures.staged({}, size)
    return results


async def stage_retracted(events: Sequence[Event[RetractionRequested]], datasets: Datasets) -> list[Result]:
    """Write each dataset's retractions to its staging area: the next version leaves out what they cover.

    Raises:
        Stop: the object store is gone, or refuses.
    """
    results: list[Result] = [
        Emit() if datasets.policy_of(event.body.dataset_id) else no_policy(event.body.dataset_id) for event in events
    ]
    for (dataset_id, stream), indices in _groups(events, results, lambda asked: asked.dataset_id).items():
        rows = [(events[i].body, _place(events[i], stream)) for i in indices]
        datasets.measures.staged({}, await datasets.staging.stage_retracted(dataset_id, stream, rows))
    return results


async def pace(topic: str, datasets: Datasets) -> None:
    """Wait until a further batch of the topic is due: what arrives meanwhile makes one segment instead of many."""
    wait_s = datasets.began.get(topic, -datasets.pace_s) + datasets.pace_s - datasets.clock()
    if wait_s > 0:
        await datasets.sleep(wait_s)
    datasets.began[topic] = datasets.clock()


async def cut_versions(events: Sequence[Event[DatasetCutRequested]], datasets: Datasets) -> list[Result]:
    """Answer each request with the version it led to; one by a person is answered with the latest where nothing is new.

    Raises:
        Stop: the object store is gone, or refuses.
    """
    return [await _cut(event, datasets) for event in events]


async def due_by_policy(policies: Mapping[str, Policy], datasets: Datasets, now: float) -> list[DatasetCutRequested]:
    """The requests for versions that rules on rows or on age want now; `now` is Unix seconds.

    What is staged says so, not what was asked for before: a request that was lost, or came while a round was changing the
    dataset, is made up for. Of a dataset that a round is changing there is none. The same due version has the same request id.

    Raises:
        Stop: the object store or the broker is gone.
    """
    requests = []
    for dataset_id, policy in policies.items():
        try:
            due = await _due(dataset_id, policy, datasets, now)
        except DamagedVersion as damaged:  # the other datasets do not wait for its repair
            _log.error(_DAMAGED, dataset_id, damaged)
            continue
        if due and not await datasets.round_of(dataset_id):
            requests.append(DatasetCutRequested(dataset_id, due, BY_POLICY))
    return requests


async def _due(dataset_id: str, policy: Policy, datasets: Datasets, now: float) -> str:
    """Names the version that is due: by the offset behind which its rows begin, or by their age; "" where none is."""
    if policy.versions.every_rows is None and policy.versions.every_s is None and not policy.standing.rows:
        return ""
    rows = await _rows_due(dataset_id, datasets)
    if rows is None and policy.versions.every_s is None:
        return ""
    staged = await datasets.cutter.waiting(dataset_id)
    first = next(iter(staged.slices(decided=True)), None)
    if rows is not None and first is not None:
        return f"rows/{first.segment.stream}/{first.after}"
    return f"age/{staged.oldest}" if _is_old(staged, policy.versions, now) else ""


async def _cut(event: Event[DatasetCutRequested], datasets: Datasets) -> Result:
    dataset_id, by_policy = event.body.dataset_id, event.body.requested_by == BY_POLICY
    began = datasets.clock()
    if datasets.policy_of(dataset_id) is None:  # a version would make a dataset of a name that was mistyped
        return no_policy(dataset_id)
    if by_policy and (round_id := await datasets.round_of(dataset_id)):
        _log.info("dataset %s gets no version by its policy while round %s is changing it", dataset_id, round_id)
        return Emit()  # what is due then is asked for again: `due_by_policy`
    try:
        cut = await (_cut_by_policy if by_policy else _cut_as_asked)(event, datasets)
        if cut is None:
            return Emit()
        again = cut.new and by_policy and await _asks(dataset_id, None, datasets)
    except DamagedVersion as damaged:
        return Reject("DamagedVersion", str(damaged))
    except CutContended as contended:
        return Retry("CutContended", str(contended))
    datasets.measures.cut(dataset_id, new=cut.new, seconds=datasets.clock() - began)
    sends = [Send(COMMITTED, _committed(cut, event.body.request_id))]
    if again:
        sends.append(Send(CUT_REQUESTED, DatasetCutRequested(dataset_id, f"after/{cut.version.id}", BY_POLICY)))
    return Emit(tuple(sends))


async def _cut_as_asked(event: Event[DatasetCutRequested], datasets: Datasets) -> Cut | None:
    """A version of everything decided before the request."""
    await datasets.settle()
    return await datasets.cutter.cut(event.body.dataset_id, _cut_by(event))


async def _cut_by_policy(event: Event[DatasetCutRequested], datasets: Datasets) -> Cut | None:
    """Exactly as many rows as a rule wants, so that versions do not depend on the moment; else all of them once they are old."""
    dataset_id, rules = event.body.dataset_id, datasets.rules_of(event.body.dataset_id)
    if answered := await datasets.cutter.answered(dataset_id, _cut_by(event)):
        return answered
    rows = await _rows_due(dataset_id, datasets)
    if rows is not None:
        cut = await datasets.cutter.cut(dataset_id, _cut_by(event), rows=rows)
        if cut is not None and cut.new:
            return cut
    if _is_old(await datasets.cutter.waiting(dataset_id), rules, event.time):
        return await datasets.cutter.cut(dataset_id, _cut_by(event))
    return None


async def _asks(dataset_id: str, last: Sequence[Dossier] | None, datasets: Datasets) -> bool:
    """Whether a rule on rows wants a version; with `last`, the rows staged last, only where it may be they who made it due.

    So most versions are asked for at once, and once; `due_by_policy` asks for what is missed.
    """
    try:
        if last is None or awaits_calibration(last, datasets.standing_of(dataset_id)):
            return await _rows_due(dataset_id, datasets) is not None
        every = datasets.rules_of(dataset_id).every_rows
        rows = await _rows_staged(dataset_id, datasets) if every is not None else 0
        return every is not None and rows // every > (rows - len(last)) // every
    except DamagedVersion as damaged:  # whoever asks for a version is told; staging goes on
        _log.error(_DAMAGED, dataset_id, damaged)
        return False


async def _rows_due(dataset_id: str, datasets: Datasets) -> int | None:
    """The fewest rows that a rule wants in a version now: the policy's number, or those that a calibration lacks."""
    every, standing = datasets.rules_of(dataset_id).every_rows, datasets.standing_of(dataset_id)
    wanted = [every] if every is not None and await _rows_staged(dataset_id, datasets) >= every else []
    due = await datasets.calibrations.rows_due(dataset_id, standing) if standing.rows else None
    return min([*wanted, *([due] if due is not None else [])], default=None)


async def _rows_staged(dataset_id: str, datasets: Datasets) -> int:
    """Decisions behind the latest version; an upper bound where batches were delivered again in other sizes."""
    return rows_at_most((await datasets.cutter.waiting(dataset_id)).slices(decided=True))


def _is_old(staged: Staged, rules: VersionRules, now: float) -> bool:
    return rules.every_s is not None and staged.oldest is not None and now - staged.oldest >= rules.every_s


def _committed(cut: Cut, request_id: str) -> DatasetCommitted:
    manifest = cut.version.manifest
    return DatasetCommitted(
        dataset_id=manifest.dataset,
        version=cut.version.id,
        sequence=manifest.sequence,
        manifest_key=cut.version.manifest_key,
        rows_accepted=manifest.counts.accepted,
        rows_rejected=manifest.counts.rejected,
        committed_at=cut.committed_at,
        request_id=request_id,
    )


def _cut_by(event: Event[DatasetCutRequested]) -> str:
    return event.id[:_CUT_BY_CHARS_MAX]


def _refused_decision(dossier: Dossier) -> Reject | None:
    if not dossier.decisions or dossier.decisions[-1].verdict not in _FINAL:
        return Reject("NotDecided", f"{dossier.sample.key[:200]}: the dossier does not end with accepted or rejected")
    return None


def _refused_embeddings(indexed: IndexedSample) -> Reject | None:
    sizes = (len(indexed.embeddings.prompt), len(indexed.embeddings.conversation))
    if not sizes[0] or sizes[0] % _FLOAT32_BYTES or sizes[0] != sizes[1]:
        return Reject("BadEmbeddings", f"{indexed.sample_id[:200]}: {sizes[0]} and {sizes[1]} bytes are no float32 of one length")
    return None


def _groups(
    events: Sequence[Event[Body]], results: Sequence[Result], dataset_of: Callable[[Body], str]
) -> dict[tuple[str, str], list[int]]:
    """Which events go into one segment: those of one dataset and stream that were not refused."""
    groups: dict[tuple[str, str], list[int]] = {}
    for index, (event, result) in enumerate(zip(events, results, strict=True)):
        if isinstance(result, Emit):
            stream = stream_of(event.position.topic, event.position.partition)
            groups.setdefault((dataset_of(event.body), stream), []).append(index)
    return groups


def _place(event: Event[Body], stream: str) -> Place:
    return Place(stream, event.position.offset, event.time)
