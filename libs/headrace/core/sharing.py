"""How a dataset is divided among any number of readers: by its sources, and by sample id where these are too few. Pure."""

import zlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Slice:
    """The samples of one source, a partition of a topic or a shard of a version, whose ids hash to `index` of `of`."""

    index: int = 0
    of: int = 1

    def has(self, sample_id: bytes) -> bool:
        """Whether a sample is in it. Always the same for the same id, so that a sample's records stay together, in order."""
        return self.of == 1 or zlib.crc32(sample_id) % self.of == self.index


def slices_of(sources: int, share: tuple[int, int]) -> dict[int, Slice]:
    """What part `share` = (index, of) takes of each source, by the source's number.

    The parts are disjoint, together they are everything, and each has a source if there is one; it has one or two where there
    are more parts than sources.
    """
    index, of = share
    each = -(-of // sources) if sources else 1
    return {slot % sources: Slice(slot // sources, each) for slot in range(index, sources * each, of)}
