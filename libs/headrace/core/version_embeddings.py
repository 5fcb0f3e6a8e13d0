"""Which models' embeddings a dataset version carries on from its parent. Pure: what the rows say decides, not the moment."""

from collections.abc import Collection, Mapping

VERSIONS_CARRIED = 3
"""Versions of one model, the latest by number: the one that measures, the one to go back to, and one that a round judges by."""

Group = tuple[str, str, int]
"""Model, version and dimensions: what `Shard.group` says."""


def carried(rows: Mapping[Group, int], fresh: Collection[Group]) -> frozenset[Group]:
    """The groups that stay, of those that a version has rows of; `fresh` are those that it takes new rows of.

    Who has new rows measures, or is measured with by a round, whatever its number. Beside them stay the latest versions of each
    model, those whose numbers cannot be told, and the group with the most rows, which is what looks into the whole dataset rely
    on until another covers as much. A version that takes in no embeddings has no news of models: it carries everything.
    """
    if not fresh:
        return frozenset(rows)
    most = max(rows, key=lambda group: (rows[group], _number(group), group), default=None)
    kept = {*fresh, *([most] if most is not None else [])}
    for model in {name for name, _, _ in rows}:
        versions = [group for group in rows if group[0] == model]
        kept |= {group for group in versions if _number(group) < 0}
        numbers = sorted({_number(group) for group in versions}, reverse=True)[:VERSIONS_CARRIED]
        kept |= {group for group in versions if _number(group) in numbers}
    return frozenset(kept & rows.keys())


def _number(group: Group) -> int:
    """The version as a number, -1 where it is none."""
    version = group[1]
    return int(version) if version.isascii() and version.isdecimal() else -1
