"""What changed between two versions: shards that both have are left out, the rest is merged in order of the ids. Pure."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeVar

from headrace.core.retractions import BY_ROUNDS, RETRACTION_MEANING, RetractionReason
from headrace.core.versions import Manifest, RowKind, Shard


class HasSampleId(Protocol):
    """A row that can be put in order."""

    @property
    def sample_id(self) -> str: ...


Row = TypeVar("Row", bound=HasSampleId)


class ChangeKind(StrEnum):
    """What became of a sample from one version to another."""

    ADDED = "added"
    REMOVED = "removed"
    REVISED = "revised"


class AcceptedRow(NamedTuple):
    """What is compared of an accepted row, and what says why it is there; what is absent is None."""

    sample_id: str
    revision: int
    content_hash: str
    policy_version: str
    model: str | None
    model_version: str | None
    origin_kind: str
    origin_parent_ids: list[str]
    origin_recipe: str | None
    origin_recipe_version: str | None
    origin_round: str | None = None


class RetractedRow(NamedTuple):
    """What a version says of a sample that was taken back: revisions up to this one are out."""

    sample_id: str
    revision: int
    reason: str
    note: str | None
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """One sample that is not as it was; `before` is None where it was added, `after` where it was removed.

    `retracted` is the rule that took a removed sample out, None where the later version knows of none.
    """

    kind: ChangeKind
    before: AcceptedRow | None
    after: AcceptedRow | None
    retracted: RetractedRow | None = None

    @property
    def sample_id(self) -> str:
        row = self.after or self.before
        return row.sample_id if row else ""


@dataclass(frozen=True, slots=True)
class Unshared:
    """The accepted shards that only one of two versions has; `shared` counts those that both have."""

    before: tuple[Shard, ...]
    after: tuple[Shard, ...]
    shared: int


def unshared(before: Manifest, after: Manifest) -> Unshared:
    """Which shards have to be read to tell two versions apart."""
    shards = before.shards_of(RowKind.ACCEPTED), after.shards_of(RowKind.ACCEPTED)
    both = {shard.sha256 for shard in shards[0]} & {shard.sha256 for shard in shards[1]}
    one, other = (tuple(shard for shard in side if shard.sha256 not in both) for side in shards)
    return Unshared(one, other, len(both))


def in_order(shards: Sequence[Shard], rows_of: Callable[[Shard], Iterator[Row]]) -> Iterator[Row]:
    """The rows of shards that are each in order, in order; a shard is opened when the first of its ids is reached."""
    waiting = sorted(shards, key=lambda shard: (shard.min_id, shard.sha256), reverse=True)
    heads: list[tuple[str, int, Row, Iterator[Row]]] = []
    opened = 0
    while waiting or heads:
        while waiting and (not heads or waiting[-1].min_id <= heads[0][0]):
            opened += 1
            rows = rows_of(waiting.pop())
            if (row := next(rows, None)) is not None:
                heapq.heappush(heads, (row.sample_id, opened, row, rows))
        if not heads:
            continue
        _, number, row, rows = heads[0]
        yield row
        following = next(rows, None)
        if following is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (following.sample_id, number, following, rows))


def changes(before: Iterable[AcceptedRow], after: Iterable[AcceptedRow]) -> Iterator[Change]:
    """What differs between rows in order of ids that are unique on either side; holds one row of each."""
    befores, afters = iter(before), iter(after)
    old, new = next(befores, None), next(afters, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old.sample_id < new.sample_id):
            yield Change(ChangeKind.REMOVED, old, None)
            old = next(befores, None)
        elif old is None or new.sample_id < old.sample_id:
            yield Change(ChangeKind.ADDED, None, new)
            new = next(afters, None)
        else:
            if (old.revision, old.content_hash) != (new.revision, new.content_hash):
                yield Change(ChangeKind.REVISED, old, new)
            old, new = next(befores, None), next(afters, None)


def with_retractions(found: Iterable[Change], retracted: Iterator[RetractedRow]) -> Iterator[Change]:
    """The changes with the rules that took samples out; rules come in order of the ids too, and are read when they are needed."""
    rule: RetractedRow | None = None
    exhausted = False
    for change in found:
        if change.kind is ChangeKind.REMOVED:
            while not exhausted and (rule is None or rule.sample_id < change.sample_id):
                rule = next(retracted, None)
                exhausted = rule is None
            if rule is not None and rule.sample_id == change.sample_id:
                yield replace(change, retracted=rule)
                continue
        yield change


def reason_of(change: Change) -> str:
    """Why a sample is in the later version, as its row there says it, or why it is not."""
    row = change.after
    if row is None:
        return _reason_gone(change.retracted)
    model = f", signals of {row.model} {row.model_version}" if row.model else ""
    parents = f" from {', '.join(row.origin_parent_ids)}" if row.origin_parent_ids else ""
    recipe = " ".join(part for part in (row.origin_recipe, row.origin_recipe_version) if part)
    return (
        f"accepted under policy {row.policy_version}{model}; {row.origin_kind}{parents}{f' by recipe {recipe}' if recipe else ''}"
    )


def _reason_gone(rule: RetractedRow | None) -> str:
    if rule is None:
        return "the other version has no row of it, nor a rule that took it out: it is the older one, or the row was forgotten"
    reason = next((each for each in RetractionReason if each == rule.reason), None)
    how = "evicted by a round" if reason in BY_ROUNDS else "retracted"
    meaning = f" ({RETRACTION_MEANING[reason]})" if reason is not None else ""
    return f"{how}: {rule.reason}{meaning}{f', {rule.note}' if rule.note else ''}, revisions up to {rule.revision}"


def difference(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """By how much each count changed; what did not change is left out."""
    names = sorted({*before, *after})
    return {name: change for name in names if (change := after.get(name, 0) - before.get(name, 0))}
