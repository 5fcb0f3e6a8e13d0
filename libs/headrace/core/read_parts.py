"""What readers of one dataset have read together, from where each of them stands: to the row, within a version too. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from headrace.core.checkpoints import PositionRange, TrainingData, VersionPart
from headrace.core.positions import Position, position_from

Places = Position | str | Mapping[str, Any] | Iterable[Position | str | Mapping[str, Any]]
"""A position, its token, or a state that holds some, as `state_dict()` of `as_iterable_dataset` does; or several of them."""

STATE_TYPE = "_AcceptedRows"
"""What marks the innermost state of a reader; its `position` is a token, None before the first row."""

_BEFORE = "previous_state"  # `datasets` keeps an earlier one beside the present one where rows are handed on in batches


def read_since(places: Places, since: Places | None = None) -> TrainingData:
    """What was read up to these places: of all parts together, and where `since` is given only what came behind that.

    Raises:
        ValueError: they are not of one reading: several datasets, versions or divisions, a part twice, or one that is missing.
        BadPosition: a token is garbled.
    """
    parts, idle = _parts(places)
    if not parts:
        raise ValueError(
            "nothing was read at these places; where several workers read, each has a state of its own, and all are wanted"
        )
    first = next(iter(parts.values()))
    missing = sorted(set(range(first.share[1])) - parts.keys())
    if len(missing) > idle:
        raise ValueError(f"part {missing[0]} of {first.share[1]} is missing: give the places of all ranks and workers")
    earlier = _parts(since)[0] if since is not None else {}
    for each in (*parts.values(), *earlier.values()):
        _require_same(first, each)
    versions = [_version_part(each, earlier.get(index)) for index, each in sorted(parts.items())] if first.version else []
    ranges = [found for index, each in sorted(parts.items()) for found in _ranges(each, earlier.get(index))]
    whole = not missing and all(each == VersionPart(each.share) for each in versions)
    named = whole or any(each.since != each.until for each in versions) or any(each.repeats_until for each in ranges)
    return TrainingData(
        dataset_id=first.dataset_id,
        version=first.version if named else "",
        positions=tuple(sorted(ranges, key=lambda each: (each.partition, each.share))),
        version_parts=() if whole or not named else tuple(versions),
    )


def _parts(places: Places) -> tuple[dict[int, Position], int]:
    """The positions by the number of their part, and how many readers had not begun."""
    parts: dict[int, Position] = {}
    idle = 0
    for found in _positions(places):
        if found is None:
            idle += 1
        elif parts.setdefault(found.share[0], found) != found:
            raise ValueError(f"part {found.share[0]} of {found.share[1]} is given twice, at different places")
    return parts, idle


def _positions(places: Places) -> Iterator[Position | None]:
    if isinstance(places, Position):
        yield places
    elif isinstance(places, str):
        yield position_from(places)
    elif isinstance(places, Mapping):
        yield from _in_state(places)
    else:
        for each in places:
            yield from _positions(each)


def _in_state(state: object) -> Iterator[Position | None]:
    if isinstance(state, Mapping):
        if state.get("type") == STATE_TYPE and "position" in state:
            token = state["position"]
            yield None if token is None else position_from(token)
            return
        for name, each in state.items():
            if name != _BEFORE:
                yield from _in_state(each)
    elif isinstance(state, Sequence) and not isinstance(state, str | bytes):
        for each in state:
            yield from _in_state(each)


def _require_same(first: Position, other: Position) -> None:
    for name, mine, theirs in (
        ("datasets", first.dataset_id, other.dataset_id),
        ("numbers of parts", first.share[1], other.share[1]),
        ("versions", first.version or "none", other.version or "none"),
    ):
        if mine != theirs:
            raise ValueError(f"the places are of different {name}, {mine} and {theirs}: they are not of one reading")


def _version_part(at: Position, since: Position | None) -> VersionPart:
    until = None if at.offsets else (at.shard, at.row)
    if since is None:
        return VersionPart(at.share, until=until)
    behind = (since.shard, since.row)
    return VersionPart(at.share, behind, behind if since.offsets else until)


def _ranges(at: Position, since: Position | None) -> Iterator[PositionRange]:
    begins = since.offsets if since is not None and since.offsets else at.since
    for number, until in at.offsets.items():
        begin = begins.get(number, 0)
        if begin < until:
            repeats = at.repeats.get(number, 0)
            yield PositionRange(number, begin, until, at.share, repeats if repeats > begin else 0)
